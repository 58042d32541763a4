//! How many connections are open, in all and per source.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{config::Limits, source::Source};

/// Counts the open connections of one listener.
#[derive(Debug)]
pub(crate) struct Doors {
    most: usize,
    most_per_source: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    doors: Arc<Doors>,
    host: IpAddr,
}

impl Doors {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.max_connections.get(),
            most_per_source: limits.max_connections_per_source.get(),
            open: Mutex::default(),
        }
    }

    /// Lets one more connection in, or says why not.
    pub(crate) fn enter(self: &Arc<Self>, source: Source) -> Result<Entered, &'static str> {
        let host = source.host();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err("too_many_connections");
        }
        let of_host = open.by_source.entry(host).or_default();
        if *of_host >= self.most_per_source {
            return Err("too_many_connections_of_source");
        }
        *of_host += 1;
        open.all += 1;
        Ok(Entered {
            doors: self.clone(),
            host,
        })
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        let left = open.by_source.get_mut(&self.host).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            open.by_source.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_and_counted_back() {
        let limits = serde_json::json!({"max_connections": 3, "max_connections_per_source": 2});
        let doors = Arc::new(Doors::new(&serde_json::from_value(limits).unwrap()));
        let (a, b, c) = ([192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]);
        let enter = |address: [u8; 4]| doors.enter(Source::new(address.into()));
        let first = enter(a).unwrap();
        let _second = enter(a).unwrap();
        assert_eq!(enter(a).unwrap_err(), "too_many_connections_of_source");
        let _third = enter(b).unwrap();
        assert_eq!(enter(c).unwrap_err(), "too_many_connections");
        drop(first);
        assert_eq!(doors.open(), 2);
        let _fourth = enter(a).unwrap();
        drop((_second, _fourth));
        assert!(
            !doors
                .open
                .lock()
                .unwrap()
                .by_source
                .contains_key(&IpAddr::from(a))
        );
    }
}
