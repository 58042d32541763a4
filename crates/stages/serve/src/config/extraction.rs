//! `[model.NAME.extraction]`: what the watch over a model's queries knows, and what is done to whom it suspects.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Millis, OutputPolicy};

/// The watch over one model's queries.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractionConfig {
    /// Real rows of the model's domain, at least 200, as `vault:NAME@VERSION`: an artifact with one `.npy` file of floats, a
    /// row per example, its values those of the model's inputs one after the other.
    pub reference: String,
    /// At most one false alarm of one client in so many days.
    #[serde(default = "default_days")]
    pub false_alarm_days: Positive,
    /// Rows that one honest client sends in a day.
    #[serde(default = "default_rows")]
    pub rows_per_day: Positive,
    /// Kinds of honest clients that differ from the reference, by role. A client with several of these roles is of the
    /// first one by name.
    #[serde(default)]
    pub clients: BTreeMap<String, ClientConfig>,
    /// What is done at a client's first alarm, at its second and so on; a later step keeps what the earlier ones do.
    #[serde(default = "default_ladder")]
    pub ladder: Vec<Step>,
    /// Hours for which a step binds; then the client begins anew.
    #[serde(default = "default_hours")]
    pub step_hours: NonZeroU32,
    /// A step binds at a random moment within this time, so that a client cannot tell which query was too many.
    #[serde(default = "default_delay")]
    pub act_within_ms: u32,
    /// What `coarser` leaves of an answer.
    #[serde(default = "default_coarser")]
    pub coarser: OutputPolicy,
    /// What `deceptive` does to an answer.
    #[serde(default)]
    pub deceive: Deceive,
    /// By how much `slow` delays an answer.
    #[serde(default = "default_slow")]
    pub slow_ms: Millis,
}

/// One kind of honest clients.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Rows that honest clients of this kind sent, in their order, as `vault:NAME@VERSION` like the reference. How often they
    /// hit each detector is what is tolerated.
    pub survey: Option<String>,
    /// Rows that one such client sends in a day; absent means as the others.
    pub rows_per_day: Option<Positive>,
    /// They are people: equal intervals between queries are suspicious.
    pub people: bool,
}

/// What is done to a suspected client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Nothing but a record.
    Record,
    /// Its answers are cut to `coarser`.
    Coarser,
    /// Its answers are wrong in their scores, or in their classes too (`deceive`).
    Deceptive,
    /// Its answers are late.
    Slow,
    /// It gets none.
    Block,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] = [
        Self::Record,
        Self::Coarser,
        Self::Deceptive,
        Self::Slow,
        Self::Block,
    ];

    /// The name in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Coarser => "coarser",
            Self::Deceptive => "deceptive",
            Self::Slow => "slow",
            Self::Block => "block",
        }
    }
}

/// How an answer deceives.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deceive {
    /// The greatest score stays where it is, the others change places.
    #[default]
    KeepTop1,
    /// All scores change places, the greatest one too.
    BreakTop1,
}

/// A number above 0.
// INVARIANT: finite and above 0; `try_from` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, PartialOrd, Serialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Positive(#[schemars(range(min = 0.0))] f64);

/// Not a number above 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write a number above 0 and at most 1e9")]
pub struct NotPositive;

impl Positive {
    const MOST: f64 = 1e9;

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Positive {
    type Error = NotPositive;

    fn try_from(value: f64) -> Result<Self, NotPositive> {
        (value > 0.0 && value <= Self::MOST)
            .then_some(Self(value))
            .ok_or(NotPositive)
    }
}

impl From<Positive> for f64 {
    fn from(value: Positive) -> Self {
        value.0
    }
}

const fn default_days() -> Positive {
    Positive(30.0)
}

const fn default_rows() -> Positive {
    Positive(1000.0)
}

fn default_ladder() -> Vec<Step> {
    vec![Step::Record]
}

const fn default_hours() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(23)
}

const fn default_delay() -> u32 {
    10_000
}

fn default_coarser() -> OutputPolicy {
    OutputPolicy {
        labels_only: true,
        ..OutputPolicy::default()
    }
}

const fn default_slow() -> Millis {
    Millis::known(2000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_starts_at_record() {
        let config: ExtractionConfig =
            serde_json::from_value(serde_json::json!({"reference": "vault:digits-reference@1"})).unwrap();
        assert_eq!(config.ladder, [Step::Record]);
        assert_eq!(config.step_hours.get(), 24);
        assert!(config.coarser.labels_only);
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            serde_json::json!({}),
            serde_json::json!({"reference": "vault:r@1", "false_alarm_days": 0}),
            serde_json::json!({"reference": "vault:r@1", "rows_per_day": -1}),
            serde_json::json!({"reference": "vault:r@1", "ladder": ["kill"]}),
            serde_json::json!({"reference": "vault:r@1", "step_hours": 0}),
            serde_json::json!({"reference": "vault:r@1", "laddr": []}),
        ] {
            assert!(
                serde_json::from_value::<ExtractionConfig>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }
}
