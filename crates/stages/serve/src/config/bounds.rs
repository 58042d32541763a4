//! Numbers with bounds, as configuration gives them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number lies outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{what} must lie from {least} to {most}")]
pub struct InvalidBound {
    what: &'static str,
    least: f64,
    most: f64,
}

/// A duration in milliseconds.
// INVARIANT: from 1 ms to one hour; `try_from` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "u64", try_from = "u64")]
pub struct Millis(#[schemars(range(min = 1, max = 3_600_000))] u64);

impl Millis {
    const MOST: u64 = 3_600_000;

    pub(super) const fn known(ms: u64) -> Self {
        assert!(ms >= 1 && ms <= Self::MOST);
        Self(ms)
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl TryFrom<u64> for Millis {
    type Error = InvalidBound;

    fn try_from(ms: u64) -> Result<Self, Self::Error> {
        (1..=Self::MOST)
            .contains(&ms)
            .then_some(Self(ms))
            .ok_or(InvalidBound {
                what: "a duration in milliseconds",
                least: 1.0,
                most: 3_600_000.0,
            })
    }
}

impl From<Millis> for u64 {
    fn from(value: Millis) -> Self {
        value.0
    }
}

/// A rate.
// INVARIANT: finite, from 0.001 to 1,000,000 per second; `try_from` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, PartialOrd, Serialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct PerSecond(#[schemars(range(min = 0.001, max = 1_000_000.0))] f64);

impl PerSecond {
    const LEAST: f64 = 0.001;
    const MOST: f64 = 1_000_000.0;

    pub(super) const fn known(value: f64) -> Self {
        assert!(value >= Self::LEAST && value <= Self::MOST);
        Self(value)
    }

    /// The number per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for PerSecond {
    type Error = InvalidBound;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        let (least, most) = (Self::LEAST, Self::MOST);
        (least..=most)
            .contains(&value)
            .then_some(Self(value))
            .ok_or(InvalidBound {
                what: "a rate per second",
                least,
                most,
            })
    }
}

impl From<PerSecond> for f64 {
    fn from(value: PerSecond) -> Self {
        value.0
    }
}
