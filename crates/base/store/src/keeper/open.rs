//! How a keeper opens: VERSION, lock, log, rows, then the rows are compared with the log and brought up to it.

use std::{
    fs, io,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use stockade_crypto::KeyProvider;
use stockade_evidence::{Actor, Event, Record, RecordId, Subject, SubjectKind, Timestamp};
use tokio::sync::watch as channel;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Keeper, Shared, applier,
    applier::Queue,
    replay::{Replayed, batches, walk},
    snapshot::SnapshotAge,
    watch,
};
use crate::{
    blobs::Blobs,
    checked::{CheckedRows, Known},
    clock::{SecurityClock, wall_clock},
    config::Config,
    counters::Counters,
    disk::{Disk, Posix},
    error::{AppendError, OpenError},
    files::{PART_SUFFIX, files_below},
    layout::StateDir,
    lock::{Lock, LockError},
    log::{LogEntries, LogOpenError, LogPaths, LogTrust, LogWriter, read_log_head},
    personal::Subjects,
    projection::Projection,
    rows::{Position, RowStore as _, SqliteRows},
};

/// Where the security clock is remembered, in milliseconds, as a position.
pub(crate) const CLOCK: &str = "clock";
/// Records that are asked for the newest time: those of many callers are not quite in order.
const RECENT: u64 = 256;
/// Where the newest snapshot is remembered.
pub(crate) const SNAPSHOT_HINT: &str = "snapshot";

impl Keeper {
    /// Becomes the owner of the folder, or says who is. A folder without a log gets one.
    pub async fn open(dir: StateDir, keys: KeyProvider, config: Config) -> Result<Self, OpenError> {
        dir.check_version()?;
        let lock = acquire(&dir)?;
        Self::open_locked(dir, lock, keys, config).await
    }

    pub(crate) async fn open_locked(
        dir: StateDir,
        lock: Lock,
        keys: KeyProvider,
        config: Config,
    ) -> Result<Self, OpenError> {
        dir.check_version()?;
        remove_parts(&dir)?;
        let log = open_log(&dir, &keys, &config).await?;
        let blobs = Blobs::folder(dir.blobs()).map_err(io::Error::other)?;
        let rows = SqliteRows::open(&dir.records_db()).await?;
        let known = catch_up(log.entries()?, &blobs, &rows).await?;
        let newest = newest_time(&log, &rows).await?;
        let snapshot = SnapshotAge::new(rows.position(SNAPSHOT_HINT).await?, &log.origin());
        let subjects = Subjects::new(dir.subjects());
        subjects.destroy_erased(&rows).await?;
        Ok(Self::start(Parts {
            dir,
            lock,
            keys,
            config,
            log,
            rows: CheckedRows::new(rows, known),
            blobs,
            subjects,
            newest,
            snapshot,
        }))
    }

    fn start(parts: Parts) -> Self {
        let Parts {
            dir,
            lock,
            keys,
            config,
            log,
            rows,
            blobs,
            subjects,
            newest,
            snapshot,
        } = parts;
        let (queue, submissions) = Queue::new();
        let (changes, _) = channel::channel(log.durable_size());
        let shared = Arc::new(Shared {
            dir,
            keys,
            config,
            log,
            snapshot,
            rows,
            blobs,
            subjects,
            counters: Counters::new(),
            clock: SecurityClock::new(newest),
            queue,
            changes,
            behind: AtomicBool::new(false),
            row_differed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            lock: Mutex::new(Some(lock)),
        });
        shared
            .tasks
            .spawn(applier::run(Arc::downgrade(&shared), submissions));
        shared
            .tasks
            .spawn(watch::run(Arc::downgrade(&shared), shared.stop.clone()));
        Self { shared }
    }
}

struct Parts {
    dir: StateDir,
    lock: Lock,
    keys: KeyProvider,
    config: Config,
    log: LogWriter,
    rows: CheckedRows,
    blobs: Blobs,
    subjects: Subjects,
    newest: Timestamp,
    snapshot: SnapshotAge,
}

pub(super) fn gone(applied: &Position) -> OpenError {
    let what = format!(
        "entry {} of `{}` was applied and is gone",
        applied.size, applied.origin
    );
    OpenError::IntegrityBroken { what }
}

pub(crate) fn acquire(dir: &StateDir) -> Result<Lock, OpenError> {
    Lock::acquire(dir).map_err(|error| owned(dir, error))
}

pub(crate) fn owned(dir: &StateDir, error: LockError) -> OpenError {
    match error {
        LockError::Held(note) => OpenError::AlreadyOwned {
            folder: dir.project().to_owned(),
            pid: note.pid,
            gateway_url: note.gateway_url,
        },
        LockError::Io(source) => OpenError::Lock(source),
    }
}

pub(crate) async fn open_log(
    dir: &StateDir,
    keys: &KeyProvider,
    config: &Config,
) -> Result<LogWriter, OpenError> {
    let (dir, keys, config) = (dir.clone(), keys.clone(), config.clone());
    blocking(move || open_log_blocking(&dir, &keys, &config)).await?
}

fn open_log_blocking(dir: &StateDir, keys: &KeyProvider, config: &Config) -> Result<LogWriter, OpenError> {
    let (disk, paths): (Arc<dyn Disk>, LogPaths) = (Arc::new(Posix), log_paths(dir));
    let log_keys = keys.log_keys()?;
    if is_new(dir)? {
        let origin = new_origin()?;
        let record =
            system_record(Event::LogOpened, wall_clock())?.about(Subject::new(SubjectKind::Log, &origin));
        let leaf = record.to_leaf().map_err(AppendError::from)?;
        let writer = LogWriter::create(disk, &paths, &origin, log_keys, config.log(), wall_clock, leaf)
            .map_err(log_error)?;
        LogTrust::of_keyring(keys)?.publish(&origin, &dir.verifier_keys())?;
        return Ok(writer);
    }
    let origin = read_log_head(&*disk, &paths)
        .map_err(log_error)?
        .map(|head| head.origin);
    let trust = LogTrust::of_keyring(keys)?;
    let mut former = Vec::new();
    if let Some(origin) = &origin {
        // Before anything is signed with the present keys, which a rotation that was interrupted did not publish.
        trust.publish(origin, &dir.verifier_keys())?;
        former = trust.verifiers(origin).split_off(1);
    }
    LogWriter::open(disk, &paths, log_keys, &former, config.log(), wall_clock).map_err(log_error)
}

pub(crate) fn log_error(error: LogOpenError) -> OpenError {
    if error.is_integrity_broken() {
        return OpenError::IntegrityBroken {
            what: error.to_string(),
        };
    }
    OpenError::Log(error)
}

/// A fresh name for a log.
pub(crate) fn new_origin() -> Result<String, stockade_crypto::RandomnessUnavailable> {
    Ok(format!(
        "stockade-{}",
        hex::encode(stockade_crypto::random_array::<8>()?)
    ))
}

/// Whether nothing of a log is there. One part without the others is not new: the writer says what is missing.
fn is_new(dir: &StateDir) -> Result<bool, OpenError> {
    let empty = |folder| match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    };
    let files = dir.head().exists() || dir.records_db().exists();
    Ok(!files && empty(dir.log())? && empty(dir.journal())? && empty(dir.origins())?)
}

/// Brings the rows to the end of the log and says what they are, or which one is not what the log says.
async fn catch_up(log: LogEntries, blobs: &Blobs, rows: &SqliteRows) -> Result<Known, OpenError> {
    let log = Arc::new(log);
    let end = log.end();
    let hint = rows.position(SNAPSHOT_HINT).await?;
    let applied = rows.applied().await?;
    let (start, size) = match applied {
        None => {
            differs(&Projection::default(), rows).await?;
            return Ok(Known::new(&fill(log, blobs, rows, hint).await?));
        }
        Some(applied) if applied.origin != log.origin() => {
            // A recovery that was interrupted leaves the rows as its first record names them.
            let first = Replayed::first(&log, blobs).await?;
            if first.size == 0 || first.projection.difference(rows).await?.is_some() {
                return Err(OpenError::ProjectionAhead {
                    origin: applied.origin,
                    size: applied.size,
                });
            }
            let size = first.size;
            (first, size)
        }
        Some(applied) if applied.size > end => {
            return Err(gone(&applied));
        }
        Some(applied) => (
            Replayed::start(&log, blobs, hint, applied.size).await?,
            applied.size,
        ),
    };
    let work = move || Ok::<_, OpenError>((start.forward(&log, size)?, batches(&log, size, end)?));
    let (replayed, later) = blocking(work).await??;
    differs(&replayed.projection, rows).await?;
    let mut known = Known::new(&replayed.projection);
    for batch in &later {
        rows.apply(batch).await?;
        known.apply(batch)?;
    }
    Ok(known)
}

async fn differs(projection: &Projection, rows: &SqliteRows) -> Result<(), OpenError> {
    match projection.difference(rows).await? {
        Some((kind, id)) => Err(OpenError::ProjectionDiffers { kind, id }),
        None => Ok(()),
    }
}

/// Fills empty rows from the log.
pub(crate) async fn fill(
    log: Arc<LogEntries>,
    blobs: &Blobs,
    rows: &SqliteRows,
    hint: Option<Position>,
) -> Result<Projection, OpenError> {
    let end = log.end();
    let at = |size| Position {
        origin: log.origin().to_owned(),
        size,
    };
    let start = Replayed::start(&log, blobs, hint, end).await?;
    let replayed = {
        let log = Arc::clone(&log);
        blocking(move || start.forward(&log, end)).await??
    };
    let applied = at(end);
    for batch in &replayed.projection.to_batches(&applied)? {
        rows.apply(batch).await?;
    }
    if let Some(index) = replayed.snapshot {
        rows.set_position(SNAPSHOT_HINT, &at(index)).await?;
    }
    Ok(replayed.projection)
}

/// The latest time that the newest records and the rows' memory of the clock know.
async fn newest_time(log: &LogWriter, rows: &SqliteRows) -> Result<Timestamp, OpenError> {
    let remembered = rows
        .position(CLOCK)
        .await?
        .and_then(|clock| i64::try_from(clock.size).ok());
    let mut newest = Timestamp::from_unix_ms(remembered.unwrap_or(0));
    let end = log.durable_size();
    let entries = log.entries()?;
    let first = end.saturating_sub(RECENT).max(entries.minimum());
    walk(&entries, first, end, &mut |_, leaf| {
        if let Ok(record) = Record::from_leaf(leaf) {
            newest = newest.max(record.time);
        }
        Ok(())
    })?;
    Ok(newest)
}

/// A record of Stockade itself.
pub(crate) fn system_record(
    event: Event,
    now: Timestamp,
) -> Result<Record, stockade_crypto::RandomnessUnavailable> {
    Ok(Record::new(
        now,
        RecordId::new(stockade_crypto::random_array()?),
        event,
        Actor::System {},
    ))
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Removes what a crash left half-written.
fn remove_parts(dir: &StateDir) -> io::Result<()> {
    for folder in [dir.blobs(), dir.vault(), dir.subjects()] {
        for file in files_below(&folder)? {
            if file.to_string_lossy().ends_with(PART_SUFFIX) {
                fs::remove_file(folder.join(file))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn log_paths(dir: &StateDir) -> LogPaths {
    LogPaths {
        log: dir.log(),
        journal: dir.journal(),
        head: dir.head(),
        origins: dir.origins(),
    }
}
