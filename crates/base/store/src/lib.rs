//! Places and their one owner: the log's writer, records, blobs, counters, the keeper and its socket.
//!
//! The log is the truth: a change of state is a record first, and the rows are a projection of the log. One process owns a
//! state folder, through a [`Keeper`]; a command holds a [`Handle`], which is that keeper or a way to a running
//! server's; a [`Reader`] needs neither. Start at [`Keeper`], then [`Commit`] and [`StateDir`].

mod admitted;
pub mod backup;
mod blobs;
mod checked;
mod clock;
mod commit;
mod config;
mod control;
mod counters;
pub mod disk;
mod error;
mod files;
mod handle;
mod keeper;
mod layout;
mod lock;
pub mod log;
mod personal;
mod projection;
mod reader;
mod rows;
mod station;

pub use crate::{
    admitted::Admitted,
    backup::{
        BackupError, BackupReport, RestoreKeys, RestoreOptions, Restored, create_backup, restore_backup,
        verify_backup,
    },
    blobs::{BlobError, BlobInfo, BlobReader, BlobWriter, Blobs, InvalidBlobPath},
    clock::{STEP_MIN, wall_clock},
    commit::{Appended, Commit, Expect, InvalidCommit, Row},
    config::{Config, Retention},
    control::{
        ActorKind, Allowance, ControlClient, ControlError, LinkError, MayPut, Secret, fuzz_control_frame,
    },
    counters::{BudgetSpent, CounterKey, CounterStore, Counters, Rate, Reservation, RetryAfter},
    error::{AppendError, Closed, CommitError, OpenError, ProjectionBehind, ReadError, Remote, WrapError},
    handle::Handle,
    keeper::{
        Health, Keeper, RebuildReport, RecoverReport, RetentionError, SnapshotError, UnconfirmedRows,
        rebuild, recover_log,
    },
    layout::{CreateError, STATE_VERSION, StateDir, VersionError},
    lock::OwnerNote,
    log::{Anchor, FolderSource},
    personal::{ERASED_KEY, PersonalError},
    projection::ReplayError,
    reader::{Reader, ReaderError},
    rows::{Batch, Position, ROWS_MAX, RowStore, RowsError, SqliteRows},
    station::{AdmittedError, Station, WorkerLink},
};
