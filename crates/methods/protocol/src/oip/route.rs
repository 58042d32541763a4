//! From a method and a path to what is asked for.
//!
//! A path is split at `/` first and each segment percent-decoded once after (RFC 3986 sections 2.1 and 3.3), so an
//! encoded slash never makes a segment. Names are `[A-Za-z0-9._-]{1,128}` and never `.` or `..`: whatever else a
//! segment decodes to is no name, and there is one spelling of a route for every policy to judge.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use crate::{ErrorCode, Operation};

/// A model's name or version, as it may appear in a path.
// INVARIANT: matches `[A-Za-z0-9._-]{1,128}` and is neither `.` nor `..`; `parse` is the only door.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    const MAX_BYTES: usize = 128;

    /// The name of that text, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(plain);
        (fits && text != "." && text != "..").then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/health/live`
    ServerLive,
    /// `GET /v2/health/ready`
    ServerReady,
    /// `GET /v2`
    ServerMetadata,
    /// `GET /v2/models/{model}[/versions/{version}]/ready`
    ModelReady {
        /// The model's name.
        model: Name,
        /// The version, where the path names one.
        version: Option<Name>,
    },
    /// `GET /v2/models/{model}[/versions/{version}]`
    ModelMetadata {
        /// The model's name.
        model: Name,
        /// The version, where the path names one.
        version: Option<Name>,
    },
    /// `POST /v2/models/{model}[/versions/{version}]/infer`
    ModelInfer {
        /// The model's name.
        model: Name,
        /// The version, where the path names one.
        version: Option<Name>,
    },
}

impl Route {
    /// What a policy decides on.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::ServerLive | Self::ServerReady | Self::ServerMetadata => Operation::ServerMetadata,
            Self::ModelReady { .. } | Self::ModelMetadata { .. } => Operation::ModelMetadata,
            Self::ModelInfer { .. } => Operation::ModelInfer,
        }
    }

    pub(super) const fn method(&self) -> &'static str {
        match self {
            Self::ModelInfer { .. } => "POST",
            Self::ServerLive
            | Self::ServerReady
            | Self::ServerMetadata
            | Self::ModelReady { .. }
            | Self::ModelMetadata { .. } => "GET",
        }
    }
}

/// Why a method and a path ask for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such path.
    #[error("there is no such path")]
    NotFound,
    /// The path exists under another method.
    #[error("this path is served with {allow}")]
    MethodNotAllowed {
        /// The method to use, for the `Allow` header.
        allow: &'static str,
    },
}

impl RouteError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
        }
    }
}

/// What `method` on `path` asks for; `path` is the request target's path, without a query.
pub fn route(method: &str, path: &str) -> Result<Route, RouteError> {
    let segments = segments(path).ok_or(RouteError::NotFound)?;
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let route = route_of(&segments).ok_or(RouteError::NotFound)?;
    let allow = route.method();
    if method == allow {
        Ok(route)
    } else {
        Err(RouteError::MethodNotAllowed { allow })
    }
}

/// The most segments that a route has: `v2/models/M/versions/V/infer`.
const MAX_SEGMENTS: usize = 6;

/// The decoded segments of a path that has no more of them than a route can have.
pub(super) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut segments: Vec<Cow<'_, str>> = Vec::with_capacity(MAX_SEGMENTS);
    for segment in path.strip_prefix('/')?.split('/') {
        if segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(decode(segment)?);
    }
    Some(segments)
}

pub(super) fn route_of(segments: &[&str]) -> Option<Route> {
    match segments {
        ["v2"] => Some(Route::ServerMetadata),
        ["v2", "health", "live"] => Some(Route::ServerLive),
        ["v2", "health", "ready"] => Some(Route::ServerReady),
        ["v2", "models", model, rest @ ..] => {
            let model = Name::parse(model)?;
            let (version, rest) = match rest {
                ["versions", version, rest @ ..] => (Some(Name::parse(version)?), rest),
                rest => (None, rest),
            };
            match rest {
                [] => Some(Route::ModelMetadata { model, version }),
                ["ready"] => Some(Route::ModelReady { model, version }),
                ["infer"] => Some(Route::ModelInfer { model, version }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// RFC 3986 section 2.1, once; what does not decode to text is no segment of ours.
pub(crate) fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[track_caller]
    fn not_found(path: &str) {
        assert_eq!(route("GET", path), Err(RouteError::NotFound), "{path}");
    }

    #[test]
    fn the_table_of_the_specification() {
        let model = || name("m");
        let table = [
            ("GET", "/v2", Route::ServerMetadata),
            ("GET", "/v2/health/live", Route::ServerLive),
            ("GET", "/v2/health/ready", Route::ServerReady),
            (
                "GET",
                "/v2/models/m",
                Route::ModelMetadata {
                    model: model(),
                    version: None,
                },
            ),
            (
                "GET",
                "/v2/models/m/ready",
                Route::ModelReady {
                    model: model(),
                    version: None,
                },
            ),
            (
                "POST",
                "/v2/models/m/infer",
                Route::ModelInfer {
                    model: model(),
                    version: None,
                },
            ),
            (
                "GET",
                "/v2/models/m/versions/3",
                Route::ModelMetadata {
                    model: model(),
                    version: Some(name("3")),
                },
            ),
            (
                "GET",
                "/v2/models/m/versions/v1.0/ready",
                Route::ModelReady {
                    model: model(),
                    version: Some(name("v1.0")),
                },
            ),
            (
                "POST",
                "/v2/models/m/versions/3/infer",
                Route::ModelInfer {
                    model: model(),
                    version: Some(name("3")),
                },
            ),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(method, path), Ok(expected), "{method} {path}");
            let other = if method == "GET" { "POST" } else { "GET" };
            assert_eq!(
                route(other, path),
                Err(RouteError::MethodNotAllowed { allow: method }),
                "{other} {path}"
            );
        }
    }

    #[test]
    fn words_of_the_paths_are_good_names() {
        let ready = Route::ModelReady {
            model: name("ready"),
            version: None,
        };
        assert_eq!(route("GET", "/v2/models/ready/ready"), Ok(ready));
        let versions = Route::ModelMetadata {
            model: name("versions"),
            version: Some(name("versions")),
        };
        assert_eq!(
            route("GET", "/v2/models/versions/versions/versions"),
            Ok(versions)
        );
    }

    #[test]
    fn a_segment_is_decoded_once() {
        let digits = Route::ModelMetadata {
            model: name("digits"),
            version: None,
        };
        assert_eq!(route("GET", "/v2/models/d%69git%73"), Ok(digits.clone()));
        assert_eq!(route("GET", "/%76%32/models/digits"), Ok(digits));
        for path in [
            "/v2/models/%2564",
            "/v2/models/a%2fb",
            "/v2/models/%00",
            "/v2/models/%c3%a9",
            "/v2/models/%ff",
        ] {
            not_found(path);
        }
        for path in [
            "/v2/models/%",
            "/v2/models/%6",
            "/v2/models/%zz",
            "/v2/models/%+1",
            "/v2/models%2Fm",
        ] {
            not_found(path);
        }
    }

    #[test]
    fn dots_and_empty_segments_are_refused() {
        for path in [
            "",
            "/",
            "v2",
            "//v2",
            "/v2/",
            "/v2//models/m",
            "/v2/models",
            "/v2/models/",
            "/v2/models/.",
            "/v2/models/..",
            "/v2/models/%2e%2e",
            "/v2/models/%2E",
            "/v2/models/m/",
            "/v2/models/m/versions",
            "/v2/models/m/versions/",
            "/v2/models/m/versions/../infer",
            "/v2/health",
            "/v2/health/",
            "/v2/models/m/config",
            "/V2",
            "/v2/models/a b",
            "/v2/models/m/versions/1/infer/x",
            "/v2/../v2",
            "/v2?x",
            "/v2/models/m;v=1",
        ] {
            not_found(path);
        }
    }

    #[test]
    fn names_have_a_length() {
        let longest = "n".repeat(128);
        assert!(route("GET", &format!("/v2/models/{longest}")).is_ok());
        not_found(&format!("/v2/models/{longest}n"));
    }
}
