//! Two clocks: a security clock that never goes back, and a watch over steps of the wall clock.
//!
//! The security clock is max(wall clock, newest time ever seen); the newest records of the log and a note beside the rows
//! bring it across a restart, so a key or an approval that has expired stays expired when the wall clock is set back. The price is
//! that a clock once set far ahead keeps the security clock there; both steps are in the log as `clock.stepped`.
//! Durations are measured on the monotonic clock and never on this one.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stockade_evidence::Timestamp;

/// A difference between the clocks that is recorded.
pub const STEP_MIN: Duration = Duration::from_secs(5);

/// The wall clock of this machine.
pub fn wall_clock() -> Timestamp {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => ms(before.duration()).saturating_neg(),
    })
}

/// A clock that never goes back.
#[derive(Debug)]
pub(crate) struct SecurityClock(AtomicI64);

impl SecurityClock {
    /// A clock that has seen `newest`.
    pub(crate) const fn new(newest: Timestamp) -> Self {
        Self(AtomicI64::new(newest.unix_ms()))
    }

    /// The time, where the wall clock says `wall`.
    pub(crate) fn at(&self, wall: Timestamp) -> Timestamp {
        let before = self.0.fetch_max(wall.unix_ms(), Ordering::AcqRel);
        Timestamp::from_unix_ms(before.max(wall.unix_ms()))
    }
}

/// The wall clock moved against the monotonic one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Step {
    /// Milliseconds ahead of where it should be; negative after a step back.
    pub(crate) by_ms: i64,
}

/// Compares two readings at a time.
#[derive(Debug)]
pub(crate) struct StepWatch {
    wall: Timestamp,
    monotonic: Duration,
}

impl StepWatch {
    /// Starts from one reading of both clocks.
    pub(crate) const fn new(wall: Timestamp, monotonic: Duration) -> Self {
        Self { wall, monotonic }
    }

    /// Takes the next reading. A slow drift adds up until it counts as a step, and is then measured from there.
    pub(crate) fn observe(&mut self, wall: Timestamp, monotonic: Duration) -> Option<Step> {
        let passed = i64::try_from(monotonic.saturating_sub(self.monotonic).as_millis()).unwrap_or(i64::MAX);
        let by_ms = wall.unix_ms().saturating_sub(self.wall.plus_ms(passed).unix_ms());
        if u128::from(by_ms.unsigned_abs()) <= STEP_MIN.as_millis() {
            return None;
        }
        *self = Self::new(wall, monotonic);
        Some(Step { by_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000)
    }

    #[test]
    fn the_security_clock_follows_and_never_returns() {
        let clock = SecurityClock::new(at(100));
        assert_eq!(clock.at(at(50)), at(100));
        assert_eq!(clock.at(at(200)), at(200));
        assert_eq!(clock.at(at(150)), at(200));
    }

    #[track_caller]
    fn check(readings: &[(i64, u64)], expected: &[i64]) {
        let mut watch = StepWatch::new(at(1000), Duration::ZERO);
        let steps: Vec<i64> = readings
            .iter()
            .filter_map(|&(wall, monotonic)| watch.observe(at(wall), Duration::from_secs(monotonic)))
            .map(|step| step.by_ms / 1000)
            .collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn steps_over_five_seconds_are_seen_both_ways_and_once() {
        check(&[(1001, 1), (1002, 2), (1003, 3)], &[]);
        check(&[(1006, 1), (1007, 2)], &[]);
        check(&[(1007, 1), (1008, 2)], &[6]);
        check(&[(401, 1), (402, 2)], &[-600]);
        check(&[(4601, 1), (1002, 2)], &[3600, -3600]);
        check(
            &[(1002, 1), (1004, 2), (1006, 3), (1008, 4), (1010, 5), (1012, 6)],
            &[6],
        );
    }
}
