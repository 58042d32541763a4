//! From a method and a path to what is asked for, under the rules of [`oip::route`](crate::oip::route).

use crate::oip::{Name, decode};
use crate::{ErrorCode, Operation};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TfsRoute {
    /// `POST /v1/models/{model}[/versions/{version}|/labels/{label}]:predict`
    Predict {
        /// The model's name.
        model: Name,
        /// The version, where the path chooses one.
        version: Option<TfsVersion>,
    },
    /// `GET /v1/models/{model}[/versions/{version}|/labels/{label}]`
    Status {
        /// The model's name.
        model: Name,
        /// The version, where the path chooses one.
        version: Option<TfsVersion>,
    },
    /// `GET /v1/models/{model}[/versions/{version}|/labels/{label}]/metadata`
    Metadata {
        /// The model's name.
        model: Name,
        /// The version, where the path chooses one.
        version: Option<TfsVersion>,
    },
}

/// How a path chooses a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TfsVersion {
    /// `/versions/{version}`
    Version(Name),
    /// `/labels/{label}`
    Label(Name),
}

impl TfsRoute {
    /// What a policy decides on.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Predict { .. } => Operation::ModelInfer,
            Self::Status { .. } | Self::Metadata { .. } => Operation::ModelMetadata,
        }
    }
}

/// Why a method and a path ask for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TfsRouteError {
    /// No such path.
    #[error("there is no such path")]
    NotFound,
    /// `:classify` or `:regress`.
    #[error("`:classify` and `:regress` are not served; use `:predict`")]
    Unsupported,
    /// The path exists under another method.
    #[error("this path is served with {allow}")]
    MethodNotAllowed {
        /// The method to use, for the `Allow` header.
        allow: &'static str,
    },
}

impl TfsRouteError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotFound | Self::Unsupported => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
        }
    }
}

/// What `method` on `path` asks for; `path` is the request target's path, without a query.
pub fn tfs_route(method: &str, path: &str) -> Result<TfsRoute, TfsRouteError> {
    let route = route_of(path)?;
    let allow = match route {
        TfsRoute::Predict { .. } => "POST",
        TfsRoute::Status { .. } | TfsRoute::Metadata { .. } => "GET",
    };
    if method == allow {
        Ok(route)
    } else {
        Err(TfsRouteError::MethodNotAllowed { allow })
    }
}

/// The most segments that a route has: `v1/models/M/versions/V/metadata`.
const MAX_SEGMENTS: usize = 6;

fn route_of(path: &str) -> Result<TfsRoute, TfsRouteError> {
    let split = path.strip_prefix('/').ok_or(TfsRouteError::NotFound)?.split('/');
    let segments: Option<Vec<_>> = split.take(MAX_SEGMENTS + 1).map(decode).collect();
    let segments = segments.ok_or(TfsRouteError::NotFound)?;
    let mut segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let mut verb = None;
    if let Some(last) = segments.last_mut()
        && let Some((name, rest)) = last.split_once(':')
    {
        (*last, verb) = (name, Some(rest));
    }
    let ["v1", "models", model, rest @ ..] = segments.as_slice() else {
        return Err(TfsRouteError::NotFound);
    };
    let name = |text: &str| Name::parse(text).ok_or(TfsRouteError::NotFound);
    let model = name(model)?;
    let (version, rest) = match rest {
        ["versions", version, rest @ ..] => (Some(TfsVersion::Version(name(version)?)), rest),
        ["labels", label, rest @ ..] => (Some(TfsVersion::Label(name(label)?)), rest),
        rest => (None, rest),
    };
    match (rest, verb) {
        ([], None) => Ok(TfsRoute::Status { model, version }),
        ([], Some("predict")) => Ok(TfsRoute::Predict { model, version }),
        ([], Some("classify" | "regress")) => Err(TfsRouteError::Unsupported),
        (["metadata"], None) => Ok(TfsRoute::Metadata { model, version }),
        _ => Err(TfsRouteError::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn the_table() {
        for (path, version) in [
            ("/v1/models/m", None),
            ("/v1/models/m/versions/3", Some(TfsVersion::Version(name("3")))),
            (
                "/v1/models/m/labels/canary",
                Some(TfsVersion::Label(name("canary"))),
            ),
        ] {
            let model = name("m");
            let (m, v) = (model.clone(), version.clone());
            let predict = TfsRoute::Predict { model: m, version: v };
            assert_eq!(predict.operation(), Operation::ModelInfer);
            assert_eq!(tfs_route("POST", &format!("{path}:predict")), Ok(predict));
            let (m, v) = (model.clone(), version.clone());
            let status = TfsRoute::Status { model: m, version: v };
            assert_eq!(tfs_route("GET", path), Ok(status));
            let metadata = TfsRoute::Metadata { model, version };
            assert_eq!(tfs_route("GET", &format!("{path}/metadata")), Ok(metadata));
            let allow = |allow| Err(TfsRouteError::MethodNotAllowed { allow });
            assert_eq!(tfs_route("GET", &format!("{path}:predict")), allow("POST"));
            assert_eq!(tfs_route("POST", path), allow("GET"));
            for verb in ["classify", "regress"] {
                let error = tfs_route("POST", &format!("{path}:{verb}"));
                assert_eq!(error, Err(TfsRouteError::Unsupported));
            }
        }
    }

    #[test]
    fn what_is_no_path() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/models",
            "/v1/models/",
            "/v1/models/:predict",
            "/v1/models/..:predict",
            "/v1/models/m:",
            "/v1/models/m:predict:predict",
            "/v1/models/m:predict/versions/1",
            "/v1/models/m/versions:predict",
            "/v1/models/m/versions/:predict",
            "/v1/models/m/metadata:predict",
            "/v1/models/m/versions/1/metadata/x",
            "/v1/models/m%2Fversions",
            "/v1/models/m%",
            "/v2/models/m",
        ] {
            assert_eq!(tfs_route("POST", path), Err(TfsRouteError::NotFound), "{path}");
        }
    }
}
