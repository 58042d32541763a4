//! Making the rows anew from the log alone, where they are damaged or were edited.

use std::{fs, io, path::Path, sync::Arc};

use stockade_crypto::KeyProvider;
use stockade_evidence::Event;

use super::{
    Keeper,
    open::{CLOCK, SNAPSHOT_HINT, acquire, blocking, fill, gone, open_log, system_record},
};
use crate::{
    blobs::Blobs,
    config::Config,
    error::{AppendError, OpenError},
    files::sync_folder,
    layout::StateDir,
    log::LogWriter,
    rows::{Position, RowStore as _, SqliteRows},
};

/// What a rebuild made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RebuildReport {
    /// Rows made.
    pub rows: usize,
    /// Entries of the log now written.
    pub log_size: u64,
}

/// Makes the rows anew from the log alone. The database that was there stays beside the new one as
/// `records.db.before-rebuild`.
pub async fn rebuild(dir: StateDir, keys: KeyProvider) -> Result<RebuildReport, OpenError> {
    let config = Config::default();
    dir.check_version()?;
    let lock = acquire(&dir)?;
    let log = open_log(&dir, &keys, &config).await?;
    let made = rebuild_rows(&dir, &log).await;
    let closed = blocking(move || log.close()).await?;
    drop(lock);
    let count = made?;
    closed.map_err(AppendError::from)?;
    let keeper = Keeper::open(dir, keys, config).await?;
    let record = system_record(Event::ProjectionRebuilt, keeper.now())?.with("rows", count);
    let appended = keeper.append(record).await?;
    keeper.close().await?;
    Ok(RebuildReport {
        rows: count,
        log_size: appended.index.saturating_add(1),
    })
}

async fn rebuild_rows(dir: &StateDir, log: &LogWriter) -> Result<usize, OpenError> {
    let blobs = Blobs::folder(dir.blobs()).map_err(io::Error::other)?;
    let path = dir.records_db();
    let memory = what_it_remembers(&path, log).await?;
    let new = path.with_extension("db.part");
    remove_database(&new)?;
    let rows = SqliteRows::open(&new).await?;
    let count = fill(Arc::new(log.entries()?), &blobs, &rows, memory.snapshot)
        .await?
        .len();
    if let Some(clock) = memory.clock {
        rows.set_position(CLOCK, &clock).await?;
    }
    rows.close().await;
    set_aside(&path)?;
    fs::rename(&new, &path)?;
    sync_folder(dir.state())?;
    Ok(count)
}

/// Hints that a database keeps beside the rows.
#[derive(Debug, Default)]
struct Memory {
    snapshot: Option<Position>,
    clock: Option<Position>,
}

/// What the old database remembers, where it can be read. One that knows more of the log than there is stops
/// the rebuild: it may be the log that was put back, and with it a key that was revoked.
async fn what_it_remembers(path: &Path, log: &LogWriter) -> Result<Memory, OpenError> {
    let Ok(old) = SqliteRows::open_read_only(path).await else {
        return Ok(Memory::default());
    };
    let applied = old.applied().await.ok().flatten();
    let snapshot = old.position(SNAPSHOT_HINT).await.ok().flatten();
    let clock = old.position(CLOCK).await.ok().flatten();
    old.close().await;
    match applied {
        Some(applied) if applied.origin == log.origin() && applied.size > log.durable_size() => {
            Err(gone(&applied))
        }
        Some(_) | None => Ok(Memory { snapshot, clock }),
    }
}

pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("db.before-rebuild");
    match fs::rename(path, aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    remove_database(path)
}

/// Removes a database and what SQLite keeps beside it.
pub(crate) fn remove_database(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
