//! The list of a backup's files, its signature, and the check of one against the other.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Component, Path},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use stockade_crypto::{KeyProvider, VerifyingKey};
use stockade_evidence::{Digest, Timestamp, canonical_json};

use super::{BackupError, BackupReport, copy::pour};
use crate::files::{files_below, read_bounded};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const SIGNATURE: &str = "manifest.sig";
pub(crate) const SEALED_KEYS: &str = "keys.sealed";

const FORMAT: u32 = 1;
const MANIFEST_MAX_BYTES: u64 = 1 << 30;
const SIGNATURE_MAX_BYTES: u64 = 1024;
/// What is signed begins with this, so that the signature means nothing elsewhere.
const SIGNED_PREFIX: &[u8] = b"stockade backup manifest 1\n";

/// One file of a backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// What a backup holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    created: Timestamp,
    pub(crate) origin: String,
    pub(crate) log_size: u64,
    pub(crate) files: Vec<FileEntry>,
}

impl Manifest {
    pub(crate) fn new(created: Timestamp, origin: String, log_size: u64, mut files: Vec<FileEntry>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            format: FORMAT,
            created,
            origin,
            log_size,
            files,
        }
    }

    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        canonical_json(self).map_err(io::Error::other)
    }

    /// Reads the manifest of the backup in `folder` and the bytes it was read from.
    pub(crate) fn read(folder: &Path) -> Result<(Self, Vec<u8>), BackupError> {
        let not_one = || BackupError::NotABackup {
            folder: folder.to_owned(),
        };
        let bytes = match read_bounded(&folder.join(MANIFEST), MANIFEST_MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_one()),
            other => other?,
        };
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|_| not_one())?;
        let plain = manifest.files.iter().all(|file| is_plain(&file.path));
        if manifest.format == FORMAT && plain {
            Ok((manifest, bytes))
        } else {
            Err(not_one())
        }
    }

    pub(crate) fn report(&self, bytes: &[u8]) -> BackupReport {
        BackupReport {
            manifest: Digest::sha256(bytes),
            origin: self.origin.clone(),
            log_size: self.log_size,
            files: self.files.len(),
            bytes: self
                .files
                .iter()
                .fold(0, |sum, file| sum.saturating_add(file.size)),
            with_keys: self.files.iter().any(|file| file.path == SEALED_KEYS),
        }
    }
}

/// Checks that a backup holds what its manifest lists, byte for byte, and nothing else, and that one of the `trusted` keys
/// signed the manifest.
pub fn verify_backup(folder: &Path, trusted: &[VerifyingKey]) -> Result<BackupReport, BackupError> {
    let (manifest, bytes) = Manifest::read(folder)?;
    check_signature(folder, &bytes, trusted)?;
    let mut listed: BTreeMap<&str, &FileEntry> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    for found in files_below(folder)? {
        let name = found.to_string_lossy();
        if matches!(name.as_ref(), MANIFEST | SIGNATURE) {
            continue;
        }
        let differs = |what| BackupError::Differs {
            file: name.clone().into_owned(),
            what,
        };
        let entry = listed
            .remove(name.as_ref())
            .ok_or_else(|| differs("is not in its manifest"))?;
        let (size, digest) = pour(&mut File::open(folder.join(&found))?, &mut io::sink())?;
        if (size, digest) != (entry.size, entry.digest) {
            return Err(differs("was changed"));
        }
    }
    match listed.into_keys().next() {
        Some(file) => Err(BackupError::Differs {
            file: file.to_owned(),
            what: "is missing",
        }),
        None => Ok(manifest.report(&bytes)),
    }
}

pub(crate) fn sign(keys: &KeyProvider, manifest: &[u8]) -> Result<String, BackupError> {
    Ok(STANDARD.encode(keys.log_keys()?.ed25519.sign(&signed(manifest))?))
}

/// Checks the manifest's signature.
pub(crate) fn check_signature(
    folder: &Path,
    manifest: &[u8],
    trusted: &[VerifyingKey],
) -> Result<(), BackupError> {
    let text =
        read_bounded(&folder.join(SIGNATURE), SIGNATURE_MAX_BYTES).map_err(|_| BackupError::Signature)?;
    let signature = STANDARD
        .decode(text.trim_ascii_end())
        .map_err(|_| BackupError::Signature)?;
    let message = signed(manifest);
    let valid = trusted.iter().any(|key| key.verify(&message, &signature).is_ok());
    valid.then_some(()).ok_or(BackupError::Signature)
}

fn signed(manifest: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, manifest].concat()
}

/// Whether a path stays below the folder it is joined to.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}
