//! Secrets in memory: wiped when dropped, printed as `****`, compared in constant time.
//!
//! The invariant is that neither `Debug`, `Display` nor an error ever shows a byte of one.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    hash::constant_time_eq,
    random::{self, RandomnessUnavailable},
};

/// Shortest passphrase that is accepted, in characters.
const PASSPHRASE_MIN_CHARS: usize = 12;

/// Secret bytes of any length.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of `bytes`; copies that the caller made before are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// `len` random bytes.
    pub fn random(len: usize) -> Result<Self, RandomnessUnavailable> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        random::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equality in time that depends on the lengths alone.
    pub fn ct_eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// What a person types to recover or to export keys.
// INVARIANT: at least 12 characters; `new` is the only door.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Accepts a text of at least 12 characters, exactly as typed.
    pub fn new(text: String) -> Result<Self, PassphraseTooShort> {
        let text = Zeroizing::new(text);
        if text.chars().count() < PASSPHRASE_MIN_CHARS {
            return Err(PassphraseTooShort);
        }
        Ok(Self(text))
    }

    /// The text itself, for key derivation.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// The passphrase has fewer than 12 characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the passphrase has fewer than {PASSPHRASE_MIN_CHARS} characters\nhint: use several random words")]
pub struct PassphraseTooShort;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let bytes = SecretBytes::new(b"marker".to_vec());
        let passphrase = Passphrase::new("correct horse battery".into()).unwrap();
        assert_eq!(format!("{bytes:?} {bytes} {bytes:#?}"), "**** **** ****");
        assert_eq!(format!("{passphrase:?} {passphrase}"), "**** ****");
    }

    /// What is freed cannot be looked at without `unsafe`; that the fields wipe themselves is a matter of their types.
    #[test]
    fn secrets_are_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wiped(&SecretBytes::new(vec![1]).0);
        wiped(&Passphrase::new("correct horse battery".into()).unwrap().0);
    }

    #[test]
    fn equality_needs_every_byte_and_the_length() {
        let secret = SecretBytes::new(vec![1, 2, 3]);
        assert!(secret.ct_eq(&SecretBytes::new(vec![1, 2, 3])));
        assert!(!secret.ct_eq(&SecretBytes::new(vec![1, 2, 4])));
        assert!(!secret.ct_eq(&SecretBytes::new(vec![1, 2])));
        assert!(!secret.ct_eq(&SecretBytes::new(vec![])));
    }

    #[test]
    fn a_passphrase_counts_characters_not_bytes() {
        assert_eq!(
            Passphrase::new("ééééééééééé".into()).unwrap_err(),
            PassphraseTooShort
        );
        assert!(Passphrase::new("éééééééééééé".into()).is_ok());
    }

    #[test]
    fn random_secrets_have_their_length_and_differ() {
        let (a, b) = (SecretBytes::random(32).unwrap(), SecretBytes::random(32).unwrap());
        assert_eq!((a.len(), a.is_empty()), (32, false));
        assert!(!a.ct_eq(&b));
    }
}
