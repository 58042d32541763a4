//! What was admitted of each principal, counted from records: what budgets are rebuilt from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stockade_evidence::{Actor, Event, Record};

/// What was admitted of one principal.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    /// Requests.
    pub requests: u64,
    /// Bits that the answers of each model could carry.
    pub bits: BTreeMap<String, u64>,
}

impl Admitted {
    /// Counts a record that tells of an admission, or of an answer that could carry more than its admission said.
    pub(crate) fn count(all: &mut BTreeMap<String, Self>, record: &Record) {
        let Actor::Principal { id } = &record.actor else {
            return;
        };
        let (requests, detail) = match record.event {
            Event::RequestAdmitted => (1, "bits"),
            Event::RequestOutcome => (0, "bits_beyond"),
            _ => return,
        };
        let bits = record.details.get(detail).and_then(Value::as_u64).unwrap_or(0);
        if requests == 0 && bits == 0 {
            return;
        }
        let admitted = all.entry(id.clone()).or_default();
        admitted.requests = admitted.requests.saturating_add(requests);
        if let (Some(subject), true) = (&record.subject, bits > 0) {
            let sum = admitted.bits.entry(subject.name.clone()).or_default();
            *sum = sum.saturating_add(bits);
        }
    }
}
