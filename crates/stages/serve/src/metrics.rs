//! Counts for operators, in the Prometheus text format (version 0.0.4). Names are stable; no label names a principal.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stockade_protocol::ErrorCode;

/// Upper bounds of the duration histogram, in microseconds.
const BOUNDS_US: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000, 10_000_000,
];

/// What the gateway counts. Every counter only grows.
#[derive(Debug)]
pub(crate) struct Metrics {
    answered: AtomicU64,
    refused: Vec<(ErrorCode, AtomicU64)>,
    rows: AtomicU64,
    body_bytes: AtomicU64,
    duration_us_sum: AtomicU64,
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    alarms: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
}

/// What is measured at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) grpc_connections: usize,
    pub(crate) admin_connections: usize,
    pub(crate) models: usize,
    pub(crate) ready: bool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            answered: AtomicU64::new(0),
            refused: ErrorCode::ALL
                .iter()
                .map(|code| (*code, AtomicU64::new(0)))
                .collect(),
            rows: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            duration_us_sum: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            alarms: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
        }
    }

    /// A request was answered as asked, or refused with a code.
    pub(crate) fn request(&self, refused: Option<ErrorCode>, duration: Duration) {
        match refused {
            None => self.answered.fetch_add(1, Ordering::Relaxed),
            Some(code) => self
                .refused
                .iter()
                .find(|(each, _)| *each == code)
                .map_or(0, |(_, count)| count.fetch_add(1, Ordering::Relaxed)),
        };
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_us_sum.fetch_add(us, Ordering::Relaxed);
        let place = BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client was suspected.
    pub(crate) fn alarm(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    /// An inference was admitted.
    pub(crate) fn admitted(&self, rows: u64, body_bytes: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.body_bytes.fetch_add(body_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn reload(&self, accepted: bool) {
        let counter = if accepted {
            &self.reloads
        } else {
            &self.reloads_refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self, gauges: Gauges) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out = String::with_capacity(4096);
        head(
            &mut out,
            "stockade_requests_total",
            "counter",
            "Requests by result.",
        );
        let _ = writeln!(
            out,
            "stockade_requests_total{{code=\"ok\"}} {}",
            load(&self.answered)
        );
        for (code, count) in &self.refused {
            let _ = writeln!(out, "stockade_requests_total{{code=\"{code}\"}} {}", load(count));
        }
        head(
            &mut out,
            "stockade_request_duration_seconds",
            "histogram",
            "Time from head to answer.",
        );
        let mut below = 0_u64;
        for (bound, bucket) in BOUNDS_US.iter().zip(&self.buckets) {
            below = below.saturating_add(load(bucket));
            let seconds = Duration::from_micros(*bound).as_secs_f64();
            let _ = writeln!(
                out,
                "stockade_request_duration_seconds_bucket{{le=\"{seconds}\"}} {below}"
            );
        }
        let all = self.buckets.iter().map(load).fold(0_u64, u64::saturating_add);
        let sum = Duration::from_micros(load(&self.duration_us_sum)).as_secs_f64();
        let _ = writeln!(
            out,
            "stockade_request_duration_seconds_bucket{{le=\"+Inf\"}} {all}"
        );
        let _ = writeln!(out, "stockade_request_duration_seconds_sum {sum}");
        let _ = writeln!(out, "stockade_request_duration_seconds_count {all}");
        for (name, help, value) in [
            (
                "stockade_inference_rows_total",
                "Rows of admitted inferences.",
                load(&self.rows),
            ),
            (
                "stockade_request_body_bytes_total",
                "Bytes of admitted bodies.",
                load(&self.body_bytes),
            ),
            (
                "stockade_client_alarms_total",
                "Alarms of the watches over queries.",
                load(&self.alarms),
            ),
            (
                "stockade_reloads_total",
                "Reloads that took effect.",
                load(&self.reloads),
            ),
            (
                "stockade_reloads_refused_total",
                "Reloads that were refused.",
                load(&self.reloads_refused),
            ),
        ] {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {value}");
        }
        gauges.write(&mut out);
        out
    }
}

impl Gauges {
    fn write(&self, out: &mut String) {
        head(
            out,
            "stockade_connections_open",
            "gauge",
            "Open connections by listener.",
        );
        let _ = writeln!(
            out,
            "stockade_connections_open{{listener=\"gateway\"}} {}",
            self.connections
        );
        let _ = writeln!(
            out,
            "stockade_connections_open{{listener=\"grpc\"}} {}",
            self.grpc_connections
        );
        let _ = writeln!(
            out,
            "stockade_connections_open{{listener=\"admin\"}} {}",
            self.admin_connections
        );
        head(out, "stockade_models_served", "gauge", "Models served.");
        let _ = writeln!(out, "stockade_models_served {}", self.models);
        head(out, "stockade_ready", "gauge", "1 while requests are served.");
        let _ = writeln!(out, "stockade_ready {}", u8::from(self.ready));
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_counts_and_names_nobody() {
        let metrics = Metrics::new();
        metrics.request(None, Duration::from_micros(300));
        metrics.request(Some(ErrorCode::RateLimited), Duration::from_secs(60));
        metrics.admitted(3, 100);
        let gauges = Gauges {
            connections: 2,
            grpc_connections: 0,
            admin_connections: 0,
            models: 1,
            ready: true,
        };
        let text = metrics.text(gauges);
        for line in [
            "stockade_requests_total{code=\"ok\"} 1",
            "stockade_requests_total{code=\"rate_limited\"} 1",
            "stockade_request_duration_seconds_bucket{le=\"0.00025\"} 0",
            "stockade_request_duration_seconds_bucket{le=\"0.0005\"} 1",
            "stockade_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "stockade_inference_rows_total 3",
            "stockade_connections_open{listener=\"gateway\"} 2",
            "stockade_ready 1",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
        assert!(!text.contains("principal"));
    }
}
