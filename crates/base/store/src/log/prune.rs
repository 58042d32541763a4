//! Retention by C2SP tlog-tiles pruning: entries below a minimum index go, the tree and every proof stay.
//!
//! Only entry bundles are removed. The hashes are kept, so any two checkpoints can still be proved consistent. The
//! minimum index is durable before the first bundle is removed, and a record in the log should say it before that.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stockade_evidence::{FULL_WIDTH, entries_path};

use super::{
    LogPaths,
    files::{MAX_STATE_FILE, Replacement},
    head::beside,
    source::FolderSource,
};
use crate::disk::{Disk, DiskError, SyncPoint};

/// What may be removed from a log.
// INVARIANT: no bundle from `minimum_index` on was removed; those from `removed_below` to it may still be there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The oldest entry that must be there.
    pub minimum_index: u64,
    /// Every bundle below is gone.
    removed_below: u64,
    /// Nothing may be removed.
    pub legal_hold: bool,
}

/// Entries were not removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A legal hold is set.
    #[error("the log is under legal hold\nhint: lift the hold first, by whoever may")]
    LegalHold,
    /// The minimum index would fall, or lie above the checkpoint.
    #[error("the minimum index may lie between {lowest} and {highest}, not at {wanted}")]
    OutOfRange {
        /// The index asked for.
        wanted: u64,
        /// The present one.
        lowest: u64,
        /// The size of the checkpoint.
        highest: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Retention {
    pub(crate) fn path(paths: &LogPaths) -> PathBuf {
        beside(&paths.head, "retention.json")
    }

    /// Where the file of the log that was left behind under `name` in `origins` lies.
    pub(crate) fn path_of_former(origins: &Path, name: &str) -> PathBuf {
        origins.join(format!("{name}.retention.json"))
    }

    /// What is in force for the log at `paths`.
    pub fn read(disk: &dyn Disk, paths: &LogPaths) -> Result<Self, DiskError> {
        Self::read_at(disk, &Self::path(paths))
    }

    /// What was in force for the log that was left behind under `name` in `origins`.
    pub(crate) fn of_former(disk: &dyn Disk, origins: &Path, name: &str) -> Result<Self, DiskError> {
        Self::read_at(disk, &Self::path_of_former(origins, name))
    }

    fn read_at(disk: &dyn Disk, path: &Path) -> Result<Self, DiskError> {
        let Some(bytes) = disk.read(path, MAX_STATE_FILE)? else {
            return Ok(Self::default());
        };
        let damaged = |cause: serde_json::Error| {
            let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, cause);
            DiskError::new(crate::disk::DiskOperation::Read, path, cause)
        };
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    fn write(self, disk: &dyn Disk, paths: &LogPaths) -> Result<(), DiskError> {
        let path = Self::path(paths);
        let replacement = Replacement {
            temporary: &beside(&paths.head, "retention.tmp"),
            path: &path,
            file: SyncPoint::RetentionFile,
            dir: SyncPoint::RetentionDir,
        };
        replacement.write(disk, &serde_json::to_vec(&self).unwrap_or_default())
    }

    /// Removes what an interrupted attempt left.
    pub(crate) fn finish(disk: &dyn Disk, paths: &LogPaths) -> Result<(), DiskError> {
        let retention = Self::read(disk, paths)?;
        if retention.removed_below < retention.minimum_index && !retention.legal_hold {
            retention.write(disk, paths)?;
            retention.remove_bundles(disk, paths)?;
        }
        Ok(())
    }

    fn remove_bundles(mut self, disk: &dyn Disk, paths: &LogPaths) -> Result<u64, DiskError> {
        let width = u64::from(FULL_WIDTH);
        let bundles = self.removed_below / width..self.minimum_index / width;
        let paths_of = |bundle| paths.log.join(entries_path(bundle, FULL_WIDTH));
        let mut freed = 0;
        for path in bundles.map(paths_of) {
            freed += disk.len(&path)?.unwrap_or(0);
            disk.remove(&path)?;
        }
        self.removed_below = self.minimum_index;
        self.write(disk, paths)?;
        Ok(freed)
    }
}

/// Sets or lifts the legal hold.
pub fn set_legal_hold(disk: &dyn Disk, paths: &LogPaths, hold: bool) -> Result<(), DiskError> {
    let retention = Retention::read(disk, paths)?;
    Retention {
        legal_hold: hold,
        ..retention
    }
    .write(disk, paths)
}

/// Removes the bundles whose entries all lie below `minimum_index`, and returns the bytes freed.
pub fn prune(disk: &dyn Disk, paths: &LogPaths, minimum_index: u64) -> Result<u64, PruneError> {
    let retention = Retention::read(disk, paths)?;
    if retention.legal_hold {
        return Err(PruneError::LegalHold);
    }
    let checkpoint = FolderSource::new(&paths.log).unverified_head()?;
    let highest = checkpoint.map_or(0, |checkpoint| checkpoint.size);
    let lowest = retention.minimum_index;
    if !(lowest..=highest).contains(&minimum_index) {
        return Err(PruneError::OutOfRange {
            wanted: minimum_index,
            lowest,
            highest,
        });
    }
    let retention = Retention {
        minimum_index,
        ..retention
    };
    retention.write(disk, paths)?;
    Ok(retention.remove_bundles(disk, paths)?)
}
