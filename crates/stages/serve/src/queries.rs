//! The watch over the queries to one model (controls 32 and 34): who copies it or walks to its boundary, and what is done.
//!
//! After the model answered, each row of the request and its scores are looked at by the detectors of `stockade-inspect`. An
//! alarm is recorded and lifts its client one step up the ladder of configuration ([`standing`]); what a step does binds from
//! the next requests on, at a random moment. That an alarm's own answer waits for its record is not hidden.
//!
//! INVARIANT: a model that is configured to be watched is not served before its watch is ready.

mod deceive;
mod fit;
mod rows;
mod standing;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use stockade_access::{PrincipalId, Role};
use stockade_crypto::SecretBytes;
use stockade_inspect::queries::{Alarm, ClientClass, Query, Reference, Scope, Watch};
use stockade_model::Labels;

use self::rows::Layout;
pub(crate) use self::rows::{Rows, numbers};
use crate::{config::ExtractionConfig, phases::forward::Named};

pub use self::{
    fit::{Sample, Samples, WatchError},
    standing::{CLIENT_STANDING, ReleaseError, Standing, StandingsError, release},
};
pub(crate) use self::{
    fit::{keep_ready, prepare},
    standing::Standings,
    standing::is_standing,
};

/// How much likelier a principal's hits must be for a colluder than for an honest client, as a logarithm, for an alarm of
/// the whole model to be laid on it. The figure is that of the `extraction` bench.
const NAMED: f64 = 3.0;

/// Principals that are remembered; about 1 kB each.
const PRINCIPALS: usize = 10_000;

/// The watch over one model.
pub(crate) struct QueryWatch {
    config: ExtractionConfig,
    samples: Arc<Samples>,
    secret: Arc<SecretBytes>,
    ready: OnceLock<Ready>,
}

/// What is known once the model has answered the reference rows.
struct Ready {
    layout: Layout,
    /// Scores of one row.
    classes: usize,
    reference: Reference,
    usual: ClientClass,
    kinds: BTreeMap<String, ClientClass>,
    seen: Mutex<Seen>,
}

/// What was seen until now.
struct Seen {
    watch: Watch,
    /// Who is behind a keyed name; as bounded as the watch.
    names: BTreeMap<u64, PrincipalId>,
}

/// An alarm, and whom it is laid on.
#[derive(Clone, Debug)]
pub(crate) struct Raised {
    pub(crate) alarm: Alarm,
    pub(crate) suspects: Vec<PrincipalId>,
}

impl fmt::Debug for QueryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryWatch")
            .field("config", &self.config)
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

impl QueryWatch {
    pub(crate) fn new(config: ExtractionConfig, samples: Arc<Samples>, secret: Arc<SecretBytes>) -> Self {
        Self {
            config,
            samples,
            secret,
            ready: OnceLock::new(),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.get().is_some()
    }

    /// Whether it was made for the same configuration and samples.
    pub(crate) fn is_for(&self, config: &ExtractionConfig, samples: &Samples) -> bool {
        self.config == *config && *self.samples == *samples
    }

    pub(crate) const fn config(&self) -> &ExtractionConfig {
        &self.config
    }

    /// The rows of a request, as the detectors look at them.
    pub(crate) fn rows(&self, inputs: &Named) -> Option<Rows> {
        self.ready.get()?.layout.rows(inputs)
    }

    /// Looks at what `who` asked and was answered, `at` seconds since the gateway's start; gives the alarms of it. `None` for
    /// an answer that is unlike those to the reference.
    pub(crate) fn observe(
        &self,
        who: &PrincipalId,
        roles: impl IntoIterator<Item = Role>,
        at: f64,
        asked: &Rows,
        outputs: &Named,
    ) -> Option<Vec<Raised>> {
        let ready = self.ready.get()?;
        let scores = ready.layout.scores(outputs, asked.iter().len())?;
        if scores.width != ready.classes {
            return None;
        }
        let roles: Vec<Role> = roles.into_iter().collect();
        let is_of = |kind: &&String| roles.iter().any(|role| role.as_str() == kind.as_str());
        let kind = ready.kinds.keys().find(is_of);
        let client = kind
            .and_then(|kind| ready.kinds.get(kind))
            .unwrap_or(&ready.usual);
        let mut raised = Vec::new();
        for (input, answer) in asked.iter().zip(scores.iter()) {
            let query = Query {
                principal: who.as_str(),
                at,
                input,
                answer,
            };
            // For one row at a time: a request of many holds up nobody else.
            let mut seen = ready.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.remember(who);
            let verdict = seen.watch.observe(&ready.reference, client, &query);
            for alarm in verdict.alarms {
                raised.push(seen.raise(alarm, who));
            }
        }
        Some(raised)
    }

    /// What this standing leaves of an answer, if it is to deceive; `None` where it cannot.
    pub(crate) fn deceived(&self, outputs: Named, asked: &Rows, labels: Option<&Labels>) -> Option<Named> {
        let ready = self.ready.get()?;
        deceive::deceived(
            outputs,
            asked,
            &ready.layout,
            labels,
            self.config.deceive,
            &self.secret,
        )
    }

    /// The key that hides the detectors' choices.
    fn key(&self) -> Option<[u8; 32]> {
        self.secret.expose().try_into().ok()
    }
}

impl Seen {
    fn raise(&self, alarm: Alarm, who: &PrincipalId) -> Raised {
        let suspects = match alarm.scope {
            Scope::Principal => vec![who.clone()],
            Scope::Model => {
                let named = self.watch.suspects(alarm.detector, NAMED);
                named
                    .iter()
                    .filter_map(|suspect| self.names.get(&suspect.id).cloned())
                    .collect()
            }
        };
        Raised { alarm, suspects }
    }

    fn remember(&mut self, who: &PrincipalId) {
        let id = self.watch.id(who.as_str());
        if self.names.contains_key(&id) {
            return;
        }
        if self.names.len() >= 2 * PRINCIPALS {
            self.names.clear();
        }
        self.names.insert(id, who.clone());
    }
}
