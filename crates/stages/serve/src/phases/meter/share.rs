//! Each principal's share of something that all use at once, so that one cannot take it all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use stockade_access::PrincipalId;

/// What each principal holds now. Only principals that hold something are in the table.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    most: usize,
    held: Arc<Mutex<HashMap<PrincipalId, usize>>>,
}

/// What one request holds of its principal's share, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Shares,
    who: PrincipalId,
    units: usize,
}

impl Shares {
    /// Shares of at most `most` units each.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    /// Nothing yet, for a request of `who`.
    pub(crate) fn of(&self, who: &PrincipalId) -> Held {
        Held {
            shares: self.clone(),
            who: who.clone(),
            units: 0,
        }
    }
}

impl Held {
    /// Takes so many more units if the share has them; says whether it had.
    #[must_use]
    pub(crate) fn take(&mut self, units: usize) -> bool {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.get(&self.who).map_or(0, |held| *held).saturating_add(units);
        if all > self.shares.most {
            return false;
        }
        held.insert(self.who.clone(), all);
        self.units = self.units.saturating_add(units);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let left = held.get_mut(&self.who).map_or(0, |held| {
            *held = held.saturating_sub(self.units);
            *held
        });
        if left == 0 {
            held.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_principals_and_comes_back() {
        let shares = Shares::new(3);
        let (a, b): (PrincipalId, PrincipalId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (mut first, mut second, mut third) = (shares.of(&a), shares.of(&a), shares.of(&b));
        assert!(first.take(2) && second.take(1) && third.take(3));
        assert!(!second.take(1) && !third.take(1));
        drop(first);
        assert!(second.take(2));
        drop((second, third));
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
