//! The `[evidence]` table of `stockade.toml`: how the log is written, how much disk it may use, how long it is kept.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::log::{Anchor, LogConfig};

const INTEGRATE_EVERY_MS_MAX: u64 = 250;
const MAX_BATCH: usize = 4096;

/// The keeper's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest time between a durable entry and the signed checkpoint over it; more than 250 means 250.
    pub integrate_every_ms: u64,
    /// What the log may take of the disk. Alarms at 80% and 95%; when it is full, service is refused and nothing is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_budget_bytes: Option<u64>,
    /// A file outside the state folder, on another disk, that keeps a copy of the newest checkpoint. Without one, putting
    /// the whole folder back to an older state goes unnoticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<PathBuf>,
    /// What `stockade log prune` may remove.
    pub retention: Retention,
}

/// How long evidence is kept. Nothing is removed by itself: `stockade log prune` asks this table.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days that an entry stays at least; without it entries stay for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// While set, nothing may be pruned, whatever its age.
    pub legal_hold: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            integrate_every_ms: INTEGRATE_EVERY_MS_MAX,
            disk_budget_bytes: None,
            anchor: None,
            retention: Retention::default(),
        }
    }
}

impl Config {
    /// What the log's writer needs of it.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            integrate_every: Duration::from_millis(self.integrate_every_ms.clamp(1, INTEGRATE_EVERY_MS_MAX)),
            max_batch: MAX_BATCH,
            disk_budget_bytes: self.disk_budget_bytes,
            anchor: self.anchor.clone().map(Anchor::Path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_integrates_within_250_ms() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        let slow: Config = serde_json::from_str(r#"{"integrate_every_ms": 60000}"#).unwrap();
        assert_eq!(slow.log().integrate_every, Duration::from_millis(250));
    }

    #[test]
    fn unknown_fields_are_refused() {
        for text in [r#"{"integrate_every": 5}"#, r#"{"retention": {"days": 5}}"#] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
