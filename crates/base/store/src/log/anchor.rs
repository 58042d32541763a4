//! A copy of the checkpoint outside the state folder: what notices that the whole folder was put back.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_evidence::{LogVerifier, open_checkpoint, root_at};

use super::{
    error::LogOpenError,
    files::{MAX_STATE_FILE, Replacement, parent},
    head::TreeHead,
    source::{CHECKPOINT, FolderSource},
};
use crate::disk::{Disk, DiskError, SyncPoint};

/// Where the checkpoint is anchored.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// A file in a folder that exists, on a disk that the state folder is not on.
    Path(PathBuf),
}

impl Anchor {
    fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
        }
    }

    /// Copies the checkpoint of the log in `log`.
    pub(crate) fn copy(&self, disk: &dyn Disk, log: &Path) -> Result<(), DiskError> {
        let path = self.path();
        let checkpoint = disk
            .read(&log.join(CHECKPOINT), MAX_STATE_FILE)?
            .unwrap_or_default();
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let replacement = Replacement {
            temporary: Path::new(&temporary),
            path,
            file: SyncPoint::AnchorFile,
            dir: SyncPoint::AnchorDir,
        };
        replacement.write(disk, &checkpoint)
    }

    /// Checks that the log at `head` contains what was anchored. Returns the anchored size, if there is one.
    pub(crate) fn compare(
        &self,
        disk: &dyn Disk,
        source: &FolderSource,
        origin: &str,
        head: &TreeHead,
        verifiers: &[LogVerifier],
    ) -> Result<Option<u64>, LogOpenError> {
        let path = self.path();
        let Some(bytes) = disk.read(path, MAX_STATE_FILE)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|cause| LogOpenError::tampered(path, cause))?;
        let opened =
            open_checkpoint(&text, verifiers).map_err(|cause| LogOpenError::tampered(path, cause))?;
        let anchored = opened.checkpoint;
        if anchored.origin != origin {
            return Err(LogOpenError::tampered(
                path,
                format!("it anchors `{}`", anchored.origin),
            ));
        }
        if anchored.size > head.size {
            let file = source.folder().to_owned();
            return Err(LogOpenError::RolledBack {
                file,
                found: head.size,
                expected: anchored.size,
            });
        }
        let root =
            root_at(source, anchored.size).map_err(|cause| LogOpenError::tampered(source.folder(), cause))?;
        if root != anchored.root {
            let reason = format!(
                "its first {} entries are not those that were anchored",
                anchored.size
            );
            return Err(LogOpenError::tampered(source.folder(), reason));
        }
        Ok(Some(anchored.size))
    }

    /// Gives the anchor of a log that is left behind another name, so that a new one may be anchored.
    pub(crate) fn set_aside(&self, disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
        let path = self.path();
        if disk.len(path)?.is_none() {
            return Ok(());
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{name}"));
        disk.rename(path, Path::new(&aside))?;
        disk.sync_dir(parent(path), SyncPoint::AnchorAside)
    }
}
