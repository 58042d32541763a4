//! The private head: what this log has committed to sign, kept apart from `log/`.
//!
//! It is the high-water mark. It is durable before a checkpoint of its size is signed, so no size is ever signed with
//! two roots, and a `log/` put back to an older state is noticed.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use stockade_evidence::{Hash, empty_root};

use super::{
    error::LogOpenError,
    files::{MAX_STATE_FILE, Replacement},
};
use crate::disk::{Disk, DiskError, SyncPoint};

/// Size and root of a tree.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// The number of entries.
    pub size: u64,
    /// The root hash, base64 in files.
    #[serde(with = "root_text")]
    pub root: Hash,
}

/// What `head.json` says.
// INVARIANT: `published`, if any, is not above `current`, and its checkpoint was durable when this head was written.
// So the checkpoint on disk is that of `current` or that of `published`, whenever the power fails.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub(super) version: u32,
    /// The log's name in its checkpoints.
    pub origin: String,
    /// How many logs of this folder were left behind before this one.
    pub generation: u64,
    /// What may be signed from now on.
    pub current: TreeHead,
    /// The last checkpoint that was durable before.
    pub published: Option<TreeHead>,
}

const VERSION: u32 = 1;

impl Head {
    /// The head of a log without entries.
    pub(crate) fn first(origin: &str, generation: u64) -> Self {
        let current = TreeHead {
            size: 0,
            root: empty_root(),
        };
        Self {
            version: VERSION,
            origin: origin.to_owned(),
            generation,
            current,
            published: None,
        }
    }

    /// Reads the head; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, LogOpenError> {
        let Some(bytes) = disk.read(path, MAX_STATE_FILE)? else {
            return Ok(None);
        };
        let head: Self =
            serde_json::from_slice(&bytes).map_err(|cause| LogOpenError::tampered(path, cause))?;
        if head.version != VERSION {
            return Err(LogOpenError::tampered(
                path,
                format!("version {} is unknown", head.version),
            ));
        }
        Ok(Some(head))
    }

    /// Puts this head in place of the old one, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
        let replacement = Replacement {
            temporary: &beside(path, "head.tmp"),
            path,
            file: SyncPoint::HeadFile,
            dir: SyncPoint::HeadDir,
        };
        replacement.write(disk, &self.to_json())
    }

    /// The file's bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// Another file in the same folder.
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}

mod root_text {
    use serde::{Deserializer, Serializer, de::Error};

    use super::{BASE64_STANDARD, Deserialize, Engine, Hash};

    pub(super) fn serialize<S: Serializer>(root: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(root))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(D::Error::custom)?;
        bytes
            .try_into()
            .map_err(|_| D::Error::custom("a root has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Posix;

    #[test]
    fn survives_a_round_trip_and_refuses_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head.json");
        assert_eq!(Head::read(&Posix, &path).unwrap(), None);
        let published = Some(TreeHead {
            size: 3,
            root: [1; 32],
        });
        let current = TreeHead {
            size: 9,
            root: [2; 32],
        };
        let head = Head {
            current,
            published,
            ..Head::first("log.example/a", 1)
        };
        head.write(&Posix, &path).unwrap();
        head.write(&Posix, &path).unwrap();
        assert_eq!(Head::read(&Posix, &path).unwrap(), Some(head));
        for text in ["", "{}", "{\"version\":2}", "[]"] {
            std::fs::write(&path, text).unwrap();
            assert!(
                Head::read(&Posix, &path).unwrap_err().is_integrity_broken(),
                "{text}"
            );
        }
    }
}
