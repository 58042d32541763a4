//! How often an upstream's requests may be sent again: a tenth of all, and a few to begin with, so that a server in
//! trouble does not get more work because of it.

use std::sync::atomic::{AtomicU32, Ordering};

/// What one retry costs, in tenths of a request.
const COST: u32 = 10;
/// The most that is saved up: ten retries.
const MOST: u32 = 100;

#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl RetryBudget {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(MOST))
    }

    /// A request was sent for the first time.
    pub(super) fn earn(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved < MOST).then_some(saved + 1)
            });
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(COST)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_all_requests_may_be_repeated() {
        let budget = RetryBudget::new();
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 10);
        let repeated = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert_eq!(repeated, 100);
    }
}
