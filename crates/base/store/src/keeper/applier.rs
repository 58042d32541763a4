//! From a commit to rows: expectations and log order under one short lock, then one task that applies in log order.
//!
//! Rows that commits in flight will change are counted by key, from before the append until after the transaction. A
//! commit that expects something of such a row waits; one that only overwrites it does not, for the log orders both.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    sync::{Mutex, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use stockade_evidence::Change;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Shared, open::CLOCK};
use crate::{
    clock::wall_clock,
    commit::{Appended, Expect, change_key},
    error::{AppendError, Closed, CommitError, ProjectionBehind},
    log,
    rows::{Batch, Position},
};

/// Commits that may wait for the disk at once; more wait for a place.
const IN_FLIGHT_MAX: usize = 1024;
/// How long a commit waits for a place in the log's queue: 5,000 times 1 ms.
const QUEUE_TRIES: u32 = 5_000;
const QUEUE_WAIT: Duration = Duration::from_millis(1);
/// Commits that one transaction applies.
const BATCH_MAX: usize = 128;

type Key = (String, String);

/// The way from callers to the applier.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: tokio::sync::Mutex<Option<mpsc::Sender<Submission>>>,
    in_flight: Mutex<HashMap<Key, usize>>,
    settled: Notify,
}

/// A commit whose place in the log is fixed.
#[derive(Debug)]
pub(crate) struct Submission {
    durable: oneshot::Receiver<Result<u64, log::AppendError>>,
    changes: Vec<Change>,
    done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Queue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Submission>) {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        let queue = Self {
            sender: tokio::sync::Mutex::new(Some(sender)),
            in_flight: Mutex::new(HashMap::new()),
            settled: Notify::new(),
        };
        (queue, receiver)
    }

    /// Takes no more commits; those in flight are applied.
    pub(crate) async fn close(&self) {
        self.sender.lock().await.take();
        self.settled.notify_waiters();
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<Key, usize>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, changes: &[Change]) {
        let mut in_flight = self.in_flight();
        for (kind, id) in changes.iter().map(change_key) {
            *in_flight.entry((kind.to_owned(), id.to_owned())).or_default() += 1;
        }
    }

    fn leave<'a>(&self, changes: impl Iterator<Item = &'a Change>) {
        let mut in_flight = self.in_flight();
        for (kind, id) in changes.map(change_key) {
            if let Entry::Occupied(mut entry) = in_flight.entry((kind.to_owned(), id.to_owned())) {
                if *entry.get() <= 1 {
                    entry.remove();
                } else {
                    *entry.get_mut() -= 1;
                }
            }
        }
        drop(in_flight);
        self.settled.notify_waiters();
    }

    fn is_in_flight(&self, expect: &[Expect]) -> bool {
        let in_flight = self.in_flight();
        expect
            .iter()
            .any(|expect| in_flight.contains_key(&(expect.kind().to_owned(), expect.id().to_owned())))
    }

    fn is_empty(&self) -> bool {
        self.in_flight().is_empty()
    }
}

impl Shared {
    pub(crate) async fn submit(
        &self,
        leaf: Vec<u8>,
        changes: Vec<Change>,
        expect: Vec<Expect>,
    ) -> Result<Appended, CommitError> {
        let answer = loop {
            let settled = self.queue.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let order = self.queue.sender.lock().await;
            let Some(sender) = order.as_ref() else {
                return Err(AppendError::from(Closed).into());
            };
            if self.behind.load(Ordering::Acquire) {
                return Err(AppendError::from(ProjectionBehind).into());
            }
            if !self.queue.is_in_flight(&expect) {
                self.check_expected(&expect).await?;
                let place = sender.reserve().await.map_err(|_| AppendError::from(Closed))?;
                let (done, answer) = oneshot::channel();
                let durable = self.append_in_turn(leaf).await;
                // Nothing is awaited between the append and `send`: a caller that gives up leaves no half-made commit.
                self.queue.enter(&changes);
                place.send(Submission {
                    durable,
                    changes,
                    done,
                });
                break answer;
            }
            drop(order);
            settled.await;
        };
        Ok(answer.await.map_err(|_| AppendError::from(Closed))??)
    }

    /// Appends without letting go of the turn: while other records fill the log's queue, this one waits for its place.
    async fn append_in_turn(&self, leaf: Vec<u8>) -> oneshot::Receiver<Result<u64, log::AppendError>> {
        for _ in 0..QUEUE_TRIES {
            let mut durable = self.log.append(leaf.clone());
            match durable.try_recv() {
                Ok(Err(log::AppendError::Overloaded)) => tokio::time::sleep(QUEUE_WAIT).await,
                Ok(answer) => {
                    let (sender, receiver) = oneshot::channel();
                    let _ = sender.send(answer);
                    return receiver;
                }
                Err(_) => return durable,
            }
        }
        self.log.append(leaf)
    }

    /// Runs `work` while no commit is in flight and none can start.
    pub(crate) async fn quiet<T>(&self, work: impl Future<Output = T>) -> Result<T, AppendError> {
        loop {
            let settled = self.queue.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let order = self.queue.sender.lock().await;
            if order.is_none() {
                return Err(Closed.into());
            }
            if self.queue.is_empty() {
                return Ok(work.await);
            }
            drop(order);
            settled.await;
        }
    }

    async fn check_expected(&self, expect: &[Expect]) -> Result<(), CommitError> {
        for expect in expect {
            let (kind, id) = (expect.kind(), expect.id());
            let row = self
                .rows
                .row(kind, id)
                .await
                .map_err(crate::error::ReadError::from)?;
            let holds = match (expect, row) {
                (Expect::Absent { .. }, None) => true,
                (Expect::At { log_index, .. }, Some(row)) => row.log_index == *log_index,
                (Expect::Absent { .. }, Some(_)) | (Expect::At { .. }, None) => false,
            };
            if !holds {
                return Err(CommitError::Conflict {
                    kind: kind.to_owned(),
                    id: id.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Remembers the security clock, so that records with older times do not hide it from the next start.
    pub(crate) async fn remember_clock(&self) -> Result<(), crate::rows::RowsError> {
        let ms = u64::try_from(self.clock.at(wall_clock()).unix_ms()).unwrap_or(0);
        self.rows
            .backend()
            .set_position(
                CLOCK,
                &Position {
                    origin: CLOCK.to_owned(),
                    size: ms,
                },
            )
            .await
    }

    /// Remembers that every entry up to the end of the log is applied, so that the next start looks no further back.
    pub(crate) async fn remember_applied(&self) -> Result<(), crate::rows::RowsError> {
        if self.behind.load(Ordering::Acquire) {
            return Ok(());
        }
        let applied = Position {
            origin: self.log.origin(),
            size: self.log.durable_size(),
        };
        self.rows
            .apply(&Batch {
                changes: Vec::new(),
                applied,
            })
            .await
    }
}

/// A commit that is durable and waits for its transaction.
struct Ready {
    index: u64,
    changes: Vec<Change>,
    done: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Applies what was submitted, in order, until the queue is closed and empty or nobody holds the keeper any more; what
/// is durable by then and not applied is applied at the next start.
pub(crate) async fn run(shared: Weak<Shared>, mut submissions: mpsc::Receiver<Submission>) {
    let mut waiting = Vec::new();
    while submissions.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let Some(shared) = shared.upgrade() else { return };
        let mut ready = Vec::new();
        for submission in waiting.drain(..) {
            let Submission {
                durable,
                changes,
                done,
            } = submission;
            match super::answer(durable).await {
                Ok(index) => ready.push(Ready { index, changes, done }),
                Err(error) => {
                    shared.queue.leave(changes.iter());
                    let _ = done.send(Err(error));
                }
            }
        }
        shared.apply(ready).await;
    }
}

impl Shared {
    async fn apply(&self, ready: Vec<Ready>) {
        let Some(last) = ready.last().map(|last| last.index) else {
            return;
        };
        let origin = self.log.origin();
        let mut batch = Batch {
            changes: Vec::new(),
            applied: Position {
                origin: origin.clone(),
                size: last.saturating_add(1),
            },
        };
        let mut answers = Vec::new();
        for Ready { index, changes, done } in ready {
            batch
                .changes
                .extend(changes.into_iter().map(|change| (index, change)));
            answers.push((index, done));
        }
        let applied = if self.behind.load(Ordering::Acquire) {
            Err(ProjectionBehind)
        } else {
            self.rows.apply(&batch).await.map_err(|error| {
                tracing::error!(%error, "a durable change could not be applied; reads and commits are refused");
                self.behind.store(true, Ordering::Release);
                ProjectionBehind
            })
        };
        self.queue.leave(batch.changes.iter().map(|(_, change)| change));
        self.changes.send_replace(last);
        for (index, done) in answers {
            let answer = applied
                .map(|()| Appended {
                    origin: origin.clone(),
                    index,
                })
                .map_err(AppendError::from);
            let _ = done.send(answer);
        }
    }
}
