//! The second phase: a bearer key (RFC 6750 section 2.1) becomes a principal (control 29).
//!
//! A client learns only that it was refused. The reason is counted per source prefix and recorded together, because
//! nobody has yet shown who it is.

use http::{HeaderMap, header::AUTHORIZATION};
use stockade_access::{Access, AuthenticationError, Identity};
use stockade_evidence::{Control, Timestamp};
use stockade_protocol::ErrorCode;

use crate::answer::Refusal;

/// Nobody was identified.
#[derive(Debug)]
pub(crate) struct Unidentified {
    /// A stable word for the merged record.
    pub(crate) reason: &'static str,
    /// What the client gets.
    pub(crate) refusal: Refusal,
}

/// Who sends these headers.
pub(crate) fn identify(
    headers: &HeaderMap,
    access: &Access,
    now: Timestamp,
) -> Result<Identity, Unidentified> {
    let presented = bearer(headers).ok_or_else(|| unauthenticated("missing_key"))?;
    access.authenticate(presented, now).map_err(|error| match error {
        AuthenticationError::Stale => Unidentified {
            reason: error.code(),
            refusal: Refusal::new(
                ErrorCode::Unavailable,
                Control::AccessControl,
                "keys cannot be checked now, so none is accepted",
            )
            .after(std::time::Duration::from_secs(5)),
        },
        AuthenticationError::Malformed(_)
        | AuthenticationError::Unknown
        | AuthenticationError::Expired
        | AuthenticationError::Revoked => unauthenticated(error.code()),
    })
}

fn unauthenticated(reason: &'static str) -> Unidentified {
    const MESSAGE: &str = "a valid API key is needed: send `Authorization: Bearer KEY`";
    Unidentified {
        reason,
        refusal: Refusal::new(ErrorCode::Unauthenticated, Control::AccessControl, MESSAGE),
    }
}

/// The one bearer credential. Two headers are ambiguous and count as none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, credential) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| credential.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&'static [u8]], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(bearer(&headers), expected);
    }

    #[test]
    fn one_bearer_credential_and_nothing_else() {
        check(&[b"Bearer abc"], Some("abc"));
        check(&[b"bearer  abc"], Some("abc"));
        check(&[b"BEARER abc def"], Some("abc def"));
        check(&[b"Basic abc"], None);
        check(&[b"Bearer"], None);
        check(&[b"Bearer \xff"], None);
        check(&[b"Bearer a", b"Bearer b"], None);
        check(&[], None);
    }
}
