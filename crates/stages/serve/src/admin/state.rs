//! Reading: metrics, status, models, the log's checkpoint, the API's own description.

use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminCall, openapi_json};
use crate::{
    answer::{self, Answer, Refusal},
    models::Engine,
    shared::takes_records,
    upstream,
};

/// How the gateway is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// Whether requests are served.
    ready: bool,
    /// The version of the program.
    version: &'static str,
    /// Whether the log takes records.
    log_writable: bool,
    /// Whether the rows follow the log.
    projection_follows: bool,
    /// Whether a passphrase can bring back the root key.
    recovery: bool,
    /// Whether the gateway's listener is without TLS.
    dangerous_plaintext: bool,
    /// Digest of the policies in force.
    policies: String,
    /// Open connections of the gateway's listener.
    connections: usize,
    /// Models served.
    models: usize,
}

/// One served model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServedModelInfo {
    /// The name in paths.
    name: String,
    /// The artifact's version.
    version: u64,
    /// The artifact's digest; absent where another server holds the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// `dev`, `test` or `prod`.
    environment: String,
    /// The engine that runs it, or the upstream that holds it.
    engine: String,
    /// Whether it can be asked now.
    ready: bool,
}

/// The newest checkpoint of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checkpoint {
    /// A C2SP tlog-checkpoint with its signatures.
    checkpoint: String,
}

#[utoipa::path(get, path = "/metrics", tag = "state", security(("key" = [])),
    responses((status = 200, description = "Metrics in the Prometheus text format", content_type = "text/plain", body = String)))]
pub(super) fn metrics(call: &AdminCall<'_>) -> Answer {
    let mut text = call.shared.metrics.text(call.shared.gauges());
    let live = call.shared.live.load();
    text.push_str(&upstream::text(
        live.upstreams().iter().map(std::convert::AsRef::as_ref),
    ));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer::typed(StatusCode::OK, content_type, text.into_bytes(), &call.request_id)
}

#[utoipa::path(get, path = "/admin/openapi.json", tag = "state", security(("key" = [])),
    responses((status = 200, description = "This document", body = Object)))]
pub(super) fn openapi(call: &AdminCall<'_>) -> Answer {
    answer::json(StatusCode::OK, openapi_json().into_bytes(), &call.request_id)
}

#[utoipa::path(get, path = "/admin/v1/status", tag = "state", security(("key" = [])),
    responses((status = 200, description = "How the gateway is", body = Status)))]
pub(super) fn status(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let shared = call.shared;
    let (health, gauges) = (shared.keeper.health(), shared.gauges());
    let status = Status {
        ready: gauges.ready,
        version: env!("CARGO_PKG_VERSION"),
        log_writable: takes_records(&health.log),
        projection_follows: health.projection_follows,
        recovery: health.recovery,
        dangerous_plaintext: shared.live.load().config.dangerous_plaintext,
        policies: shared.access.policies().digest().to_string(),
        connections: gauges.connections,
        models: gauges.models,
    };
    call.json(StatusCode::OK, &status)
}

#[utoipa::path(get, path = "/admin/v1/models", tag = "state", security(("key" = [])),
    responses((status = 200, description = "The models served", body = Vec<ServedModelInfo>)))]
pub(super) fn models(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let live = call.shared.live.load();
    let models: Vec<ServedModelInfo> = live
        .models()
        .map(|model| ServedModelInfo {
            name: model.name().to_owned(),
            version: model.version(),
            digest: model.digest().map(ToString::to_string),
            environment: model.environment().to_string(),
            engine: match model.engine() {
                Engine::Embedded(session) => {
                    format!("{} {}", session.engine_name(), session.engine_version())
                }
                Engine::Upstream(remote) => format!("upstream {}", remote.upstream().name()),
            },
            ready: model.is_ready(),
        })
        .collect();
    call.json(StatusCode::OK, &models)
}

#[utoipa::path(get, path = "/admin/v1/log/checkpoint", tag = "log", security(("key" = [])),
    responses((status = 200, description = "The newest signed checkpoint", body = Checkpoint)))]
pub(super) async fn log_checkpoint(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let checkpoint = call.shared.keeper.checkpoint().await;
    let checkpoint = checkpoint
        .map_err(|_| Refusal::unrecorded())?
        .ok_or_else(Refusal::internal)?;
    call.json(StatusCode::OK, &Checkpoint { checkpoint })
}
