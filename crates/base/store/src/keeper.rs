//! The keeper: the one owner of a state folder, which holds its lock, its keys, the log's writer and the rows.
//!
//! A commit goes: check what it expects -> append (the order of the log is fixed here) -> durable -> one transaction that
//! applies its changes and the log position -> [`Keeper::changes`]. The first two happen under a short lock, the durable wait
//! outside it, so commits from many callers share one fsync; one task applies them in log order. A commit that
//! expects something of a row that an earlier commit is still changing waits for that one.
//! When a durable change cannot be applied, nothing is read or committed any more until the folder is opened again:
//! a stale row could be a key that was revoked.

mod applier;
mod maintain;
mod open;
mod rebuild;
mod recovery;
mod replay;
mod snapshot;
mod watch;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_crypto::{DataKey, KeyError, KeyProvider, WrappedKey};
use stockade_evidence::{Event, Record, Timestamp};
use tokio::sync::{oneshot, watch as channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    blobs::Blobs,
    checked::CheckedRows,
    clock::{SecurityClock, wall_clock},
    commit::{Appended, Commit, Row},
    config::Config,
    counters::Counters,
    error::{AppendError, Closed, CommitError, ProjectionBehind, ReadError},
    layout::StateDir,
    lock::{Lock, OwnerNote},
    log::{LogHealth, LogWriter},
    personal::Subjects,
    rows::RowsError,
};

use self::{applier::Queue, snapshot::SnapshotAge};
pub use self::{
    maintain::RetentionError,
    rebuild::{RebuildReport, rebuild},
    recovery::{RecoverReport, UnconfirmedRows, recover_log},
    snapshot::SnapshotError,
};
pub(crate) use self::{
    open::{blocking, log_paths, owned, system_record},
    recovery::recover_unversioned,
};

/// The owner of a state folder. Clones share it.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: StateDir,
    pub(crate) keys: KeyProvider,
    pub(crate) config: Config,
    pub(crate) log: LogWriter,
    pub(crate) rows: CheckedRows,
    pub(crate) blobs: Blobs,
    pub(crate) subjects: Subjects,
    counters: Counters,
    clock: SecurityClock,
    queue: Queue,
    snapshot: SnapshotAge,
    changes: channel::Sender<u64>,
    behind: AtomicBool,
    row_differed: AtomicBool,
    closed: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
    lock: Mutex<Option<Lock>>,
}

/// How the keeper is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Health {
    /// The log's writer: whether it writes, its share of the disk budget, when it last integrated, its anchor.
    pub log: LogHealth,
    /// Whether the rows follow the log.
    pub projection_follows: bool,
    /// Whether a passphrase can bring back the root key.
    pub recovery: bool,
}

impl Keeper {
    /// Appends a record; resolves when it is durable, and when it changes state also when that is applied.
    pub async fn append(&self, record: Record) -> Result<Appended, AppendError> {
        if record.changes.is_empty() {
            self.check_open()?;
            let leaf = record.to_leaf()?;
            let index = self.append_leaf(leaf).await?;
            return Ok(Appended {
                origin: self.shared.log.origin(),
                index,
            });
        }
        match self.commit(Commit::new(record)).await {
            Ok(appended) => Ok(appended),
            Err(CommitError::Append(error)) => Err(error),
            // Without expectations nothing is read and nothing can conflict.
            Err(CommitError::Read(_) | CommitError::Conflict { .. }) => Err(Closed.into()),
        }
    }

    /// Like [`Keeper::append`], for a record without changes that nobody waits for: it becomes durable with the next
    /// one that somebody waits for, or within milliseconds.
    pub async fn append_soon(&self, record: Record) -> Result<Appended, AppendError> {
        if !record.changes.is_empty() {
            return self.append(record).await;
        }
        self.check_open()?;
        let index = self.shared.log.append_soon(record.to_leaf()?).await?;
        Ok(Appended {
            origin: self.shared.log.origin(),
            index,
        })
    }

    /// Appends a record if all that it expects holds; resolves when it is durable and applied.
    pub async fn commit(&self, commit: Commit) -> Result<Appended, CommitError> {
        self.check_open()?;
        commit.check().map_err(AppendError::from)?;
        let leaf = commit.record.to_leaf().map_err(AppendError::from)?;
        let Commit { record, expect } = commit;
        self.shared.submit(leaf, record.changes, expect).await
    }

    /// Waits until everything that is durable now is under a signed checkpoint.
    pub async fn integrated(&self) -> Result<(), AppendError> {
        answer(self.shared.log.integrated(self.shared.log.durable_size())).await
    }

    /// The newest signed checkpoint, once everything that is durable now is under one; `None` where there is none.
    pub async fn checkpoint(&self) -> Result<Option<String>, AppendError> {
        self.integrated().await?;
        let folder = self.dir().log();
        let read = blocking(move || crate::log::FolderSource::new(folder).checkpoint()).await;
        Ok(read.map_err(|_| Closed)?.unwrap_or_else(|error| {
            tracing::error!(%error, "the checkpoint of the log could not be read");
            None
        }))
    }

    /// One row.
    pub async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, ReadError> {
        self.check_current()?;
        self.noted(self.shared.rows.row(kind, id).await).await
    }

    /// All rows of a kind, sorted by id; more than [`crate::ROWS_MAX`] are an error.
    pub async fn rows(&self, kind: &str) -> Result<Vec<Row>, ReadError> {
        self.check_current()?;
        self.noted(self.shared.rows.rows(kind).await).await
    }

    /// At most `limit` rows of a kind after the id `after`, sorted by id.
    pub async fn page(&self, kind: &str, after: &str, limit: u32) -> Result<Vec<Row>, ReadError> {
        self.check_current()?;
        self.noted(self.shared.rows.page(kind, after, limit).await).await
    }

    /// Compares every row with what the log says; answers how many there are.
    pub async fn check_rows(&self) -> Result<usize, ReadError> {
        self.check_current()?;
        self.noted(self.shared.rows.check_all().await).await
    }

    /// The index of the last entry that changed state; a new value for every change.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The folder.
    pub fn dir(&self) -> &StateDir {
        &self.shared.dir
    }

    /// The log now written, by name.
    pub fn origin(&self) -> String {
        self.shared.log.origin()
    }

    /// The keys.
    pub fn keys(&self) -> &KeyProvider {
        &self.shared.keys
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The blobs that are no artifacts, such as payloads too large for an entry.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// The log's writer, for its maintenance.
    pub fn log(&self) -> &LogWriter {
        &self.shared.log
    }

    /// The security clock: the wall clock, but never earlier than anything seen before, the newest record included.
    /// Expiry of keys and approvals is judged by it.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.at(wall_clock())
    }

    /// Wraps a data key under the root key.
    pub fn wrap_key(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, KeyError> {
        self.shared.keys.wrap(key, context)
    }

    /// Unwraps a data key.
    pub fn unwrap_key(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        self.shared.keys.unwrap(wrapped, context)
    }

    /// How the keeper is.
    pub fn health(&self) -> Health {
        Health {
            log: self.shared.log.health(),
            projection_follows: !self.shared.behind.load(Ordering::Acquire),
            recovery: self.shared.keys.has_recovery(),
        }
    }

    /// Leaves a note for those who find the folder owned.
    pub fn announce(&self, gateway_url: &str, admin_url: &str) -> std::io::Result<()> {
        let note = OwnerNote {
            pid: Some(std::process::id()),
            gateway_url: Some(gateway_url.to_owned()),
            admin_url: Some(admin_url.to_owned()),
        };
        let mut lock = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_mut().map_or(Ok(()), |lock| lock.note(&note))
    }

    /// Applies what was committed, puts everything under a checkpoint and gives the folder back. Other clones are closed too.
    pub async fn close(self) -> Result<(), AppendError> {
        let shared = &self.shared;
        if shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        shared.stop.cancel();
        shared.queue.close().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        let integrated = self.integrated().await;
        let remembered = shared.remember_applied().await.and(shared.remember_clock().await);
        shared.rows.backend().close().await;
        let log = shared.log.clone();
        let closed = blocking(move || log.close()).await;
        shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        integrated?;
        if let Err(error) = remembered {
            tracing::warn!(%error, "the rows' log position was not advanced; the next start replays more of the log");
        }
        Ok(closed.map_err(|_| Closed)??)
    }

    pub(crate) async fn append_leaf(&self, leaf: Vec<u8>) -> Result<u64, AppendError> {
        Ok(self.shared.log.append_waiting(leaf).await?)
    }

    /// The first row that differs is recorded; its name is not, for whoever edits the database chose it.
    async fn noted<T>(&self, read: Result<T, RowsError>) -> Result<T, ReadError> {
        if let Err(error @ RowsError::Differs { .. }) = &read
            && !self.shared.row_differed.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "records.db was changed behind the keeper's back");
            let record = system_record(Event::ProjectionDiffers, self.now());
            if let Ok(record) = record
                && let Err(error) = self.append(record).await
            {
                tracing::error!(%error, "the changed row was not recorded");
            }
        }
        Ok(read?)
    }

    fn check_open(&self) -> Result<(), AppendError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Closed.into());
        }
        if self.shared.behind.load(Ordering::Acquire) {
            return Err(ProjectionBehind.into());
        }
        Ok(())
    }

    fn check_current(&self) -> Result<(), ReadError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Closed.into());
        }
        if self.shared.behind.load(Ordering::Acquire) {
            return Err(ProjectionBehind.into());
        }
        Ok(())
    }
}

/// An answer of the log's writer; a writer that went away has closed.
pub(crate) async fn answer<T>(
    receiver: oneshot::Receiver<Result<T, crate::log::AppendError>>,
) -> Result<T, AppendError> {
    Ok(receiver.await.map_err(|_| Closed)??)
}

/// How often the clocks and the disk are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
