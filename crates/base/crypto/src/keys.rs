//! Key providers: the one way to long-term keys. A provider is a value that callers are given.
//!
//! A root key wraps data keys (one per file or person) and everything else the provider keeps: the log's signing
//! keys and the certificate authority. Data keys travel wrapped beside what they protect, so a new root key means
//! wrapping them again, never sealing files again.

mod encoding;
mod error;
mod files;
mod folder;
mod passphrase;
mod recovery;
mod ring;
mod root;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{error::KeyError, folder::KeyFolder, recovery::fuzz_key_export};
use crate::{
    aead::DataKey,
    hash::hmac_sha256,
    random::RandomnessUnavailable,
    secret::{Passphrase, SecretBytes},
    sign::{SigningKey, VerifyingKey},
    x509::CertificateAuthority,
};

/// A data key under a root key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Which root key wraps it.
    pub key_id: String,
    /// The sealed data key.
    #[serde(with = "encoding::base64_bytes")]
    pub ciphertext: Vec<u8>,
}

/// The secret that seals what the log's writer keeps for itself: its journal and its head. It says that this folder's
/// keeper wrote them, to that keeper alone. Clones share it. It survives every rotation.
#[derive(Clone)]
pub struct JournalKey(Arc<SecretBytes>);

impl JournalKey {
    /// How many bytes a generated key has.
    const LEN: usize = 32;

    /// A fresh key.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        Ok(Self::new(SecretBytes::random(Self::LEN)?))
    }

    /// A key that was kept.
    pub fn new(secret: SecretBytes) -> Self {
        Self(Arc::new(secret))
    }

    /// HMAC-SHA-256 of `data`.
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.0, data)
    }

    pub(crate) fn secret(&self) -> &SecretBytes {
        &self.0
    }
}

impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalKey(****)")
    }
}

/// The keys that sign the log's checkpoints, and the secret of its journal.
#[derive(Clone, Debug)]
pub struct LogKeys {
    /// What everyone verifies.
    pub ed25519: SigningKey,
    /// What still holds when Ed25519 is broken.
    pub ml_dsa_44: SigningKey,
    /// What seals the entries that no checkpoint covers yet.
    pub journal: JournalKey,
}

/// Where the long-term keys are. Clones share them.
#[derive(Clone, Debug)]
pub enum KeyProvider {
    /// Files in a folder of their own.
    File(KeyFolder),
}

impl KeyProvider {
    /// Wraps a data key under the current root key; `context` says what the key is for and is authenticated.
    pub fn wrap(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        match self {
            Self::File(folder) => folder.wrap(key, context),
        }
    }

    /// Unwraps a data key that was wrapped under any root key still there, for the same context.
    pub fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        match self {
            Self::File(folder) => folder.unwrap(wrapped, context),
        }
    }

    /// Wraps a wrapped key again, under the current root key.
    pub fn rewrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        self.wrap(&self.unwrap(wrapped, context)?, context)
    }

    /// The id of the root key that [`KeyProvider::wrap`] uses now.
    pub fn current_root(&self) -> Result<String, KeyError> {
        match self {
            Self::File(folder) => Ok(folder.current_root()),
        }
    }

    /// The ids of all root keys still there, sorted.
    pub fn roots(&self) -> Result<Vec<String>, KeyError> {
        match self {
            Self::File(folder) => Ok(folder.roots()),
        }
    }

    /// A secret of 32 bytes that only this folder has, for one `purpose`: HMAC-SHA-256 under the journal's key, which
    /// survives every rotation. Purposes are names in code, never what somebody sends.
    pub fn derived_secret(&self, purpose: &'static str) -> Result<SecretBytes, KeyError> {
        // What the journal and the head give to the same key is a bare digest and JSON: neither begins like this.
        let label = [b"stockade derived secret/1 ", purpose.as_bytes()].concat();
        Ok(SecretBytes::new(self.log_keys()?.journal.mac(&label).to_vec()))
    }

    /// The keys that sign the log now.
    pub fn log_keys(&self) -> Result<LogKeys, KeyError> {
        match self {
            Self::File(folder) => Ok(folder.log_keys()),
        }
    }

    /// The public halves of the keys that signed the log before, oldest first: Ed25519, ML-DSA-44.
    pub fn former_log_keys(&self) -> Result<Vec<(VerifyingKey, VerifyingKey)>, KeyError> {
        match self {
            Self::File(folder) => Ok(folder.former_log_keys()),
        }
    }

    /// The local certificate authority.
    pub fn certificate_authority(&self) -> Result<CertificateAuthority, KeyError> {
        match self {
            Self::File(folder) => Ok(folder.certificate_authority()),
        }
    }

    /// Makes a new root key current and returns its id. The old ones still unwrap until
    /// [`KeyProvider::retire_roots`], which must wait until everything is wrapped again.
    pub fn rotate_root(&self) -> Result<String, KeyError> {
        match self {
            Self::File(folder) => folder.rotate_root(),
        }
    }

    /// Destroys old root keys: what is still wrapped under them is lost. The current one is refused.
    pub fn retire_roots(&self, key_ids: &[&str]) -> Result<(), KeyError> {
        match self {
            Self::File(folder) => folder.retire_roots(key_ids),
        }
    }

    /// Makes new log keys; the public halves of the old ones are kept.
    pub fn rotate_log_key(&self) -> Result<LogKeys, KeyError> {
        match self {
            Self::File(folder) => folder.rotate_log_key(),
        }
    }

    /// Makes a new certificate authority; clients must trust its certificate instead of the old one.
    pub fn rotate_certificate_authority(&self, now_unix_s: i64) -> Result<CertificateAuthority, KeyError> {
        match self {
            Self::File(folder) => folder.rotate_certificate_authority(now_unix_s),
        }
    }

    /// Whether a passphrase can bring a lost root key back.
    pub fn has_recovery(&self) -> bool {
        match self {
            Self::File(folder) => folder.has_recovery(),
        }
    }

    /// Sets the recovery passphrase, or replaces it; an older recovery file no longer learns of new root keys.
    pub fn set_recovery(&self, passphrase: &Passphrase) -> Result<(), KeyError> {
        match self {
            Self::File(folder) => folder.set_recovery(passphrase),
        }
    }

    /// All keys in one file under a passphrase, for a backup; [`KeyFolder::import_encrypted`] reads it.
    pub fn export_encrypted(&self, passphrase: &Passphrase) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::File(folder) => folder.export_encrypted(passphrase),
        }
    }
}

#[cfg(test)]
mod tests;
