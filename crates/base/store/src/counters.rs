//! Rates and daily budgets, in process and bounded, behind a trait ([`CounterStore`]) that a shared backend passes too.
//!
//! A rate is the generic cell rate algorithm (GCRA; ITU-T I.371, annex A): one theoretical arrival time per key. A
//! budget reserves before the work and settles after it; what was used is rebuilt from the log at start.
//! Invariants: at most `burst + per_second * t` units pass in any t seconds; a settlement never gives back more than its
//! reservation took; nobody gains by an eviction, for only a full bucket or a past day is ever evicted; when
//! the table is full of entries in use, new keys are refused. Time comes in as an argument.

mod budget;
mod rate;
mod table;

use std::{
    borrow::Borrow,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use self::{budget::Budget, rate::Bucket, table::Table};

const SHARDS: usize = 16;
const SHARDS_U64: u64 = 16;
const KEYS_MAX: usize = 100_000;

/// What is counted: a principal, a model, or both, spelled by the caller.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CounterKey(Arc<str>);

impl CounterKey {
    /// The key with this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for CounterKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// How fast a key may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units that come back each second.
    pub per_second: f64,
    /// Units that may pass at once.
    pub burst: u32,
}

/// The rate is spent: not before this has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the rate limit is reached: try again in {:.1} s", .0.as_secs_f64())]
pub struct RetryAfter(pub Duration);

/// The day's budget is spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the daily budget is spent\nhint: it starts again at midnight UTC")]
pub struct BudgetSpent {
    /// From the start of the day given to the start of the next; subtract the time of day.
    pub resets_in: Duration,
}

/// Units taken from a day's budget that are not settled yet. Dropped without settling, they stay taken.
#[derive(Debug)]
#[must_use = "a reservation that is not settled stays taken until the day ends"]
pub struct Reservation {
    pub(crate) key: CounterKey,
    pub(crate) day: u32,
    pub(crate) cost: u64,
}

impl Reservation {
    /// How much it took.
    pub const fn cost(&self) -> u64 {
        self.cost
    }
}

/// What a backend of counters must do. Redis will pass the same suite.
pub trait CounterStore: Send + Sync {
    /// Lets `cost` units pass now, or says when to come again.
    fn take(&self, key: &CounterKey, limit: Rate, cost: u32, now: Instant) -> Result<(), RetryAfter>;

    /// Takes `cost` units from the budget of `day` (days since the epoch, UTC), whose size is `cap`.
    fn reserve(&self, key: &CounterKey, day: u32, cap: u64, cost: u64) -> Result<Reservation, BudgetSpent>;

    /// Replaces what was reserved by what was used. More than was reserved counts whole.
    fn settle(&self, reservation: Reservation, actual: u64);

    /// What `day` has used, reservations included.
    fn used(&self, key: &CounterKey, day: u32) -> u64;

    /// Sets what `day` has used at least, as the log says.
    fn restore(&self, key: &CounterKey, day: u32, used: u64);
}

/// Counters of one process.
#[derive(Debug)]
pub struct Counters {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug)]
struct Shard {
    rates: Table<Bucket>,
    budgets: Table<Budget>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Counters for 100,000 rates and as many budgets.
    pub fn new() -> Self {
        Self::with_capacity(KEYS_MAX)
    }

    /// Counters for about `keys` rates and as many budgets. Keys spread over 16 tables by a keyed hash; a table that is
    /// full refuses new keys.
    pub fn with_capacity(keys: usize) -> Self {
        let each = keys.div_ceil(SHARDS).max(1);
        let shard = || {
            Mutex::new(Shard {
                rates: Table::new(each),
                budgets: Table::new(each),
            })
        };
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Lets `cost` units pass now, or says when to come again.
    pub fn take(&self, key: &CounterKey, limit: Rate, cost: u32, now: Instant) -> Result<(), RetryAfter> {
        self.with(key, |shard| {
            let bucket = shard.rates.entry(key, Bucket::new, |bucket| bucket.is_full(now));
            bucket.map_or(Err(rate::TABLE_FULL), |bucket| bucket.take(limit, cost, now))
        })
        .unwrap_or(Err(rate::TABLE_FULL))
    }

    /// Takes `cost` units from the budget of `day` (days since the epoch, UTC), whose size is `cap`.
    pub fn reserve(
        &self,
        key: &CounterKey,
        day: u32,
        cap: u64,
        cost: u64,
    ) -> Result<Reservation, BudgetSpent> {
        self.with(key, |shard| {
            let budget = shard
                .budgets
                .entry(key, Budget::new, |budget| budget.is_past(day));
            budget.map_or(Err(budget::SPENT), |budget| budget.reserve(day, cap, cost))
        })
        .unwrap_or(Err(budget::SPENT))?;
        Ok(Reservation {
            key: key.clone(),
            day,
            cost,
        })
    }

    /// Replaces what was reserved by what was used. More than was reserved counts whole.
    pub fn settle(&self, reservation: Reservation, actual: u64) {
        let Reservation { key, day, cost } = reservation;
        self.with(&key, |shard| {
            if let Some(budget) = shard.budgets.get_mut(&key) {
                budget.settle(day, cost, actual);
            }
        });
    }

    /// What `day` has used, reservations included.
    pub fn used(&self, key: &CounterKey, day: u32) -> u64 {
        self.with(key, |shard| {
            shard.budgets.get_mut(key).map_or(0, |budget| budget.used(day))
        })
        .unwrap_or(0)
    }

    /// Sets what `day` has used at least, as the log says.
    pub fn restore(&self, key: &CounterKey, day: u32, used: u64) {
        self.with(key, |shard| {
            if let Some(budget) = shard
                .budgets
                .entry(key, Budget::new, |budget| budget.is_past(day))
            {
                budget.restore(day, used);
            }
        });
    }

    fn with<R>(&self, key: &CounterKey, work: impl FnOnce(&mut Shard) -> R) -> Option<R> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS_U64).unwrap_or(0);
        let mut shard = self
            .shards
            .get(hash)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(work(&mut shard))
    }
}

impl CounterStore for Counters {
    fn take(&self, key: &CounterKey, limit: Rate, cost: u32, now: Instant) -> Result<(), RetryAfter> {
        self.take(key, limit, cost, now)
    }

    fn reserve(&self, key: &CounterKey, day: u32, cap: u64, cost: u64) -> Result<Reservation, BudgetSpent> {
        self.reserve(key, day, cap, cost)
    }

    fn settle(&self, reservation: Reservation, actual: u64) {
        self.settle(reservation, actual);
    }

    fn used(&self, key: &CounterKey, day: u32) -> u64 {
        self.used(key, day)
    }

    fn restore(&self, key: &CounterKey, day: u32, used: u64) {
        self.restore(key, day, used);
    }
}
