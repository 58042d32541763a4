//! Root keys: 32 random bytes, named by their own digest, so that a damaged file is noticed when it is read.

use zeroize::Zeroizing;

use super::{
    KeyError, WrappedKey,
    encoding::{decode_secret, encode_secret},
};
use crate::{
    aead::{self, DataKey, KEY_LEN, Purpose},
    hash::Sha256,
    random,
    secret::SecretBytes,
};

const SUFFIX: &str = ".key";

/// A root key.
pub(super) struct RootKey {
    id: String,
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl RootKey {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        random::fill(key.as_mut_slice())?;
        Ok(Self { id: id_of(&key), key })
    }

    pub(super) fn from_secret(secret: &SecretBytes) -> Option<Self> {
        let key = Zeroizing::new(<[u8; KEY_LEN]>::try_from(secret.expose()).ok()?);
        Some(Self { id: id_of(&key), key })
    }

    /// Reads a key file; `None` when it does not hold the key that its name says.
    pub(super) fn from_file(name: &str, bytes: &[u8]) -> Option<Self> {
        let root = Self::from_secret(&decode_secret(bytes.strip_suffix(b"\n")?)?)?;
        (root.file_name() == name).then_some(root)
    }

    pub(super) fn to_file(&self) -> Zeroizing<Vec<u8>> {
        let text = encode_secret(&self.to_secret());
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() + 1));
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn to_secret(&self) -> SecretBytes {
        SecretBytes::new(self.key.to_vec())
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}{SUFFIX}", self.id)
    }

    pub(super) fn is_file_name(name: &str) -> bool {
        let digits = name
            .strip_prefix("root-")
            .and_then(|rest| rest.strip_suffix(SUFFIX));
        digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    pub(super) fn seal(
        &self,
        purpose: Purpose,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        Ok(aead::seal(&self.key, purpose, context, plaintext)?)
    }

    pub(super) fn open(
        &self,
        purpose: Purpose,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, aead::NotAuthentic> {
        aead::open(&self.key, purpose, context, sealed)
    }

    pub(super) fn wrap(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        let ciphertext = self.seal(Purpose::DataKey, context, key.as_bytes())?;
        Ok(WrappedKey {
            key_id: self.id.clone(),
            ciphertext,
        })
    }

    pub(super) fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        let secret = self
            .open(Purpose::DataKey, context, &wrapped.ciphertext)
            .map_err(|_| KeyError::NotAuthentic)?;
        let key =
            Zeroizing::new(<[u8; KEY_LEN]>::try_from(secret.expose()).map_err(|_| KeyError::NotAuthentic)?);
        Ok(DataKey::from_bytes(*key))
    }
}

fn id_of(key: &[u8; KEY_LEN]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"stockade root key\n");
    hasher.update(key);
    format!(
        "root-{}",
        hex::encode(hasher.finish().first_chunk::<8>().copied().unwrap_or_default())
    )
}
