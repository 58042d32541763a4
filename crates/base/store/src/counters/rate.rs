//! One GCRA bucket: the theoretical arrival time (TAT) says when everything taken so far will have come back.
//!
//! The interval of one unit is rounded up to whole nanoseconds, so rounding never lets more pass.

use std::time::{Duration, Instant};

use super::{Rate, RetryAfter};

/// What a new key is told when the table is full of keys in use.
pub(crate) const TABLE_FULL: RetryAfter = RetryAfter(Duration::from_secs(1));

/// What can never pass, such as a cost above the burst, is told to come back in an hour.
const NEVER: Duration = Duration::from_secs(3600);
const ROUND_UP: Duration = Duration::from_nanos(1);

#[derive(Debug)]
pub(crate) struct Bucket {
    tat: Option<Instant>,
}

impl Bucket {
    pub(crate) const fn new() -> Self {
        Self { tat: None }
    }

    /// Whether forgetting the bucket gives nobody anything.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.tat.is_none_or(|tat| tat <= now)
    }

    pub(crate) fn take(&mut self, limit: Rate, cost: u32, now: Instant) -> Result<(), RetryAfter> {
        let (increment, tolerance) = intervals(limit, cost).ok_or(RetryAfter(NEVER))?;
        let start = self.tat.map_or(now, |tat| tat.max(now));
        let tat = start.checked_add(increment).ok_or(RetryAfter(NEVER))?;
        // ITU-T I.371: a cell conforms unless its new TAT lies further ahead than the whole burst.
        let ahead = tat.duration_since(now);
        if ahead > tolerance {
            return Err(RetryAfter((ahead - tolerance).min(NEVER)));
        }
        self.tat = Some(tat);
        Ok(())
    }
}

/// How long `cost` units take to come back, and how long the whole burst does. One unit is rounded up to whole
/// nanoseconds, so rounding only ever slows a rate.
fn intervals(limit: Rate, cost: u32) -> Option<(Duration, Duration)> {
    if !(limit.per_second.is_finite() && limit.per_second > 0.0) || cost > limit.burst {
        return None;
    }
    let unit = Duration::try_from_secs_f64(1.0 / limit.per_second)
        .ok()?
        .checked_add(ROUND_UP)?;
    Some((unit.checked_mul(cost)?, unit.checked_mul(limit.burst)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Rate = Rate {
        per_second: 10.0,
        burst: 5,
    };

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let start = Instant::now();
        let mut bucket = Bucket::new();
        for _ in 0..5 {
            bucket.take(LIMIT, 1, start).unwrap();
        }
        assert_eq!(
            bucket.take(LIMIT, 1, start),
            Err(RetryAfter(Duration::from_nanos(100_000_001)))
        );
        let later = start + Duration::from_nanos(100_000_001);
        bucket.take(LIMIT, 1, later).unwrap();
        assert!(bucket.take(LIMIT, 1, later).is_err());
    }

    #[test]
    fn what_never_fits_is_refused_and_costs_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::new();
        for limit in [
            Rate {
                per_second: 0.0,
                burst: 5,
            },
            Rate {
                per_second: -1.0,
                burst: 5,
            },
            Rate {
                per_second: f64::NAN,
                burst: 5,
            },
            Rate {
                per_second: f64::INFINITY,
                burst: 5,
            },
            Rate {
                per_second: 1e-300,
                burst: 5,
            },
            Rate {
                per_second: 10.0,
                burst: 0,
            },
        ] {
            assert!(bucket.take(limit, 1, now).is_err(), "{limit:?}");
        }
        assert!(bucket.take(LIMIT, 6, now).is_err());
        assert!(bucket.is_full(now));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_back(
            per_second in 0.1f64..5_000.0,
            burst in 1u32..200,
            steps in prop::collection::vec((0u64..500_000_000, 1u32..20), 1..300),
        ) {
            let limit = Rate { per_second, burst };
            let start = Instant::now();
            let (mut bucket, mut passed, mut now) = (Bucket::new(), 0u64, start);
            for (wait, cost) in steps {
                now += Duration::from_nanos(wait);
                if bucket.take(limit, cost, now).is_ok() {
                    passed += u64::from(cost);
                }
                let allowed = f64::from(burst) + per_second * (now - start).as_secs_f64();
                #[expect(clippy::cast_precision_loss, reason = "counts here are small")]
                let passed = passed as f64;
                prop_assert!(passed <= allowed + 1e-6, "{passed} of {allowed}");
            }
        }

        #[test]
        fn waiting_as_told_is_enough(per_second in 0.1f64..5_000.0, burst in 1u32..50) {
            let limit = Rate { per_second, burst };
            let now = Instant::now();
            let mut bucket = Bucket::new();
            while bucket.take(limit, 1, now).is_ok() {}
            let RetryAfter(wait) = bucket.take(limit, 1, now).unwrap_err();
            prop_assert!(bucket.take(limit, 1, now + wait).is_ok());
        }
    }
}
