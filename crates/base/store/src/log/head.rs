//! The private head: what this log has committed to sign, kept apart from `log/`.
//!
//! It is the high-water mark. It is durable before a checkpoint of its size is signed, so no size is ever signed with
//! two roots, and a `log/` put back to an older state is noticed. A seal under the journal key says that this folder's
//! keeper wrote it: whoever else writes it cannot have another history signed. The head of a log that was left behind is
//! sealed as such, so that it cannot be put back as that of the log now written.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use stockade_crypto::{JournalKey, constant_time_eq};
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

impl TreeHead {
    /// The head of `size` entries with a root as checkpoints write it.
    pub(crate) fn from_text(size: u64, root: &str) -> Option<Self> {
        let root = BASE64_STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { size, root })
    }

    /// The root as checkpoints write it.
    pub(crate) fn root_text(&self) -> String {
        BASE64_STANDARD.encode(self.root)
    }
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
/// Whose head a seal is for. What is sealed begins with its name, so that the seal means nothing elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeadOf {
    /// The log that is written.
    Written,
    /// One that was left behind.
    LeftBehind,
}

impl HeadOf {
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Written => b"stockade log head 1\n",
            Self::LeftBehind => b"stockade former log head 1\n",
        }
    }
}

/// The file: the head, and HMAC-SHA-256 over its JSON under the journal key.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    head: Head,
    seal: String,
}

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

    /// Reads the head without a look at its seal; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, LogOpenError> {
        Ok(HeadFile::read(disk, path)?.map(|file| file.head))
    }

    /// Reads the head, which whoever has `key` must have sealed as that; `None` if there is none.
    pub(crate) fn read_sealed(
        disk: &dyn Disk,
        path: &Path,
        of: HeadOf,
        key: &JournalKey,
    ) -> Result<Option<Self>, LogOpenError> {
        let Some(file) = HeadFile::read(disk, path)? else {
            return Ok(None);
        };
        if !constant_time_eq(file.head.seal(of, key).as_bytes(), file.seal.as_bytes()) {
            let reason = "its seal is not by this folder's journal key";
            return Err(LogOpenError::tampered(path, reason));
        }
        Ok(Some(file.head))
    }

    /// The heads that a checkpoint on disk may have: that of `current` or that of `published`.
    pub(crate) fn heads(&self) -> impl Iterator<Item = TreeHead> + use<> {
        [Some(self.current), self.published].into_iter().flatten()
    }

    fn seal(&self, of: HeadOf, key: &JournalKey) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        BASE64_STANDARD.encode(key.mac(&[of.prefix(), &json].concat()))
    }

    /// Puts this head in place of the old one, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, path: &Path, key: &JournalKey) -> Result<(), DiskError> {
        let replacement = Replacement {
            temporary: &beside(path, "head.tmp"),
            path,
            file: SyncPoint::HeadFile,
            dir: SyncPoint::HeadDir,
        };
        replacement.write(disk, &self.to_json(HeadOf::Written, key))
    }

    /// The file's bytes.
    pub(crate) fn to_json(&self, of: HeadOf, key: &JournalKey) -> Vec<u8> {
        let file = HeadFile {
            head: self.clone(),
            seal: self.seal(of, key),
        };
        let mut json = serde_json::to_vec(&file).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

impl HeadFile {
    fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, LogOpenError> {
        let Some(bytes) = disk.read(path, MAX_STATE_FILE)? else {
            return Ok(None);
        };
        let file: Self =
            serde_json::from_slice(&bytes).map_err(|cause| LogOpenError::tampered(path, cause))?;
        let head = &file.head;
        if head.version != VERSION {
            return Err(LogOpenError::tampered(
                path,
                format!("version {} is unknown", head.version),
            ));
        }
        Ok(Some(file))
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
    use stockade_crypto::SecretBytes;

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
        let key = |byte| JournalKey::new(SecretBytes::new(vec![byte; 32]));
        head.write(&Posix, &path, &key(1)).unwrap();
        head.write(&Posix, &path, &key(1)).unwrap();
        assert_eq!(Head::read(&Posix, &path).unwrap().as_ref(), Some(&head));
        assert_eq!(
            Head::read_sealed(&Posix, &path, HeadOf::Written, &key(1))
                .unwrap()
                .as_ref(),
            Some(&head)
        );
        assert!(
            Head::read_sealed(&Posix, &path, HeadOf::LeftBehind, &key(1))
                .unwrap_err()
                .is_integrity_broken()
        );
        assert!(
            Head::read_sealed(&Posix, &path, HeadOf::Written, &key(2))
                .unwrap_err()
                .is_integrity_broken()
        );
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"size\":9", "\"size\":8", 1)).unwrap();
        assert!(
            Head::read_sealed(&Posix, &path, HeadOf::Written, &key(1))
                .unwrap_err()
                .is_integrity_broken()
        );
        for text in ["", "{}", "{\"version\":2}", "[]"] {
            std::fs::write(&path, text).unwrap();
            assert!(
                Head::read(&Posix, &path).unwrap_err().is_integrity_broken(),
                "{text}"
            );
        }
    }
}
