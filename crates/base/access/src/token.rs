//! JWT bearer tokens: JWS compact serialisation (RFC 7515 section 3.1), claims (RFC 7519), best practice (RFC 8725).
//!
//! A token is parsed, its issuer's [`TokenRules`] and [`KeySet`] are found, and [`Token::verify`] says whose it is. The
//! time comes in as an argument. AWS-LC checks the signature; `jsonwebtoken` carries the question to it.
//! INVARIANT: nothing that a token says is used before its signature was checked, except its `iss` to find the rules and
//! its `kid` to find the key; nothing that it says appears in an error. Roles never come from a token.

mod claims;
mod json;
mod key_set;

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use stockade_evidence::Timestamp;

use self::json::Members;
use crate::ExternalIdentity;

pub use self::key_set::{BadKeySet, KeySet, fuzz_jwks};

/// Longest token, in bytes.
pub const TOKEN_MAX: usize = 8192;

/// Longest `kid`, in bytes.
const KID_MAX: usize = 256;

/// Types that are access tokens (RFC 9068 section 4) or say nothing (RFC 7519 section 5.1).
const PLAIN_TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// The algorithms that an issuer may sign with. There is none without a signature and none with a shared secret: a public
/// key can never be taken for one (RFC 8725 sections 2.1 and 3.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum TokenAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

/// The text names no algorithm that a token may be signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this is not an algorithm for tokens\n\
     hint: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA; never `none`, never HS256"
)]
pub struct UnknownTokenAlgorithm;

impl TokenAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in tokens, keys and configuration (RFC 7518 section 3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Ps256 => Algorithm::PS256,
            Self::Ps384 => Algorithm::PS384,
            Self::Ps512 => Algorithm::PS512,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl FromStr for TokenAlgorithm {
    type Err = UnknownTokenAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or(UnknownTokenAlgorithm)
    }
}

impl TryFrom<String> for TokenAlgorithm {
    type Error = UnknownTokenAlgorithm;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TokenAlgorithm> for String {
    fn from(algorithm: TokenAlgorithm) -> Self {
        algorithm.name().to_owned()
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a token of one issuer must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRules {
    /// The `iss` claim, exactly.
    pub issuer: String,
    /// The `aud` claim, or one of its members, exactly.
    pub audience: String,
    /// The algorithms that it signs with.
    pub algorithms: BTreeSet<TokenAlgorithm>,
    /// By how much its clock and ours may differ, in seconds.
    pub leeway_s: u32,
    /// The claim that names the subject.
    pub claim: String,
    /// The `typ` header that a token must have. Where none is stated, a token may have none, `JWT` or `at+jwt`.
    pub typ: Option<String>,
}

/// Why a token identifies nobody. The reasons are for records; a client learns only that it was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than a token may be.
    #[error("the token is longer than {TOKEN_MAX} bytes")]
    TooLong,
    /// It has not the form of a signed token, or a name in it occurs twice.
    #[error("this is not a signed token")]
    Malformed,
    /// It demands an extension that is not understood (RFC 7515 section 4.1.11).
    #[error("the token demands an extension that is not understood")]
    Critical,
    /// No configured issuer made it.
    #[error("the token's issuer is not configured")]
    Issuer,
    /// Its algorithm is not among those of its issuer.
    #[error("the token's algorithm is not allowed to its issuer")]
    Algorithm,
    /// It is a token for something else.
    #[error("the token's type is not the expected one")]
    Type,
    /// Its issuer has no key of this name for this algorithm.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is not its issuer's.
    #[error("the token's signature is not its issuer's")]
    Signature,
    /// A claim that must be there is missing or has the wrong form.
    #[error("a claim of the token is missing or has the wrong form")]
    Claims,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// It works only together with a key that is not checked here (RFC 7800).
    #[error("the token is bound to a key, which a bearer cannot show")]
    Bound,
}

impl TokenError {
    /// A stable word for records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed => "malformed_token",
            Self::Critical => "token_critical",
            Self::Issuer => "token_issuer",
            Self::Algorithm => "token_algorithm",
            Self::Type => "token_type",
            Self::UnknownKey => "token_key",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::Audience => "token_audience",
            Self::Expired => "expired_token",
            Self::Early => "early_token",
            Self::Bound => "bound_token",
        }
    }
}

/// A token as it was presented: nothing in it is believed yet.
pub struct Token<'a> {
    /// What is signed: header and payload as they came.
    signed: &'a str,
    signature: &'a str,
    algorithm: Option<TokenAlgorithm>,
    typ: Option<String>,
    kid: String,
    claims: Members,
}

impl<'a> Token<'a> {
    /// Whether a credential has the shape of a token. An API key has no dot.
    pub fn looks_like(text: &str) -> bool {
        text.contains('.')
    }

    /// Takes a token apart. Its length is checked first, so a long text costs nothing.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = members(header)?;
        if header.contains("crit") || header.contains("b64") {
            return Err(TokenError::Critical);
        }
        let kid = header.text("kid").filter(|kid| kid.len() <= KID_MAX);
        let typ = match (header.contains("typ"), header.text("typ")) {
            (true, None) => return Err(TokenError::Malformed),
            (_, typ) => typ.map(media_type),
        };
        Ok(Self {
            signed,
            signature,
            algorithm: header.text("alg").and_then(|name| name.parse().ok()),
            typ,
            kid: kid.ok_or(TokenError::UnknownKey)?.to_owned(),
            claims: members(payload)?,
        })
    }

    /// Who claims to have issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// Whose token it is at `now`, by its issuer's rules and keys.
    pub fn verify(
        &self,
        rules: &TokenRules,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<ExternalIdentity, TokenError> {
        if self.issuer() != Some(rules.issuer.as_str()) {
            return Err(TokenError::Issuer);
        }
        let algorithm = self
            .algorithm
            .filter(|algorithm| rules.algorithms.contains(algorithm))
            .ok_or(TokenError::Algorithm)?;
        if !self.is_typed(rules.typ.as_deref()) {
            return Err(TokenError::Type);
        }
        let key = keys.find(&self.kid, algorithm).ok_or(TokenError::UnknownKey)?;
        let signed = self.signed.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, signed, key, algorithm.algorithm()) {
            Ok(true) => claims::check(&self.claims, rules, now),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }

    /// RFC 8725 section 3.11: a token of another kind is not taken for one of ours.
    fn is_typed(&self, expected: Option<&str>) -> bool {
        match (expected, self.typ.as_deref()) {
            (Some(expected), typ) => typ == Some(media_type(expected).as_str()),
            (None, Some(typ)) => PLAIN_TYPES.contains(&typ),
            (None, None) => true,
        }
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(****)")
    }
}

fn members(part: &str) -> Result<Members, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// RFC 7515 section 4.1.9: `application/` may be left out, and the case does not matter.
fn media_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower
        .strip_prefix("application/")
        .map_or_else(|| lower.clone(), str::to_owned)
}

/// Fuzz entry: must not panic. The first line is a key set, the rest a token.
pub fn fuzz_token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (keys, token) = text.split_once('\n').unwrap_or(("{\"keys\":[]}", &text));
    let Ok(token) = Token::parse(token) else { return };
    let rules = TokenRules {
        issuer: token.issuer().unwrap_or_default().to_owned(),
        audience: "stockade".to_owned(),
        algorithms: TokenAlgorithm::ALL.into(),
        leeway_s: 60,
        claim: "sub".to_owned(),
        typ: None,
    };
    let keys = KeySet::parse(keys.as_bytes()).unwrap_or_default();
    // Who it is, or why not: both are values.
    drop(token.verify(&rules, &keys, Timestamp::from_unix_ms(1_800_000_000_000)));
}

#[cfg(test)]
mod tests;
