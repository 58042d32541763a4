//! One server of an upstream: its connections, whether it is well, and how many requests it has.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderValue, Request, header};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use super::{
    breaker::{Breaker, Leave},
    connection::Connections,
    failure::Failure,
    request::{Answer, Ask, Trace},
    stats::Stats,
};

pub(super) struct Replica {
    connections: Connections,
    breaker: Breaker,
    stats: Stats,
    healthy: AtomicBool,
    /// Whether it says that it reads binary tensors.
    binary: AtomicBool,
    /// Looks without success in a row.
    missed: AtomicU32,
    in_flight: AtomicUsize,
}

/// One request under way to a replica.
pub(super) struct Attempt<'a> {
    pub(super) replica: &'a Replica,
    leave: Option<Leave>,
    started: Instant,
}

impl Replica {
    pub(super) fn new(connections: Connections, breaker: Breaker) -> Self {
        Self {
            connections,
            breaker,
            stats: Stats::default(),
            healthy: AtomicBool::new(false),
            binary: AtomicBool::new(false),
            missed: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
        }
    }

    pub(super) const fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(super) fn breaker_is_open(&self) -> bool {
        self.breaker.is_open()
    }

    pub(super) fn reads_binary(&self) -> bool {
        self.binary.load(Ordering::Acquire)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it would take a request now.
    pub(super) fn is_open_to(&self, now: Instant) -> bool {
        self.is_healthy() && self.breaker.would_let_go(now)
    }

    /// Takes a request on, unless it is left alone.
    pub(super) fn attempt(&self, now: Instant) -> Option<Attempt<'_>> {
        let leave = self.breaker.ask(now)?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Attempt {
            replica: self,
            leave: Some(leave),
            started: now,
        })
    }

    /// A look found it well. Says whether it was not before.
    pub(super) fn found_well(&self, binary: bool) -> bool {
        self.binary.store(binary, Ordering::Release);
        self.missed.store(0, Ordering::Relaxed);
        !self.healthy.swap(true, Ordering::AcqRel)
    }

    /// A look found nothing; `bearable` of those in a row do no harm. Says whether it was well before.
    pub(super) fn missed(&self, bearable: u32) -> bool {
        let missed = self.missed.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        missed > bearable && self.eject()
    }

    /// No requests until a look finds it well.
    pub(super) fn eject(&self) -> bool {
        self.healthy.swap(false, Ordering::AcqRel)
    }

    /// Asks it something, before `deadline`.
    pub(super) async fn ask(
        &self,
        ask: Ask,
        bearer: Option<&HeaderValue>,
        trace: Option<&Trace>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let request = self
            .request(ask, bearer, trace, deadline)
            .ok_or(Failure::NotSent)?;
        timeout_at(deadline, self.connections.exchange(request))
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    fn request(
        &self,
        ask: Ask,
        bearer: Option<&HeaderValue>,
        trace: Option<&Trace>,
        deadline: Instant,
    ) -> Option<Request<Full<bytes::Bytes>>> {
        let target = self.connections.target();
        let (authority, path) = (target.url.authority(), ask.path);
        let mut request = Request::builder().header(header::USER_AGENT, "stockade");
        request = if target.http2 {
            request
                .uri(format!("{}://{authority}{path}", target.url.scheme()))
                .header(header::TE, "trailers")
                .header("grpc-timeout", grpc_timeout(deadline))
        } else {
            request
                .uri(path)
                .header(header::HOST, authority)
                .header(header::ACCEPT, "application/json")
        };
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(trace) = trace {
            request = request.header(crate::answer::REQUEST_ID, trace.request_id.to_string());
            if let Some(parent) = &trace.parent {
                request = request.header("traceparent", parent);
            }
        }
        let Some(body) = ask.body else {
            return request.body(Full::default()).ok();
        };
        if let Some(length) = body.json_length {
            request = request.header("inference-header-content-length", length);
        }
        request
            .method(http::Method::POST)
            .header(header::CONTENT_TYPE, body.content_type)
            .body(Full::new(body.bytes))
            .ok()
    }
}

/// grpc/grpc, `doc/PROTOCOL-HTTP2.md`: at most eight digits and a unit, here milliseconds.
fn grpc_timeout(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    format!("{}m", left.as_millis().clamp(1, 99_999_999))
}

impl Attempt<'_> {
    /// It gave a whole answer.
    pub(super) fn answered(mut self) {
        if let Some(leave) = self.leave.take() {
            self.replica.breaker.succeeded(leave);
        }
        self.ended(true);
    }

    /// It ended badly in a way that says nothing of the replica.
    pub(super) fn spoiled(self) {
        self.ended(false);
    }

    /// It failed. Says whether it is left alone from now on.
    pub(super) fn failed(mut self, now: Instant) -> bool {
        let opened = self
            .leave
            .take()
            .is_some_and(|leave| self.replica.breaker.failed(leave, now));
        self.ended(false);
        opened
    }

    fn ended(&self, answered: bool) {
        let duration: Duration = self.started.elapsed();
        self.replica.stats.ended(answered, duration);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            self.replica.breaker.undecided(leave);
        }
        self.replica.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
