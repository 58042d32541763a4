//! The text of an API key: `stk_` + 8 base32 characters (public, for lookup) + `_` + 43 base64url characters (256
//! random bits).
//!
//! Only SHA-256 of the whole text is kept. A password hash would add nothing: 256 random bits cannot be guessed.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use stockade_crypto::{RandomnessUnavailable, SecretBytes, random_array};
use stockade_evidence::Digest;

const SCHEME: &str = "stk_";
const PREFIX_LEN: usize = 8;
const SECRET_LEN: usize = 43;
const TEXT_LEN: usize = SCHEME.len() + PREFIX_LEN + 1 + SECRET_LEN;
/// RFC 4648 section 6, lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The public part of a key, by which it is looked up, listed, revoked and named in records.
// INVARIANT: 8 characters of `a-z2-7`; parsing and `ApiKey::generate` are the only doors.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyPrefix(String);

/// The text has not the form of an API key or of a key's prefix. What was presented is not repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this is not an API key\nhint: a key is `stk_`, 8 characters, `_` and 43 characters; its prefix is the 8"
)]
pub struct MalformedKey;

impl KeyPrefix {
    /// The eight characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_random(bits: [u8; 5]) -> Self {
        let word = bits.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let digit = |place: usize| BASE32.get((word >> (35 - 5 * place) & 31) as usize).copied();
        Self((0..PREFIX_LEN).filter_map(digit).map(char::from).collect())
    }
}

impl FromStr for KeyPrefix {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() == PREFIX_LEN && text.bytes().all(|b| BASE32.contains(&b));
        fits.then(|| Self(text.to_owned())).ok_or(MalformedKey)
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = MalformedKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyPrefix> for String {
    fn from(prefix: KeyPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole API key: a secret. It is shown once, when it is made.
// INVARIANT: ASCII text in the form above, whose prefix is `prefix`.
pub struct ApiKey {
    prefix: KeyPrefix,
    text: SecretBytes,
}

impl ApiKey {
    /// A new random key.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let prefix = KeyPrefix::from_random(random_array::<5>()?);
        let secret = SecretBytes::random(32)?;
        // Sized at once: a growing string would leave copies of the secret behind.
        let mut text = vec![0; TEXT_LEN];
        let head = format!("{SCHEME}{prefix}_");
        if let Some((start, rest)) = text.split_at_mut_checked(head.len()) {
            start.copy_from_slice(head.as_bytes());
            // 32 bytes are exactly 43 characters, so this cannot fail; if it did, the key would never match.
            let _ = URL_SAFE_NO_PAD.encode_slice(secret.expose(), rest);
        }
        Ok(Self {
            prefix,
            text: SecretBytes::new(text),
        })
    }

    /// Reads what a client presented. Its length is checked first, so a long text costs nothing.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        if text.len() != TEXT_LEN || !text.is_ascii() {
            return Err(MalformedKey);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(MalformedKey)?;
        let (prefix, secret) = rest.split_once('_').ok_or(MalformedKey)?;
        let prefix = prefix.parse()?;
        if secret.len() != SECRET_LEN || !secret.bytes().all(is_base64url) {
            return Err(MalformedKey);
        }
        Ok(Self {
            prefix,
            text: SecretBytes::new(text.as_bytes().to_vec()),
        })
    }

    /// The public part.
    pub const fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// The whole text, for the one place that shows or stores it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.text.expose()).unwrap_or_default()
    }

    /// What is kept of the key.
    pub(crate) fn hash(&self) -> Digest {
        Digest::sha256(self.text.expose())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("prefix", &self.prefix)
            .field("text", &self.text)
            .finish()
    }
}

const fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generated_key_parses_to_itself() {
        for _ in 0..100 {
            let key = ApiKey::generate().unwrap();
            let read = ApiKey::parse(key.expose()).unwrap();
            assert_eq!((read.prefix(), read.hash()), (key.prefix(), key.hash()));
            assert_eq!(key.expose().len(), TEXT_LEN);
        }
    }

    #[test]
    fn keys_and_prefixes_differ() {
        let (a, b) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert!(a.prefix() != b.prefix() && a.expose().get(13..) != b.expose().get(13..));
    }

    #[test]
    fn prefixes_are_rfc_4648_base32() {
        // RFC 4648 section 10: BASE32("fooba") = "MZXW6YTB".
        assert_eq!(KeyPrefix::from_random(*b"fooba").as_str(), "mzxw6ytb");
        assert_eq!(KeyPrefix::from_random([0xff; 5]).as_str(), "77777777");
    }

    #[test]
    fn other_texts_are_refused() {
        let good = format!("stk_abcdefgh_{}", "A".repeat(43));
        assert!(ApiKey::parse(&good).is_ok());
        let long = "x".repeat(10_000_000);
        for bad in [
            "",
            "stk_",
            good.trim_start_matches('s'),
            good.strip_suffix('A').unwrap(),
            &format!("{good}A"),
            &format!("{good} "),
            &good.replace("stk_", "STK_"),
            &good.replace("abcdefgh", "abcdefg1"),
            &good.replace("abcdefgh", "ABCDEFGH"),
            &good.replace("h_A", "hAA"),
            &good.replace("AA", "A+"),
            &good.replace("AAA", "A\u{e9}"),
            &long,
        ] {
            assert_eq!(ApiKey::parse(bad).unwrap_err(), MalformedKey);
        }
    }

    #[test]
    fn debug_and_errors_do_not_show_the_secret() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("ApiKey {{ prefix: {:?}, text: **** }}", key.prefix())
        );
        assert!(!MalformedKey.to_string().contains(key.expose()));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(stk_)?[a-z2-7]{0,9}_?.{0,50}") {
            let _ = ApiKey::parse(&text);
        }
    }
}
