//! The admin listener: probes, metrics, and the state of the gateway, its models, principals, keys and log.
//!
//! Every request but a probe goes the same way as one to a model: a key, Cedar, rates, and an admission record that
//! is durable before anything is done. One table ([`routes::ROUTES`]) holds each path, method, action and operation;
//! the OpenAPI document is tested against it.

mod keys;
mod openapi;
mod routes;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use stockade_access::Identity;
use stockade_evidence::{Control, RecordId};
use stockade_protocol::ErrorCode;
use stockade_store::Secret;

pub use self::openapi::openapi_json;
use self::routes::{AdminRoute, Found, Operation};
use crate::{
    answer::{self, Answer, Dialect, Refusal},
    phases::{
        accept::{BodyBounds, Handler, RequestBody, read_body},
        authorize, identify, meter,
        record::{self, Admission, Outcome},
    },
    plane::{begin, probe},
    rest,
    shared::{Call, Shared},
    snapshot::Snapshot,
    source::Source,
};

/// The largest body of an admin call.
const MAX_BODY: usize = 64 << 10;

/// The admin listener.
#[derive(Debug)]
pub(crate) struct AdminPlane(Arc<Shared>);

/// One admitted admin call, as its operation sees it.
#[derive(Debug)]
struct AdminCall<'a> {
    shared: &'a Shared,
    request_id: RecordId,
    /// The caller's API key, where it is what identified it.
    presented: Option<Secret>,
    /// What stands for `{prefix}` in the path.
    parameter: Option<&'a str>,
    body: Bytes,
}

impl AdminPlane {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    async fn handle(&self, call: &Call, request: Request<Incoming>) -> Answer {
        let shared = self.0.as_ref();
        let live = shared.live.load_full();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body, &parts.headers);
        let answer = self.decide(call, &live, &parts, &mut body).await;
        body.discard(MAX_BODY, &shared.trackers.requests).await;
        answer
    }

    async fn decide(&self, call: &Call, live: &Snapshot, parts: &Parts, body: &mut RequestBody) -> Answer {
        let shared = self.0.as_ref();
        let who = match shared.identify(parts, call.source) {
            Ok(who) => who,
            Err(refusal) => return shared.refused(call, &refusal),
        };
        match self.admitted(call, &who, live, parts, body).await {
            Ok(answer) => answer,
            Err(refusal) => shared.refuse(call, &who, live, record::server(), refusal).await,
        }
    }

    /// Authorizes, meters and records a call, and then does it.
    async fn admitted(
        &self,
        call: &Call,
        who: &Identity,
        live: &Snapshot,
        parts: &Parts,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        let shared = self.0.as_ref();
        let (route, parameter) = match routes::find(parts.method.as_str(), parts.uri.path()) {
            Found::Route(route, parameter) => (route, parameter),
            Found::Nothing => return Err(shared.charge(who, live, no_such_path())),
            Found::OtherMethod(allow) => return Err(shared.charge(who, live, other_method(allow))),
        };
        let granted = authorize::thing(&shared.access, &who.principal, route.action, &route.resource)
            .map_err(|refusal| shared.charge(who, live, refusal))?;
        let (counters, limits, id) = (shared.keeper.counters(), &live.config.limits, &who.principal.id);
        meter::principal(counters, limits, id, std::time::Instant::now())?;
        let reserved = meter::reserve(counters, limits, id, shared.keeper.now())?;
        let prepared = async {
            rest::plain(&parts.headers)?;
            let bounds = BodyBounds::new(&live.config.bodies, &live.config.timeouts);
            let bounds = BodyBounds {
                max_bytes: bounds.max_bytes.min(MAX_BODY),
                ..bounds
            };
            let body = read_body(body, bounds, shared.memory.of(id)).await?;
            let admission = Admission {
                request_id: call.id,
                who,
                action: route.action,
                subject: record::server(),
                policies: granted.policies,
                body_bytes: body.bytes.len(),
                rows: 0,
                bits: 0,
            };
            shared.recorder.admit(admission).await?;
            Ok(body.bytes)
        };
        let body = match prepared.await {
            Ok(body) => body,
            Err(refusal) => {
                reserved.give_back(counters);
                return Err(refusal);
            }
        };
        reserved.spend(counters);
        let admitted = AdminCall {
            shared,
            request_id: call.id,
            presented: presented(who, parts),
            parameter,
            body,
        };
        let done = admitted.perform(route.operation).await;
        Ok(self.finish(call, who, route, done).await)
    }

    async fn finish(
        &self,
        call: &Call,
        who: &Identity,
        route: &AdminRoute,
        done: Result<Answer, Refusal>,
    ) -> Answer {
        let shared = self.0.as_ref();
        let (answer, code) = match done {
            Ok(answer) => {
                shared.answered(call, &answer);
                (answer, None)
            }
            Err(refusal) => (shared.refused(call, &refusal), Some(refusal.code.as_str())),
        };
        tracing::info!(request_id = %call.id, path = route.path, "an admin call ended");
        let outcome = Outcome {
            request_id: call.id,
            who: who.principal.id.clone(),
            subject: record::server(),
            status: answer.status().as_u16(),
            code,
            duration: call.started.elapsed(),
            rows: 0,
            bits_beyond: 0,
            output: None,
            via: None,
        };
        shared.recorder.outcome(outcome).await;
        answer
    }
}

impl Handler for AdminPlane {
    async fn answer(self: Arc<Self>, source: Source, request: Request<Incoming>) -> Answer {
        let Some(call) = begin(source, Dialect::Http) else {
            return Refusal::internal().answer(&RecordId::new([0; 16]));
        };
        if let Some(answer) = probe(&self.0, &call, request.method(), request.uri().path()) {
            return answer;
        }
        let plane = self.clone();
        let handling = self
            .0
            .trackers
            .requests
            .spawn(async move { plane.handle(&call, request).await });
        handling
            .await
            .unwrap_or_else(|_| self.0.refused(&call, &Refusal::internal()))
    }
}

impl AdminCall<'_> {
    async fn perform(&self, operation: Operation) -> Result<Answer, Refusal> {
        match operation {
            Operation::Metrics => Ok(state::metrics(self)),
            Operation::OpenApi => Ok(state::openapi(self)),
            Operation::Status => state::status(self),
            Operation::Models => state::models(self),
            Operation::Principals => keys::principals(self).await,
            Operation::ListKeys => keys::list(self).await,
            Operation::CreateKey => keys::create(self).await,
            Operation::RevokeKey => keys::revoke(self).await,
            Operation::RotateKey => keys::rotate(self).await,
            Operation::LogCheckpoint => state::log_checkpoint(self).await,
        }
    }

    /// The body, as JSON.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        // The parser's message would repeat what was sent.
        serde_json::from_slice(&self.body)
            .map_err(|_| Refusal::invalid("the body is not what this call takes; see /admin/openapi.json"))
    }

    fn json(&self, status: StatusCode, value: &impl Serialize) -> Result<Answer, Refusal> {
        let body = serde_json::to_vec(value).map_err(|_| Refusal::internal())?;
        Ok(answer::json(status, body, &self.request_id))
    }
}

/// The caller's API key, where it is what identified it.
fn presented(who: &Identity, parts: &Parts) -> Option<Secret> {
    who.key_prefix()?;
    Some(Secret::copy_of(identify::bearer(&parts.headers)?.as_bytes()))
}

fn no_such_path() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        Control::AccessControl,
        "there is no such path",
    )
}

fn other_method(allow: &'static str) -> Refusal {
    let message = format!("this path is served with {allow}");
    Refusal {
        allow: Some(allow),
        ..Refusal::new(ErrorCode::MethodNotAllowed, Control::AccessControl, message)
    }
}
