//! Getting keys back: the recovery file beside the keys, and the encrypted export for backups.
//!
//! `recovery.json` holds a recovery key under the passphrase, and every root key under the recovery key. The
//! keyring holds the recovery key too, so that a new root key joins the file without asking for the passphrase.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    KeyError,
    encoding::{base64_bytes, base64_secret},
    passphrase,
    ring::{RingFile, to_json},
    root::RootKey,
};
use crate::{
    aead::{self, KEY_LEN, Purpose},
    secret::{Passphrase, SecretBytes},
};

pub(super) const FILE_NAME: &str = "recovery.json";
const FORMAT: &str = "stockade-recovery/1";
const EXPORT_FORMAT: &str = "stockade-keys/1";
/// More root keys than anyone keeps.
const ROOTS_MAX: usize = 1024;

/// The recovery file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryFile {
    format: String,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    #[serde(with = "base64_bytes")]
    key: Vec<u8>,
    roots: Vec<SealedRoot>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SealedRoot {
    id: String,
    #[serde(with = "base64_bytes")]
    sealed: Vec<u8>,
}

impl RecoveryFile {
    pub(super) fn new(passphrase: &Passphrase, key: &SecretBytes) -> Result<Self, KeyError> {
        let (salt, sealed) = passphrase::seal(passphrase, Purpose::Recovery, key.expose())?;
        Ok(Self {
            format: FORMAT.into(),
            salt: salt.to_vec(),
            key: sealed,
            roots: Vec::new(),
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let file: Self = serde_json::from_slice(bytes).ok()?;
        (file.format == FORMAT && file.roots.len() <= ROOTS_MAX).then_some(file)
    }

    /// Replaces the root keys in the file.
    pub(super) fn set_roots<'a>(
        &mut self,
        key: &SecretBytes,
        roots: impl IntoIterator<Item = &'a RootKey>,
    ) -> Result<(), KeyError> {
        let key = key_bytes(key).ok_or(KeyError::NotAuthentic)?;
        let seal = |root: &RootKey| {
            let sealed = aead::seal(
                &key,
                Purpose::Recovery,
                root.id().as_bytes(),
                root.to_secret().expose(),
            )?;
            Ok(SealedRoot {
                id: root.id().into(),
                sealed,
            })
        };
        self.roots = roots.into_iter().map(seal).collect::<Result<_, KeyError>>()?;
        Ok(())
    }

    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Vec<RootKey>, KeyError> {
        let key = passphrase::open(passphrase, &self.salt, Purpose::Recovery, &self.key)?;
        self.open_with(&key).ok_or(KeyError::WrongPassphrase)
    }

    /// The root keys, when `key` is this file's recovery key.
    pub(super) fn open_with(&self, key: &SecretBytes) -> Option<Vec<RootKey>> {
        let key = key_bytes(key)?;
        let open = |sealed: &SealedRoot| {
            let secret = aead::open(&key, Purpose::Recovery, sealed.id.as_bytes(), &sealed.sealed).ok()?;
            RootKey::from_secret(&secret).filter(|root| root.id() == sealed.id)
        };
        self.roots.iter().map(open).collect()
    }

    pub(super) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        to_json(self, 0)
    }
}

fn key_bytes(secret: &SecretBytes) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    secret.expose().try_into().ok().map(Zeroizing::new)
}

/// All keys under one passphrase.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExportFile {
    format: String,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    #[serde(with = "base64_bytes")]
    sealed: Vec<u8>,
}

/// What an export holds: the root keys in the clear, the other files as they are.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExportContent {
    roots: Vec<ExportedRoot>,
    #[serde(with = "base64_bytes")]
    keyring: Vec<u8>,
    recovery: Option<ExportedRecovery>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExportedRoot {
    #[serde(with = "base64_secret")]
    key: SecretBytes,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExportedRecovery {
    #[serde(with = "base64_bytes")]
    file: Vec<u8>,
}

/// The files of an export, opened.
pub(super) struct Exported {
    pub(super) roots: Vec<RootKey>,
    pub(super) keyring: Vec<u8>,
    pub(super) recovery: Option<Vec<u8>>,
}

pub(super) fn export<'a>(
    passphrase: &Passphrase,
    roots: impl IntoIterator<Item = &'a RootKey>,
    keyring: &[u8],
    recovery: Option<&[u8]>,
) -> Result<Vec<u8>, KeyError> {
    let content = ExportContent {
        roots: roots
            .into_iter()
            .map(|root| ExportedRoot {
                key: root.to_secret(),
            })
            .collect(),
        keyring: keyring.into(),
        recovery: recovery.map(|file| ExportedRecovery { file: file.into() }),
    };
    let files_len = keyring.len() + recovery.map_or(0, <[u8]>::len);
    let plaintext = to_json(&content, 1024 + 2 * files_len + 128 * content.roots.len())?;
    let (salt, sealed) = passphrase::seal(passphrase, Purpose::Export, &plaintext)?;
    let file = ExportFile {
        format: EXPORT_FORMAT.into(),
        salt: salt.to_vec(),
        sealed,
    };
    Ok(to_json(&file, 0)?.to_vec())
}

pub(super) fn import(bytes: &[u8], passphrase: &Passphrase) -> Result<Exported, KeyError> {
    let file = parse_export(bytes).ok_or(KeyError::NotAnExport)?;
    let plaintext = passphrase::open(passphrase, &file.salt, Purpose::Export, &file.sealed)?;
    let content: ExportContent =
        serde_json::from_slice(plaintext.expose()).map_err(|_| KeyError::NotAnExport)?;
    let roots = content
        .roots
        .iter()
        .map(|root| RootKey::from_secret(&root.key))
        .collect::<Option<_>>();
    Ok(Exported {
        roots: roots.ok_or(KeyError::NotAnExport)?,
        keyring: content.keyring,
        recovery: content.recovery.map(|recovery| recovery.file),
    })
}

fn parse_export(bytes: &[u8]) -> Option<ExportFile> {
    serde_json::from_slice(bytes)
        .ok()
        .filter(|file: &ExportFile| file.format == EXPORT_FORMAT)
}

/// Fuzz entry: must not panic. Reads `data` as each of the key files, up to where a passphrase or a root key is needed.
pub fn fuzz_key_export(data: &[u8]) {
    let _export = parse_export(data);
    let _recovery = RecoveryFile::parse(data);
    let _content = serde_json::from_slice::<ExportContent>(data);
    let _root = RootKey::from_file("root-0000000000000000.key", data);
    if let (Some(file), Some(root)) = (
        RingFile::parse(data),
        RootKey::from_secret(&SecretBytes::new(vec![7; KEY_LEN])),
    ) {
        let _ring = file.open(&root);
    }
}
