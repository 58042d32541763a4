//! A circuit breaker: a replica that fails again and again is left alone for a while, then tried by one request.

use std::{
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One replica's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: NonZeroU32,
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failed: u32,
    /// Set while it is open.
    opened: Option<Instant>,
    /// Whether the one request that tries an open breaker is under way.
    trying: bool,
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leave {
    /// It is closed.
    Free,
    /// It is open, and this request tries it.
    Trial,
}

impl Breaker {
    pub(super) fn new(failures: NonZeroU32, open_for: Duration) -> Self {
        Self {
            failures,
            open_for,
            state: Mutex::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().opened.is_some()
    }

    /// Whether [`Breaker::ask`] would let a request go now.
    pub(super) fn would_let_go(&self, now: Instant) -> bool {
        let state = self.lock();
        state
            .opened
            .is_none_or(|opened| !state.trying && now.duration_since(opened) >= self.open_for)
    }

    /// Lets a request go, or not.
    pub(super) fn ask(&self, now: Instant) -> Option<Leave> {
        let mut state = self.lock();
        let Some(opened) = state.opened else {
            return Some(Leave::Free);
        };
        if state.trying || now.duration_since(opened) < self.open_for {
            return None;
        }
        state.trying = true;
        Some(Leave::Trial)
    }

    pub(super) fn succeeded(&self, leave: Leave) {
        let mut state = self.lock();
        match leave {
            Leave::Trial => *state = State::default(),
            // A straggler from before it opened says nothing about now.
            Leave::Free if state.opened.is_some() => {}
            Leave::Free => state.failed = 0,
        }
    }

    /// Says whether this failure opened it.
    pub(super) fn failed(&self, leave: Leave, now: Instant) -> bool {
        let mut state = self.lock();
        match leave {
            Leave::Trial => {
                state.trying = false;
                state.opened = Some(now);
                false
            }
            Leave::Free if state.opened.is_some() => false,
            Leave::Free => {
                state.failed = state.failed.saturating_add(1);
                let opens = state.failed >= self.failures.get();
                state.opened = opens.then_some(now);
                opens
            }
        }
    }

    /// A request that ended without saying how the replica is.
    pub(super) fn undecided(&self, leave: Leave) {
        match leave {
            Leave::Trial => self.lock().trying = false,
            Leave::Free => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_in_a_row_and_closes_by_a_trial() {
        let open_for = Duration::from_secs(5);
        let breaker = Breaker::new(NonZeroU32::new(2).unwrap(), open_for);
        let start = Instant::now();
        assert!(!breaker.failed(Leave::Free, start));
        breaker.succeeded(Leave::Free);
        assert!(!breaker.failed(Leave::Free, start), "not in a row");
        assert!(breaker.failed(Leave::Free, start) && breaker.is_open());
        breaker.succeeded(Leave::Free);
        assert_eq!(breaker.ask(start), None, "a straggler does not close it");
        let later = start + open_for;
        assert_eq!(breaker.ask(later), Some(Leave::Trial));
        assert_eq!(breaker.ask(later), None, "one trial at a time");
        assert!(!breaker.failed(Leave::Trial, later) && breaker.ask(later).is_none());
        let later = later + open_for;
        assert_eq!(breaker.ask(later), Some(Leave::Trial));
        breaker.undecided(Leave::Trial);
        assert!(breaker.would_let_go(later));
        assert_eq!(breaker.ask(later), Some(Leave::Trial));
        breaker.succeeded(Leave::Trial);
        assert_eq!(breaker.ask(later), Some(Leave::Free));
    }
}
