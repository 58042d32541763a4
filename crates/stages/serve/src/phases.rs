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

use std::{sync::Arc, time::Instant};

use http::{Method, Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use stockade_access::{Action, Identity, Resource};
use stockade_evidence::{Control, RecordId, Subject};
use stockade_protocol::{
    InferResponse, Parameters,
    oip::{ModelReady, Route, ServerLive, ServerReady, route, write_infer_response},
};

use self::{
    accept::{BodyBounds, Buffered, Handler, RequestBody, read_body},
    authorize::Granted,
    inspect_request::Inspected,
    record::{Admission, Outcome},
};
use crate::{
    answer::{self, Answer, Refusal},
    config::OutputPolicy,
    metadata,
    models::ServedModel,
    shared::{Call, Shared},
    snapshot::Snapshot,
    source::Source,
};

/// Bodies from this size on are parsed beside the connections' threads.
const LARGE_BODY: usize = 256 << 10;

/// The gateway's listener: the Open Inference Protocol, and two probes.
#[derive(Debug)]
pub(crate) struct DataPlane(pub(crate) Arc<Shared>);

impl Handler for DataPlane {
    async fn answer(self: Arc<Self>, source: Source, request: Request<Incoming>) -> Answer {
        let shared = &self.0;
        let Some(call) = begin(source) else {
            return Refusal::internal().answer(&RecordId::new([0; 16]));
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
pub(crate) fn begin(source: Source) -> Option<Call> {
    record::fresh_id().ok().map(|id| Call {
        id,
        source,
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
struct Stopped {
    refusal: Refusal,
    subject: Box<Subject>,
}

/// One identified request.
struct Identified<'a> {
    shared: &'a Shared,
    call: &'a Call,
    who: &'a Identity,
    live: &'a Snapshot,
}

impl DataPlane {
    async fn handle(&self, call: &Call, request: Request<Incoming>) -> Answer {
        let shared = self.0.as_ref();
        let live = shared.live.load_full();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body, &parts.headers);
        let answer = self.decide(call, &live, &parts, &mut body).await;
        body.discard(live.config.bodies.max_bytes.get(), &shared.trackers.requests)
            .await;
        answer
    }

    async fn decide(&self, call: &Call, live: &Snapshot, parts: &Parts, body: &mut RequestBody) -> Answer {
        let shared = self.0.as_ref();
        let who = match shared.identify(&parts.headers, call.source) {
            Ok(who) => who,
            Err(refusal) => return shared.refused(call, &refusal),
        };
        let request = Identified {
            shared,
            call,
            who: &who,
            live,
        };
        match request.route(parts, body).await {
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
    async fn route(&self, parts: &Parts, body: &mut RequestBody) -> Result<Answer, Stopped> {
        match route(parts.method.as_str(), parts.uri.path()) {
            Ok(Route::ServerLive) => self.server(|_| ServerLive { live: true }.to_json()).await,
            Ok(Route::ServerReady) => {
                self.server(|shared| {
                    ServerReady {
                        ready: shared.is_ready(),
                    }
                    .to_json()
                })
                .await
            }
            Ok(Route::ServerMetadata) => self.server(|_| metadata::server()).await,
            Ok(Route::ModelReady { model, version }) => {
                let ready = |model: &ServedModel, _: &OutputPolicy| {
                    ModelReady {
                        name: model.name().to_owned(),
                        ready: true,
                    }
                    .to_json()
                };
                self.about_model(&model, version.as_deref(), ready).await
            }
            Ok(Route::ModelMetadata { model, version }) => {
                self.about_model(&model, version.as_deref(), metadata::model)
                    .await
            }
            Ok(Route::ModelInfer { model, version }) => {
                self.infer(&model, version.as_deref(), parts, body).await
            }
            Err(error) => {
                let allow = match error {
                    stockade_protocol::oip::RouteError::NotFound => None,
                    stockade_protocol::oip::RouteError::MethodNotAllowed { allow } => Some(allow),
                };
                let refusal = Refusal::new(error.code(), Control::AccessControl, error.to_string());
                Err(self.unauthorized(Refusal { allow, ..refusal }, record::server()))
            }
        }
    }

    /// Answers a question about the server.
    async fn server(&self, write: impl FnOnce(&Shared) -> Vec<u8>) -> Result<Answer, Stopped> {
        let granted = authorize::thing(
            &self.shared.access,
            &self.who.principal,
            Action::ServerMetadata,
            &Resource::Server,
        )
        .map_err(|refusal| self.unauthorized(refusal, record::server()))?;
        self.metered(Action::ServerMetadata, record::server(), granted, || {
            write(self.shared)
        })
        .await
    }

    /// Answers a question about a model.
    async fn about_model(
        &self,
        name: &str,
        version: Option<&str>,
        write: impl FnOnce(&ServedModel, &OutputPolicy) -> Vec<u8>,
    ) -> Result<Answer, Stopped> {
        let (model, granted) = self.authorize(Action::ModelMetadata, name, version)?;
        let policy = self.output_policy(model);
        self.metered(Action::ModelMetadata, model.subject(), granted, || {
            write(model, &policy)
        })
        .await
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
        let answer = answer::json(StatusCode::OK, write(), &self.call.id);
        self.finish(subject, Ok(answer), 0, None).await
    }

    async fn infer(
        &self,
        name: &str,
        version: Option<&str>,
        parts: &Parts,
        body: &mut RequestBody,
    ) -> Result<Answer, Stopped> {
        let (model, granted) = self.authorize(Action::ModelInfer, name, version)?;
        let stop = |refusal| Stopped {
            refusal,
            subject: Box::new(model.subject()),
        };
        let counters = self.shared.keeper.counters();
        let policy = self.output_policy(model);
        let (reserved, place) = self.meter(Some(model)).map_err(stop)?;
        let inspected = async {
            inspect_request::headers(&parts.headers)?;
            let config = &self.live.config;
            let bounds = BodyBounds::new(&config.bodies, &config.timeouts);
            let body = read_body(body, bounds, self.shared.memory.of(&self.who.principal.id)).await?;
            let slot = self.shared.pool.enter(place)?;
            let size = body.bytes.len();
            Ok((self.inspect(body, model, &policy).await?, slot, size))
        };
        let (inspected, slot, body_bytes) = match inspected.await {
            Ok(inspected) => inspected,
            Err(refusal) => {
                reserved.give_back(counters);
                return Err(stop(refusal));
            }
        };
        let Inspected {
            id,
            inputs,
            requested,
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
        let deadline = tokio::time::Instant::now() + self.live.config.timeouts.inference_ms.get();
        let (admitted, ran) = tokio::join!(
            self.shared.recorder.admit(admission),
            self.shared
                .pool
                .run(model.session().clone(), inputs, slot, deadline)
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
                id,
                parameters: Parameters::new(),
                outputs: shape::shape(outputs, model, &policy, requested.as_deref())?,
            };
            let body = write_infer_response(&response).map_err(|_| Refusal::internal())?;
            Ok(answer::json(StatusCode::OK, body, &self.call.id))
        });
        self.finish(model.subject(), answer, rows, Some(policy.name()))
            .await
    }

    /// Parses a body, a large one beside the connections' threads.
    async fn inspect(
        &self,
        body: Buffered,
        model: &Arc<ServedModel>,
        policy: &OutputPolicy,
    ) -> Result<Inspected, Refusal> {
        let limits = &self.live.parser_limits;
        if body.bytes.len() < LARGE_BODY {
            return inspect_request::body(&body.bytes, limits, model, policy);
        }
        let (limits, model, policy) = (limits.clone(), model.clone(), policy.clone());
        let inspecting = move || inspect_request::body(&body.bytes, &limits, &model, &policy);
        self.shared
            .trackers
            .engine
            .spawn_blocking(inspecting)
            .await
            .map_err(|_| Refusal::internal())?
    }

    /// Sends the outcome of an admitted request on its way and gives its answer.
    async fn finish(
        &self,
        subject: Subject,
        answer: Result<Answer, Refusal>,
        rows: u64,
        output: Option<String>,
    ) -> Result<Answer, Stopped> {
        let (answer, code) = match answer {
            Ok(answer) => {
                self.shared.answered(self.call, &answer);
                (answer, None)
            }
            Err(refusal) => (
                self.shared.refused(self.call, &refusal),
                Some(refusal.code.as_str()),
            ),
        };
        let outcome = Outcome {
            request_id: self.call.id,
            who: self.who.principal.id.clone(),
            subject,
            status: answer.status().as_u16(),
            code,
            duration: self.call.started.elapsed(),
            rows,
            output,
        };
        self.shared.recorder.outcome(outcome).await;
        Ok(answer)
    }

    fn authorize(
        &self,
        action: Action,
        name: &str,
        version: Option<&str>,
    ) -> Result<(&'a Arc<ServedModel>, Granted), Stopped> {
        let served = self.live.model(name, version);
        authorize::model(&self.shared.access, &self.who.principal, action, served).map_err(|refusal| {
            // Only a served model has a name in records; what else a client calls a model stays out of them.
            let subject = served.map_or_else(record::server, |model| model.subject());
            self.unauthorized(refusal, subject)
        })
    }

    fn unauthorized(&self, refusal: Refusal, subject: Subject) -> Stopped {
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
        let place = meter::place(&self.shared.places, who)?;
        let reserved = meter::reserve(counters, limits, who, self.shared.keeper.now())?;
        Ok((reserved, place))
    }

    fn output_policy<'m>(&self, model: &'m ServedModel) -> std::borrow::Cow<'m, OutputPolicy> {
        shape::policy(
            model,
            self.who.principal.roles.iter().map(stockade_access::Role::as_str),
        )
    }
}
