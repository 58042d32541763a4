//! Leaving a broken log behind: it is kept as it is under `origins/`, and a new origin names its head.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stockade_crypto::LogKeys;
use stockade_evidence::Timestamp;

use super::{
    FolderSource, LogConfig, LogPaths, LogWriter,
    error::LogOpenError,
    files::create_anew,
    head::{Head, beside},
    open::{check_layout, prepare},
    prune::Retention,
};
use crate::disk::{Disk, DiskError, Posix, SyncPoint};

/// A log that was left behind.
#[derive(Clone, Debug)]
pub struct FormerLog {
    /// What it remembered of itself: its origin, size and root. `None` if even that is lost.
    pub head: Option<Head>,
    /// Where it is kept: the layout of `log/`, with its journal and head beside it.
    pub kept_at: PathBuf,
}

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

/// Moves the log at `paths` to `origins/` and starts a new one, whose first entry `first` makes of the old one.
///
/// Nothing of the old log is changed or removed. If it is interrupted, it can be called again.
pub fn recover(
    disk: &Arc<dyn Disk>,
    paths: &LogPaths,
    recovery: Recovery<'_>,
    first: impl FnOnce(&FormerLog) -> Vec<u8>,
) -> Result<(LogWriter, FormerLog), LogOpenError> {
    check_layout(paths)?;
    // A head that cannot be read is moved away like the rest.
    let head = Head::read(&**disk, &paths.head).ok().flatten();
    if head.as_ref().is_some_and(|head| head.origin == recovery.origin) {
        return Err(LogOpenError::SameOrigin {
            origin: recovery.origin.to_owned(),
        });
    }
    let name = folder_name(head.as_ref().map_or("unknown", |head| head.origin.as_str()));
    let former = FormerLog {
        head,
        kept_at: paths.origins.join(&name),
    };
    keep(disk, paths, &name)?;
    if let Some(anchor) = &recovery.config.anchor {
        anchor.set_aside(&**disk, &name)?;
    }
    // The new head replaces the old one last: until then this function finds its way again.
    let generation = former.head.as_ref().map_or(0, |head| head.generation + 1);
    prepare(
        disk,
        paths,
        recovery.origin,
        &recovery.keys.journal,
        generation,
        &recovery.config,
        first(&former),
    )?;
    let writer = LogWriter::open(
        Arc::clone(disk),
        paths,
        recovery.keys,
        &[],
        recovery.config,
        recovery.now,
    )?;
    Ok((writer, former))
}

fn keep(disk: &Arc<dyn Disk>, paths: &LogPaths, name: &str) -> Result<(), LogOpenError> {
    disk.make_dir(&paths.origins)?;
    if let Some(head) = disk.read(&paths.head, super::files::MAX_STATE_FILE)? {
        let copy = paths.origins.join(format!("{name}.head.json"));
        create_anew(&**disk, &copy, &head, SyncPoint::OriginFile)?;
    }
    let retention = beside(&paths.head, "retention.json");
    if disk.len(&retention)?.is_some() {
        disk.rename(&retention, &paths.origins.join(format!("{name}.retention.json")))?;
    }
    let moves = [
        (&paths.log, name.to_owned()),
        (&paths.journal, format!("{name}.journal")),
    ];
    for (from, to) in moves {
        // Empty folders were made by an attempt that did not get as far as the new head.
        if disk.list(from)?.is_some_and(|entries| !entries.is_empty()) {
            disk.rename(from, &free_name(&**disk, &paths.origins, &to)?)?;
        }
    }
    disk.sync_dir(&paths.origins, SyncPoint::OriginDir)?;
    Ok(())
}

/// A name that nothing has: what an interrupted attempt moved is never overwritten.
fn free_name(disk: &dyn Disk, folder: &Path, name: &str) -> Result<PathBuf, DiskError> {
    let mut free = folder.join(name);
    let mut attempt = 2;
    while disk.len(&free)?.is_some() {
        free = folder.join(format!("{name}.{attempt}"));
        attempt += 1;
    }
    Ok(free)
}

/// A log under `origins/`, to be read.
#[derive(Clone, Debug)]
pub struct FormerOrigin {
    /// Its name in its checkpoints.
    pub origin: String,
    /// Its files.
    pub source: FolderSource,
    /// The entries under its last checkpoint. Nothing is verified here.
    pub size: u64,
    /// The first entry that retention left.
    pub minimum_index: u64,
    /// The copy of its head.
    pub(crate) head: PathBuf,
    /// Entries that were durable and not integrated yet.
    pub(crate) journal: PathBuf,
}

impl FormerOrigin {
    /// The name of its folder.
    pub fn folder(&self) -> &str {
        let name = self.source.folder().file_name();
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The logs that were left behind in `origins`, oldest first. `current` is the one now written, which is not among
/// them. What is damaged is named as far as it can be read: nothing is verified here.
pub fn former_origins(origins: &Path, current: &str) -> Result<Vec<FormerOrigin>, DiskError> {
    let mut found = Vec::new();
    for entry in Posix.list(origins)?.unwrap_or_default() {
        let Some(name) = entry.name.strip_suffix(".head.json") else {
            continue;
        };
        let path = origins.join(&entry.name);
        let head = Head::read(&Posix, &path).ok().flatten();
        let source = FolderSource::new(origins.join(name));
        let checkpoint = source.unverified_head()?;
        let (size, signed) =
            checkpoint.map_or((0, None), |checkpoint| (checkpoint.size, Some(checkpoint.origin)));
        let generation = head.as_ref().map_or(0, |head| head.generation);
        let origin = head.map(|head| head.origin).or(signed).unwrap_or_default();
        if origin != current {
            let former = FormerOrigin {
                origin,
                source,
                size,
                minimum_index: Retention::of_former(&Posix, origins, name)
                    .map_or(0, |retention| retention.minimum_index),
                head: path,
                journal: origins.join(format!("{name}.journal")),
            };
            found.push((generation, former));
        }
    }
    found.sort_by_key(|(generation, _)| *generation);
    Ok(found.into_iter().map(|(_, former)| former).collect())
}

/// A file name for an origin: letters, digits, `.`, `-` and `_` stay, all else is written as `=` and two hex digits.
fn folder_name(origin: &str) -> String {
    let mut name = String::new();
    for byte in origin.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("={byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::folder_name;

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(folder_name("stockade.local/a1"), "stockade.local=2fa1");
        assert_eq!(folder_name("../x"), "=2e.=2fx");
    }
}
