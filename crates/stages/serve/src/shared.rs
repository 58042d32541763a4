//! What both listeners share: the one state behind every request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stockade_access::{Access, Identity};
use stockade_evidence::{RecordId, Subject};
use stockade_store::{
    Station,
    log::{BudgetLevel, LogHealth},
};
use tokio_util::task::TaskTracker;

use crate::{
    answer::{Answer, Dialect, Refusal},
    desk::Desk,
    identity::{Identification, Presented},
    merged::{MergedRefusals, Refused},
    metrics::{Gauges, Metrics},
    phases::{
        accept::{BodyMemory, Doors},
        forward::Pool,
        identify,
        meter::{self, Shares},
        record::Recorder,
    },
    queries::Standings,
    snapshot::{Live, Snapshot},
    source::Source,
    statistics::Statistics,
};

/// The state behind every request.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keeper: Station,
    pub(crate) access: Arc<Access>,
    pub(crate) desk: Desk,
    pub(crate) identification: Identification,
    pub(crate) live: Arc<Live>,
    pub(crate) recorder: Recorder,
    pub(crate) pool: Pool,
    /// Requests at once.
    pub(crate) places: Shares,
    pub(crate) memory: BodyMemory,
    pub(crate) merged: Arc<MergedRefusals>,
    pub(crate) metrics: Metrics,
    pub(crate) doors: Arc<Doors>,
    pub(crate) grpc_doors: Arc<Doors>,
    pub(crate) admin_doors: Arc<Doors>,
    pub(crate) statistics: Statistics,
    pub(crate) trackers: Trackers,
    /// Where suspected clients stand.
    pub(crate) standings: Standings,
    /// Held while an alarm becomes a step.
    pub(crate) raising: tokio::sync::Mutex<()>,
    started: Instant,
    serving: AtomicBool,
}

/// The tasks that the drain waits for, in the order in which it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trackers {
    /// Connections, their streams and their requests.
    pub(crate) requests: TaskTracker,
    /// Runs of models.
    pub(crate) engine: TaskTracker,
    /// Outcome records under way.
    pub(crate) outcomes: TaskTracker,
}

/// One request, as every phase sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) id: RecordId,
    pub(crate) source: Source,
    pub(crate) dialect: Dialect,
    pub(crate) started: Instant,
}

impl Shared {
    pub(crate) fn new(keeper: Station, access: Arc<Access>, desk: Desk, snapshot: Snapshot) -> Self {
        let trackers = Trackers::default();
        let (limits, bodies) = (&snapshot.config.limits, &snapshot.config.bodies);
        Self {
            recorder: Recorder::new(keeper.clone(), trackers.outcomes.clone()),
            pool: Pool::new(
                limits.worker_count(),
                limits.max_queued,
                snapshot.config.engine.threads,
                trackers.engine.clone(),
            ),
            places: Shares::new(limits.share_count()),
            memory: BodyMemory::new(bodies.max_bytes_in_all.get(), bodies.share_bytes()),
            merged: Arc::default(),
            metrics: Metrics::new(),
            doors: Arc::new(Doors::new(limits)),
            grpc_doors: Arc::new(Doors::new(limits)),
            admin_doors: Arc::new(Doors::new(limits)),
            statistics: Statistics::default(),
            trackers,
            standings: Standings::default(),
            raising: tokio::sync::Mutex::default(),
            started: Instant::now(),
            serving: AtomicBool::new(false),
            identification: Identification::new(&snapshot.config.identity),
            live: Arc::new(Live::from_pointee(snapshot)),
            keeper,
            access,
            desk,
        }
    }

    /// Seconds from the gateway's start to `moment`.
    pub(crate) fn seconds(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.started).as_secs_f64()
    }

    /// Says whether requests are served.
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// Whether requests are served and the log takes their records.
    pub(crate) fn is_ready(&self) -> bool {
        let health = self.keeper.health();
        self.serving.load(Ordering::Acquire) && health.projection_follows && takes_records(&health.log)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.doors.open(),
            grpc_connections: self.grpc_doors.open(),
            admin_connections: self.admin_doors.open(),
            models: self.live.load().models().count(),
            ready: self.is_ready(),
        }
    }

    /// The second phase, with its merged record.
    pub(crate) fn identify(&self, parts: &http::request::Parts, source: Source) -> Result<Identity, Refusal> {
        let certificate = parts.extensions.get::<Arc<Presented>>();
        identify::identify(
            &parts.headers,
            certificate.map(Arc::as_ref),
            &self.identification,
            &self.access,
            self.keeper.now(),
        )
        .map_err(|unidentified| {
            self.merged
                .count(unidentified.reason, Refused::From(source.prefix()), 1);
            unidentified.refusal
        })
    }

    /// Counts a request that is refused before its rate was counted: a flood of them is refused as a flood.
    pub(crate) fn charge(&self, who: &Identity, live: &Snapshot, refusal: Refusal) -> Refusal {
        let limits = &live.config.limits;
        match meter::principal(self.keeper.counters(), limits, &who.principal.id, Instant::now()) {
            Ok(()) => refusal,
            Err(limited) => limited,
        }
    }

    /// Records the refusal of an identified request and answers it. Where no record can be made, nothing is told.
    ///
    /// Beyond the principal's `refusal_records`, the first refusal of a window still has a record of its own, which
    /// says that further ones are counted; those are answered after their count went up.
    pub(crate) async fn refuse(
        &self,
        call: &Call,
        who: &Identity,
        live: &Snapshot,
        subject: Subject,
        refusal: Refusal,
    ) -> Answer {
        let (counters, limits, id) = (self.keeper.counters(), &live.config.limits, &who.principal.id);
        let within_budget = meter::refusal_record(counters, limits, id, Instant::now());
        let counted = !within_budget && self.merged.count_announced(refusal.code.as_str(), id);
        let recorded = if counted {
            Ok(())
        } else {
            self.recorder
                .refuse(call.id, who, subject, &refusal, !within_budget)
                .await
        };
        if recorded.is_ok() && !within_budget && !counted {
            self.merged.announce(id);
        }
        let refusal = match recorded {
            Ok(()) => refusal,
            Err(unrecorded) => Refusal {
                close: refusal.close,
                ..unrecorded
            },
        };
        self.refused(call, &refusal)
    }

    /// Counts and logs a refusal, and makes its answer.
    pub(crate) fn refused(&self, call: &Call, refusal: &Refusal) -> Answer {
        let duration = call.started.elapsed();
        self.metrics.request(Some(refusal.code), duration);
        tracing::info!(
            request_id = %call.id,
            code = refusal.code.as_str(),
            status = refusal.code.status(),
            duration_us = micros(duration),
            "refused"
        );
        refusal.answer_in(call.dialect, &call.id)
    }

    /// Counts and logs an answer.
    pub(crate) fn answered(&self, call: &Call, answer: &Answer) -> Duration {
        let duration = call.started.elapsed();
        self.metrics.request(None, duration);
        tracing::info!(
            request_id = %call.id,
            status = answer.status().as_u16(),
            duration_us = micros(duration),
            "answered"
        );
        duration
    }
}

/// Whether the log takes records.
pub(crate) fn takes_records(log: &LogHealth) -> bool {
    let within_budget = match log.budget_level {
        BudgetLevel::Low | BudgetLevel::High | BudgetLevel::Critical => true,
        BudgetLevel::Spent => false,
    };
    log.stopped.is_none() && within_budget
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
