//! The handle to a log that is being written: appends, waits, reads, and says how it is.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stockade_crypto::LogKeys;
use stockade_evidence::{LogVerifier, MAX_ENTRY, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    LogConfig, LogPaths,
    budget::BudgetLevel,
    entries::LogEntries,
    error::{AppendError, LogOpenError, ReadError},
    head::Head,
    open::{Opened, Opening, check_layout, prepare},
    proven::{Bundles, MadeTiles},
    prune::{PruneError, Retention, prune},
    shared::{Queued, Shared, When},
    source::FolderSource,
};
use crate::disk::Disk;

/// Writes one origin. A clone writes the same one; the last one dropped closes it.
#[derive(Clone)]
pub struct LogWriter {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    paths: LogPaths,
    origin: String,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How a log is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LogHealth {
    /// The log's name in its checkpoints.
    pub origin: String,
    /// Why nothing is written any more, if so.
    pub stopped: Option<String>,
    /// Entries that are durable.
    pub durable_size: u64,
    /// Entries under a signed checkpoint.
    pub integrated_size: u64,
    /// Since the last integration.
    pub last_integration: Duration,
    /// Why durable entries wait to be integrated, if they do.
    pub integration_error: Option<String>,
    /// Bytes of tiles, bundles and journal.
    pub disk_used: u64,
    /// Bytes they may have.
    pub disk_budget: Option<u64>,
    /// How much of it is used.
    pub budget_level: BudgetLevel,
    /// Entries under the anchored checkpoint; `None` without an anchor.
    pub anchored_size: Option<u64>,
    /// Why the last checkpoint was not anchored, if so.
    pub anchor_error: Option<String>,
}

impl LogHealth {
    /// The share of the disk budget that is used; `None` without a budget.
    pub fn used_percent(&self) -> Option<u64> {
        let percent = u128::from(self.disk_used) * 100 / u128::from(self.disk_budget?.max(1));
        Some(u64::try_from(percent).unwrap_or(u64::MAX))
    }
}

impl LogWriter {
    /// Starts a log whose first entry is `first`. It is durable and integrated on return.
    pub fn create(
        disk: Arc<dyn Disk>,
        paths: &LogPaths,
        origin: &str,
        keys: LogKeys,
        config: LogConfig,
        now: fn() -> Timestamp,
        first: Vec<u8>,
    ) -> Result<Self, LogOpenError> {
        check_layout(paths)?;
        let checkpoint = FolderSource::new(&paths.log)
            .folder()
            .join(super::source::CHECKPOINT);
        if disk.len(&paths.head)?.is_some() || disk.len(&checkpoint)?.is_some() {
            return Err(LogOpenError::Exists {
                path: paths.log.clone(),
            });
        }
        prepare(&disk, paths, origin, &keys.journal, 0, &config, first)?;
        Self::open(disk, paths, keys, &[], config, now)
    }

    /// Opens a log that is there. What its journal held is integrated on return.
    pub fn open(
        disk: Arc<dyn Disk>,
        paths: &LogPaths,
        keys: LogKeys,
        former: &[LogVerifier],
        config: LogConfig,
        now: fn() -> Timestamp,
    ) -> Result<Self, LogOpenError> {
        check_layout(paths)?;
        let opening = Opening {
            disk: Arc::clone(&disk),
            paths,
            keys,
            former,
            config: &config,
            now,
        };
        let opened = opening.open()?;
        Retention::finish(&*disk, paths)?;
        let Opened {
            origin,
            shared,
            segments,
            journal,
            integrator,
        } = opened;
        let inner = Inner {
            disk,
            paths: paths.clone(),
            origin,
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        };
        // From here on `Inner` closes and joins what was started, whatever happens.
        let writer = Self {
            inner: Arc::new(inner),
        };
        let (for_journal, max_batch) = (Arc::clone(&shared), config.max_batch.max(1));
        writer.spawn("log-journal", move || {
            let _guard = StopOnPanic(&for_journal);
            journal.run(&for_journal, max_batch);
        })?;
        writer.spawn("log-integrator", move || {
            let _guard = StopOnPanic(&shared);
            integrator.run(&shared, &segments);
        })?;
        Ok(writer)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), LogOpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        match thread {
            Ok(thread) => {
                self.inner
                    .threads
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(thread);
                Ok(())
            }
            Err(cause) => {
                self.inner.shared.progress().journal_closed = true;
                Err(LogOpenError::Thread(cause))
            }
        }
    }

    /// Appends an entry. The receiver gets its index when it is durable. A full queue refuses at once; to wait for
    /// room instead, use [`LogWriter::append_waiting`].
    pub fn append(&self, leaf: Vec<u8>) -> oneshot::Receiver<Result<u64, AppendError>> {
        let slot = Arc::clone(self.inner.shared.slots()).try_acquire_owned();
        let (answer, receiver) = oneshot::channel();
        match slot
            .map_err(|_| AppendError::Overloaded)
            .and_then(|slot| self.admit(&leaf).map(|()| slot))
        {
            Ok(slot) => self.push(leaf, When::Now, answer, slot),
            Err(error) => drop(answer.send(Err(error))),
        }
        receiver
    }

    /// Appends an entry once the queue has room, and waits until it is durable. Returns its index.
    pub async fn append_waiting(&self, leaf: Vec<u8>) -> Result<u64, AppendError> {
        self.append_when(When::Now, leaf).await
    }

    /// Like [`LogWriter::append_waiting`], for an entry that nobody waits for: it shares the sync of one that somebody
    /// waits for, or has its own within milliseconds.
    pub async fn append_soon(&self, leaf: Vec<u8>) -> Result<u64, AppendError> {
        self.append_when(When::Soon, leaf).await
    }

    async fn append_when(&self, when: When, leaf: Vec<u8>) -> Result<u64, AppendError> {
        let slot = Arc::clone(self.inner.shared.slots()).acquire_owned().await;
        let slot = slot.map_err(|_| AppendError::Closed)?;
        self.admit(&leaf)?;
        let (answer, receiver) = oneshot::channel();
        self.push(leaf, when, answer, slot);
        receiver.await.unwrap_or(Err(AppendError::Closed))
    }

    fn admit(&self, leaf: &[u8]) -> Result<(), AppendError> {
        if leaf.len() > MAX_ENTRY {
            return Err(AppendError::TooLarge {
                length: leaf.len(),
                limit: MAX_ENTRY,
            });
        }
        self.inner.shared.budget.admit()?;
        self.inner.shared.admit()
    }

    fn push(
        &self,
        leaf: Vec<u8>,
        when: When,
        answer: oneshot::Sender<Result<u64, AppendError>>,
        slot: OwnedSemaphorePermit,
    ) {
        self.inner.shared.push(Queued {
            leaf: Bytes::from(leaf),
            answer,
            when,
            _slot: slot,
        });
    }

    /// The receiver gets its answer when the first `size` entries are under a signed checkpoint that is durable, and
    /// anchored if the anchor can be written. Integration does not wait for its time then.
    pub fn integrated(&self, size: u64) -> oneshot::Receiver<Result<(), AppendError>> {
        let (answer, receiver) = oneshot::channel();
        let mut progress = self.inner.shared.progress();
        if progress.integrated.size >= size {
            let _ = answer.send(Ok(()));
        } else if let Some(reason) = progress.stopped.clone() {
            let _ = answer.send(Err(AppendError::Stopped { reason }));
        } else if progress.journal_closed {
            let _ = answer.send(Err(AppendError::Closed));
        } else {
            progress.waiters.push((size, answer));
            drop(progress);
            self.inner.shared.notify();
        }
        receiver
    }

    /// The log's name in its checkpoints.
    pub fn origin(&self) -> String {
        self.inner.origin.clone()
    }

    /// Entries that are durable.
    pub fn durable_size(&self) -> u64 {
        self.inner.shared.progress().durable
    }

    /// Entries under a signed checkpoint.
    pub fn integrated_size(&self) -> u64 {
        self.inner.shared.progress().integrated.size
    }

    /// Every entry that is durable now, integrated or not.
    pub fn entries(&self) -> Result<LogEntries, ReadError> {
        let minimum = Retention::read(&*self.inner.disk, &self.inner.paths)?.minimum_index;
        let progress = self.inner.shared.progress();
        let (integrated, pending) = (progress.integrated, progress.pending.iter().cloned().collect());
        drop(progress);
        let source = FolderSource::new(&self.inner.paths.log);
        let bundles = Bundles::new(source, integrated, MadeTiles::new());
        Ok(LogEntries::new(
            self.origin(),
            minimum,
            bundles,
            integrated.size,
            pending,
        ))
    }

    /// Calls `each` with every durable entry from index `from` on, integrated or not, until it says `false`.
    pub fn read(&self, from: u64, each: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        self.entries()?.read(from, each)
    }

    /// How the log is.
    pub fn health(&self) -> LogHealth {
        let budget = &self.inner.shared.budget;
        let progress = self.inner.shared.progress();
        LogHealth {
            origin: self.inner.origin.clone(),
            stopped: progress.stopped.clone(),
            durable_size: progress.durable,
            integrated_size: progress.integrated.size,
            last_integration: progress.last_integration.elapsed(),
            integration_error: progress.integration_error.as_ref().map(ToString::to_string),
            disk_used: budget.used(),
            disk_budget: budget.limit(),
            budget_level: budget.level(),
            anchored_size: progress.anchored,
            anchor_error: progress.anchor_error.clone(),
        }
    }

    /// Changes of how much of the disk budget is used: an alarm at 80 and 95 percent, a refusal at 100.
    pub fn budget_alarms(&self) -> watch::Receiver<BudgetLevel> {
        self.inner.shared.budget.alarms()
    }

    /// Signs with new keys from now on, under the same origin. The present checkpoint is signed again at once: same
    /// size, same root. The journal keeps its key. Until it is, the log opens only if the keys before are given as `former`.
    pub fn set_keys(&self, keys: LogKeys) {
        self.inner.shared.progress().keys = Some(keys);
        self.inner.shared.notify();
    }

    /// Removes what the retention policy lets go, as [`prune`] does, and counts the space as free.
    pub fn prune(&self, minimum_index: u64) -> Result<u64, PruneError> {
        let freed = prune(&*self.inner.disk, &self.inner.paths, minimum_index)?;
        self.inner.shared.budget.subtract(freed);
        Ok(freed)
    }

    /// Writes and integrates what is queued, then ends the threads. Other clones get [`AppendError::Closed`].
    pub fn close(self) -> Result<(), AppendError> {
        self.inner.close();
        let progress = self.inner.shared.progress();
        match (&progress.stopped, &progress.integration_error) {
            (Some(reason), _) => Err(AppendError::Stopped {
                reason: reason.clone(),
            }),
            (None, Some(error)) => Err(AppendError::NoSpace(error.clone())),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter")
            .field("origin", &self.inner.origin)
            .finish_non_exhaustive()
    }
}

/// Nobody waits for ever for a thread that died.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop("a thread of the log's writer panicked");
        }
    }
}

impl Inner {
    fn close(&self) {
        self.shared.close_queue();
        for thread in self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            // A panic was noted by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The head of the log at `paths`, without opening it for writing. Names the origin even of a broken log.
pub fn read_log_head(disk: &dyn Disk, paths: &LogPaths) -> Result<Option<Head>, LogOpenError> {
    Head::read(disk, &paths.head)
}
