//! Rare work on the log: reading since a time, pruning, and leaving a broken log behind.

use std::{io, sync::Arc};

use stockade_crypto::KeyProvider;
use stockade_evidence::{Actor, Digest, Event, Record, Subject, SubjectKind, Timestamp};

use super::{
    Keeper,
    open::{
        SNAPSHOT_HINT, acquire, blocking, fill, log_error, log_paths, new_origin, open_log, set_aside,
        system_record,
    },
    replay::snapshot_path,
    snapshot::SnapshotError,
};
use crate::{
    blobs::Blobs,
    clock::wall_clock,
    config::Config,
    disk::{Disk, Posix},
    error::{AppendError, OpenError},
    files::sync_folder,
    layout::StateDir,
    log::{
        FormerLog, LogEntries, LogTrust, PruneError, ReadError, Recovery, Retention, former_origins, recover,
    },
    projection::Projection,
    rows::{Batch, Position, RowStore as _, SqliteRows},
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

/// What a recovery left and began.
#[derive(Clone, Debug)]
pub struct RecoverReport {
    /// The new log.
    pub origin: String,
    /// Where the old one is kept, and what it remembered of itself.
    pub former: FormerLog,
    /// Rows that the new log begins with.
    pub rows: usize,
    /// Whether they are the rows as they stood; otherwise they were replayed from what is left of the old log.
    pub rows_kept: bool,
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
            if let Err(error) = records_since(former, since, each).await {
                tracing::warn!(%error, "records of a log that was left behind cannot be read");
            }
        }
        records_since(self.shared.log.entries()?, since, each).await
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
        let minimum = blocking(move || first_since(&entries, oldest.plus_ms(-DISORDER_MS))).await??;
        self.snapshot().await?;
        let record = system_record(Event::LogPruned, now).map_err(OpenError::from)?;
        let record = Record { actor, ..record }
            .about(Subject::new(SubjectKind::Log, self.origin()))
            .with("minimum_index", minimum);
        self.append(record).await?;
        self.integrated().await?;
        let log = self.shared.log.clone();
        let freed = blocking(move || log.prune(minimum)).await??;
        Ok((minimum, freed))
    }
}

async fn records_since(
    entries: LogEntries,
    since: Timestamp,
    each: &mut (dyn FnMut(u64, &Record) + Send),
) -> Result<(), OpenError> {
    let entries = Arc::new(entries);
    let mut next = {
        let entries = Arc::clone(&entries);
        blocking(move || first_since(&entries, since.plus_ms(-DISORDER_MS))).await??
    };
    while next < entries.end() {
        let entries = Arc::clone(&entries);
        let chunk = blocking(move || chunk(&entries, next)).await??;
        let Some((last, _)) = chunk.last() else {
            return Ok(());
        };
        next = last.saturating_add(1);
        for (index, record) in chunk.iter().filter(|(_, record)| record.time >= since) {
            each(*index, record);
        }
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

fn chunk(entries: &LogEntries, from: u64) -> Result<Vec<(u64, Record)>, OpenError> {
    let (mut found, mut unreadable) = (Vec::new(), None);
    entries.read(from, &mut |index, leaf| {
        match Record::from_leaf(leaf) {
            Ok(record) => found.push((index, record)),
            Err(_) => unreadable = Some(index),
        }
        unreadable.is_none() && found.len() < CHUNK
    })?;
    match unreadable {
        Some(index) => Err(ReadError::Damaged {
            path: format!("entry {index}"),
            reason: "it is no record".to_owned(),
        }
        .into()),
        None => Ok(found),
    }
}

/// Leaves a broken log behind and starts a new origin.
///
/// What broke the log says nothing about the rows, and replaying what is left of it could bring back a revoked key. So
/// the new origin begins with the rows as they stand: their digest is in its first record, `log.recovered`, for an
/// auditor to hold against the old log. Where the rows are damaged too, what is left of the old log is replayed.
pub async fn recover_log(
    dir: StateDir,
    keys: KeyProvider,
    config: Config,
    actor: Actor,
) -> Result<RecoverReport, OpenError> {
    dir.check_version()?;
    recover_unversioned(dir, keys, config, actor).await
}

/// The same for a folder that is being restored and has no VERSION yet.
pub(crate) async fn recover_unversioned(
    dir: StateDir,
    keys: KeyProvider,
    config: Config,
    actor: Actor,
) -> Result<RecoverReport, OpenError> {
    let _lock = acquire(&dir)?;
    let blobs = Blobs::folder(dir.blobs()).map_err(io::Error::other)?;
    let (projection, rows_kept) = match rows_as_they_stand(&dir).await {
        Ok(projection) => (projection, true),
        Err(_) => (replay_what_is_left(&dir, &keys, &config, &blobs).await?, false),
    };
    let bytes = projection.to_snapshot().map_err(io::Error::other)?;
    let digest = Digest::sha256(&bytes);
    blobs
        .put(&snapshot_path(&digest), bytes)
        .await
        .map_err(io::Error::other)?;
    let first = FirstRecord {
        digest,
        rows: projection.len(),
        rows_kept,
        actor,
    };
    let (origin, former) = {
        let (dir, keys, config) = (dir.clone(), keys.clone(), config.clone());
        blocking(move || start_origin(&dir, &keys, &config, &first)).await??
    };
    let path = dir.records_db();
    if !rows_kept {
        set_aside(&path)?;
        sync_folder(dir.state())?;
    }
    let rows = SqliteRows::open(&path).await?;
    if rows_kept {
        rows.apply(&Batch {
            changes: Vec::new(),
            applied: Position {
                origin: origin.clone(),
                size: 1,
            },
        })
        .await?;
        rows.set_position(
            SNAPSHOT_HINT,
            &Position {
                origin: origin.clone(),
                size: 0,
            },
        )
        .await?;
    } else {
        let log = open_log(&dir, &keys, &config).await?;
        fill(&log, &blobs, &rows, None).await?;
        blocking(move || log.close()).await?.map_err(AppendError::from)?;
    }
    rows.close().await;
    Ok(RecoverReport {
        origin,
        former,
        rows: projection.len(),
        rows_kept,
    })
}

struct FirstRecord {
    digest: Digest,
    rows: usize,
    rows_kept: bool,
    actor: Actor,
}

impl FirstRecord {
    fn leaf(&self, origin: &str, former: &FormerLog) -> Result<Vec<u8>, OpenError> {
        let about = Subject {
            digest: Some(self.digest),
            ..Subject::new(SubjectKind::Log, origin)
        };
        let record = system_record(Event::LogRecovered, wall_clock())?;
        let mut record = Record {
            actor: self.actor.clone(),
            ..record
        }
        .about(about)
        .with("rows", self.rows)
        .with("rows_kept", self.rows_kept);
        if let Some(name) = former.kept_at.file_name().and_then(|name| name.to_str()) {
            record = record.with("former_folder", name);
        }
        if let Some(head) = &former.head {
            record = record
                .with("former_origin", head.origin.as_str())
                .with("former_size", head.current.size)
                .with("former_root", hex::encode(head.current.root));
        }
        Ok(record.to_leaf().map_err(AppendError::from)?)
    }
}

fn start_origin(
    dir: &StateDir,
    keys: &KeyProvider,
    config: &Config,
    first: &FirstRecord,
) -> Result<(String, FormerLog), OpenError> {
    let origin = new_origin()?;
    let disk: Arc<dyn Disk> = Arc::new(Posix);
    let recovery = Recovery {
        origin: &origin,
        keys: keys.log_keys()?,
        config: config.log(),
        now: wall_clock,
    };
    let mut failed = None;
    let (writer, former) = recover(&disk, &log_paths(dir), recovery, |former| {
        first.leaf(&origin, former).unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        })
    })
    .map_err(log_error)?;
    if let Some(error) = failed {
        return Err(error);
    }
    writer.close().map_err(AppendError::from)?;
    LogTrust::of_keyring(keys)?.publish(&origin, &dir.verifier_keys())?;
    Ok((origin, former))
}

async fn rows_as_they_stand(dir: &StateDir) -> Result<Projection, OpenError> {
    let path = dir.records_db();
    if !path.exists() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let rows = SqliteRows::open(&path).await?;
    let projection = Projection::from_rows(&rows).await;
    rows.close().await;
    Ok(projection?)
}

async fn replay_what_is_left(
    dir: &StateDir,
    keys: &KeyProvider,
    config: &Config,
    blobs: &Blobs,
) -> Result<Projection, OpenError> {
    let log = open_log(dir, keys, config).await?;
    let start = super::replay::Replayed::start(&log, blobs, None, log.durable_size()).await?;
    let end = log.durable_size();
    let replayed = blocking(move || {
        let replayed = start.forward(&log, end);
        log.close().map_err(AppendError::from)?;
        replayed
    })
    .await??;
    Ok(replayed.projection)
}
