//! A map with a bound: an entry that remembers nothing worth remembering makes room, any other never does.
//!
//! When the map is full, finding idle entries means looking at all of them, so that is done at most once per as many
//! refusals as it has sixteenths of entries: a flood of new keys costs amortised constant time.

use std::collections::{HashMap, hash_map::Entry};

use super::CounterKey;

#[derive(Debug)]
pub(crate) struct Table<V> {
    entries: HashMap<CounterKey, V>,
    limit: usize,
    refusals_left: usize,
}

impl<V> Table<V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            limit,
            refusals_left: 0,
        }
    }

    pub(crate) fn get_mut(&mut self, key: &CounterKey) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// The entry of `key`, made where there is room; `idle` says which others may go. `None` when the table is full.
    pub(crate) fn entry(
        &mut self,
        key: &CounterKey,
        new: impl FnOnce() -> V,
        idle: impl Fn(&V) -> bool,
    ) -> Option<&mut V> {
        if self.entries.len() >= self.limit && !self.entries.contains_key(key) && !self.make_room(idle) {
            return None;
        }
        Some(match self.entries.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(new()),
        })
    }

    fn make_room(&mut self, idle: impl Fn(&V) -> bool) -> bool {
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
            return false;
        }
        self.entries.retain(|_, entry| !idle(entry));
        let room = self.entries.len() < self.limit;
        if !room {
            self.refusals_left = self.limit / 16;
        }
        room
    }
}
