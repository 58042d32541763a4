//! What the handles and the two threads of a log share.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use stockade_crypto::LogKeys;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{budget::Budget, error::AppendError, head::TreeHead, journal::OpenSegment};
use crate::disk::DiskError;

/// Entries that may wait for the journal.
pub(crate) const QUEUE_ENTRIES: usize = 8192;
/// Bytes of durable entries that may wait for integration.
const MAX_PENDING: usize = 64 * 1024 * 1024;

/// How long an entry that nobody waits for stays in the queue for one that somebody waits for.
const LINGER: Duration = Duration::from_millis(5);

/// Answers to one caller.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, AppendError>>;

/// An entry on its way into the journal.
pub(crate) struct Queued {
    pub(crate) leaf: Bytes,
    pub(crate) answer: Answer<u64>,
    pub(crate) when: When,
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// When an entry is to be durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// At once.
    Now,
    /// With the next one that is to be durable at once, or within [`LINGER`].
    Soon,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Queued>,
    closing: bool,
    waits: Waits,
}

/// What wakes the journal. A wake-up that changes nothing would cost a system call, and often a change of threads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Waits {
    /// It is at work and looks by itself.
    #[default]
    No,
    /// It lingers for an entry that is to be durable at once.
    ForNow,
    /// Any entry.
    ForAny,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        self.closing || self.entries.iter().any(|entry| entry.when == When::Now)
    }
}

/// A journal segment that takes no more groups.
pub(crate) struct Retired {
    pub(crate) path: PathBuf,
    /// One past the last index in it.
    pub(crate) end: u64,
    pub(crate) length: u64,
}

/// How far the log is.
// INVARIANT: `pending` holds the entries from `integrated` to `durable`.
pub(crate) struct Progress {
    pub(crate) durable: u64,
    pub(crate) integrated: TreeHead,
    pub(crate) pending: VecDeque<Bytes>,
    pub(crate) pending_bytes: usize,
    pub(crate) waiters: Vec<(u64, Answer<()>)>,
    pub(crate) keys: Option<LogKeys>,
    pub(crate) retired: Vec<Retired>,
    pub(crate) spare: Option<OpenSegment>,
    pub(crate) stopped: Option<String>,
    pub(crate) journal_closed: bool,
    pub(crate) last_integration: Instant,
    pub(crate) integration_error: Option<DiskError>,
    pub(crate) anchored: Option<u64>,
    pub(crate) anchor_error: Option<String>,
}

impl Progress {
    /// A log whose entries are all under a checkpoint.
    pub(crate) fn at(head: TreeHead, anchored: Option<u64>) -> Self {
        Self {
            durable: head.size,
            integrated: head,
            pending: VecDeque::new(),
            pending_bytes: 0,
            waiters: Vec::new(),
            keys: None,
            retired: Vec::new(),
            spare: None,
            stopped: None,
            journal_closed: false,
            last_integration: Instant::now(),
            integration_error: None,
            anchored,
            anchor_error: None,
        }
    }
}

impl Progress {
    /// Whether somebody waits for entries that are durable to be integrated.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiters.iter().any(|(size, _)| *size <= self.durable)
    }

    /// Whether so much waits for integration that the journal has to wait too.
    fn is_backed_up(&self) -> bool {
        self.pending_bytes > MAX_PENDING
    }
}

/// What everyone shares.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    queue_changed: Condvar,
    progress: Mutex<Progress>,
    progress_changed: Condvar,
    slots: Arc<Semaphore>,
    pub(crate) budget: Budget,
}

impl Shared {
    pub(crate) fn new(progress: Progress, budget: Budget) -> Self {
        Self {
            queue: Mutex::default(),
            queue_changed: Condvar::new(),
            progress: Mutex::new(progress),
            progress_changed: Condvar::new(),
            slots: Arc::new(Semaphore::new(QUEUE_ENTRIES)),
            budget,
        }
    }

    /// How far the log is.
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for progress.
    pub(crate) fn notify(&self) {
        self.progress_changed.notify_all();
    }

    /// Waits for a change of progress, at most for `limit`.
    pub(crate) fn wait<'a>(
        &'a self,
        progress: MutexGuard<'a, Progress>,
        limit: Option<std::time::Duration>,
    ) -> MutexGuard<'a, Progress> {
        match limit {
            None => self
                .progress_changed
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.progress_changed.wait_timeout(progress, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Places in the queue.
    pub(crate) const fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Whether an entry may be queued at all.
    pub(crate) fn admit(&self) -> Result<(), AppendError> {
        let progress = self.progress();
        if let Some(reason) = &progress.stopped {
            return Err(AppendError::Stopped {
                reason: reason.clone(),
            });
        }
        if let Some(error) = progress
            .integration_error
            .as_ref()
            .filter(|_| progress.is_backed_up())
        {
            return Err(AppendError::NoSpace(error.clone()));
        }
        Ok(())
    }

    /// Queues an entry; its answer comes through it.
    pub(crate) fn push(&self, entry: Queued) {
        let mut queue = self.queue();
        if queue.closing {
            drop(queue);
            let error = self.progress().stopped.clone();
            let error = error.map_or(AppendError::Closed, |reason| AppendError::Stopped { reason });
            let _ = entry.answer.send(Err(error));
            return;
        }
        let wake = match (queue.waits, entry.when) {
            (Waits::No, _) | (Waits::ForNow, When::Soon) => false,
            (Waits::ForNow, When::Now) | (Waits::ForAny, _) => true,
        };
        queue.entries.push_back(entry);
        drop(queue);
        if wake {
            self.queue_changed.notify_one();
        }
    }

    /// Waits while too much waits for integration, unless that cannot go on: callers feel it as a slower journal.
    pub(crate) fn await_integration(&self) {
        let mut progress = self.progress();
        while progress.is_backed_up() && progress.stopped.is_none() && progress.integration_error.is_none() {
            progress = self.wait(progress, None);
        }
    }

    /// The next entries for one commit group; `None` when closed and empty.
    pub(crate) fn take(&self, max_entries: usize, max_bytes: usize) -> Option<Vec<Queued>> {
        let mut queue = self.await_entries();
        if queue.entries.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fitting = queue.entries.iter().take(max_entries).take_while(|entry| {
            bytes += entry.leaf.len() + 4;
            bytes <= max_bytes
        });
        let count = fitting.count().max(1);
        Some(queue.entries.drain(..count).collect())
    }

    /// Waits for entries; there are none only when the queue is closed.
    fn await_entries(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue();
        let mut lingers = Some(Instant::now() + LINGER);
        while !queue.is_urgent() {
            let left = lingers.map(|until| until.saturating_duration_since(Instant::now()));
            queue = match (left, queue.entries.is_empty()) {
                (Some(Duration::ZERO), false) => break,
                (Some(Duration::ZERO), true) => {
                    lingers = None;
                    queue
                }
                (Some(left), _) => {
                    queue.waits = Waits::ForNow;
                    let waited = self.queue_changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                (None, false) => {
                    lingers = Some(Instant::now() + LINGER);
                    queue
                }
                (None, true) => {
                    queue.waits = Waits::ForAny;
                    let waited = self.queue_changed.wait(queue);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
            queue.waits = Waits::No;
        }
        queue
    }

    /// No entry is accepted any more; those queued are still written.
    pub(crate) fn close_queue(&self) {
        self.queue().closing = true;
        self.queue_changed.notify_all();
    }

    /// Stops the writer for good: after an error that leaves it unknown what the disk kept.
    pub(crate) fn stop(&self, reason: &str) {
        tracing::error!(reason, "the log's writer stopped");
        let mut progress = self.progress();
        progress.stopped.get_or_insert_with(|| reason.to_owned());
        let waiters = std::mem::take(&mut progress.waiters);
        drop(progress);
        let stopped = || AppendError::Stopped {
            reason: reason.to_owned(),
        };
        for (_, answer) in waiters {
            let _ = answer.send(Err(stopped()));
        }
        let mut queue = self.queue();
        queue.closing = true;
        let entries = std::mem::take(&mut queue.entries);
        drop(queue);
        for entry in entries {
            let _ = entry.answer.send(Err(stopped()));
        }
        self.queue_changed.notify_all();
        self.notify();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a thread could not do its work this time.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The disk is full; nothing else is wrong.
    NoSpace(DiskError),
    /// It is unknown what the disk kept: never go on.
    Stop(String),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        if error.is_no_space() {
            Self::NoSpace(error)
        } else {
            Self::Stop(error.to_string())
        }
    }
}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSpace(error) => Self::NoSpace(error),
            Failure::Stop(reason) => Self::Stopped { reason },
        }
    }
}
