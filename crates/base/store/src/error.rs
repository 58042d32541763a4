//! Why an operation of the keeper failed, one enum per operation, the same in process and through the socket.

use std::{io, path::PathBuf};

use stockade_crypto::{KeyError, RandomnessUnavailable};
use stockade_evidence::LeafError;

use crate::{
    commit::InvalidCommit,
    control::ControlError,
    layout::VersionError,
    log::{self, LogOpenError},
    projection::ReplayError,
    rows::RowsError,
};

/// What went wrong at the other end of the control socket, or on the way.
#[derive(Debug, thiserror::Error)]
pub enum Remote {
    /// The server refused, and says why.
    #[error("the server that owns the folder answered: {message}")]
    Answered {
        /// Its words.
        message: String,
    },
    /// No answer came, so it is unknown whether the operation was done.
    #[error(transparent)]
    Transport(#[from] ControlError),
}

/// Why a data key was not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The key provider refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The server did not do it.
    #[error(transparent)]
    Remote(#[from] Remote),
}

/// The keeper was closed, or the server that owns the folder went away.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the keeper of the state folder is closed\nhint: try again")]
pub struct Closed;

/// The log holds a change that the projection could not take, so nothing is answered from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the projection fell behind the log\nhint: free disk space and restart; `stockade doctor` checks the folder"
)]
pub struct ProjectionBehind;

/// Why a record was not appended. Unless it says `Log`, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record has no leaf: too large, or numbers that canonical JSON cannot carry.
    #[error("the record cannot be an entry of the log")]
    Leaf(#[from] LeafError),
    /// The log could not take it: disk full, budget spent, integrity broken.
    #[error(transparent)]
    Log(#[from] log::AppendError),
    /// A change in it names an impossible row.
    #[error(transparent)]
    Invalid(#[from] InvalidCommit),
    /// The projection stands still.
    #[error(transparent)]
    Behind(#[from] ProjectionBehind),
    /// There is no keeper.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server said so.
    #[error(transparent)]
    Remote(#[from] Remote),
}

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A row is not as expected; nothing was written.
    #[error("`{kind}` `{id}` has changed meanwhile\nhint: read it again and repeat")]
    Conflict {
        /// The row's kind.
        kind: String,
        /// The row's id.
        id: String,
    },
    /// The expectations could not be checked; nothing was written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The rows could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] log::ReadError),
    /// An entry of the log is no record.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The projection stands still.
    #[error(transparent)]
    Behind(#[from] ProjectionBehind),
    /// There is no keeper.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The server said so.
    #[error(transparent)]
    Remote(#[from] Remote),
}

/// Why a keeper did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// VERSION was refused.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Another process owns the folder.
    #[error("`{}` is already owned by {}", .folder.display(), owner(*.pid, .gateway_url.as_deref()))]
    AlreadyOwned {
        /// The project folder.
        folder: PathBuf,
        /// Its process id, where it told.
        pid: Option<u32>,
        /// Where its gateway listens, where it told.
        gateway_url: Option<String>,
    },
    /// The lock file could not be used.
    #[error("the lock file of the state folder could not be used")]
    Lock(#[source] io::Error),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The log is not what it was: entries are gone or differ. Exit code 4.
    #[error(
        "the integrity of the log is broken: {what}\nhint: `stockade log verify` shows where; `stockade log recover` starts a new origin"
    )]
    IntegrityBroken {
        /// What was found.
        what: String,
    },
    /// The log could not be opened.
    #[error(transparent)]
    Log(LogOpenError),
    /// The rows could not be opened.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A row is not what the log says. Exit code 4.
    #[error(
        "the row `{kind}` `{id}` differs from the log\nhint: `stockade doctor --rebuild` makes the rows anew from the log"
    )]
    ProjectionDiffers {
        /// The row's kind.
        kind: String,
        /// The row's id.
        id: String,
    },
    /// The rows are of a log position that is not in the folder. Exit code 4.
    #[error(
        "the rows belong to entry {size} of `{origin}`, which is not in the log\nhint: `stockade doctor --rebuild` makes the rows anew from the log"
    )]
    ProjectionAhead {
        /// The log that the rows name.
        origin: String,
        /// The size that they name.
        size: u64,
    },
    /// Rows that what is left of the log does not confirm. Exit code 4.
    #[error(
        "the row `{kind}` `{id}` is not what the old log says, as far as that can be verified{}\nhint: restore a backup; \
         `stockade log recover --accept-rows` takes the rows as they stand, and records that",
        and_more(*.more)
    )]
    RowsUnconfirmed {
        /// The first one's kind.
        kind: String,
        /// The first one's id.
        id: String,
        /// How many more there are.
        more: usize,
    },
    /// The log may have lost entries, and what they changed. Exit code 4.
    #[error(
        "what is left of the old log is not proven to be all of it, so the rows may be those of an older time\nhint: restore a \
         backup; `stockade log recover --accept-rows` goes on with what is there, and records that"
    )]
    NothingWhole,
    /// The log could not be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] log::ReadError),
    /// The rows that a recovery started from are gone, and no later snapshot stands in for them. Exit code 4.
    #[error(
        "the snapshot of entry {index} of `{origin}` is missing or differs\nhint: restore `.stockade/blobs/state` from a backup"
    )]
    SnapshotMissing {
        /// The log.
        origin: String,
        /// The entry that names the snapshot.
        index: u64,
    },
    /// A file of the state folder could not be used.
    #[error("the state folder could not be used")]
    Io(#[from] io::Error),
    /// The first record could not be made or a catch-up record not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// The server's socket is there and does not answer as it should.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl OpenError {
    /// Whether the content of the folder is not what it was (exit code 4), and not merely unusable.
    pub const fn is_integrity_broken(&self) -> bool {
        if let Self::Read(error) = self {
            return error.is_integrity_broken();
        }
        matches!(
            self,
            Self::IntegrityBroken { .. }
                | Self::ProjectionDiffers { .. }
                | Self::ProjectionAhead { .. }
                | Self::RowsUnconfirmed { .. }
                | Self::NothingWhole
                | Self::Replay(_)
                | Self::SnapshotMissing { .. }
                | Self::Rows(
                    RowsError::Corrupt { .. } | RowsError::Differs { .. } | RowsError::NotCanonical { .. }
                )
        )
    }
}

fn owner(pid: Option<u32>, gateway_url: Option<&str>) -> String {
    let pid = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    gateway_url.map_or_else(|| pid.clone(), |url| format!("{pid}, which serves {url}"))
}

fn and_more(more: usize) -> String {
    if more == 0 {
        return String::new();
    }
    format!(", nor are {more} more")
}
