//! Short secrets sealed under a 32-byte key: AES-256-GCM (NIST SP 800-38D) under a key of its own each time.
//!
//! Sealed = version 0x01 || 32-byte random salt || ciphertext || 16-byte tag. HKDF-SHA-256 (RFC 5869) turns the long-term key and the
//! salt into a fresh AES key and nonce, so no nonce ever repeats under one key however often the long-term key
//! seals (AES-GCM with random nonces alone allows 2^32 messages; AES-KWP of RFC 5649 would not authenticate the context).
//! The purpose is part of the derivation and the context is associated data, so a sealed value opens only in its own place.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use zeroize::Zeroizing;

use crate::{
    random::{self, RandomnessUnavailable},
    secret::SecretBytes,
};

pub(crate) const KEY_LEN: usize = 32;
pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;
const VERSION: u8 = 1;
const SALT_LEN: usize = 32;
const HEADER_LEN: usize = 1 + SALT_LEN;

/// A 32-byte key that seals one file or one person's fields. It is kept wrapped by a key provider.
pub struct DataKey(Zeroizing<[u8; KEY_LEN]>);

impl DataKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        random::fill(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// A key that came from elsewhere.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Seals a short value; `context` says where it belongs and must be given again to open it.
    pub fn seal(&self, plaintext: &[u8], context: &[u8]) -> Result<Vec<u8>, SealFailed> {
        seal(self.as_bytes(), Purpose::Value, context, plaintext)
    }

    /// Opens what [`DataKey::seal`] made under the same context.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<SecretBytes, NotAuthentic> {
        open(self.as_bytes(), Purpose::Value, context, sealed)
    }

    /// The key's bytes, to hand it to another process of the same owner.
    pub fn to_secret(&self) -> SecretBytes {
        SecretBytes::new(self.0.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// What a sealed value is for; keys derived for one purpose open nothing of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Value,
    DataKey,
    Keyring,
    Recovery,
    Export,
}

impl Purpose {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Value => b"stockade/value/1",
            Self::DataKey => b"stockade/data-key/1",
            Self::Keyring => b"stockade/keyring/1",
            Self::Recovery => b"stockade/recovery/1",
            Self::Export => b"stockade/export/1",
        }
    }
}

/// The operating system gave no randomness, or the value is too long for one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the value could not be sealed")]
pub struct SealFailed;

impl From<RandomnessUnavailable> for SealFailed {
    fn from(_: RandomnessUnavailable) -> Self {
        Self
    }
}

/// The sealed bytes were changed, or the key or the context is another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sealed value was changed, or belongs to another key or context")]
pub struct NotAuthentic;

pub(crate) fn seal(
    key: &[u8; KEY_LEN],
    purpose: Purpose,
    context: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealFailed> {
    let salt = random::random_array::<SALT_LEN>()?;
    seal_with_salt(key, purpose, context, plaintext, &salt)
}

fn seal_with_salt(
    key: &[u8; KEY_LEN],
    purpose: Purpose,
    context: &[u8],
    plaintext: &[u8],
    salt: &[u8; SALT_LEN],
) -> Result<Vec<u8>, SealFailed> {
    let (key, nonce) = message_key(key, salt, purpose).map_err(|_| SealFailed)?;
    let mut sealed = Vec::with_capacity(HEADER_LEN + plaintext.len() + TAG_LEN);
    sealed.push(VERSION);
    sealed.extend_from_slice(salt);
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut(HEADER_LEN);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(context), body)
        .map_err(|_| SealFailed)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

pub(crate) fn open(
    key: &[u8; KEY_LEN],
    purpose: Purpose,
    context: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes, NotAuthentic> {
    let (&version, rest) = sealed.split_first().ok_or(NotAuthentic)?;
    if version != VERSION {
        return Err(NotAuthentic);
    }
    let (salt, body) = rest.split_first_chunk::<SALT_LEN>().ok_or(NotAuthentic)?;
    let (ciphertext, tag) = body.split_last_chunk::<TAG_LEN>().ok_or(NotAuthentic)?;
    let (key, nonce) = message_key(key, salt, purpose).map_err(|_| NotAuthentic)?;
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    key.open_in_place_separate_tag(nonce, Aad::from(context), tag, &mut plaintext)
        .map_err(|_| NotAuthentic)?;
    Ok(SecretBytes::new(std::mem::take(&mut *plaintext)))
}

fn message_key(
    key: &[u8; KEY_LEN],
    salt: &[u8; SALT_LEN],
    purpose: Purpose,
) -> Result<(LessSafeKey, Nonce), aws_lc_rs::error::Unspecified> {
    let mut okm = Zeroizing::new([0; KEY_LEN + NONCE_LEN]);
    derive(key, salt, purpose.info(), okm.as_mut_slice())?;
    let (key, nonce) = okm.split_at(KEY_LEN);
    Ok((gcm_key(key)?, Nonce::try_assume_unique_for_key(nonce)?))
}

/// HKDF-SHA-256, extract and expand (RFC 5869 §2).
pub(crate) fn derive(
    ikm: &[u8],
    salt: &[u8],
    info: &[u8],
    out: &mut [u8],
) -> Result<(), aws_lc_rs::error::Unspecified> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    prk.expand(&[info], Len(out.len()))?.fill(out)
}

pub(crate) fn gcm_key(key: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_is_wiped_on_drop_and_prints_nothing() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let key = DataKey::from_bytes([7; KEY_LEN]);
        wiped(&key.0);
        assert_eq!(format!("{key:?} {key:#?}"), "**** ****");
        assert_eq!(key.to_secret().expose(), [7; KEY_LEN]);
    }

    /// RFC 5869 appendix A.1.
    #[test]
    fn hkdf_vector_of_rfc_5869() {
        let mut okm = [0; 42];
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        derive(&[0x0b; 22], &salt, &info, &mut okm).unwrap();
        assert_eq!(
            hex::encode(okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    /// Test case 16 of the GCM specification (McGrew and Viega), 256-bit key and 96-bit nonce.
    #[test]
    fn aes_256_gcm_vector_of_its_authors() {
        let bytes = |digits: &str| hex::decode(digits).unwrap();
        let key = gcm_key(&bytes(
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        ))
        .unwrap();
        let nonce = Nonce::try_assume_unique_for_key(&bytes("cafebabefacedbaddecaf888")).unwrap();
        let mut text = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let aad = Aad::from(bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2"));
        let tag = key.seal_in_place_separate_tag(nonce, aad, &mut text).unwrap();
        assert_eq!(
            hex::encode(&text),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        );
        assert_eq!(hex::encode(tag.as_ref()), "76fc6ece0f4e1768cddf8853bb2d551b");
    }

    #[test]
    fn a_purpose_opens_nothing_of_another() {
        const ALL: [Purpose; 5] = [
            Purpose::Value,
            Purpose::DataKey,
            Purpose::Keyring,
            Purpose::Recovery,
            Purpose::Export,
        ];
        for made in ALL {
            let sealed = seal(&[7; KEY_LEN], made, b"context", b"value").unwrap();
            for tried in ALL {
                let opened = open(&[7; KEY_LEN], tried, b"context", &sealed);
                assert_eq!(opened.is_ok(), made.info() == tried.info(), "{made:?} {tried:?}");
            }
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let sealed = seal(&[7; KEY_LEN], Purpose::Value, b"context", b"").unwrap();
        assert_eq!(sealed.len(), HEADER_LEN + TAG_LEN);
        assert!(
            open(&[7; KEY_LEN], Purpose::Value, b"context", &sealed)
                .unwrap()
                .is_empty()
        );
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(
                open(&[7; KEY_LEN], Purpose::Value, b"context", &changed).is_err(),
                "{index}"
            );
            changed.truncate(index);
            assert!(
                open(&[7; KEY_LEN], Purpose::Value, b"context", &changed).is_err(),
                "{index}"
            );
        }
    }
}
