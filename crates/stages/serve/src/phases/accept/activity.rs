//! What a connection is doing: answering, reading a head, or nothing, and since when.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// No head is being read.
const NONE: u64 = u64::MAX;

/// Shared by a connection's socket, its requests and its watch.
#[derive(Debug)]
pub(crate) struct Activity {
    origin: Instant,
    in_flight: AtomicUsize,
    owes_answer: AtomicBool,
    idle_since_ms: AtomicU64,
    head_since_ms: AtomicU64,
}

/// What the watch should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Look again after this time.
    Fine(Duration),
    /// A head takes too long.
    HeadLate,
    /// Nothing happened for too long.
    Idle,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            in_flight: AtomicUsize::new(0),
            owes_answer: AtomicBool::new(false),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(NONE),
        }
    }

    /// Bytes came in. Between requests they begin a head.
    pub(crate) fn bytes(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            let _ = self.head_since_ms.compare_exchange(
                NONE,
                self.now_ms(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// A request's head is complete.
    pub(crate) fn request(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_since_ms.store(NONE, Ordering::Relaxed);
        self.owes_answer.store(true, Ordering::Relaxed);
        InFlight(self)
    }

    /// All that was written has left.
    pub(crate) fn flushed(&self) {
        if !self.is_busy() {
            self.owes_answer.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a request's answer is still to be written, or being written.
    pub(crate) fn owes_answer(&self) -> bool {
        self.owes_answer.load(Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn state(&self, head: Option<Duration>, idle: Duration) -> State {
        let (head, idle) = (head.map_or(u64::MAX, millis), millis(idle));
        if self.is_busy() {
            return State::Fine(Duration::from_millis(head.min(idle)));
        }
        let now = self.now_ms();
        let head_left = match self.head_since_ms.load(Ordering::Relaxed) {
            NONE => head,
            since => head.saturating_sub(now.saturating_sub(since)),
        };
        let idle_left = idle.saturating_sub(now.saturating_sub(self.idle_since_ms.load(Ordering::Relaxed)));
        match (head_left, idle_left) {
            (0, _) => State::HeadLate,
            (_, 0) => State::Idle,
            (head, idle) => State::Fine(Duration::from_millis(head.min(idle))),
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_millis(100);
    const IDLE: Duration = Duration::from_millis(1000);

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_and_a_silent_connection_end() {
        let activity = Activity::new();
        assert_eq!(activity.state(Some(HEAD), IDLE), State::Fine(HEAD));
        activity.bytes();
        tokio::time::advance(Duration::from_millis(60)).await;
        activity.bytes();
        assert_eq!(
            activity.state(Some(HEAD), IDLE),
            State::Fine(Duration::from_millis(40))
        );
        tokio::time::advance(Duration::from_millis(40)).await;
        assert_eq!(activity.state(Some(HEAD), IDLE), State::HeadLate);
        assert!(matches!(activity.state(None, IDLE), State::Fine(_)));
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.state(None, IDLE), State::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_its_time() {
        let activity = Activity::new();
        activity.bytes();
        let request = activity.request();
        activity.bytes();
        tokio::time::advance(IDLE * 10).await;
        assert!(matches!(activity.state(Some(HEAD), IDLE), State::Fine(_)));
        drop(request);
        assert!(!activity.is_busy());
        assert!(matches!(activity.state(Some(HEAD), IDLE), State::Fine(_)));
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.state(Some(HEAD), IDLE), State::Idle);
    }
}
