//! The data plane: a request gets its id, is identified, goes its way through the phases in a task of its own, and is
//! answered or refused.

use std::{sync::Arc, time::Instant};

use http::{Method, Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use stockade_evidence::RecordId;
use stockade_protocol::oip::ServerLive;

use crate::{
    answer::{self, Answer, Dialect, Refusal},
    phases::{
        Identified,
        accept::{Handler, RequestBody},
        record,
    },
    shared::{Call, Shared},
    snapshot::Snapshot,
    source::Source,
};

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
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(stopped) => {
                shared
                    .refuse(call, &who, live, *stopped.subject, stopped.refusal)
                    .await
            }
        };
        request.say_limits(answer.headers_mut());
        answer
    }
}
