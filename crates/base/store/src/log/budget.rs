//! The log's share of the disk: alarms at 80 and 95 percent, refuses at 100, deletes nothing.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::AppendError;
use crate::disk::{Disk, DiskError, EntryKind};

/// How much of the budget is used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLevel {
    /// Below 80 percent, or no budget is set.
    Low,
    /// From 80 percent: an alarm.
    High,
    /// From 95 percent: an alarm.
    Critical,
    /// All of it: nothing is appended.
    Spent,
}

/// Counts the bytes of tiles, bundles and journal by the length of the files.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<u64>,
    used: AtomicU64,
    level: watch::Sender<BudgetLevel>,
}

impl Budget {
    /// `used` of `limit` bytes.
    pub(crate) fn new(limit: Option<u64>, used: u64) -> Self {
        let budget = Self {
            limit,
            used: AtomicU64::new(used),
            level: watch::Sender::new(BudgetLevel::Low),
        };
        budget.tell();
        budget
    }

    pub(crate) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn level(&self) -> BudgetLevel {
        level(self.used(), self.limit)
    }

    /// Every change of level.
    pub(crate) fn alarms(&self) -> watch::Receiver<BudgetLevel> {
        self.level.subscribe()
    }

    pub(crate) fn set(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    pub(crate) fn subtract(&self, bytes: u64) {
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(bytes))
            });
        self.tell();
    }

    /// Refuses once everything is used.
    pub(crate) fn admit(&self) -> Result<(), AppendError> {
        match self.limit {
            Some(budget) if self.level() == BudgetLevel::Spent => Err(AppendError::BudgetSpent {
                used: self.used(),
                budget,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn tell(&self) {
        let now = self.level();
        self.level
            .send_if_modified(|level| std::mem::replace(level, now) != now);
    }
}

fn level(used: u64, limit: Option<u64>) -> BudgetLevel {
    let Some(limit) = limit else {
        return BudgetLevel::Low;
    };
    let (used, limit) = (u128::from(used) * 100, u128::from(limit));
    match used {
        used if used >= limit * 100 => BudgetLevel::Spent,
        used if used >= limit * 95 => BudgetLevel::Critical,
        used if used >= limit * 80 => BudgetLevel::High,
        _ => BudgetLevel::Low,
    }
}

/// The bytes of all files under `folder`.
pub(crate) fn folder_bytes(disk: &dyn Disk, folder: &Path) -> Result<u64, DiskError> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in disk.list(&folder)?.unwrap_or_default() {
            let path = folder.join(&entry.name);
            match entry.kind {
                EntryKind::Dir => folders.push(path),
                EntryKind::File => bytes += disk.len(&path)?.unwrap_or(0),
                EntryKind::Other => {}
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_before_it_refuses() {
        let budget = Budget::new(Some(1000), 0);
        let mut alarms = budget.alarms();
        let mut check = |bytes, expected, changed| {
            budget.add(bytes);
            assert_eq!(
                (budget.level(), alarms.has_changed().unwrap()),
                (expected, changed)
            );
            alarms.mark_unchanged();
        };
        check(799, BudgetLevel::Low, false);
        check(1, BudgetLevel::High, true);
        check(100, BudgetLevel::High, false);
        check(50, BudgetLevel::Critical, true);
        assert!(budget.admit().is_ok());
        budget.add(50);
        assert!(matches!(
            budget.admit(),
            Err(AppendError::BudgetSpent {
                used: 1000,
                budget: 1000
            })
        ));
        budget.subtract(300);
        assert!(budget.admit().is_ok());
        assert_eq!(Budget::new(None, u64::MAX).level(), BudgetLevel::Low);
    }
}
