//! Refusals that are counted together: those before identification, and those of a principal beyond its record budget.
//!
//! A flood must not fill the disk, so within ten seconds each reason and source becomes one record with a count. The
//! table of sources is bounded; beyond it they fall together under their reason. Counts are written every ten seconds
//! and when the gateway stops; what was counted since is lost when the process is killed.
//! INVARIANT: a principal's refusal is counted only after a record of this window, durable before, said that further
//! ones are; so the log always shows that there may have been more.

use std::{
    collections::{HashMap, HashSet},
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
pub(crate) struct MergedRefusals(Mutex<Window>);

type Counts = HashMap<(&'static str, Refused), u64>;

#[derive(Debug, Default)]
struct Window {
    counts: Counts,
    /// Principals of whom the log says that further refusals are counted.
    announced: HashSet<PrincipalId>,
}

impl MergedRefusals {
    /// Counts refusals for `reason`, a stable word of ours.
    pub(crate) fn count(&self, reason: &'static str, who: Refused, times: u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.count(reason, who, times);
    }

    /// Counts a refusal of `who`, if the log says that they are counted; says whether it does.
    #[must_use]
    pub(crate) fn count_announced(&self, reason: &'static str, who: &PrincipalId) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = window.announced.contains(who);
        if announced {
            window.count(reason, Refused::Principal(who.clone()), 1);
        }
        announced
    }

    /// The log now says that further refusals of `who` are counted, until the window ends.
    pub(crate) fn announce(&self, who: &PrincipalId) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.announced.insert(who.clone());
    }

    /// Ends the window.
    pub(crate) fn take(&self) -> Counts {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).counts
    }
}

impl Window {
    fn count(&mut self, reason: &'static str, who: Refused, times: u64) {
        // Principals are as many as are enrolled; sources are as many as an attacker likes.
        let known = match who {
            Refused::Principal(_) | Refused::Others => true,
            Refused::From(_) => self.counts.len() < MOST_ENTRIES,
        };
        let key = (reason, who);
        let key = if known || self.counts.contains_key(&key) {
            key
        } else {
            (reason, Refused::Others)
        };
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(times);
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
    fn principals_are_counted_once_the_log_says_so() {
        let merged = MergedRefusals::default();
        let (a, b): (PrincipalId, PrincipalId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(!merged.count_announced("not_found", &a));
        merged.announce(&a);
        assert!(merged.count_announced("not_found", &a) && !merged.count_announced("not_found", &b));
        assert_eq!(merged.take()[&("not_found", Refused::Principal(a.clone()))], 1);
        assert!(!merged.count_announced("not_found", &a), "a window of its own");
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
