//! An issuer's public keys: a JWK set (RFC 7517 section 5; RFC 7518 section 6; RFC 8037 section 2).
//!
//! What is not a key for checking signatures with one of our algorithms is left out, as RFC 7517 asks: shared secrets,
//! keys for encryption, unknown curves, and keys whose private half was published.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::{KID_MAX, TokenAlgorithm, json::Members};

/// Most keys of one set.
const KEYS_MAX: usize = 64;
/// Longest exponent: AWS-LC takes no longer one.
const EXPONENT_MAX: usize = 5;
/// Bits of the modulus: below it is too weak (RFC 7518 section 3.3), beyond it AWS-LC takes none.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Public keys by their `kid`.
// INVARIANT: every key fits each algorithm that it is listed with, and a `kid` names one key.
#[derive(Debug, Default)]
pub struct KeySet(HashMap<String, PublicKey>);

#[derive(Debug)]
struct PublicKey {
    algorithms: Vec<TokenAlgorithm>,
    key: DecodingKey,
}

/// The bytes are not a set of keys that tokens can be checked with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKeySet {
    /// It is not a JWK set.
    #[error("this is not a JWK set (RFC 7517)")]
    Malformed,
    /// It has too many keys.
    #[error("a JWK set may have {KEYS_MAX} keys at most")]
    TooMany,
    /// Two keys have the same name, so a token does not say which one it means.
    #[error("two keys of the JWK set have the same `kid`")]
    Ambiguous,
    /// No key can check a token.
    #[error(
        "no key of the JWK set can check a token\n\
         hint: a key needs a `kid`, and RSA of 2048 bits or more, P-256, P-384 or Ed25519"
    )]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Members>,
}

impl KeySet {
    /// Reads a set.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadKeySet> {
        let set: Set = serde_json::from_slice(bytes).map_err(|_| BadKeySet::Malformed)?;
        if set.keys.len() > KEYS_MAX {
            return Err(BadKeySet::TooMany);
        }
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let Some((kid, key)) = usable(jwk) else { continue };
            if keys.insert(kid, key).is_some() {
                return Err(BadKeySet::Ambiguous);
            }
        }
        if keys.is_empty() {
            return Err(BadKeySet::Empty);
        }
        Ok(Self(keys))
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, kid: &str, algorithm: TokenAlgorithm) -> Option<&DecodingKey> {
        let found = self.0.get(kid)?;
        found.algorithms.contains(&algorithm).then_some(&found.key)
    }
}

fn usable(jwk: &Members) -> Option<(String, PublicKey)> {
    let kid = jwk.text("kid").filter(|kid| (1..=KID_MAX).contains(&kid.len()))?;
    if jwk.contains("d") || !is_for_signatures(jwk) {
        return None;
    }
    let (mut algorithms, key) = public_key(jwk)?;
    if jwk.contains("alg") {
        let stated: TokenAlgorithm = jwk.text("alg")?.parse().ok()?;
        algorithms.retain(|algorithm| *algorithm == stated);
    }
    (!algorithms.is_empty()).then(|| (kid.to_owned(), PublicKey { algorithms, key }))
}

/// RFC 7517 sections 4.2 and 4.3.
fn is_for_signatures(jwk: &Members) -> bool {
    let used = jwk.get("use").is_none_or(|used| used == "sig");
    let operations = jwk.get("key_ops").is_none_or(|operations| {
        operations
            .as_array()
            .is_some_and(|each| each.iter().any(|operation| operation == &Value::from("verify")))
    });
    used && operations
}

/// The key, and the algorithms that its kind can be used with.
fn public_key(jwk: &Members) -> Option<(Vec<TokenAlgorithm>, DecodingKey)> {
    use TokenAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match (jwk.text("kty")?, jwk.text("crv")) {
        ("RSA", _) => {
            let key = rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?;
            Some((vec![Rs256, Rs384, Rs512, Ps256, Ps384, Ps512], key))
        }
        ("EC", Some("P-256")) => Some((vec![Es256], point(jwk, 32)?)),
        ("EC", Some("P-384")) => Some((vec![Es384], point(jwk, 48)?)),
        ("OKP", Some("Ed25519")) => {
            let key = bytes(jwk, "x").filter(|x| x.len() == 32)?;
            Some((vec![EdDsa], DecodingKey::from_ed_der(&key)))
        }
        _ => None,
    }
}

fn bytes(jwk: &Members, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.text(name)?).ok()
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<DecodingKey> {
    let modulus = without_leading_zeros(modulus);
    let exponent = without_leading_zeros(exponent);
    let zeros = modulus.first()?.leading_zeros() as usize;
    let fits = MODULUS_BITS.contains(&(modulus.len() * 8 - zeros)) && modulus.last()? & 1 == 1;
    let odd = exponent.last()? & 1 == 1 && exponent != [1] && exponent.len() <= EXPONENT_MAX;
    (fits && odd).then(|| DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// RFC 7518 section 6.2.1: both coordinates have the full length. AWS-LC checks that the point is on its curve.
fn point(jwk: &Members, length: usize) -> Option<DecodingKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    (x.len() == length && y.len() == length)
        .then(|| DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
}

/// Fuzz entry: must not panic.
pub fn fuzz_jwks(data: &[u8]) {
    if let Ok(keys) = KeySet::parse(data) {
        assert!(!keys.is_empty() && keys.len() <= KEYS_MAX);
    }
}
