//! Rare work on the log: reading since a time, rotating its keys, and pruning.

use std::{collections::BTreeMap, io, sync::Arc};

use stockade_evidence::{Actor, Event, Record, Subject, SubjectKind, Timestamp};

use super::{
    Keeper,
    open::{blocking, log_paths, system_record},
    snapshot::SnapshotError,
};
use crate::{
    admitted::Admitted,
    disk::Posix,
    error::{AppendError, OpenError},
    log::{LogEntries, LogTrust, Predecessor, PruneError, ReadError, Retention, former_origins},
};

/// Records that one step of a walk holds.
const CHUNK: usize = 1_024;
/// How far the times of neighbouring records may be out of order: callers take the time before their turn comes.
const DISORDER_MS: i64 = 10_000;
const MS_PER_DAY: i64 = 86_400_000;

/// Why nothing was pruned.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The configuration says that everything stays.
    #[error("`[evidence.retention] keep_days` is not set, so every entry stays")]
    KeepsAll,
    /// The configuration holds everything.
    #[error("`[evidence.retention] legal_hold` is set\nhint: lift the hold first, by whoever may")]
    LegalHold,
    /// The snapshot that stands in for pruned entries was not made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] OpenError),
    /// The record could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] PruneError),
    /// The operating system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Keeper {
    /// Gives every record from `since` on with its index, in log order, former logs first, those not integrated yet included.
    ///
    /// The start is found by bisection, so times must not fall by more than 10 s from one record to a later one: records carry
    /// [`Keeper::now`], which never goes back. What is left of a broken log is given as far as it can be read.
    pub async fn entries_since(
        &self,
        since: Timestamp,
        each: &mut (dyn FnMut(u64, &Record) + Send),
    ) -> Result<(), OpenError> {
        let keeper = self.clone();
        let formers = blocking(move || keeper.former_entries()).await??;
        for former in formers {
            records_since(former, since, Unreadable::Skip, each).await?;
        }
        records_since(self.shared.log.entries()?, since, Unreadable::Fail, each).await
    }

    /// What was admitted of each principal from `since` on: what the day's budgets are rebuilt from.
    pub async fn admitted_since(&self, since: Timestamp) -> Result<BTreeMap<String, Admitted>, OpenError> {
        let mut all = BTreeMap::new();
        let mut count = |_: u64, record: &Record| {
            if record.time >= since {
                Admitted::count(&mut all, record);
            }
        };
        self.entries_since(since, &mut count).await?;
        Ok(all)
    }

    fn former_entries(&self) -> Result<Vec<LogEntries>, OpenError> {
        let key = self.keys().log_keys()?.journal;
        let formers = former_origins(&self.dir().origins(), &self.origin()).map_err(ReadError::from)?;
        Ok(formers
            .iter()
            .map(|former| LogEntries::of_former(former, &key))
            .collect())
    }

    /// Makes new keys that sign the log from now on. Their public halves are on disk before they sign.
    pub async fn rotate_log_key(&self) -> Result<(), OpenError> {
        let keeper = self.clone();
        blocking(move || {
            let new = keeper.keys().rotate_log_key()?;
            LogTrust::of_keyring(keeper.keys())?.publish(&keeper.origin(), &keeper.dir().verifier_keys())?;
            keeper.log().set_keys(new);
            Ok(())
        })
        .await?
    }

    /// Removes entries older than the configuration keeps, after a snapshot of the state and a `log.pruned` record. Answers
    /// with the new minimum index and the bytes freed. Hashes and proofs stay.
    pub async fn prune(&self, actor: Actor) -> Result<(u64, u64), RetentionError> {
        let retention = &self.shared.config.retention;
        if retention.legal_hold {
            return Err(RetentionError::LegalHold);
        }
        let paths = log_paths(self.dir());
        if Retention::read(&Posix, &paths)
            .map_err(PruneError::from)?
            .legal_hold
        {
            return Err(RetentionError::LegalHold);
        }
        let days = retention.keep_days.ok_or(RetentionError::KeepsAll)?;
        let now = self.now();
        let oldest = now.plus_ms(-i64::from(days).saturating_mul(MS_PER_DAY));
        let entries = self.shared.log.entries().map_err(OpenError::from)?;
        let (minimum, before) = blocking(move || {
            let minimum = first_since(&entries, oldest.plus_ms(-DISORDER_MS))?;
            Ok::<_, OpenError>((minimum, Predecessor::of_log(&entries)?))
        })
        .await??;
        self.snapshot().await?;
        let record = system_record(Event::LogPruned, now).map_err(OpenError::from)?;
        let record = Record { actor, ..record }
            .about(Subject::new(SubjectKind::Log, self.origin()))
            .with("minimum_index", minimum);
        // The first record, which says it too, may go.
        let record = match &before {
            Some(before) => before.note(record),
            None => record,
        };
        self.append(record).await?;
        self.integrated().await?;
        let log = self.shared.log.clone();
        let freed = blocking(move || log.prune(minimum)).await??;
        Ok((minimum, freed))
    }
}

/// What an entry that cannot be read means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unreadable {
    /// Nothing is known: an error.
    Fail,
    /// The log was left behind because it is broken: the others count.
    Skip,
}

async fn records_since(
    entries: LogEntries,
    since: Timestamp,
    unreadable: Unreadable,
    each: &mut (dyn FnMut(u64, &Record) + Send),
) -> Result<(), OpenError> {
    let entries = Arc::new(entries);
    let first = {
        let entries = Arc::clone(&entries);
        blocking(move || first_since(&entries, since.plus_ms(-DISORDER_MS))).await?
    };
    let mut next = match (first, unreadable) {
        (Ok(first), _) => first,
        (Err(_), Unreadable::Skip) => entries.minimum(),
        (Err(error), Unreadable::Fail) => return Err(error),
    };
    while next < entries.end() {
        let entries = Arc::clone(&entries);
        let chunk = blocking(move || chunk(&entries, next)).await?;
        for (index, record) in chunk.records.iter().filter(|(_, record)| record.time >= since) {
            each(*index, record);
        }
        match (chunk.failed, unreadable) {
            (Some(error), Unreadable::Fail) => return Err(error.into()),
            (Some(error), Unreadable::Skip) => {
                tracing::warn!(%error, "records of a log that was left behind cannot be read");
            }
            (None, _) => {}
        }
        next = chunk.next;
    }
    Ok(())
}

/// The first entry at or after `since`, or the end. Entries that were pruned or are no records count as older.
fn first_since(entries: &LogEntries, since: Timestamp) -> Result<u64, OpenError> {
    let (mut low, mut high) = (entries.minimum(), entries.end());
    while low < high {
        let middle = low + (high - low) / 2;
        let mut later = false;
        entries.read(middle, &mut |_, leaf| {
            later = Record::from_leaf(leaf).is_ok_and(|record| record.time >= since);
            false
        })?;
        if later {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Ok(low)
}

struct Chunk {
    records: Vec<(u64, Record)>,
    /// What stopped it.
    failed: Option<ReadError>,
    /// Where the next one begins.
    next: u64,
}

fn chunk(entries: &LogEntries, from: u64) -> Chunk {
    let (mut records, mut next, mut is_record) = (Vec::new(), from, true);
    let read = entries.read(from, &mut |index, leaf| {
        match Record::from_leaf(leaf) {
            Ok(record) => records.push((index, record)),
            Err(_) => is_record = false,
        }
        next = index.saturating_add(1);
        is_record && records.len() < CHUNK
    });
    let failed = match read {
        Ok(()) if is_record => None,
        Ok(()) => Some(ReadError::Damaged {
            path: format!("entry {}", next.saturating_sub(1)),
            reason: "it is no record".to_owned(),
        }),
        Err(error) => {
            next = entries.after_gap(next);
            Some(error)
        }
    };
    Chunk {
        records,
        failed,
        next,
    }
}
