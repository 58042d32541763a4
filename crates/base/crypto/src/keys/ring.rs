//! The keyring: log keys, the certificate authority and the recovery key, sealed under the root key as one file,
//! so that every change of it is one rename.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    JournalKey, KeyError, LogKeys,
    encoding::{base64_bytes, base64_secret},
    root::RootKey,
};
use crate::{
    aead::Purpose,
    secret::SecretBytes,
    sign::{SignatureAlgorithm, SigningKey, VerifyingKey},
    x509::CertificateAuthority,
};

pub(super) const FILE_NAME: &str = "keyring.json";
const FORMAT: &str = "stockade-keyring/1";

/// What the provider keeps besides root keys.
pub(super) struct Ring {
    pub(super) log: LogKeys,
    pub(super) former_log: Vec<(VerifyingKey, VerifyingKey)>,
    pub(super) authority: CertificateAuthority,
    /// The recovery key; two while the recovery file is being replaced, which then is under one of them.
    pub(super) recovery: Vec<SecretBytes>,
    /// The ids of the root keys that something may be wrapped under: what tells a lost one from one that never was.
    pub(super) roots: BTreeSet<String>,
}

/// The file: which root key seals it, and the sealed [`Content`].
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingFile {
    format: String,
    pub(super) root: String,
    #[serde(with = "base64_bytes")]
    sealed: Vec<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    log: LogContent,
    former_log: Vec<FormerLog>,
    authority: AuthorityContent,
    recovery: Vec<RecoveryContent>,
    #[serde(default)]
    roots: BTreeSet<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LogContent {
    #[serde(with = "base64_secret")]
    ed25519: SecretBytes,
    #[serde(with = "base64_secret")]
    ml_dsa_44: SecretBytes,
    #[serde(with = "base64_secret")]
    journal: SecretBytes,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FormerLog {
    #[serde(with = "base64_bytes")]
    ed25519: Vec<u8>,
    #[serde(with = "base64_bytes")]
    ml_dsa_44: Vec<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AuthorityContent {
    name: String,
    #[serde(with = "base64_secret")]
    key: SecretBytes,
    #[serde(with = "base64_bytes")]
    certificate: Vec<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RecoveryContent {
    #[serde(with = "base64_secret")]
    key: SecretBytes,
}

impl Ring {
    /// Fresh keys of every kind.
    pub(super) fn generate(recovery: Vec<SecretBytes>, now_unix_s: i64) -> Result<Self, KeyError> {
        Ok(Self {
            log: generate_log_keys(JournalKey::generate()?)?,
            former_log: Vec::new(),
            authority: CertificateAuthority::create(now_unix_s)?,
            recovery,
            roots: BTreeSet::new(),
        })
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            log: self.log.clone(),
            former_log: self.former_log.clone(),
            authority: self.authority.clone(),
            recovery: self.recovery.iter().map(copy_secret).collect(),
            roots: self.roots.clone(),
        }
    }

    /// The file's bytes, sealed under `root`.
    pub(super) fn seal(&self, root: &RootKey) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (key, name, certificate) = self.authority.parts();
        let former = |(ed25519, ml_dsa_44): &(VerifyingKey, VerifyingKey)| FormerLog {
            ed25519: ed25519.as_bytes().to_vec(),
            ml_dsa_44: ml_dsa_44.as_bytes().to_vec(),
        };
        let content = Content {
            log: LogContent {
                ed25519: self.log.ed25519.to_pkcs8()?,
                ml_dsa_44: self.log.ml_dsa_44.to_pkcs8()?,
                journal: copy_secret(self.log.journal.secret()),
            },
            former_log: self.former_log.iter().map(former).collect(),
            authority: AuthorityContent {
                name: name.into(),
                key: key.to_pkcs8()?,
                certificate: certificate.into(),
            },
            recovery: self
                .recovery
                .iter()
                .map(|key| RecoveryContent {
                    key: copy_secret(key),
                })
                .collect(),
            roots: self.roots.clone(),
        };
        let capacity = 16_384 + 4096 * self.former_log.len() + 64 * self.roots.len();
        let plaintext = to_json(&content, capacity)?;
        let sealed = root.seal(Purpose::Keyring, FORMAT.as_bytes(), &plaintext)?;
        to_json(
            &RingFile {
                format: FORMAT.into(),
                root: root.id().into(),
                sealed,
            },
            0,
        )
    }
}

impl RingFile {
    /// Reads the file without opening it; `None` when it is not a keyring.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .filter(|file: &Self| file.format == FORMAT)
    }

    /// `None` when it is not what was sealed under `root`.
    pub(super) fn open(&self, root: &RootKey) -> Option<Ring> {
        let plaintext = root
            .open(Purpose::Keyring, FORMAT.as_bytes(), &self.sealed)
            .ok()?;
        let content: Content = serde_json::from_slice(plaintext.expose()).ok()?;
        let log = LogKeys {
            ed25519: SigningKey::from_pkcs8(SignatureAlgorithm::Ed25519, &content.log.ed25519).ok()?,
            ml_dsa_44: SigningKey::from_pkcs8(SignatureAlgorithm::MlDsa44, &content.log.ml_dsa_44).ok()?,
            journal: JournalKey::new(content.log.journal),
        };
        let former = |former: &FormerLog| {
            Some((
                VerifyingKey::new(SignatureAlgorithm::Ed25519, &former.ed25519).ok()?,
                VerifyingKey::new(SignatureAlgorithm::MlDsa44, &former.ml_dsa_44).ok()?,
            ))
        };
        let key = SigningKey::from_pkcs8(SignatureAlgorithm::EcdsaP256Sha256, &content.authority.key).ok()?;
        Some(Ring {
            log,
            former_log: content.former_log.iter().map(former).collect::<Option<_>>()?,
            authority: CertificateAuthority::from_parts(
                key,
                content.authority.name,
                content.authority.certificate,
            ),
            recovery: content
                .recovery
                .into_iter()
                .map(|recovery| recovery.key)
                .collect(),
            roots: content.roots,
        })
    }
}

fn copy_secret(secret: &SecretBytes) -> SecretBytes {
    SecretBytes::new(secret.expose().to_vec())
}

/// New keys to sign with; the journal keeps its key.
pub(super) fn generate_log_keys(journal: JournalKey) -> Result<LogKeys, KeyError> {
    Ok(LogKeys {
        ed25519: SigningKey::generate(SignatureAlgorithm::Ed25519)?,
        ml_dsa_44: SigningKey::generate(SignatureAlgorithm::MlDsa44)?,
        journal,
    })
}

/// JSON in memory that is wiped. `capacity` is an upper bound where secrets are inside, so that the buffer never moves.
pub(super) fn to_json<T: Serialize>(value: &T, capacity: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *bytes, value).map_err(|_| crate::aead::SealFailed)?;
    Ok(bytes)
}
