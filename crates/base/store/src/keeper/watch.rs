//! What the keeper looks at every second: steps of the wall clock, the log's share of the disk, the age of the snapshot.

use std::{sync::Weak, time::Instant};

use stockade_evidence::{Control, Event, Record, Subject, SubjectKind};
use tokio_util::sync::CancellationToken;

use super::{Keeper, Shared, WATCH_EVERY, open::system_record};
use crate::{
    clock::{Step, StepWatch, wall_clock},
    log::LogHealth,
};

/// Ticks after which the security clock is remembered.
const CLOCK_EVERY: u32 = 60;
/// Shares of the disk budget, in percent, that raise an alarm.
const DISK_ALARMS: [u64; 2] = [80, 95];

/// Runs until the keeper is closed or nobody holds it any more.
pub(crate) async fn run(shared: Weak<Shared>, stop: CancellationToken) {
    let start = Instant::now();
    let mut clocks = StepWatch::new(wall_clock(), start.elapsed());
    let mut disk = DiskAlarm::default();
    let mut ticks = 0u32;
    let mut tick = tokio::time::interval(WATCH_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        let keeper = Keeper { shared };
        if let Some(step) = clocks.observe(wall_clock(), start.elapsed()) {
            keeper
                .note(Event::ClockStepped, |record| stepped(record, step))
                .await;
        }
        if let Some(percent) = disk.observe(used_percent(&keeper.shared.log.health())) {
            keeper
                .note(Event::DiskBudget, |record| record.with("percent", percent))
                .await;
        }
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(CLOCK_EVERY)
            && let Err(error) = keeper.shared.remember_clock().await
        {
            tracing::warn!(%error, "the security clock was not remembered");
        }
        if let Err(error) = keeper.snapshot_when_due().await {
            tracing::warn!(%error, "no snapshot of the state was made; a start replays more of the log");
        }
    }
}

impl Keeper {
    /// Appends a record of the keeper itself; when the log refuses it, the operator is told.
    async fn note(&self, event: Event, fill: impl FnOnce(Record) -> Record) {
        let about = Subject::new(SubjectKind::Log, self.shared.log.origin());
        let record = system_record(event, self.now()).map(|record| fill(record.about(about)));
        let appended = match record {
            Ok(record) => self
                .append(record.under(Control::AuditLog))
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = appended {
            tracing::error!(event = event.name(), %error, "a record of the keeper was not appended");
        }
    }
}

fn stepped(record: Record, step: Step) -> Record {
    record.with("by_ms", step.by_ms)
}

/// The share of the disk budget that is used, where there is one.
fn used_percent(health: &LogHealth) -> Option<u64> {
    health
        .disk_used
        .saturating_mul(100)
        .checked_div(health.disk_budget?)
}

/// Raises each alarm once per crossing.
#[derive(Debug, Default)]
struct DiskAlarm {
    raised: u64,
}

impl DiskAlarm {
    fn observe(&mut self, percent: Option<u64>) -> Option<u64> {
        let percent = percent?;
        let level = DISK_ALARMS
            .into_iter()
            .filter(|&level| percent >= level)
            .max()
            .unwrap_or(0);
        let crossed = level > self.raised;
        self.raised = level;
        crossed.then_some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alarm_is_raised_once_per_crossing() {
        let mut alarm = DiskAlarm::default();
        let seen: Vec<Option<u64>> = [
            Some(10),
            Some(79),
            Some(80),
            Some(90),
            Some(96),
            Some(99),
            Some(50),
            Some(81),
            None,
        ]
        .into_iter()
        .map(|percent| alarm.observe(percent))
        .collect();
        assert_eq!(
            seen,
            [None, None, Some(80), None, Some(96), None, None, Some(81), None]
        );
    }
}
