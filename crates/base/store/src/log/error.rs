//! Why the log could not be opened, written or read.

use std::path::{Path, PathBuf};

use stockade_evidence::NoteError;

use crate::disk::DiskError;

/// An entry did not become durable, or durable entries did not become integrated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// C2SP tlog-tiles gives an entry 16 bits of length.
    #[error("an entry of {length} bytes does not fit into the log, which takes {limit} at most")]
    TooLarge {
        /// Its bytes.
        length: usize,
        /// The most it may have.
        limit: usize,
    },
    /// More entries wait than the queue may hold. Try again later.
    #[error("the log's queue is full")]
    Overloaded,
    /// The log has used its share of the disk.
    #[error(
        "the log uses {used} of its {budget} bytes\nhint: prune old entries, or raise `disk_budget_bytes`"
    )]
    BudgetSpent {
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The disk is full. Nothing durable is lost, and the log goes on once there is space.
    #[error("the disk is full: {0}")]
    NoSpace(DiskError),
    /// The writer stopped after an error that leaves it unknown what the disk kept. Only opening it again helps.
    #[error("the log's writer stopped: {reason}\nhint: check the disk, then start again")]
    Stopped {
        /// What happened.
        reason: String,
    },
    /// The writer was closed.
    #[error("the log is closed")]
    Closed,
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// There is no log.
    #[error("there is no log at `{}`", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is a log already.
    #[error("there is a log at `{}` already", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// A file is older than what another one remembers: part of the state was restored from a copy.
    #[error(
        "`{}` says {found} entries where {expected} are remembered: it was put back to an older state\n\
         hint: put the whole state folder back to one time, or start a new origin with `log recover`",
        file.display()
    )]
    RolledBack {
        /// The older file.
        file: PathBuf,
        /// Entries it knows of.
        found: u64,
        /// Entries that were under a checkpoint before.
        expected: u64,
    },
    /// A file is not what this log wrote.
    #[error(
        "`{}` was changed: {reason}\nhint: restore a backup, or start a new origin with `log recover`",
        file.display()
    )]
    Tampered {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The origin has characters that checkpoints do not allow, or is too long for the journal.
    #[error(
        "`{origin}` cannot name a log: expected 1 to {limit} bytes without spaces, `+` or control characters"
    )]
    BadOrigin {
        /// The name.
        origin: String,
        /// The most bytes it may have.
        limit: usize,
    },
    /// A new origin was to have the name of the one that is left behind.
    #[error("the new log cannot be `{origin}` too: that is the log that is left behind")]
    SameOrigin {
        /// The name.
        origin: String,
    },
    /// The parts of the log do not lie in one folder, which one sync makes durable.
    #[error("`{}` does not lie in `{}`", path.display(), home.display())]
    Scattered {
        /// The part.
        path: PathBuf,
        /// The folder of the head.
        home: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the journal held could not be integrated.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] stockade_crypto::RandomnessUnavailable),
    /// A thread could not be started.
    #[error("cannot start the log's writer: {0}")]
    Thread(std::io::Error),
}

impl LogOpenError {
    /// `file` is not what this log wrote, because of `reason`.
    pub(crate) fn tampered(file: &Path, reason: impl ToString) -> Self {
        Self::Tampered {
            file: file.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether the files contradict each other: nothing may be appended until a new origin is started.
    pub const fn is_integrity_broken(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Tampered { .. })
    }
}

/// The log, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file that should be there is not.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file is not what its name says.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The entry was removed by the retention policy.
    #[error("entry {index} was pruned; the oldest entry kept is {minimum}")]
    Pruned {
        /// The entry.
        index: u64,
        /// The oldest one kept.
        minimum: u64,
    },
    /// The checkpoint is not one, or not signed by a known key.
    #[error("the checkpoint is not valid: {0}")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint is by keys that were rotated out, and not the one that was there when they were.
    #[error(
        "the checkpoint is signed by keys that were rotated out\nhint: `stockade log verify` says what else is wrong"
    )]
    FormerKeys,
    /// The entry is not in the tree.
    #[error("the log has {size} entries and none with index {index}")]
    OutOfRange {
        /// The entry.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
}

impl ReadError {
    /// Whether the log is not what it was, and not merely unreadable now.
    pub const fn is_integrity_broken(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } | Self::Checkpoint(_) | Self::FormerKeys => true,
            Self::Disk(_) | Self::Pruned { .. } | Self::OutOfRange { .. } => false,
        }
    }
}
