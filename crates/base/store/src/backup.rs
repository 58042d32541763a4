//! Backups: made from a live folder, verified anywhere, restored into an empty one.
//!
//! A backup is a folder: `state/` (log, head, origins, rows, vault, blobs, subjects' wrapped keys), `project/` (configuration and
//! policies), with `--with-keys` also `keys.sealed` (every key, under a passphrase), `manifest.json` (length and SHA-256 of
//! each file) and `manifest.sig` (Ed25519, by the log key). The cut is consistent: rows first, then everything durable is
//! integrated, then head and checkpoint as one pair, then the tiles of exactly that head, then blobs.
//! Without its keys a backup opens nothing. A restore starts a new origin, since the old one may have gone on elsewhere
//! and no size may ever be signed with two roots; it replays the erasures of the logs that it is shown.

mod copy;
mod create;
mod manifest;
mod restore;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use stockade_crypto::{KeyError, SigningError};
use stockade_evidence::Digest;

use crate::{
    error::{AppendError, OpenError, Remote},
    layout::CreateError,
    log,
    personal::PersonalError,
    rows::RowsError,
};

pub use self::{
    create::create_backup,
    manifest::verify_backup,
    restore::{RestoreKeys, RestoreOptions, Restored, restore_backup},
};

/// What a backup holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackupReport {
    /// SHA-256 of the manifest: the name of the backup's content.
    pub manifest: Digest,
    /// The log.
    pub origin: String,
    /// Its entries.
    pub log_size: u64,
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the keys are in it, under a passphrase.
    pub with_keys: bool,
}

/// Why a backup was not made, verified or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is there and not empty.
    #[error("`{}` is not empty\nhint: name a new folder", .folder.display())]
    NotEmpty {
        /// The target.
        folder: PathBuf,
    },
    /// The backup lies in what it would be a copy of.
    #[error("`{}` lies inside the state folder", .folder.display())]
    Inside {
        /// The target.
        folder: PathBuf,
    },
    /// There is no manifest that this program knows.
    #[error("`{}` is not a backup of this version", .folder.display())]
    NotABackup {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the backup is not what the manifest says. Exit code 4.
    #[error("`{file}` of the backup {what}")]
    Differs {
        /// The file, relative to the backup.
        file: String,
        /// How.
        what: &'static str,
    },
    /// The manifest's signature is missing or by another key. Exit code 4.
    #[error("the manifest of the backup is not signed by the log key of its folder")]
    Signature,
    /// The keys are not in the backup.
    #[error("the backup was made without its keys\nhint: give the folder's `.stockade/keys`")]
    NoKeys,
    /// The log moved on too fast for a consistent cut, or lacks a tile.
    #[error("the log could not be copied: {what}")]
    Log {
        /// What happened.
        what: String,
    },
    /// A file could not be read or written.
    #[error("the backup failed: {0}")]
    Io(#[from] io::Error),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] log::ReadError),
    /// The rows could not be copied.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The keys could not be sealed or opened.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The manifest could not be signed.
    #[error(transparent)]
    Sign(#[from] SigningError),
    /// The record could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The restored folder could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The restored folder could not be opened.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// An erasure could not be replayed.
    #[error(transparent)]
    Personal(#[from] PersonalError),
    /// The server did not do it.
    #[error(transparent)]
    Remote(#[from] Remote),
}

impl BackupError {
    /// Whether the backup is not what was made (exit code 4).
    pub const fn is_integrity_broken(&self) -> bool {
        matches!(
            self,
            Self::Differs { .. } | Self::Signature | Self::Rows(RowsError::Differs { .. })
        )
    }
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}
