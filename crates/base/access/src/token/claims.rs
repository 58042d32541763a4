//! The claims of a token whose signature was checked (RFC 7519 section 4.1).

use serde_json::Value;
use stockade_evidence::Timestamp;

use super::{TokenError, TokenRules, json::Members};
use crate::ExternalIdentity;

/// The latest time that a claim may name, in seconds: the year 9999.
const LAST_S: f64 = 253_402_300_799.0;

/// Whose token it is. `aud` and `exp` must be there; `nbf` and `iat` count where they are.
pub(super) fn check(
    claims: &Members,
    rules: &TokenRules,
    now: Timestamp,
) -> Result<ExternalIdentity, TokenError> {
    if !is_for(claims.get("aud"), &rules.audience)? {
        return Err(TokenError::Audience);
    }
    let (now, leeway) = (now.unix_ms(), i64::from(rules.leeway_s).saturating_mul(1000));
    // RFC 7519 section 4.1.4: on or after this time the token is not accepted.
    let expires = time(claims, "exp")?.ok_or(TokenError::Claims)?;
    if now >= expires.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    for begins in [time(claims, "nbf")?, time(claims, "iat")?].into_iter().flatten() {
        if now.saturating_add(leeway) < begins {
            return Err(TokenError::Early);
        }
    }
    if claims.contains("cnf") {
        return Err(TokenError::Bound);
    }
    let subject = claims.text(&rules.claim).ok_or(TokenError::Claims)?;
    ExternalIdentity::jwt(&rules.issuer, subject).map_err(|_| TokenError::Claims)
}

/// RFC 7519 section 4.1.3: one audience, or several of which one is ours.
fn is_for(audience: Option<&Value>, ours: &str) -> Result<bool, TokenError> {
    match audience {
        Some(Value::String(one)) => Ok(one == ours),
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
            Ok(several.iter().any(|one| one.as_str() == Some(ours)))
        }
        Some(Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Err(TokenError::Claims)
        }
    }
}

/// A NumericDate (RFC 7519 section 2), in milliseconds. Where there is none there is none; anything else is wrong.
fn time(claims: &Members, name: &str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=LAST_S).contains(seconds))
        .ok_or(TokenError::Claims)?;
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let milliseconds = (seconds * 1000.0) as i64;
    Ok(Some(milliseconds))
}
