//! How often and how long each served model ran, for those who may know. Counts begin with the process and with a
//! model's version.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use stockade_evidence::Timestamp;
use stockade_protocol::oip::{ModelStatistics, StatisticDuration};

use crate::models::ServedModel;

/// The counts of all models.
// INVARIANT: names are those of served models, so their number is that of names in configuration.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<HashMap<String, Counts>>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    version: u64,
    last_ms: u64,
    rows: u64,
    success: StatisticDuration,
    fail: StatisticDuration,
}

impl Statistics {
    /// Counts an admitted inference that took `duration` from its head to its answer.
    pub(crate) fn count(
        &self,
        model: &ServedModel,
        rows: u64,
        answered: bool,
        duration: Duration,
        now: Timestamp,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(model.name()) {
            all.insert(model.name().to_owned(), Counts::default());
        }
        let Some(counts) = all.get_mut(model.name()) else {
            return;
        };
        if counts.version != model.version() {
            *counts = Counts {
                version: model.version(),
                ..Counts::default()
            };
        }
        counts.last_ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        let kind = if answered {
            counts.rows = counts.rows.saturating_add(rows);
            &mut counts.success
        } else {
            &mut counts.fail
        };
        kind.count = kind.count.saturating_add(1);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        kind.ns = kind.ns.saturating_add(ns);
    }

    /// What one model did.
    pub(crate) fn of(&self, model: &ServedModel) -> ModelStatistics {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.get(model.name()).copied();
        let counts = counts
            .filter(|counts| counts.version == model.version())
            .unwrap_or_default();
        ModelStatistics {
            name: model.name().to_owned(),
            version: model.version().to_string(),
            last_inference_ms: counts.last_ms,
            inference_count: counts.rows,
            execution_count: counts.success.count,
            success: counts.success,
            fail: counts.fail,
        }
    }
}
