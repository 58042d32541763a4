//! Leaving a broken log behind, with the rows that the new origin begins with.
//!
//! What is left of the old log is replayed as far as it is proven, and the rows must be what it says: whoever broke the
//! log may have edited the rows too, and the new origin would sign what they wrote. It must also be proven to be all of
//! it: otherwise rows of an older time would pass for the newest ones. Other rows are taken only where the owner says so,
//! and the first record of the new origin says which.

use std::{io, sync::Arc};

use stockade_crypto::KeyProvider;
use stockade_evidence::{Actor, Digest, Event, Record, Subject, SubjectKind};

use super::{
    open::{SNAPSHOT_HINT, acquire, blocking, fill, log_error, log_paths, new_origin, system_record},
    rebuild::set_aside,
    replay::{Replayed, batches, snapshot_path},
};
use crate::{
    blobs::Blobs,
    clock::wall_clock,
    config::Config,
    disk::{Disk, Posix},
    error::{AppendError, OpenError},
    files::sync_folder,
    layout::StateDir,
    log::{FormerLog, Left, LogEntries, LogTrust, Recovery, recover},
    projection::Projection,
    rows::{Batch, Position, RowStore as _, SqliteRows},
};

/// Rows that the first record names; the snapshot that it names too has all of them.
const NAMED_MAX: usize = 32;
/// Characters of a name. Whoever edited the database may have chosen it.
const NAME_CHARS: usize = 80;

/// What to do with rows that what is left of the old log does not confirm, or not as the newest ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnconfirmedRows {
    /// Recover nothing, and name the first one.
    Refuse,
    /// Take the rows as they stand, and record that.
    Accept,
}

/// What a recovery left and began.
#[derive(Clone, Debug)]
pub struct RecoverReport {
    /// The new log.
    pub origin: String,
    /// Where the old one is kept, and what could be confirmed of it.
    pub former: FormerLog,
    /// Rows that the new log begins with.
    pub rows: usize,
    /// Whether they are the rows as they stood; otherwise they were replayed from what is left of the old log.
    pub rows_kept: bool,
    /// How many rows were taken, or left out, although the old log does not confirm that.
    pub rows_accepted: usize,
}

/// Leaves a broken log behind and starts a new origin.
///
/// The digest of the rows is in its first record, `log.recovered`, for an auditor to hold against the old log. Where the
/// rows are damaged too, what is left of the old log is replayed.
pub async fn recover_log(
    dir: StateDir,
    keys: KeyProvider,
    config: Config,
    actor: Actor,
    unconfirmed: UnconfirmedRows,
) -> Result<RecoverReport, OpenError> {
    dir.check_version()?;
    recover_unversioned(dir, keys, config, actor, unconfirmed).await
}

/// The same for a folder that is being restored and has no VERSION yet.
pub(crate) async fn recover_unversioned(
    dir: StateDir,
    keys: KeyProvider,
    config: Config,
    actor: Actor,
    unconfirmed: UnconfirmedRows,
) -> Result<RecoverReport, OpenError> {
    let _lock = acquire(&dir)?;
    let blobs = Blobs::folder(dir.blobs()).map_err(io::Error::other)?;
    let left = {
        let (dir, keys, config) = (dir.clone(), keys.clone(), config.clone());
        Arc::new(blocking(move || survey(&dir, &keys, &config)).await??)
    };
    let Beginning {
        projection,
        rows,
        unconfirmed,
        is_newest,
    } = beginning(&dir, &left, &blobs, unconfirmed).await?;
    let bytes = projection.to_snapshot().map_err(io::Error::other)?;
    let digest = Digest::sha256(&bytes);
    blobs
        .put(&snapshot_path(&digest), bytes)
        .await
        .map_err(io::Error::other)?;
    let report = RecoverReport {
        origin: new_origin()?,
        former: left.log.former.clone(),
        rows: projection.len(),
        rows_kept: rows.is_some(),
        rows_accepted: unconfirmed.len(),
    };
    let leaf = first_leaf(&report, digest, &unconfirmed, is_newest, actor)?;
    let entries = {
        let (dir, origin) = (dir.clone(), report.origin.clone());
        blocking(move || start_origin(&dir, &keys, &config, &left.log, &origin, leaf)).await??
    };
    match rows {
        Some(rows) => follow(&rows, &report.origin).await?,
        None => {
            let path = dir.records_db();
            set_aside(&path)?;
            sync_folder(dir.state())?;
            let rows = SqliteRows::open(&path).await?;
            fill(entries, &blobs, &rows, None).await?;
            rows.close().await;
        }
    }
    Ok(report)
}

/// The old log.
struct Surveyed {
    log: Left,
    /// Whether nothing is missing from it, as far as its head and its anchor know.
    is_whole: bool,
}

fn survey(dir: &StateDir, keys: &KeyProvider, config: &Config) -> Result<Surveyed, OpenError> {
    let trust = LogTrust::load(Ok(keys.clone()), &dir.verifier_keys()).map_err(io::Error::other)?;
    let key = keys.log_keys()?.journal;
    let log = Left::survey(&log_paths(dir), &trust, &key).map_err(log_error)?;
    let anchor = config.log().anchor;
    let is_whole = log.is_whole() && anchor.is_none_or(|anchor| log.has_what_was_anchored(&anchor, &trust));
    Ok(Surveyed { log, is_whole })
}

/// The rows that the new origin begins with.
struct Beginning {
    projection: Projection,
    /// The database that holds them; `None` where there is none that could be read.
    rows: Option<SqliteRows>,
    /// Those that no entry confirms.
    unconfirmed: Vec<(String, String)>,
    /// Whether it is proven that no later entry changed them.
    is_newest: bool,
}

async fn beginning(
    dir: &StateDir,
    left: &Arc<Surveyed>,
    blobs: &Blobs,
    choice: UnconfirmedRows,
) -> Result<Beginning, OpenError> {
    let end = left.log.entries.end();
    let Some((rows, held)) = rows_as_they_stand(dir).await else {
        if choice == UnconfirmedRows::Refuse && !left.is_whole {
            return Err(OpenError::NothingWhole);
        }
        let projection = replayed(left, blobs, None, end).await?;
        return Ok(Beginning {
            projection,
            rows: None,
            unconfirmed: Vec::new(),
            is_newest: left.is_whole,
        });
    };
    let applied = rows.applied().await?;
    let applied = applied
        .filter(|applied| applied.origin == left.log.entries.origin())
        .map_or(end, |applied| applied.size);
    let hint = rows.position(SNAPSHOT_HINT).await?;
    let expected = replayed(left, blobs, hint, applied.min(end)).await;
    // Rows of later entries than there are know that some are gone.
    let is_newest = left.is_whole && applied <= end && expected.is_ok();
    // Where nothing can be replayed, nothing is confirmed, and nothing is added to the rows.
    let size = if expected.is_ok() { applied.min(end) } else { end };
    let unconfirmed = held.differing(&expected.unwrap_or_default());
    if choice == UnconfirmedRows::Refuse
        && let Some(refused) = refused(&unconfirmed, is_newest)
    {
        rows.close().await;
        return Err(refused);
    }
    let projection = catch_up(left, &rows, held, size).await?;
    Ok(Beginning {
        projection,
        rows: Some(rows),
        unconfirmed,
        is_newest,
    })
}

/// Why nothing is recovered, unless the owner accepts it.
fn refused(unconfirmed: &[(String, String)], is_newest: bool) -> Option<OpenError> {
    match unconfirmed.split_first() {
        Some(((kind, id), more)) => Some(OpenError::RowsUnconfirmed {
            kind: short(kind),
            id: short(id),
            more: more.len(),
        }),
        None if !is_newest => Some(OpenError::NothingWhole),
        None => None,
    }
}

async fn rows_as_they_stand(dir: &StateDir) -> Option<(SqliteRows, Projection)> {
    let path = dir.records_db();
    if !path.exists() {
        return None;
    }
    let rows = SqliteRows::open(&path).await.ok()?;
    match Projection::from_rows(&rows).await {
        Ok(held) => Some((rows, held)),
        Err(_) => {
            rows.close().await;
            None
        }
    }
}

/// The sum of the first `size` proven entries.
async fn replayed(
    left: &Arc<Surveyed>,
    blobs: &Blobs,
    hint: Option<Position>,
    size: u64,
) -> Result<Projection, OpenError> {
    let start = Replayed::start(&left.log.entries, blobs, hint, size).await?;
    let left = Arc::clone(left);
    Ok(blocking(move || start.forward(&left.log.entries, size))
        .await??
        .projection)
}

/// Brings rows that are the sum of `size` entries to that of all proven ones.
async fn catch_up(
    left: &Arc<Surveyed>,
    rows: &SqliteRows,
    projection: Projection,
    size: u64,
) -> Result<Projection, OpenError> {
    let start = Replayed {
        projection,
        size,
        snapshot: None,
    };
    let left = Arc::clone(left);
    let (later, whole) = blocking(move || {
        let (entries, end) = (&left.log.entries, left.log.entries.end());
        Ok::<_, OpenError>((batches(entries, size, end)?, start.forward(entries, end)?))
    })
    .await??;
    for batch in &later {
        rows.apply(batch).await?;
    }
    Ok(whole.projection)
}

fn first_leaf(
    report: &RecoverReport,
    digest: Digest,
    unconfirmed: &[(String, String)],
    is_newest: bool,
    actor: Actor,
) -> Result<Vec<u8>, OpenError> {
    let about = Subject {
        digest: Some(digest),
        ..Subject::new(SubjectKind::Log, &report.origin)
    };
    let record = system_record(Event::LogRecovered, wall_clock())?;
    let mut record = Record { actor, ..record }
        .about(about)
        .with("rows", report.rows)
        .with("rows_kept", report.rows_kept)
        .with("rows_proven_newest", is_newest);
    if !unconfirmed.is_empty() {
        let names = unconfirmed.iter().take(NAMED_MAX);
        let names: Vec<String> = names
            .map(|(kind, id)| format!("{} {}", short(kind), short(id)))
            .collect();
        record = record
            .with("rows_accepted", unconfirmed.len())
            .with("rows_not_confirmed", names);
    }
    let record = report.former.as_predecessor().note(record);
    let record = match &report.former.head {
        Some(head) => record.with("former_origin", head.origin.as_str()),
        None => record,
    };
    Ok(record.to_leaf().map_err(AppendError::from)?)
}

fn short(text: &str) -> String {
    text.chars().take(NAME_CHARS).collect()
}

/// Answers with the entries of the new log.
fn start_origin(
    dir: &StateDir,
    keys: &KeyProvider,
    config: &Config,
    left: &Left,
    origin: &str,
    first: Vec<u8>,
) -> Result<Arc<LogEntries>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(Posix);
    let recovery = Recovery {
        origin,
        keys: keys.log_keys()?,
        config: config.log(),
        now: wall_clock,
    };
    let writer = recover(&disk, &log_paths(dir), left, recovery, first).map_err(log_error)?;
    let reader = writer.clone();
    writer.close().map_err(AppendError::from)?;
    let entries = reader.entries()?;
    LogTrust::of_keyring(keys)?.publish(origin, &dir.verifier_keys())?;
    Ok(Arc::new(entries))
}

/// The rows are the sum of the first entry of `origin`.
async fn follow(rows: &SqliteRows, origin: &str) -> Result<(), OpenError> {
    let at = |size| Position {
        origin: origin.to_owned(),
        size,
    };
    let applied = Batch {
        changes: Vec::new(),
        applied: at(1),
    };
    rows.apply(&applied).await?;
    rows.set_position(SNAPSHOT_HINT, &at(0)).await?;
    rows.close().await;
    Ok(())
}
