//! The second phase: who sends this (control 29)? An API key or a token as bearer (RFC 6750 section 2.1), a client
//! certificate (RFC 8446 section 4.4.2), or both.
//!
//! The order is stated: the certificate belongs to the connection, the `Authorization` header decides whose request it
//! is. Where both are given both must name one principal; where there is no header the certificate decides alone. A
//! credential that was presented and does not hold is refused, whatever else was presented.
//!
//! A client learns only that it was refused. The reason is counted per source prefix and recorded together, because
//! nobody has yet shown who it is.

use std::time::Duration;

use http::{HeaderMap, header::AUTHORIZATION};
use stockade_access::{Access, AuthenticationError, Identity, Principal, Proof, Token, TokenError};
use stockade_evidence::{Control, Timestamp};
use stockade_protocol::ErrorCode;

use crate::{
    answer::Refusal,
    identity::{Identification, Presented},
};

/// Nobody was identified.
#[derive(Debug)]
pub(crate) struct Unidentified {
    /// A stable word for the merged record.
    pub(crate) reason: &'static str,
    /// What the client gets.
    pub(crate) refusal: Refusal,
}

/// Who sends these headers over a connection with this certificate.
pub(crate) fn identify(
    headers: &HeaderMap,
    certificate: Option<&Presented>,
    known: &Identification,
    access: &Access,
    now: Timestamp,
) -> Result<Identity, Unidentified> {
    let now = access.latest(now);
    let holder = certificate
        .map(|presented| by_certificate(presented, known, access, now))
        .transpose()?;
    let credential = if headers.contains_key(AUTHORIZATION) {
        let credential = bearer(headers).ok_or_else(|| unauthenticated("missing_key"))?;
        Some(by_credential(credential, known, access, now)?)
    } else {
        None
    };
    match (holder, credential) {
        (None, None) => Err(unauthenticated("missing_key")),
        (Some(principal), None) => Ok(Identity {
            principal,
            proof: Proof::Certificate,
            certificate: true,
        }),
        (None, Some(identity)) => Ok(identity),
        (Some(holder), Some(identity)) if holder.id == identity.principal.id => Ok(Identity {
            certificate: true,
            ..identity
        }),
        (Some(_), Some(_)) => Err(unauthenticated("other_principal")),
    }
}

fn by_certificate(
    presented: &Presented,
    known: &Identification,
    access: &Access,
    now: Timestamp,
) -> Result<Principal, Unidentified> {
    let clients = known
        .clients()
        .ok_or_else(|| unauthenticated("untrusted_certificate"))?;
    let holder = clients.holder(presented, now).map_err(unauthenticated)?;
    access.bound(holder).map_err(refused)
}

fn by_credential(
    credential: &str,
    known: &Identification,
    access: &Access,
    now: Timestamp,
) -> Result<Identity, Unidentified> {
    if !(known.takes_tokens() && Token::looks_like(credential)) {
        return access.authenticate(credential, now).map_err(refused);
    }
    let not_taken = |error: TokenError| unauthenticated(error.code());
    let token = Token::parse(credential).map_err(not_taken)?;
    let issuer = known
        .issuer(&token)
        .ok_or_else(|| not_taken(TokenError::Issuer))?;
    let keys = issuer
        .keys()
        .ok_or_else(|| unavailable("token_keys_unreadable"))?;
    let subject = token.verify(issuer.rules(), &keys, now).map_err(|error| {
        if error == TokenError::UnknownKey {
            issuer.want_keys();
        }
        not_taken(error)
    })?;
    Ok(Identity {
        principal: access.bound(&subject).map_err(refused)?,
        proof: Proof::Token,
        certificate: false,
    })
}

fn refused(error: AuthenticationError) -> Unidentified {
    match error {
        AuthenticationError::Stale => unavailable(error.code()),
        AuthenticationError::Malformed(_)
        | AuthenticationError::Unknown
        | AuthenticationError::Expired
        | AuthenticationError::Revoked
        | AuthenticationError::NotEnrolled
        | AuthenticationError::Disabled => unauthenticated(error.code()),
    }
}

fn unavailable(reason: &'static str) -> Unidentified {
    const MESSAGE: &str = "credentials cannot be checked now, so none is accepted";
    Unidentified {
        reason,
        refusal: Refusal::new(ErrorCode::Unavailable, Control::AccessControl, MESSAGE)
            .after(Duration::from_secs(5)),
    }
}

fn unauthenticated(reason: &'static str) -> Unidentified {
    const MESSAGE: &str =
        "a valid API key, token or client certificate is needed: send `Authorization: Bearer KEY`";
    Unidentified {
        reason,
        refusal: Refusal::new(ErrorCode::Unauthenticated, Control::AccessControl, MESSAGE),
    }
}

/// The one bearer credential. Two headers are ambiguous and count as none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
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
