//! What is counted of each replica, in the Prometheus text format. Labels are names of the configuration alone.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{replica::Replica, server::Upstream};

type Gauge = fn(&Replica) -> bool;

/// Counts of one replica.
#[derive(Debug, Default)]
pub(super) struct Stats {
    answered: AtomicU64,
    failed: AtomicU64,
    duration_us: AtomicU64,
}

impl Stats {
    pub(super) fn ended(&self, answered: bool, duration: Duration) {
        let counter = if answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// The lines of all upstreams; nothing where there is none.
pub(crate) fn text<'a>(upstreams: impl Iterator<Item = &'a Upstream> + Clone) -> String {
    let mut out = String::new();
    if upstreams.clone().next().is_none() {
        return out;
    }
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let replicas = || {
        upstreams.clone().flat_map(|upstream| {
            let name = upstream.name();
            let replicas = upstream.replicas().iter().enumerate();
            replicas
                .map(move |(index, replica)| (format!("upstream=\"{name}\",replica=\"{index}\""), replica))
        })
    };
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let name = "stockade_upstream_requests_total";
    head(
        &mut out,
        name,
        "counter",
        "Inferences sent to a replica, by result.",
    );
    for (labels, replica) in replicas() {
        let stats = replica.stats();
        let _ = writeln!(
            out,
            "{name}{{{labels},result=\"answered\"}} {}",
            load(&stats.answered)
        );
        let _ = writeln!(
            out,
            "{name}{{{labels},result=\"failed\"}} {}",
            load(&stats.failed)
        );
    }
    let name = "stockade_upstream_duration_seconds";
    head(
        &mut out,
        name,
        "summary",
        "Time from sending an inference to its end.",
    );
    for (labels, replica) in replicas() {
        let stats = replica.stats();
        let sum = Duration::from_micros(load(&stats.duration_us)).as_secs_f64();
        let count = load(&stats.answered).saturating_add(load(&stats.failed));
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
        );
    }
    let gauges: [(&str, &str, Gauge); 2] = [
        (
            "stockade_upstream_healthy",
            "1 while a replica is well.",
            |replica| replica.is_healthy(),
        ),
        (
            "stockade_upstream_breaker_open",
            "1 while a replica is left alone.",
            |replica| replica.breaker_is_open(),
        ),
    ];
    for (name, help, of) in gauges {
        head(&mut out, name, "gauge", help);
        for (labels, replica) in replicas() {
            let _ = writeln!(out, "{name}{{{labels}}} {}", u8::from(of(replica)));
        }
    }
    out
}
