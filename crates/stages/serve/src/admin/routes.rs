//! The one table of the admin listener.

use stockade_access::{Action, Resource};

/// What an admin call does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    Metrics,
    OpenApi,
    Status,
    Models,
    Principals,
    ListKeys,
    CreateKey,
    RevokeKey,
    RotateKey,
    LogCheckpoint,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct AdminRoute {
    pub(super) method: &'static str,
    /// One segment may be `{prefix}`.
    pub(super) path: &'static str,
    /// What the caller must be allowed to do.
    pub(super) action: Action,
    pub(super) resource: Resource,
    pub(super) operation: Operation,
}

const fn row(
    method: &'static str,
    path: &'static str,
    action: Action,
    resource: Resource,
    operation: Operation,
) -> AdminRoute {
    AdminRoute {
        method,
        path,
        action,
        resource,
        operation,
    }
}

/// Every path that the admin listener serves to an identified caller.
pub(super) static ROUTES: [AdminRoute; 10] = [
    row(
        "GET",
        "/metrics",
        Action::MetricsRead,
        Resource::Server,
        Operation::Metrics,
    ),
    row(
        "GET",
        "/admin/openapi.json",
        Action::ConfigRead,
        Resource::Server,
        Operation::OpenApi,
    ),
    row(
        "GET",
        "/admin/v1/status",
        Action::ConfigRead,
        Resource::Server,
        Operation::Status,
    ),
    row(
        "GET",
        "/admin/v1/models",
        Action::ModelList,
        Resource::Server,
        Operation::Models,
    ),
    row(
        "GET",
        "/admin/v1/principals",
        Action::KeyList,
        Resource::Access,
        Operation::Principals,
    ),
    row(
        "GET",
        "/admin/v1/keys",
        Action::KeyList,
        Resource::Access,
        Operation::ListKeys,
    ),
    row(
        "POST",
        "/admin/v1/keys",
        Action::KeyCreate,
        Resource::Access,
        Operation::CreateKey,
    ),
    row(
        "DELETE",
        "/admin/v1/keys/{prefix}",
        Action::KeyRevoke,
        Resource::Access,
        Operation::RevokeKey,
    ),
    row(
        "POST",
        "/admin/v1/keys/{prefix}/rotate",
        Action::KeyRotate,
        Resource::Access,
        Operation::RotateKey,
    ),
    row(
        "GET",
        "/admin/v1/log/checkpoint",
        Action::LogRead,
        Resource::Log,
        Operation::LogCheckpoint,
    ),
];

/// What a method and a path ask for.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A row, and what stands for its parameter.
    Route(&'static AdminRoute, Option<&'a str>),
    /// The path is served with this method.
    OtherMethod(&'static str),
    /// Nothing.
    Nothing,
}

/// The row for a method and a path.
pub(super) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut other = Found::Nothing;
    for route in &ROUTES {
        if let Some(parameter) = matches(route.path, path) {
            if route.method == method {
                return Found::Route(route, parameter);
            }
            other = Found::OtherMethod(route.method);
        }
    }
    other
}

/// Whether the path is of the template's form, and its parameter.
fn matches<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut parameter = None;
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return Some(parameter),
            (Some("{prefix}"), Some(segment)) if !segment.is_empty() => parameter = Some(segment),
            (Some(expected), Some(segment)) if expected == segment => {}
            (Some(_) | None, Some(_) | None) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expected: Option<(Operation, Option<&str>)>) {
        let found = match find(method, path) {
            Found::Route(route, parameter) => Some((route.operation, parameter)),
            Found::OtherMethod(_) | Found::Nothing => None,
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn paths_are_exact() {
        check("GET", "/metrics", Some((Operation::Metrics, None)));
        check(
            "DELETE",
            "/admin/v1/keys/abcdefgh",
            Some((Operation::RevokeKey, Some("abcdefgh"))),
        );
        check(
            "POST",
            "/admin/v1/keys/abcdefgh/rotate",
            Some((Operation::RotateKey, Some("abcdefgh"))),
        );
        check("POST", "/admin/v1/keys", Some((Operation::CreateKey, None)));
        for path in [
            "/",
            "/metrics/",
            "//metrics",
            "/admin/v1/keys/",
            "/admin/v1/keys/a/b",
            "/admin",
            "/Metrics",
        ] {
            check("GET", path, None);
        }
        assert!(matches!(find("PUT", "/metrics"), Found::OtherMethod("GET")));
    }
}
