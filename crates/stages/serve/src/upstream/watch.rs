//! Looks at every replica again and again: whether it is ready, and whether its models are what they were.

use std::{sync::Arc, time::Duration};

use stockade_evidence::{Control, Decision, Event};
use stockade_protocol::ErrorCode;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    failure::Failure,
    remote::Met,
    replica::Replica,
    request::{Answer, Ask},
    server::Upstream,
    words,
};
use crate::{
    models::{Engine, ServedModel},
    shared::Shared,
    snapshot::Snapshot,
};

/// How soon a suspect, or a new upstream after a reload, is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Goes on until the gateway stops.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut looks = JoinSet::new();
    loop {
        let live = shared.live.load_full();
        let now = Instant::now();
        for upstream in live.upstreams().iter().filter(|upstream| upstream.is_due(now)) {
            looks.spawn(look(shared.clone(), live.clone(), upstream.clone()));
        }
        while looks.try_join_next().is_some() {}
        if stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_none() {
            return;
        }
    }
}

async fn look(shared: Arc<Shared>, live: Arc<Snapshot>, upstream: Arc<Upstream>) {
    let mut looks = JoinSet::new();
    for index in 0..upstream.replicas().len() {
        let (shared, live, upstream) = (shared.clone(), live.clone(), upstream.clone());
        looks.spawn(async move { look_at(&shared, &live, &upstream, index).await });
    }
    while looks.join_next().await.is_some() {}
    upstream.looked();
}

async fn look_at(shared: &Shared, live: &Snapshot, upstream: &Arc<Upstream>, index: usize) {
    let Some(replica) = upstream.replicas().get(index) else {
        return;
    };
    let deadline = Instant::now() + upstream.config.health.timeout_ms.get();
    let name = upstream.name();
    match examine(shared, live, upstream, index, deadline).await {
        Ok(binary) => {
            if replica.found_well(binary) {
                tracing::info!(upstream = name, replica = index, "a model server is ready");
            }
        }
        Err(failure) => {
            let refused = failure == Failure::NotSent;
            let bearable = upstream.config.health.failures.get() - 1;
            if replica.missed(if refused { 0 } else { bearable }) {
                tracing::error!(
                    upstream = name,
                    replica = index,
                    ?failure,
                    "a model server is not ready"
                );
            }
        }
    }
}

/// Whether a replica reads binary tensors, after it was asked for everything that it holds.
async fn examine(
    shared: &Shared,
    live: &Snapshot,
    upstream: &Arc<Upstream>,
    index: usize,
    deadline: Instant,
) -> Result<bool, Failure> {
    let (protocol, limits) = (upstream.protocol(), &upstream.limits);
    let replica = upstream.replicas().get(index).ok_or(Failure::NotSent)?;
    if let Some(ask) = words::ready(protocol) {
        let answer = put(upstream, replica, ask, deadline).await?;
        if !words::is_ready(protocol, answer, limits) {
            return Err(Failure::Broken);
        }
    }
    let binary = match words::server(protocol) {
        Some(ask) => words::reads_binary(&put(upstream, replica, ask, deadline).await?, limits),
        None => false,
    };
    for model in live.models() {
        let Engine::Upstream(remote) = model.engine() else {
            continue;
        };
        if !Arc::ptr_eq(remote.upstream(), upstream) {
            continue;
        }
        let Some(ask) = words::model(protocol, remote.asked()) else {
            continue;
        };
        let answer = put(upstream, replica, ask, deadline).await?;
        let said = words::said(protocol, answer, limits);
        match remote.meet(index, said.as_ref(), |signature| model.fits(signature)) {
            Met::Same | Met::Unknown | Met::StillDiffers => {}
            Met::Changed => alarm(shared, model, upstream.name(), index).await,
        }
    }
    Ok(binary)
}

async fn put(upstream: &Upstream, replica: &Replica, ask: Ask, deadline: Instant) -> Result<Answer, Failure> {
    replica.ask(ask, upstream.bearer.as_ref(), None, deadline).await
}

/// A model is not what it was. It is refused whether or not the record can be made.
async fn alarm(shared: &Shared, model: &ServedModel, upstream: &str, replica: usize) {
    let name = model.name();
    tracing::error!(
        upstream,
        replica,
        model = name,
        "a model's signature changed; it is refused there until a reload"
    );
    let recorded = shared
        .recorder
        .system(Event::ModelChanged, model.subject(), |record| {
            record
                .under(Control::RunningModelIntegrity)
                .deciding(Decision::Refused {
                    code: ErrorCode::Unavailable.as_str().to_owned(),
                    policies: Vec::new(),
                })
                .with("upstream", upstream)
                .with("replica", replica as u64)
                .with("reason", "signature_changed")
        })
        .await;
    if recorded.is_err() {
        tracing::error!(upstream, replica, model = name, "that could not be recorded");
    }
}
