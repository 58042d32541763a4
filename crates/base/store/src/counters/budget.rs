//! One key's budget of the newest day it was used on. An older day is closed: it takes nothing and gives nothing back.

use std::time::Duration;

use super::BudgetSpent;

pub(crate) const SPENT: BudgetSpent = BudgetSpent {
    resets_in: Duration::from_secs(86_400),
};

#[derive(Debug, Default)]
pub(crate) struct Budget {
    day: u32,
    used: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether the day is over, so that forgetting the budget gives nobody anything.
    pub(crate) const fn is_past(&self, day: u32) -> bool {
        self.day < day
    }

    pub(crate) fn reserve(&mut self, day: u32, cap: u64, cost: u64) -> Result<(), BudgetSpent> {
        self.open(day);
        let used = self.used.checked_add(cost).ok_or(SPENT)?;
        if self.day != day || used > cap {
            return Err(SPENT);
        }
        self.used = used;
        Ok(())
    }

    pub(crate) fn settle(&mut self, day: u32, reserved: u64, actual: u64) {
        if self.day == day {
            self.used = self.used.saturating_sub(reserved).saturating_add(actual);
        }
    }

    pub(crate) const fn used(&self, day: u32) -> u64 {
        if self.day == day { self.used } else { 0 }
    }

    pub(crate) fn restore(&mut self, day: u32, used: u64) {
        self.open(day);
        if self.day == day {
            self.used = self.used.max(used);
        }
    }

    /// Starts `day` when it is newer. A clock that went back finds its old day closed.
    const fn open(&mut self, day: u32) {
        if self.day < day {
            self.day = day;
            self.used = 0;
        }
    }
}
