//! What every store of counters must do.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use stockade_store::{CounterKey, CounterStore, Counters, Rate};

const LIMIT: Rate = Rate {
    per_second: 10.0,
    burst: 3,
};

fn key(text: &str) -> CounterKey {
    CounterKey::new(text)
}

fn suite(counters: &impl CounterStore) {
    rates_of_keys_are_apart(counters);
    a_budget_ends_and_a_day_begins(counters);
    settling_gives_back_what_was_not_used(counters);
    restored_use_counts(counters);
}

fn rates_of_keys_are_apart(counters: &impl CounterStore) {
    let now = Instant::now();
    for name in ["a", "b"] {
        for _ in 0..3 {
            counters.take(&key(name), LIMIT, 1, now).unwrap();
        }
        let wait = counters.take(&key(name), LIMIT, 1, now).unwrap_err().0;
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_millis(101),
            "{wait:?}"
        );
        counters.take(&key(name), LIMIT, 1, now + wait).unwrap();
    }
}

fn a_budget_ends_and_a_day_begins(counters: &impl CounterStore) {
    let key = key("daily");
    let reservation = counters.reserve(&key, 100, 10, 7).unwrap();
    assert_eq!(reservation.cost(), 7);
    assert!(counters.reserve(&key, 100, 10, 4).is_err());
    drop(counters.reserve(&key, 100, 10, 3).unwrap());
    assert_eq!(counters.used(&key, 100), 10);
    drop(counters.reserve(&key, 101, 10, 10).unwrap());
    assert!(
        counters.reserve(&key, 100, 10, 1).is_err(),
        "a day that is over gives nothing"
    );
    counters.settle(reservation, 0);
    assert_eq!(
        counters.used(&key, 101),
        10,
        "yesterday's work gives today nothing"
    );
}

fn settling_gives_back_what_was_not_used(counters: &impl CounterStore) {
    let key = key("settled");
    let reservation = counters.reserve(&key, 1, 10, 8).unwrap();
    counters.settle(reservation, 3);
    assert_eq!(counters.used(&key, 1), 3);
    let reservation = counters.reserve(&key, 1, 10, 2).unwrap();
    counters.settle(reservation, 50);
    assert_eq!(counters.used(&key, 1), 53);
    assert!(counters.reserve(&key, 1, 10, 0).is_err());
    assert!(
        counters.reserve(&key, 1, u64::MAX, u64::MAX).is_err(),
        "no overflow"
    );
}

fn restored_use_counts(counters: &impl CounterStore) {
    let key = key("restored");
    counters.restore(&key, 5, 9);
    counters.restore(&key, 5, 4);
    assert_eq!(counters.used(&key, 5), 9);
    assert!(counters.reserve(&key, 5, 10, 2).is_err());
    drop(counters.reserve(&key, 5, 10, 1).unwrap());
}

#[test]
fn in_process() {
    suite(&Counters::new());
}

#[test]
fn a_full_table_refuses_new_keys_and_forgets_only_what_is_idle() {
    let counters = Counters::with_capacity(64);
    let now = Instant::now();
    let admitted: Vec<CounterKey> = (0..10_000)
        .map(|n| key(&format!("key-{n}")))
        .filter(|key| counters.take(key, LIMIT, 3, now).is_ok())
        .collect();
    assert!((16..=64).contains(&admitted.len()), "{}", admitted.len());
    for key in &admitted {
        assert!(
            counters.take(key, LIMIT, 1, now).is_err(),
            "an eviction refilled a bucket"
        );
    }
    // When the buckets are full again there is room for others.
    let later = now + Duration::from_secs(60);
    let others = (0..1_000)
        .filter(|n| {
            counters
                .take(&key(&format!("other-{n}")), LIMIT, 3, later)
                .is_ok()
        })
        .count();
    assert!(others >= 16, "{others}");
}

#[test]
fn a_full_table_of_budgets_keeps_today_and_forgets_yesterday() {
    let counters = Counters::with_capacity(16);
    let today: Vec<CounterKey> = (0..1_000)
        .map(|n| key(&format!("key-{n}")))
        .filter(|key| counters.reserve(key, 7, 5, 5).is_ok())
        .collect();
    assert!(!today.is_empty() && today.len() <= 16, "{}", today.len());
    for key in &today {
        assert_eq!(counters.used(key, 7), 5);
    }
    let tomorrow = (0..1_000)
        .filter(|n| counters.reserve(&key(&format!("new-{n}")), 8, 5, 5).is_ok())
        .count();
    assert!(tomorrow > 0 && tomorrow <= 16, "{tomorrow}");
}

proptest! {
    #[test]
    fn a_days_use_never_exceeds_its_cap_by_reservations(
        cap in 0u64..1_000,
        steps in prop::collection::vec((0u64..200, prop::option::of(0u64..200)), 0..200),
    ) {
        let counters = Counters::new();
        let key = key("k");
        let mut used = 0;
        for (cost, settled) in steps {
            if let Ok(reservation) = counters.reserve(&key, 3, cap, cost) {
                used += cost;
                prop_assert!(used <= cap);
                if let Some(actual) = settled {
                    counters.settle(reservation, actual.min(cost));
                    used -= cost - actual.min(cost);
                }
            } else {
                prop_assert!(used + cost > cap);
            }
            prop_assert_eq!(counters.used(&key, 3), used);
        }
    }
}
