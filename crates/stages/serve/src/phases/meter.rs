//! The fourth phase: rates, the day's budget and each principal's share of what runs at once (control 30).
//!
//! A principal has a share of the requests that are in the gateway at once, and of the memory for their bodies: what one
//! holds, slowly or in great number, leaves room for the others.
//!
//! Keys of counters are verified principals and served models, never what a request claims. A budget is reserved before
//! the work and settled after it: what was not admitted gives its unit back, and what was admitted is in the log,
//! from which the day's use is rebuilt before the port opens, so that a restart does not refill it.

mod share;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use stockade_access::PrincipalId;
use stockade_evidence::{Actor, Control, Event, Record, Timestamp};
use stockade_protocol::ErrorCode;
use stockade_store::{CounterKey, Counters, Keeper, OpenError, Rate, Reservation};

use crate::{
    answer::Refusal,
    config::{Limits, RateLimit},
};

pub(crate) use self::share::{Held, Shares};

const MS_PER_DAY: i64 = 86_400_000;

/// A unit of the day's budget. It is given back unless the request was admitted.
#[derive(Debug)]
pub(crate) struct Reserved {
    reservation: Reservation,
}

impl Reserved {
    /// The request was admitted.
    pub(crate) fn spend(self, counters: &Counters) {
        let cost = self.reservation.cost();
        counters.settle(self.reservation, cost);
    }

    /// The request was refused.
    pub(crate) fn give_back(self, counters: &Counters) {
        counters.settle(self.reservation, 0);
    }
}

/// Counts one request of `who` against the principal's rate.
pub(crate) fn principal(
    counters: &Counters,
    limits: &Limits,
    who: &PrincipalId,
    now: Instant,
) -> Result<(), Refusal> {
    take(counters, &rate_key(who), limits.principal, now)
}

/// Counts one request of `who` at `model` against their common rate.
pub(crate) fn model(
    counters: &Counters,
    limit: RateLimit,
    who: &PrincipalId,
    model: &str,
    now: Instant,
) -> Result<(), Refusal> {
    take(
        counters,
        &CounterKey::new(format!("model:{who}:{model}")),
        limit,
        now,
    )
}

/// Takes a place among the requests of `who` that are in the gateway at once.
pub(crate) fn place(shares: &Shares, who: &PrincipalId) -> Result<Held, Refusal> {
    let mut place = shares.of(who);
    if place.take(1) { Ok(place) } else { Err(crowded()) }
}

/// The principal's share is taken.
pub(crate) fn crowded() -> Refusal {
    Refusal::new(
        ErrorCode::RateLimited,
        Control::RateLimits,
        "too many requests at once",
    )
    .after(Duration::from_secs(1))
}

/// Reserves one unit of the day's budget of `who`.
pub(crate) fn reserve(
    counters: &Counters,
    limits: &Limits,
    who: &PrincipalId,
    now: Timestamp,
) -> Result<Reserved, Refusal> {
    let reservation = counters
        .reserve(&budget_key(who), now.day(), limits.daily_budget, 1)
        .map_err(|_| {
            Refusal::new(
                ErrorCode::BudgetSpent,
                Control::RateLimits,
                "the budget of this day (UTC) is spent",
            )
            .after(until_midnight(now))
        })?;
    Ok(Reserved { reservation })
}

/// Whether a refusal of `who` still gets a record of its own.
pub(crate) fn refusal_record(counters: &Counters, limits: &Limits, who: &PrincipalId, now: Instant) -> bool {
    let key = CounterKey::new(format!("refusals:{who}"));
    counters.take(&key, rate(limits.refusal_records), 1, now).is_ok()
}

/// Sets the budgets of the running day to what the log says was admitted.
pub(crate) async fn rebuild(keeper: &Keeper, now: Timestamp) -> Result<(), OpenError> {
    let mut used: HashMap<String, u64> = HashMap::new();
    let midnight = now.plus_ms(-now.unix_ms().rem_euclid(MS_PER_DAY));
    let mut count = |_: u64, record: &Record| {
        if let (Event::RequestAdmitted, Actor::Principal { id }) = (record.event, &record.actor)
            && record.time >= midnight
        {
            let count = used.entry(id.clone()).or_default();
            *count = count.saturating_add(1);
        }
    };
    keeper.entries_since(midnight, &mut count).await?;
    for (id, used) in used {
        // Only principals that parse ever reserve; any other id is not of this gateway.
        if let Ok(who) = id.parse::<PrincipalId>() {
            keeper.counters().restore(&budget_key(&who), now.day(), used);
        }
    }
    Ok(())
}

fn take(counters: &Counters, key: &CounterKey, limit: RateLimit, now: Instant) -> Result<(), Refusal> {
    counters.take(key, rate(limit), 1, now).map_err(|wait| {
        Refusal::new(
            ErrorCode::RateLimited,
            Control::RateLimits,
            "too many requests in a short time",
        )
        .after(wait.0)
    })
}

const fn rate(limit: RateLimit) -> Rate {
    let burst: NonZeroU32 = limit.burst;
    Rate {
        per_second: limit.per_second.get(),
        burst: burst.get(),
    }
}

fn rate_key(who: &PrincipalId) -> CounterKey {
    CounterKey::new(format!("principal:{who}"))
}

fn budget_key(who: &PrincipalId) -> CounterKey {
    CounterKey::new(format!("day:{who}"))
}

fn until_midnight(now: Timestamp) -> Duration {
    let passed = now.unix_ms().rem_euclid(MS_PER_DAY);
    Duration::from_millis(MS_PER_DAY.saturating_sub(passed).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(id: &str) -> PrincipalId {
        id.parse().unwrap()
    }

    fn limits(json: serde_json::Value) -> Limits {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_rate_is_per_principal_and_says_when_to_come_again() {
        let (counters, now) = (Counters::new(), Instant::now());
        let limits = limits(serde_json::json!({"principal": {"per_second": 10.0, "burst": 3}}));
        for _ in 0..3 {
            principal(&counters, &limits, &who("a"), now).unwrap();
        }
        let refusal = principal(&counters, &limits, &who("a"), now).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert!(
            refusal
                .retry_after
                .is_some_and(|wait| wait <= Duration::from_millis(101))
        );
        principal(&counters, &limits, &who("b"), now).unwrap();
        principal(&counters, &limits, &who("a"), now + Duration::from_millis(101)).unwrap();
    }

    #[test]
    fn a_principal_and_a_model_are_counted_together() {
        let (counters, now) = (Counters::new(), Instant::now());
        let limit: RateLimit =
            serde_json::from_value(serde_json::json!({"per_second": 1.0, "burst": 1})).unwrap();
        model(&counters, limit, &who("a"), "m", now).unwrap();
        assert!(model(&counters, limit, &who("a"), "m", now).is_err());
        model(&counters, limit, &who("a"), "n", now).unwrap();
        model(&counters, limit, &who("b"), "m", now).unwrap();
    }

    #[test]
    fn a_budget_gives_back_what_was_not_admitted() {
        let counters = Counters::new();
        let limits = limits(serde_json::json!({"daily_budget": 2}));
        let now = Timestamp::from_unix_ms(MS_PER_DAY * 20_000 + 1000);
        reserve(&counters, &limits, &who("a"), now)
            .unwrap()
            .spend(&counters);
        reserve(&counters, &limits, &who("a"), now)
            .unwrap()
            .give_back(&counters);
        reserve(&counters, &limits, &who("a"), now)
            .unwrap()
            .spend(&counters);
        let refusal = reserve(&counters, &limits, &who("a"), now).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BudgetSpent);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(86_399)));
        assert!(reserve(&counters, &limits, &who("a"), now.plus_ms(MS_PER_DAY)).is_ok());
    }
}
