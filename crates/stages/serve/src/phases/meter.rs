//! The fourth phase: rates, the day's budget and each principal's share of what runs at once (control 30).
//!
//! A principal has a share of the requests that are in the gateway at once, and of the memory for their bodies: what one
//! holds, slowly or in great number, leaves room for the others.
//!
//! Keys of counters are verified principals and served models, never what a request claims. A budget is reserved before
//! the work and settled after it: what was not admitted gives its unit back, and what was admitted is in the log,
//! from which the day's use is rebuilt before the port opens, so that a restart does not refill it.

mod information;
mod share;

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use stockade_access::PrincipalId;
use stockade_evidence::{Control, Timestamp};
use stockade_model::{Signature, Tensor};
use stockade_protocol::ErrorCode;
use stockade_store::{AdmittedError, CounterKey, Counters, Rate, Reservation, Station};

use crate::{
    answer::Refusal,
    config::{Limits, RateLimit},
};

pub(crate) use self::{
    information::{RowBits, row_bits},
    share::{Held, Shares},
};

const MS_PER_DAY: i64 = 86_400_000;

/// A part of a day's budget. It is given back unless the request was admitted.
#[derive(Debug)]
pub(crate) struct Reserved {
    reservation: Reservation,
}

/// What one answer can carry, reserved where a budget bounds it.
#[derive(Debug)]
pub(crate) struct Carried {
    row: Option<RowBits>,
    rows: u64,
    bits: u64,
    reserved: Option<Reserved>,
}

impl Reserved {
    /// The request was admitted.
    pub(crate) fn spend(self, counters: &Counters) {
        let cost = self.reservation.cost();
        counters.settle(self.reservation, cost);
    }

    /// The request was admitted, and its answer cost as much.
    pub(crate) fn settle(self, counters: &Counters, actual: u64) {
        counters.settle(self.reservation, actual);
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
    take(counters, &rate_key(who), "rate", limits.principal, 1, now)
}

/// Counts the rows and the bytes of a request against those that `who` may send.
pub(crate) fn size(
    counters: &Counters,
    limits: &Limits,
    who: &PrincipalId,
    (rows, bytes): (u64, usize),
    now: Instant,
) -> Result<(), Refusal> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    for (what, limit, count) in [("rows", limits.rows, rows), ("bytes", limits.bytes, bytes)] {
        let Some(limit) = limit else { continue };
        let Ok(count) = u32::try_from(count).map(|count| count.min(limit.burst.get().saturating_add(1)))
        else {
            return Err(Refusal::invalid("the request is larger than any limit"));
        };
        if count > limit.burst.get() {
            let most = limit.burst;
            return Err(Refusal::invalid(format!(
                "a request may hold {most} {what} at most"
            )));
        }
        let key = CounterKey::new(format!("{what}:{who}"));
        take(counters, &key, what, limit, count, now)?;
    }
    Ok(())
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
        "rate",
        limit,
        1,
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
            .limited_by("day")
        })?;
    Ok(Reserved { reservation })
}

/// What is left of the day's budget of `who`, and the seconds until the next one, where less than a tenth is left.
pub(crate) fn left(
    counters: &Counters,
    limits: &Limits,
    who: &PrincipalId,
    now: Timestamp,
) -> Option<(u64, u64)> {
    let left = limits
        .daily_budget
        .saturating_sub(counters.used(&budget_key(who), now.day()));
    (left < limits.daily_budget / 10).then(|| (left, until_midnight(now).as_secs().saturating_add(1)))
}

/// Reserves `bits` of what the answers of `model` to `who` may carry in a day.
fn reserve_bits(
    counters: &Counters,
    budget: u64,
    (who, model): (&PrincipalId, &str),
    bits: u64,
    now: Timestamp,
) -> Result<Reserved, Refusal> {
    let reservation = counters
        .reserve(&bits_key(who, model), now.day(), budget, bits)
        .map_err(|_| {
            Refusal::new(
                ErrorCode::BudgetSpent,
                Control::ExtractionDetection,
                "what is left of this day's budget (UTC) of information is less than the answer can carry",
            )
            .after(until_midnight(now))
            .limited_by("bits")
        })?;
    Ok(Reserved { reservation })
}

/// Reserves what an answer to `rows` rows can carry. Where nothing bounds that and a budget does, it is refused.
pub(crate) fn carry(
    counters: &Counters,
    budget: Option<u64>,
    whom: (&PrincipalId, &str),
    (row, rows): (Option<RowBits>, u64),
    now: Timestamp,
) -> Result<Carried, Refusal> {
    let bits = row.map_or(0, |row| row.reserve(rows));
    let reserved = match (budget, row) {
        (Some(budget), Some(_)) => Some(reserve_bits(counters, budget, whom, bits, now)?),
        (Some(_), None) => return Err(Refusal::internal()),
        (None, Some(_) | None) => None,
    };
    Ok(Carried {
        row,
        rows,
        bits,
        reserved,
    })
}

impl Carried {
    /// Bits of the admission.
    pub(crate) const fn bits(&self) -> u64 {
        self.bits
    }

    /// The request was refused.
    pub(crate) fn give_back(self, counters: &Counters) {
        if let Some(reserved) = self.reserved {
            reserved.give_back(counters);
        }
    }

    /// The answer is there, or none is; says how many bits more it can carry than its admission said.
    pub(crate) fn settle(
        self,
        counters: &Counters,
        outputs: Option<&[(String, Tensor)]>,
        signature: &Signature,
    ) -> u64 {
        let actual = match (self.row, outputs) {
            (Some(row), Some(outputs)) => row.settle(self.rows, outputs, signature),
            (Some(_) | None, _) => 0,
        };
        if let Some(reserved) = self.reserved {
            reserved.settle(counters, actual);
        }
        actual.saturating_sub(self.bits)
    }
}

/// Whether a refusal of `who` still gets a record of its own.
pub(crate) fn refusal_record(counters: &Counters, limits: &Limits, who: &PrincipalId, now: Instant) -> bool {
    let key = CounterKey::new(format!("refusals:{who}"));
    counters.take(&key, rate(limits.refusal_records), 1, now).is_ok()
}

/// Sets the budgets of the running day to what the log says was admitted.
pub(crate) async fn rebuild(keeper: &Station, now: Timestamp) -> Result<(), AdmittedError> {
    let midnight = now.plus_ms(-now.unix_ms().rem_euclid(MS_PER_DAY));
    for (id, admitted) in keeper.admitted_since(midnight).await? {
        // Only principals that parse ever reserve; any other id is not of this gateway.
        if let Ok(who) = id.parse::<PrincipalId>() {
            let counters = keeper.counters();
            counters.restore(&budget_key(&who), now.day(), admitted.requests);
            for (model, bits) in admitted.bits {
                counters.restore(&bits_key(&who, &model), now.day(), bits);
            }
        }
    }
    Ok(())
}

fn take(
    counters: &Counters,
    key: &CounterKey,
    name: &'static str,
    limit: RateLimit,
    cost: u32,
    now: Instant,
) -> Result<(), Refusal> {
    counters.take(key, rate(limit), cost, now).map_err(|wait| {
        Refusal::new(
            ErrorCode::RateLimited,
            Control::RateLimits,
            "too many requests in a short time",
        )
        .after(wait.0)
        .limited_by(name)
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

fn bits_key(who: &PrincipalId, model: &str) -> CounterKey {
    CounterKey::new(format!("bits:{who}:{model}"))
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
