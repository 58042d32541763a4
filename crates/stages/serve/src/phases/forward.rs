//! The sixth phase: the model runs, on a bounded pool, within a deadline.
//!
//! A slot bounds who waits and who runs; a permit bounds who runs. An inference cannot be interrupted: when its time
//! is over its client is answered, and its permit returns when the engine does, so the pool never runs more than its
//! size.

use std::{sync::Arc, time::Duration};

use stockade_evidence::Control;
use stockade_model::{Session, Tensor};
use stockade_protocol::ErrorCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{answer::Refusal, phases::meter::Held};

/// Named tensors.
pub(crate) type Named = Vec<(String, Tensor)>;

/// Where inferences wait and run.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    tracker: TaskTracker,
}

/// The right to wait for a worker.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    /// A run that outlives its answer still counts as its principal's.
    _place: Held,
}

impl Pool {
    pub(crate) fn new(workers: usize, max_queued: usize, tracker: TaskTracker) -> Self {
        let slots = workers.saturating_add(max_queued).min(Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            workers: Arc::new(Semaphore::new(workers)),
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
        let worker = tokio::time::timeout_at(deadline, self.workers.clone().acquire_owned())
            .await
            .map_err(|_| late())?
            .map_err(|_| Refusal::internal())?;
        let running = self.tracker.spawn_blocking(move || {
            let outcome = session.run(inputs);
            drop((worker, slot));
            outcome
        });
        let outcome = tokio::time::timeout_at(deadline, running)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_are_bounded_and_come_back() {
        let pool = Pool::new(1, 1, TaskTracker::new());
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
