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

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use stockade_access::{Action, Identity, Resource};
use stockade_evidence::{Control, RecordId, Subject};
use stockade_protocol::{ErrorCode, InferResponse, Operation, Parameters, oip::ServerLive};

use self::{
    accept::{BodyBounds, Buffered, Coding, Growth, Handler, RequestBody, read_body},
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
    source::Source,
    upstream::{Trace, Via},
    wire::Wire,
};

/// Bodies from this size on are parsed beside the connections' threads.
const LARGE_BODY: usize = 256 << 10;

/// A listener for clients: the protocols over HTTP and two probes, or gRPC.
#[derive(Debug)]
pub(crate) struct DataPlane {
    shared: Arc<Shared>,
    dialect: Dialect,
}

impl Handler for DataPlane {
    async fn answer(self: Arc<Self>, source: Source, request: Request<Incoming>) -> Answer {
        let shared = &self.shared;
        let Some(call) = begin(source, self.dialect) else {
            return Refusal::internal().answer_in(self.dialect, &RecordId::new([0; 16]));
        };
        if let Some(answer) = probe(shared, &call, request.method(), request.uri().path()) {
            return answer;
        }
        // A task of its own: a client that goes away does not cut a request between its admission and its outcome.
        let plane = self.clone();
        let handling = shared
            .trackers
            .requests
            .spawn(async move { plane.handle(&call, request).await });
        handling
            .await
            .unwrap_or_else(|_| shared.refused(&call, &Refusal::internal()))
    }
}

/// Gives a request its id and its start.
pub(crate) fn begin(source: Source, dialect: Dialect) -> Option<Call> {
    record::fresh_id().ok().map(|id| Call {
        id,
        source,
        dialect,
        started: Instant::now(),
    })
}

/// Answers `/livez` and `/readyz`, which need no key and say nothing else.
pub(crate) fn probe(shared: &Shared, call: &Call, method: &Method, path: &str) -> Option<Answer> {
    if method != Method::GET {
        return None;
    }
    match path {
        "/livez" => Some(answer::json(
            StatusCode::OK,
            ServerLive { live: true }.to_json(),
            &call.id,
        )),
        "/readyz" => {
            let ready = shared.is_ready();
            let status = if ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            Some(answer::json(
                status,
                format!("{{\"ready\":{ready}}}").into_bytes(),
                &call.id,
            ))
        }
        _ => None,
    }
}

/// A refusal before admission, and what the request was about.
#[derive(Debug)]
pub(crate) struct Stopped {
    refusal: Refusal,
    subject: Box<Subject>,
}

/// What an outcome says besides how a request ended.
#[derive(Debug, Default)]
struct Finished {
    rows: u64,
    /// The output policy that shaped the answer.
    output: Option<String>,
    via: Option<Via>,
}

/// One identified request.
#[derive(Debug)]
pub(crate) struct Identified<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) call: &'a Call,
    who: &'a Identity,
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

impl DataPlane {
    pub(crate) const fn new(shared: Arc<Shared>, dialect: Dialect) -> Self {
        Self { shared, dialect }
    }

    async fn handle(&self, call: &Call, request: Request<Incoming>) -> Answer {
        let shared = self.shared.as_ref();
        let live = shared.live.load_full();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body, &parts.headers);
        let answer = self.decide(call, &live, &parts, &mut body).await;
        body.discard(live.config.bodies.max_bytes.get(), &shared.trackers.requests)
            .await;
        answer
    }

    async fn decide(&self, call: &Call, live: &Snapshot, parts: &Parts, body: &mut RequestBody) -> Answer {
        let shared = self.shared.as_ref();
        let who = match shared.identify(parts, call.source) {
            Ok(who) => who,
            Err(refusal) => return shared.refused(call, &refusal),
        };
        let request = Identified {
            shared,
            call,
            who: &who,
            live,
        };
        let answered = match self.dialect {
            Dialect::Http => request.route(parts, body).await,
            Dialect::Grpc => request.called(parts, body).await,
        };
        match answered {
            Ok(answer) => answer,
            Err(stopped) => {
                shared
                    .refuse(call, &who, live, *stopped.subject, stopped.refusal)
                    .await
            }
        }
    }
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
        let policy = self.output_policy(model);
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
        let admission = Admission {
            request_id: self.call.id,
            who: self.who,
            action: Action::ModelInfer,
            subject: model.subject(),
            policies: granted.policies,
            body_bytes,
            rows,
        };
        let deadline = self.deadline(patience);
        let (admitted, (ran, via)) = tokio::join!(
            self.shared.recorder.admit(admission),
            forward::forward(&self.shared.pool, model, inputs, slot, trace, deadline)
        );
        if let Err(refusal) = admitted {
            reserved.give_back(counters);
            return Err(stop(refusal));
        }
        reserved.spend(counters);
        self.shared.metrics.admitted(rows, body_bytes);
        let answer = ran.and_then(|outputs| {
            inspect_response::inspect(&outputs, model.signature())?;
            let response = InferResponse {
                model_name: model.name().to_owned(),
                model_version: Some(model.version().to_string()),
                id: asked.id.clone(),
                parameters: Parameters::new(),
                outputs: shape::shape(outputs, model, &policy, &asked, form)?,
            };
            form.write(&response, &asked, &self.call.id)
        });
        let (took, now) = (self.call.started.elapsed(), self.shared.keeper.now());
        self.shared
            .statistics
            .count(model, rows, answer.is_ok(), took, now);
        let shaped = Finished {
            rows,
            output: Some(policy.name()),
            via,
        };
        self.finish(model.subject(), answer, shaped).await
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
            meter::model(counters, model.config().limits, who, model.name(), now)?;
        }
        let place = self.place()?;
        let reserved = meter::reserve(counters, limits, who, self.shared.keeper.now())?;
        Ok((reserved, place))
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
