//! The last phase in name, beside all others in time: what was decided goes into the log (control 36).
//!
//! The admission record of a request is durable before its answer leaves, and its id is the request's id. The outcome
//! follows without delaying anybody. If the log cannot take a record, nothing is answered. Refusals beyond a budget are
//! counted together, after a record that says so.
//! INVARIANT: no text that a client chose is in any record: names are those of served models and verified principals.

use std::{sync::Arc, time::Duration};

use stockade_access::{Action, Identity, PrincipalId};
use stockade_evidence::{Actor, Control, Decision, Event, Record, RecordId, Subject, SubjectKind};
use stockade_store::Station;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    answer::Refusal,
    merged::{MergedRefusals, Refused},
    upstream::Via,
};

/// Outcome records on their way at once; beyond it requests wait for the log.
const OUTCOMES_MAX: usize = 4096;

/// A log that takes longer than this for one record is as good as none.
const APPEND_MAX: Duration = Duration::from_secs(10);

/// RFC 8785 carries integers up to this exactly: 285 years of microseconds.
const MOST_EXACT: u64 = 1 << 53;

/// Writes the gateway's records.
#[derive(Debug)]
pub(crate) struct Recorder {
    keeper: Station,
    tracker: TaskTracker,
    outcomes: Arc<Semaphore>,
}

/// What an admission record says.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    pub(crate) request_id: RecordId,
    pub(crate) who: &'a Identity,
    pub(crate) action: Action,
    pub(crate) subject: Subject,
    pub(crate) policies: Vec<String>,
    /// Bytes of the body; bodies are not stored.
    pub(crate) body_bytes: usize,
    /// Rows of the first input.
    pub(crate) rows: u64,
    /// Bits that the answer can carry.
    pub(crate) bits: u64,
}

/// How an admitted request ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) request_id: RecordId,
    pub(crate) who: PrincipalId,
    pub(crate) subject: Subject,
    pub(crate) status: u16,
    /// The error code, where the answer was one.
    pub(crate) code: Option<&'static str>,
    pub(crate) duration: Duration,
    pub(crate) rows: u64,
    /// Bits beyond those of the admission.
    pub(crate) bits_beyond: u64,
    /// The output policy that shaped the answer.
    pub(crate) output: Option<String>,
    /// The server that was asked.
    pub(crate) via: Option<Via>,
}

impl Recorder {
    pub(crate) fn new(keeper: Station, tracker: TaskTracker) -> Self {
        Self {
            keeper,
            tracker,
            outcomes: Arc::new(Semaphore::new(OUTCOMES_MAX)),
        }
    }

    /// Makes an admission durable.
    pub(crate) async fn admit(&self, admission: Admission<'_>) -> Result<(), Refusal> {
        let record = Record::new(
            self.keeper.now(),
            admission.request_id,
            Event::RequestAdmitted,
            actor(&admission.who.principal.id),
        )
        .about(admission.subject)
        .under(Control::AuditLog)
        .deciding(Decision::Allowed {
            policies: admission.policies,
        })
        .with("action", admission.action.name())
        .with("body_bytes", admission.body_bytes as u64)
        .with("rows", admission.rows)
        .with("bits", admission.bits.min(MOST_EXACT));
        self.append(identified(record, admission.who)).await
    }

    /// Sends the outcome on its way. It waits only while thousands of outcomes are under way.
    pub(crate) async fn outcome(&self, outcome: Outcome) {
        let Ok(permit) = self.outcomes.clone().acquire_owned().await else {
            return;
        };
        let keeper = self.keeper.clone();
        self.tracker.spawn(async move {
            let Ok(id) = fresh_id() else { return };
            let mut record = Record::new(keeper.now(), id, Event::RequestOutcome, actor(&outcome.who))
                .about(outcome.subject)
                .under(Control::AuditLog)
                .with("request_id", outcome.request_id.to_string())
                .with("status", outcome.status)
                .with("duration_us", micros(outcome.duration))
                .with("rows", outcome.rows);
            if outcome.bits_beyond > 0 {
                record = record.with("bits_beyond", outcome.bits_beyond.min(MOST_EXACT));
            }
            if let Some(code) = outcome.code {
                record = record.with("code", code);
            }
            if let Some(output) = outcome.output {
                record = record
                    .with("output_policy", output)
                    .with("output_control", Control::OutputShaping.name());
            }
            if let Some(via) = outcome.via {
                record = record
                    .with("upstream", via.upstream)
                    .with("upstream_replica", via.replica.map(|index| index as u64))
                    .with("upstream_retries", via.retries as u64);
            }
            if let Err(error) = keeper.append_soon(record).await {
                tracing::error!(phase = "record", %error, "an outcome could not be recorded");
            }
            drop(permit);
        });
    }

    /// Makes the refusal of an identified request durable; `further_counted` says in it that further ones of the window
    /// are only counted.
    pub(crate) async fn refuse(
        &self,
        request_id: RecordId,
        who: &Identity,
        subject: Subject,
        refusal: &Refusal,
        further_counted: bool,
    ) -> Result<(), Refusal> {
        let record = Record::new(
            self.keeper.now(),
            request_id,
            Event::RequestRefused,
            actor(&who.principal.id),
        )
        .about(subject)
        .under(refusal.control)
        .deciding(Decision::Refused {
            code: refusal.code.as_str().to_owned(),
            policies: refusal.policies.clone(),
        });
        let mut record = identified(record, who);
        if further_counted {
            record = record
                .with("further", "counted")
                .with("window_s", crate::merged::WINDOW.as_secs());
        }
        self.append(record).await
    }

    /// Writes what was counted together. What the log does not take is counted on.
    pub(crate) async fn merged(&self, merged: &MergedRefusals) {
        for ((reason, who), count) in merged.take() {
            let Ok(id) = fresh_id() else { return };
            let (actor, source) = match &who {
                Refused::From(prefix) => (Actor::Unidentified {}, prefix.to_string()),
                Refused::Principal(id) => (actor(id), "principal".to_owned()),
                Refused::Others => (Actor::Unidentified {}, "others".to_owned()),
            };
            let record = Record::new(self.keeper.now(), id, Event::RequestsRefused, actor)
                .about(server())
                .under(Control::AccessControl)
                .deciding(Decision::Refused {
                    code: reason.to_owned(),
                    policies: Vec::new(),
                })
                .with("source", source)
                .with("count", count)
                .with("window_s", crate::merged::WINDOW.as_secs());
            if self.append(record).await.is_err() {
                merged.count(reason, who, count);
            }
        }
    }

    /// An event of the gateway itself.
    pub(crate) async fn system(
        &self,
        event: Event,
        subject: Subject,
        fill: impl FnOnce(Record) -> Record,
    ) -> Result<(), Refusal> {
        let id = fresh_id()?;
        self.append(fill(
            Record::new(self.keeper.now(), id, event, Actor::System {}).about(subject),
        ))
        .await
    }

    async fn append(&self, record: Record) -> Result<(), Refusal> {
        let Ok(appended) = tokio::time::timeout(APPEND_MAX, self.keeper.append(record)).await else {
            tracing::error!(phase = "record", "the log does not answer");
            return Err(Refusal::unrecorded());
        };
        match appended {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(phase = "record", %error, "the log takes no record");
                Err(Refusal::unrecorded())
            }
        }
    }
}

/// The server as a subject.
pub(crate) fn server() -> Subject {
    Subject::new(SubjectKind::Server, "gateway")
}

/// A random id for a request or a record.
pub(crate) fn fresh_id() -> Result<RecordId, Refusal> {
    stockade_crypto::random_array()
        .map(RecordId::new)
        .map_err(|_| Refusal::internal())
}

/// Says in which way a principal was identified: a word of ours and a key's public part, nothing of a token's or a
/// certificate's.
fn identified(record: Record, who: &Identity) -> Record {
    let record = record.with("identified_by", who.identified_by());
    match who.key_prefix() {
        Some(prefix) => record.with("key_prefix", prefix),
        None => record,
    }
}

fn actor(who: &PrincipalId) -> Actor {
    Actor::Principal { id: who.to_string() }
}

fn micros(duration: Duration) -> u64 {
    let micros = u64::try_from(duration.as_micros());
    micros.unwrap_or(u64::MAX).min(MOST_EXACT)
}
