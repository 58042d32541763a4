//! The embedded engine: models run on a bounded pool, within a deadline.
//!
//! A slot bounds who waits and who runs; a worker runs one model at a time. A worker is a thread of the engine's own, so
//! that a request changes threads once on its way into the engine and once back, and connections' threads never wait for a model.
//! An inference cannot be interrupted: when its time is over its client is answered, and slot and worker return when the
//! engine does. One that nobody waits for any more by its turn is not begun.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stockade_evidence::Control;
use stockade_model::{RunError, Session, Threads};
use stockade_protocol::ErrorCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::Named;
use crate::{answer::Refusal, phases::meter::Held};

/// Where inferences wait and run.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
    queue: Arc<Queue>,
    workers: usize,
    /// Threads of each worker, which one inference may use.
    threads: NonZeroUsize,
    tracker: TaskTracker,
}

/// The right to wait for a worker.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    /// A run that outlives its answer still counts as its principal's.
    _place: Held,
}

/// One inference.
#[derive(Debug)]
struct Job {
    session: Arc<Session>,
    inputs: Named,
    slot: Slot,
    answer: oneshot::Sender<Result<Named, RunError>>,
}

/// Jobs on their way to the workers.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

// INVARIANT: `idle` workers wait, of `started`. Who is woken and who wakes by itself find the same queue.
#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    started: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(
        workers: usize,
        max_queued: usize,
        threads: NonZeroUsize,
        tracker: TaskTracker,
    ) -> Self {
        let slots = workers.saturating_add(max_queued).min(Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            queue: Arc::default(),
            workers,
            threads,
            tracker,
        }
    }

    /// Takes a slot for a request in its `place`, if one is free.
    pub(crate) fn enter(&self, place: Held) -> Result<Slot, Refusal> {
        match self.slots.clone().try_acquire_owned() {
            Ok(permit) => Ok(Slot {
                _permit: permit,
                _place: place,
            }),
            Err(_) => Err(Refusal::new(
                ErrorCode::Unavailable,
                Control::RateLimits,
                "too many requests are waiting for a model",
            )
            .after(Duration::from_secs(1))),
        }
    }

    /// Runs the model once, before `deadline`.
    pub(crate) async fn run(
        &self,
        session: Arc<Session>,
        inputs: Named,
        slot: Slot,
        deadline: Instant,
    ) -> Result<Named, Refusal> {
        let late = || {
            Refusal::new(
                ErrorCode::UpstreamTimeout,
                Control::RateLimits,
                "the model did not answer in time",
            )
        };
        // A fast model would still answer whom nobody waits for any more.
        if deadline <= Instant::now() {
            return Err(late());
        }
        let (answer, outcome) = oneshot::channel();
        self.submit(Job {
            session,
            inputs,
            slot,
            answer,
        });
        let outcome = tokio::time::timeout_at(deadline, outcome)
            .await
            .map_err(|_| late())?
            .map_err(|_| Refusal::internal())?;
        outcome.map_err(|error| {
            if error.is_input() {
                Refusal::invalid("the input does not fit the model")
            } else {
                tracing::error!(phase = "forward", %error, "the engine failed");
                Refusal::new(
                    ErrorCode::UpstreamFailed,
                    Control::RunningModelIntegrity,
                    "the model failed",
                )
            }
        })
    }

    /// Runs what is queued and ends the workers.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }

    fn submit(&self, job: Job) {
        let mut state = self.queue.lock();
        if state.closed {
            return;
        }
        state.jobs.push_back(job);
        let (wake, start) = (
            state.idle > 0,
            state.idle < state.jobs.len() && state.started < self.workers,
        );
        state.started += usize::from(start);
        drop(state);
        if wake {
            self.queue.changed.notify_one();
        }
        if start {
            let (queue, threads) = (self.queue.clone(), self.threads);
            self.tracker.spawn_blocking(move || queue.work(threads));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// A worker's life, on a thread of the engine's own.
    fn work(&self, threads: NonZeroUsize) {
        let _started = Started(self);
        let threads = Threads::new(threads.get());
        threads.enter(|| {
            while let Some(job) = self.take() {
                let Job {
                    session,
                    inputs,
                    slot,
                    answer,
                } = job;
                if answer.is_closed() {
                    continue;
                }
                let outcome = session.run_on(inputs, &threads);
                drop(slot);
                let _ = answer.send(outcome);
            }
        });
    }

    /// The next job; none when the pool has closed and the queue is empty.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker; should one ever panic, another takes its place.
struct Started<'a>(&'a Queue);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.0.lock().started -= 1;
    }
}

#[cfg(test)]
mod tests {
    use stockade_model::{EngineChoice, Graph, Limits, Tensor, TensorData};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn one_worker_runs_all_and_ends_with_the_pool() {
        let tracker = TaskTracker::new();
        let pool = Pool::new(1, 8, NonZeroUsize::MIN, tracker.clone());
        let shares = crate::phases::meter::Shares::new(9);
        let bytes = include_bytes!("../../../../../../examples/digits/digits.onnx");
        let graph = Graph::from_onnx(bytes, &stockade_model::NoExternalData, &Limits::default()).unwrap();
        let session = Arc::new(Session::load(&graph, &EngineChoice::Rten, 1).unwrap());
        let run = || {
            let slot = pool.enter(shares.of(&"a".parse().unwrap())).unwrap();
            let pixels = Tensor::new(vec![1, 64], TensorData::F32(vec![1.0; 64])).unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            pool.run(
                session.clone(),
                vec![("pixels".to_owned(), pixels)],
                slot,
                deadline,
            )
        };
        let (first, second, third) = tokio::join!(run(), run(), run());
        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        assert_eq!(tracker.len(), 1, "one worker");
        drop(pool);
        tracker.close();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn slots_are_bounded_and_come_back() {
        let pool = Pool::new(1, 1, NonZeroUsize::MIN, TaskTracker::new());
        let shares = crate::phases::meter::Shares::new(9);
        let place = || shares.of(&"a".parse().unwrap());
        let (first, second) = (pool.enter(place()).unwrap(), pool.enter(place()).unwrap());
        let refusal = pool.enter(place()).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.retry_after),
            (ErrorCode::Unavailable, Some(Duration::from_secs(1)))
        );
        drop(first);
        assert!(pool.enter(place()).is_ok());
        drop(second);
    }
}
