//! Leaving a broken log behind: it is kept as it is under `origins/`, and a new origin names its head.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stockade_crypto::{JournalKey, LogKeys};
use stockade_evidence::Timestamp;

use super::{
    LogConfig, LogPaths, LogWriter,
    error::LogOpenError,
    files::{MAX_STATE_FILE, Replacement},
    former::{head_file, journal_folder},
    head::HeadOf,
    left::Left,
    open::{check_first, check_layout, prepare},
    prune::Retention,
};
use crate::disk::{Disk, DiskError, SyncPoint};

/// What a new origin is started with after a recovery.
#[derive(Debug)]
pub struct Recovery<'a> {
    /// The new log's name in its checkpoints; not the old one's.
    pub origin: &'a str,
    /// Keys to sign with.
    pub keys: LogKeys,
    /// How the new log is written.
    pub config: LogConfig,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Moves the log at `paths`, which is `left`, to `origins/` and starts a new one with the entry `first`.
///
/// Nothing of the old log is changed or removed. If it is interrupted, it can be called again after another look at
/// what is left.
pub fn recover(
    disk: &Arc<dyn Disk>,
    paths: &LogPaths,
    left: &Left,
    recovery: Recovery<'_>,
    first: Vec<u8>,
) -> Result<LogWriter, LogOpenError> {
    check_layout(paths)?;
    check_first(recovery.origin, &first)?;
    let head = left.former.head.as_ref();
    if head.is_some_and(|head| head.origin == recovery.origin) {
        return Err(LogOpenError::SameOrigin {
            origin: recovery.origin.to_owned(),
        });
    }
    keep(&**disk, paths, left, &recovery.keys.journal)?;
    if let Some(anchor) = &recovery.config.anchor {
        anchor.set_aside(&**disk, left.former.name())?;
    }
    // The new head replaces the old one last: until then a second attempt finds its way again.
    prepare(
        disk,
        paths,
        recovery.origin,
        &recovery.keys.journal,
        left.generation.saturating_add(1),
        &recovery.config,
        first,
    )?;
    LogWriter::open(
        Arc::clone(disk),
        paths,
        recovery.keys,
        &[],
        recovery.config,
        recovery.now,
    )
}

fn keep(disk: &dyn Disk, paths: &LogPaths, left: &Left, key: &JournalKey) -> Result<(), LogOpenError> {
    let name = left.former.name();
    disk.make_dir(&paths.origins)?;
    let confirmed = |of| left.former.head.as_ref().map(|head| head.to_json(of, key));
    let beside = head_file(&paths.origins, name);
    let put = |path: &Path, bytes: &[u8]| {
        let replacement = Replacement {
            temporary: &paths.origins.join(format!("{name}.head.tmp")),
            path,
            file: SyncPoint::OriginFile,
            dir: SyncPoint::OriginDir,
        };
        replacement.write(disk, bytes)
    };
    if let Some(head) = confirmed(HeadOf::LeftBehind) {
        put(&beside, &head)?;
    }
    // A head that is not confirmed is kept too, under a name that nobody reads.
    let found = disk.read(&paths.head, MAX_STATE_FILE)?;
    if let Some(found) = found.filter(|found| Some(found) != confirmed(HeadOf::Written).as_ref()) {
        put(&beside.with_extension("json.found"), &found)?;
    }
    let retention = Retention::path(paths);
    if disk.len(&retention)?.is_some() {
        disk.rename(&retention, &Retention::path_of_former(&paths.origins, name))?;
    }
    // Empty folders were made by an attempt that did not get as far as the new head.
    let is_full =
        |folder| Ok::<_, LogOpenError>(disk.list(folder)?.is_some_and(|entries| !entries.is_empty()));
    if is_full(&paths.log)? {
        disk.rename(&paths.log, &left.former.kept_at)?;
    }
    if is_full(&paths.journal)? {
        disk.rename(&paths.journal, &free_journal(disk, paths, name)?)?;
    }
    disk.sync_dir(&paths.origins, SyncPoint::OriginDir)?;
    Ok(())
}

/// A second attempt finds the new log's journal, which is no part of the old one.
fn free_journal(disk: &dyn Disk, paths: &LogPaths, name: &str) -> Result<PathBuf, DiskError> {
    let mut free = journal_folder(&paths.origins, name);
    let mut attempt = 2;
    while disk.len(&free)?.is_some() {
        free = journal_folder(&paths.origins, &format!("{name}.again-{attempt}"));
        attempt += 1;
    }
    Ok(free)
}
