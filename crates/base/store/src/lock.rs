//! One owner of the state folder: an flock(2) on `.stockade/lock`, with a note in it for those who come second.
//!
//! The kernel drops the lock when the process ends, however it ends, so no lock is ever stale. The note (process id and
//! addresses) serves messages alone; nothing is decided by it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{files::read_bounded, layout::StateDir};

const NOTE_MAX_BYTES: u64 = 4096;

/// What the owner of a folder says about itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct OwnerNote {
    /// Its process id.
    pub pid: Option<u32>,
    /// Where its gateway listens.
    pub gateway_url: Option<String>,
    /// Where its admin API listens.
    pub admin_url: Option<String>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("another process owns the folder")]
    Held(OwnerNote),
    #[error("the lock file could not be used")]
    Io(#[from] io::Error),
}

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn acquire(dir: &StateDir) -> Result<Self, LockError> {
        let path = dir.lock();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(read_note(&path))),
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let mut lock = Self { file };
        lock.note(&OwnerNote {
            pid: Some(std::process::id()),
            ..OwnerNote::default()
        })?;
        Ok(lock)
    }

    /// Replaces the note. It is written in place: the lock belongs to this very file.
    pub(crate) fn note(&mut self, note: &OwnerNote) -> io::Result<()> {
        let text = serde_json::to_vec(note)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }
}

/// The note as it stands; an unreadable one is empty.
fn read_note(path: &Path) -> OwnerNote {
    read_bounded(path, NOTE_MAX_BYTES)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is_and_a_drop_frees_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path());
        dir.create().unwrap();
        let mut first = Lock::acquire(&dir).unwrap();
        first
            .note(&OwnerNote {
                pid: Some(7),
                gateway_url: Some("https://127.0.0.1:1".into()),
                admin_url: None,
            })
            .unwrap();
        match Lock::acquire(&dir).unwrap_err() {
            LockError::Held(note) => {
                assert_eq!(note.pid, Some(7));
                assert_eq!(note.gateway_url.as_deref(), Some("https://127.0.0.1:1"));
            }
            LockError::Io(error) => panic!("{error}"),
        }
        drop(first);
        Lock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_spoiled_note_does_not_matter() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path());
        dir.create().unwrap();
        let _first = Lock::acquire(&dir).unwrap();
        std::fs::write(dir.lock(), "{\"pid\":").unwrap();
        assert!(matches!(Lock::acquire(&dir), Err(LockError::Held(note)) if note == OwnerNote::default()));
    }
}
