//! A request's way through the gateway, one file per phase:
//! `accept` -> `identify` -> `authorize` -> `meter` -> `inspect_request` -> `forward` -> `inspect_response` -> `shape`,
//! with `record` beside them.
//!
//! INVARIANT: an error in any phase is a refusal. No answer but a probe's leaves before its record is durable, except
//! refusals that are counted together (`merged`): those of unidentified requests, and those of a principal beyond
//! `limits.refusal_records` after a durable record said that further ones are counted. Counts reach the log every 10 s
//! and when the gateway stops.

pub(crate) mod accept;
pub(crate) mod authorize;
pub(crate) mod forward;
pub(crate) mod identify;
pub(crate) mod inspect_request;
pub(crate) mod inspect_response;
pub(crate) mod meter;
pub(crate) mod record;
pub(crate) mod shape;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use stockade_access::{Action, Identity, Resource};
use stockade_evidence::{Control, Subject};
use stockade_protocol::{ErrorCode, InferRequest, InferResponse, Operation, Parameters};

use self::{
    accept::{BodyBounds, Buffered, Coding, Growth, RequestBody, read_body},
    authorize::Granted,
    inspect_request::Inspected,
    record::{Admission, Outcome},
};
use crate::{
    answer::{self, Answer, Dialect, Refusal},
    config::OutputPolicy,
    models::ServedModel,
    shared::{Call, Shared},
    snapshot::Snapshot,
    upstream::{Trace, Via},
    wire::{Form, Wire},
};

/// Bodies from this size on are parsed beside the connections' threads.
const LARGE_BODY: usize = 256 << 10;

/// A refusal before admission, and what the request was about.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) refusal: Refusal,
    pub(crate) subject: Box<Subject>,
}

/// What an outcome says besides how a request ended.
#[derive(Debug, Default)]
struct Finished {
    rows: u64,
    /// Bits that the answer can carry beyond those of its admission.
    bits_beyond: u64,
    /// The output policy that shaped the answer.
    output: Option<String>,
    via: Option<Via>,
}

/// One identified request.
#[derive(Debug)]
pub(crate) struct Identified<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) call: &'a Call,
    pub(crate) who: &'a Identity,
    pub(crate) live: &'a Snapshot,
}

/// An inference that a role allows.
#[derive(Debug)]
pub(crate) struct Asked<'a, 'b> {
    pub(crate) model: &'a Arc<ServedModel>,
    pub(crate) granted: Granted,
    pub(crate) wire: Wire,
    pub(crate) body: Arriving<'b>,
    /// How long its client waits for it.
    pub(crate) patience: Option<Duration>,
    /// What another server is told of where it comes from.
    pub(crate) trace: Trace,
}

/// Where the body of an inference is.
#[derive(Debug)]
pub(crate) enum Arriving<'b> {
    /// On its way; it is read once the request has been metered.
    Coming(&'b mut RequestBody, Option<Coding>),
    /// Here, because it names the model.
    Here(Buffered),
}

impl<'a> Identified<'a> {
    /// Answers a question about the server.
    pub(crate) async fn server(
        &self,
        operation: Operation,
        write: impl FnOnce(&Self) -> Vec<u8>,
    ) -> Result<Answer, Stopped> {
        let granted = self.authorize_server(operation)?;
        let action = authorize::action(operation);
        self.metered(action, record::server(), granted, || write(self))
            .await
    }

    /// Answers a question about a model.
    pub(crate) async fn about_model(
        &self,
        operation: Operation,
        (name, version): (&str, Option<&str>),
        write: impl FnOnce(&ServedModel, &OutputPolicy) -> Vec<u8>,
    ) -> Result<Answer, Stopped> {
        let (model, granted) = self.authorize(operation, name, version)?;
        let policy = self.output_policy(model);
        let action = authorize::action(operation);
        self.metered(action, model.subject(), granted, || write(model, &policy))
            .await
    }

    /// Refuses what nothing here can do; who may not do it either learns that alone.
    pub(crate) fn not_served(&self, operation: Operation) -> Result<Answer, Stopped> {
        self.authorize_server(operation)?;
        let message = "nothing behind this gateway can do this";
        let refusal = Refusal::new(ErrorCode::NotServed, Control::AccessControl, message);
        Err(self.unauthorized(refusal, record::server()))
    }

    /// The served models that the principal may do this to.
    pub(crate) fn models(&self, operation: Operation) -> impl Iterator<Item = &'a Arc<ServedModel>> {
        let action = authorize::action(operation);
        let (access, who) = (&self.shared.access, &self.who.principal);
        self.live
            .models()
            .filter(move |model| authorize::model(access, who, action, Some(model)).is_ok())
    }

    /// Meters and records what needs no model to run.
    async fn metered(
        &self,
        action: Action,
        subject: Subject,
        granted: Granted,
        write: impl FnOnce() -> Vec<u8>,
    ) -> Result<Answer, Stopped> {
        let stop = |refusal| Stopped {
            refusal,
            subject: Box::new(subject.clone()),
        };
        let counters = self.shared.keeper.counters();
        let (reserved, _place) = self.meter(None).map_err(stop)?;
        let admission = Admission {
            request_id: self.call.id,
            who: self.who,
            action,
            subject: subject.clone(),
            policies: granted.policies,
            body_bytes: 0,
            rows: 0,
            bits: 0,
        };
        if let Err(refusal) = self.shared.recorder.admit(admission).await {
            reserved.give_back(counters);
            return Err(stop(refusal));
        }
        reserved.spend(counters);
        let answer = match self.call.dialect {
            Dialect::Http => Ok(answer::json(StatusCode::OK, write(), &self.call.id)),
            Dialect::Grpc => answer::message(&write(), &self.call.id),
        };
        self.finish(subject, answer, Finished::default()).await
    }

    pub(crate) async fn infer(&self, asked: Asked<'_, '_>) -> Result<Answer, Stopped> {
        let Asked {
            model,
            granted,
            wire,
            body,
            patience,
            trace,
        } = asked;
        let stop = |refusal| Stopped {
            refusal,
            subject: Box::new(model.subject()),
        };
        let counters = self.shared.keeper.counters();
        let treatment = self
            .treatment(model)
            .map_err(|refusal| self.unauthorized(refusal, model.subject()))?;
        let policy = watch::coarser(self.output_policy(model), model, treatment);
        let (reserved, place) = self.meter(Some(model)).map_err(stop)?;
        let inspected = async {
            let (body, coding) = match body {
                Arriving::Coming(body, coding) => (self.read(body, usize::MAX).await?, coding),
                Arriving::Here(body) => (body, None),
            };
            let slot = self.shared.pool.enter(place)?;
            let size = body.bytes.len();
            let inspected = self.inspect(body, coding, wire, model, &policy).await?;
            Ok((inspected, slot, size))
        };
        let (inspected, slot, body_bytes) = match inspected.await {
            Ok(inspected) => inspected,
            Err(refusal) => {
                reserved.give_back(counters);
                return Err(stop(refusal));
            }
        };
        let Inspected {
            asked,
            form,
            inputs,
            rows,
        } = inspected;
        let prepared = watch::rows(model, &inputs).and_then(|looked_at| {
            let carried = self.meter_content(model, &policy, rows, body_bytes)?;
            Ok((looked_at, carried))
        });
        let (looked_at, carried) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                reserved.give_back(counters);
                return Err(stop(refusal));
            }
        };
        let admission = Admission {
            request_id: self.call.id,
            who: self.who,
            action: Action::ModelInfer,
            subject: model.subject(),
            policies: granted.policies,
            body_bytes,
            rows,
            bits: carried.bits(),
        };
        let deadline = self.deadline(patience);
        let (admitted, (ran, via)) = tokio::join!(
            self.shared.recorder.admit(admission),
            forward::forward(&self.shared.pool, model, inputs, slot, trace, deadline)
        );
        if let Err(refusal) = admitted {
            reserved.give_back(counters);
            carried.give_back(counters);
            return Err(stop(refusal));
        }
        reserved.spend(counters);
        self.shared.metrics.admitted(rows, body_bytes);
        let checked = ran.and_then(|outputs| {
            inspect_response::inspect(&outputs, model.signature())?;
            Ok(outputs)
        });
        let bits_beyond = carried.settle(counters, checked.as_deref().ok(), model.signature());
        let given = match checked {
            Ok(outputs) => self.watched(model, looked_at, outputs, treatment).await,
            Err(refusal) => Err(refusal),
        };
        let answer = given.and_then(|outputs| self.write(outputs, model, &policy, &asked, form));
        self.count(model, rows, answer.is_ok());
        let shaped = Finished {
            rows,
            bits_beyond,
            output: Some(policy.name()),
            via,
        };
        self.slowed(model, treatment).await;
        self.finish(model.subject(), answer, shaped).await
    }

    /// The answer that leaves: what is granted of the outputs, in the form that was asked for.
    fn write(
        &self,
        outputs: forward::Named,
        model: &ServedModel,
        policy: &OutputPolicy,
        asked: &InferRequest,
        form: Form,
    ) -> Result<Answer, Refusal> {
        let response = InferResponse {
            model_name: model.name().to_owned(),
            model_version: Some(model.version().to_string()),
            id: asked.id.clone(),
            parameters: Parameters::new(),
            outputs: shape::shape(outputs, model, policy, asked, form)?,
        };
        form.write(&response, asked, &self.call.id)
    }

    /// Counts an inference that was admitted, for those who may ask how a model does.
    fn count(&self, model: &ServedModel, rows: u64, answered: bool) {
        let (took, now) = (self.call.started.elapsed(), self.shared.keeper.now());
        let statistics = &self.shared.statistics;
        statistics.count(model, rows, answered, took, now);
    }

    /// Reads a body of no more than `most` bytes, or of what configuration allows.
    pub(crate) async fn read(&self, body: &mut RequestBody, most: usize) -> Result<Buffered, Refusal> {
        let config = &self.live.config;
        let mut bounds = BodyBounds::new(&config.bodies, &config.timeouts);
        bounds.max_bytes = bounds.max_bytes.min(most);
        read_body(body, bounds, self.shared.memory.of(&self.who.principal.id)).await
    }

    /// Parses a body, a large or a compressed one beside the connections' threads.
    async fn inspect(
        &self,
        body: Buffered,
        coding: Option<Coding>,
        wire: Wire,
        model: &Arc<ServedModel>,
        policy: &OutputPolicy,
    ) -> Result<Inspected, Refusal> {
        let limits = &self.live.parser_limits;
        if body.bytes.len() < LARGE_BODY && coding.is_none() {
            return inspect_request::body(body.bytes.clone(), wire, limits, model, policy);
        }
        let growth = Growth::new(&self.live.config.bodies);
        let (limits, model, policy) = (limits.clone(), model.clone(), policy.clone());
        let inspecting = move || {
            let body = match coding {
                Some(coding) => body.inflated(coding, growth)?,
                None => body,
            };
            inspect_request::body(body.bytes.clone(), wire, &limits, &model, &policy)
        };
        self.beside(inspecting).await?
    }

    /// Does what takes long beside the connections' threads.
    pub(crate) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let working = self.shared.trackers.engine.spawn_blocking(work);
        working.await.map_err(|_| Refusal::internal())
    }

    /// Until when a model may run: as configured, or as long as its client waits.
    fn deadline(&self, patience: Option<Duration>) -> tokio::time::Instant {
        let now = tokio::time::Instant::now();
        let configured = self.live.config.timeouts.inference_ms.get();
        let left = patience.map(|patience| patience.saturating_sub(self.call.started.elapsed()));
        now + left.map_or(configured, |left| left.min(configured))
    }

    /// Sends the outcome of an admitted request on its way and gives its answer.
    async fn finish(
        &self,
        subject: Subject,
        answer: Result<Answer, Refusal>,
        finished: Finished,
    ) -> Result<Answer, Stopped> {
        let (answer, status, code) = match answer {
            Ok(answer) => {
                self.shared.answered(self.call, &answer);
                let status = answer.status().as_u16();
                (answer, status, None)
            }
            Err(refusal) => (
                self.shared.refused(self.call, &refusal),
                refusal.code.status(),
                Some(refusal.code.as_str()),
            ),
        };
        let outcome = Outcome {
            request_id: self.call.id,
            who: self.who.principal.id.clone(),
            subject,
            status,
            code,
            duration: self.call.started.elapsed(),
            rows: finished.rows,
            bits_beyond: finished.bits_beyond,
            output: finished.output,
            via: finished.via,
        };
        self.shared.recorder.outcome(outcome).await;
        Ok(answer)
    }

    /// Whether the principal may do this to a model, which may not exist.
    pub(crate) fn authorize(
        &self,
        operation: Operation,
        name: &str,
        version: Option<&str>,
    ) -> Result<(&'a Arc<ServedModel>, Granted), Stopped> {
        let (served, action) = (self.live.model(name, version), authorize::action(operation));
        let authorized = authorize::model(&self.shared.access, &self.who.principal, action, served);
        authorized.and_then(forward::ready).map_err(|refusal| {
            // Only a served model has a name in records; what else a client calls a model stays out of them.
            let subject = served.map_or_else(record::server, |model| model.subject());
            self.unauthorized(refusal, subject)
        })
    }

    fn authorize_server(&self, operation: Operation) -> Result<Granted, Stopped> {
        let (access, action) = (&self.shared.access, authorize::action(operation));
        authorize::thing(access, &self.who.principal, action, &Resource::Server)
            .map_err(|refusal| self.unauthorized(refusal, record::server()))
    }

    /// A refusal before the request's rate was counted.
    pub(crate) fn unauthorized(&self, refusal: Refusal, subject: Subject) -> Stopped {
        Stopped {
            refusal: self.shared.charge(self.who, self.live, refusal),
            subject: Box::new(subject),
        }
    }

    /// Counts the request, takes its place among its principal's, and reserves its unit of the day's budget.
    fn meter(&self, model: Option<&ServedModel>) -> Result<(meter::Reserved, meter::Held), Refusal> {
        let (counters, limits) = (self.shared.keeper.counters(), &self.live.config.limits);
        let (who, now) = (&self.who.principal.id, Instant::now());
        meter::principal(counters, limits, who, now)?;
        if let Some(model) = model {
            meter::model(counters, model.config().limits.rate(), who, model.name(), now)?;
        }
        let place = self.place()?;
        let reserved = meter::reserve(counters, limits, who, self.shared.keeper.now())?;
        Ok((reserved, place))
    }

    /// Counts what a request holds, and reserves what its answer can carry.
    fn meter_content(
        &self,
        model: &ServedModel,
        policy: &OutputPolicy,
        rows: u64,
        bytes: usize,
    ) -> Result<meter::Carried, Refusal> {
        let (counters, who) = (self.shared.keeper.counters(), &self.who.principal.id);
        let limits = &self.live.config.limits;
        meter::size(counters, limits, who, (rows, bytes), Instant::now())?;
        let row = meter::row_bits(model.signature(), model.labels(), policy);
        let budget = model.config().limits.bits_per_day;
        let now = self.shared.keeper.now();
        meter::carry(counters, budget, (who, model.name()), (row, rows), now)
    }

    /// Names the limits of the principal, and what is left of the day's budget once that is little: not before, so that
    /// answers to equal questions are equal.
    pub(crate) fn say_limits(&self, headers: &mut http::HeaderMap) {
        if let Some(limits) = &self.live.rate_limits {
            headers.insert(answer::RATE_LIMIT_POLICY, limits.clone());
        }
        let (counters, who) = (self.shared.keeper.counters(), &self.who.principal.id);
        let left = meter::left(counters, &self.live.config.limits, who, self.shared.keeper.now());
        if let Some((left, seconds)) = left
            && !headers.contains_key(answer::RATE_LIMIT)
        {
            answer::remaining(headers, "day", left, seconds);
        }
    }

    /// A place among the principal's requests that are in the gateway at once.
    pub(crate) fn place(&self) -> Result<meter::Held, Refusal> {
        meter::place(&self.shared.places, &self.who.principal.id)
    }

    fn output_policy<'m>(&self, model: &'m ServedModel) -> std::borrow::Cow<'m, OutputPolicy> {
        shape::policy(
            model,
            self.who.principal.roles.iter().map(stockade_access::Role::as_str),
        )
    }
}
