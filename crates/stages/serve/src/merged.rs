//! Refusals that are counted together: those before identification, and those of a principal beyond its record budget.
//!
//! A flood must not fill the disk, so within ten seconds each reason and source becomes one record with a count. The
//! table is bounded; beyond it sources fall together under their reason. What was counted since the last record is
//! lost when the process is killed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use stockade_access::PrincipalId;

use crate::source::SourcePrefix;

/// How long refusals are counted together.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Reasons and sources told apart within one window.
const MOST_ENTRIES: usize = 256;

/// Who was refused.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Refused {
    /// Somebody unknown from these addresses.
    From(SourcePrefix),
    /// A principal beyond its record budget.
    Principal(PrincipalId),
    /// Many more than the table holds.
    Others,
}

/// Counts of refusals in the current window.
#[derive(Debug, Default)]
pub(crate) struct MergedRefusals(Mutex<HashMap<(&'static str, Refused), u64>>);

impl MergedRefusals {
    /// Counts refusals for `reason`, a stable word of ours.
    pub(crate) fn count(&self, reason: &'static str, who: Refused, times: u64) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (reason, who);
        let key = if table.len() < MOST_ENTRIES || table.contains_key(&key) {
            key
        } else {
            (reason, Refused::Others)
        };
        let count = table.entry(key).or_default();
        *count = count.saturating_add(times);
    }

    /// Ends the window.
    pub(crate) fn take(&self) -> HashMap<(&'static str, Refused), u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn from(address: [u8; 4]) -> Refused {
        Refused::From(Source::new(address.into()).prefix())
    }

    #[test]
    fn one_count_per_reason_and_prefix() {
        let merged = MergedRefusals::default();
        merged.count("unknown_key", from([192, 0, 2, 1]), 1);
        merged.count("unknown_key", from([192, 0, 2, 9]), 1);
        merged.count("missing_key", from([192, 0, 2, 1]), 1);
        let counts = merged.take();
        assert_eq!(counts.len(), 2);
        assert_eq!(counts[&("unknown_key", from([192, 0, 2, 0]))], 2);
        assert!(merged.take().is_empty());
    }

    #[test]
    fn a_flood_of_sources_stays_bounded_and_counted() {
        let merged = MergedRefusals::default();
        for i in 0..=u16::MAX {
            let [a, b] = i.to_be_bytes();
            merged.count("unknown_key", from([10, a, b, 1]), 1);
        }
        let counts = merged.take();
        assert!(counts.len() <= MOST_ENTRIES + 1);
        assert_eq!(counts.values().sum::<u64>(), 65_536);
    }
}
