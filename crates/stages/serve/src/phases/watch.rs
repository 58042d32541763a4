//! Between the model's answer and what leaves of it: the queries of each client are watched (control 32), and suspects get
//! what their standing leaves (control 34).
//!
//! What is looked at is the true answer; what a client stands for decides before and after it. An alarm is durable before the
//! answer leaves that raised it.

use std::{borrow::Cow, time::Duration};

use stockade_access::PrincipalId;
use stockade_evidence::{Control, Event, Record, Subject, SubjectKind};
use stockade_protocol::ErrorCode;

use super::{Identified, forward::Named};
use crate::{
    answer::Refusal,
    config::{OutputPolicy, Step},
    models::ServedModel,
    queries::{Raised, Rows, Standing},
};

/// What a client's standing does to one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Treatment {
    coarser: bool,
    deceptive: bool,
    slow: bool,
}

impl Identified<'_> {
    /// What the client stands for at this model; a blocked one is refused without a reason.
    pub(super) fn treatment(&self, model: &ServedModel) -> Result<Treatment, Refusal> {
        let standing = self.shared.standings.of(model.name(), &self.who.principal.id);
        let Some(standing) = standing else {
            return Ok(Treatment::default());
        };
        let mut treatment = Treatment::default();
        // Where nobody watches any more a block alone still binds.
        let watched = model.watch().is_some();
        for step in standing.binding(self.shared.keeper.now()) {
            match step {
                Step::Record => {}
                Step::Coarser => treatment.coarser = watched,
                Step::Deceptive => treatment.deceptive = watched,
                Step::Slow => treatment.slow = watched,
                Step::Block => return Err(blocked()),
            }
        }
        Ok(treatment)
    }

    /// Looks at a request and its true answer, and gives the answer that the client gets.
    pub(super) async fn watched(
        &self,
        model: &ServedModel,
        asked: Option<Rows>,
        outputs: Named,
        treatment: Treatment,
    ) -> Result<Named, Refusal> {
        let (Some(watch), Some(asked)) = (model.watch(), asked) else {
            return Ok(outputs);
        };
        let at = self.shared.seconds(self.call.started);
        let principal = &self.who.principal;
        let roles = principal.roles.iter().cloned();
        let looking = || watch.observe(&principal.id, roles, at, &asked, &outputs);
        let raised = if asked.iter().len() <= FEW_ROWS {
            looking()
        } else {
            tokio::task::block_in_place(looking)
        };
        for raised in &raised.ok_or_else(Refusal::internal)? {
            self.raise(model, raised).await?;
        }
        if !treatment.deceptive {
            return Ok(outputs);
        }
        let deceived = tokio::task::block_in_place(|| watch.deceived(outputs, &asked, model.labels()));
        deceived.ok_or_else(Refusal::internal)
    }

    /// Records an alarm and what follows from it for each suspect.
    async fn raise(&self, model: &ServedModel, raised: &Raised) -> Result<(), Refusal> {
        if raised.suspects.is_empty() {
            let fill = |record: Record| alarmed(record, raised, None);
            self.shared.metrics.alarm();
            return self
                .shared
                .recorder
                .system(Event::ClientSuspected, model.subject(), fill)
                .await;
        }
        for suspect in &raised.suspects {
            self.suspect(model, raised, suspect).await?;
        }
        Ok(())
    }

    async fn suspect(
        &self,
        model: &ServedModel,
        raised: &Raised,
        suspect: &PrincipalId,
    ) -> Result<(), Refusal> {
        let Some(watch) = model.watch() else { return Ok(()) };
        let shared = self.shared;
        // One alarm after the other, so that two of them are two steps.
        let _alone = shared.raising.lock().await;
        let before = shared.standings.of(model.name(), suspect);
        let random = stockade_crypto::random_array().map_err(|_| Refusal::internal())?;
        let next = Standing::after(
            watch.config(),
            (model.name(), suspect),
            shared.keeper.now(),
            before.as_ref(),
            u32::from_le_bytes(random),
        );
        let change = next.as_ref().map(Standing::put).transpose();
        let change = change.map_err(|_| Refusal::internal())?;
        let fill = |record: Record| {
            let record = alarmed(record, raised, next.as_ref())
                .with("model", model.name())
                .with("model_version", model.version());
            match change {
                Some(change) => record.changing(change),
                None => record,
            }
        };
        let subject = Subject::new(SubjectKind::Principal, suspect.as_str());
        shared
            .recorder
            .system(Event::ClientSuspected, subject, fill)
            .await?;
        shared.metrics.alarm();
        if shared.standings.refresh(&shared.keeper).await.is_err() {
            return Err(Refusal::unrecorded());
        }
        Ok(())
    }

    /// Lets a slowed client wait.
    pub(super) async fn slowed(&self, model: &ServedModel, treatment: Treatment) {
        let wait = model
            .watch()
            .filter(|_| treatment.slow)
            .map_or(Duration::ZERO, |watch| watch.config().slow_ms.get());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Requests of so many rows are looked at on the connection's thread.
const FEW_ROWS: usize = 16;

/// The rows that a watch looks at; `None` where nobody watches. What a watch cannot look at is not answered.
pub(super) fn rows(model: &ServedModel, inputs: &Named) -> Result<Option<Rows>, Refusal> {
    let Some(watch) = model.watch() else {
        return Ok(None);
    };
    let rows = watch.rows(inputs).ok_or_else(|| {
        Refusal::invalid("every input must hold as many rows as the others: the first dimension of each")
    });
    rows.map(Some)
}

/// The policy that a client gets under its treatment.
pub(super) fn coarser<'m>(
    policy: Cow<'m, OutputPolicy>,
    model: &'m ServedModel,
    treatment: Treatment,
) -> Cow<'m, OutputPolicy> {
    match model.watch().filter(|_| treatment.coarser) {
        Some(watch) => Cow::Owned(policy.and(&watch.config().coarser)),
        None => policy,
    }
}

fn alarmed(record: Record, raised: &Raised, next: Option<&Standing>) -> Record {
    let alarm = &raised.alarm;
    let record = record
        .under(Control::ExtractionDetection)
        .with("detector", alarm.detector.as_str())
        .with("scope", alarm.scope.as_str())
        .with("at_query", alarm.at_query)
        .with("statistic", alarm.statistic);
    let Some(next) = next else { return record };
    record
        .with("step", next.steps.last().map(|step| step.as_str()))
        .with("until", next.until.unix_ms())
}

/// Nothing tells a client why.
fn blocked() -> Refusal {
    Refusal::new(
        ErrorCode::Blocked,
        Control::ExtractionDetection,
        "this request is not answered",
    )
}
