//! The logs that were left behind: where they lie, and what the log after them says of them.
//!
//! A log that begins with a recovery names the one before it in its first record, and in every record of a pruning, so
//! that the chain outlives the first record.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stockade_evidence::{Event, Record};

use super::{
    FolderSource, LogEntries,
    error::ReadError,
    head::{Head, TreeHead},
    prune::Retention,
};
use crate::{
    disk::{Disk as _, DiskError, EntryKind, Posix},
    projection::contains,
};

const HEAD_SUFFIX: &str = ".head.json";
const JOURNAL_SUFFIX: &str = ".journal";

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
    /// Its head.
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
    for name in names(origins)? {
        let path = head_file(origins, &name);
        let head = Head::read(&Posix, &path).ok().flatten();
        let source = FolderSource::new(origins.join(&name));
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
                minimum_index: Retention::of_former(&Posix, origins, &name)
                    .map_or(0, |retention| retention.minimum_index),
                head: path,
                journal: journal_folder(origins, &name),
            };
            found.push((generation, former));
        }
    }
    found.sort_by_key(|(generation, _)| *generation);
    Ok(found.into_iter().map(|(_, former)| former).collect())
}

/// The name of each log that has a folder or a head in `origins`.
pub(crate) fn names(origins: &Path) -> Result<BTreeSet<String>, DiskError> {
    let mut names = BTreeSet::new();
    for entry in Posix.list(origins)?.unwrap_or_default() {
        match entry.kind {
            EntryKind::Dir if !entry.name.ends_with(JOURNAL_SUFFIX) => drop(names.insert(entry.name)),
            EntryKind::Dir => {}
            EntryKind::File | EntryKind::Other => {
                if let Some(name) = entry.name.strip_suffix(HEAD_SUFFIX) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    Ok(names)
}

pub(crate) fn head_file(origins: &Path, name: &str) -> PathBuf {
    origins.join(format!("{name}{HEAD_SUFFIX}"))
}

pub(crate) fn journal_folder(origins: &Path, name: &str) -> PathBuf {
    origins.join(format!("{name}{JOURNAL_SUFFIX}"))
}

/// What a log says of the one before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Predecessor {
    /// Its folder in `origins`.
    pub(crate) folder: String,
    /// The tree that it had; `None` where nothing of it could be confirmed.
    pub(crate) head: Option<TreeHead>,
}

impl Predecessor {
    /// What the record of a recovery or of a pruning says.
    pub(crate) fn of_record(record: &Record) -> Option<Self> {
        let text = |name| record.details.get(name).and_then(Value::as_str);
        let size = record.details.get("former_size").and_then(Value::as_u64);
        let root = text("former_root")
            .and_then(|root| hex::decode(root).ok())
            .and_then(|root| root.try_into().ok());
        Some(Self {
            folder: text("former_folder")?.to_owned(),
            head: size.zip(root).map(|(size, root)| TreeHead { size, root }),
        })
    }

    /// Adds this to such a record.
    pub(crate) fn note(&self, record: Record) -> Record {
        let record = record.with("former_folder", self.folder.as_str());
        match self.head {
            Some(TreeHead { size, root }) => record
                .with("former_size", size)
                .with("former_root", hex::encode(root)),
            None => record,
        }
    }

    /// What the entries of a log say: the first one, or, where that was pruned, the record of the pruning.
    pub(crate) fn of_log(entries: &LogEntries) -> Result<Option<Self>, ReadError> {
        let record = match entries.minimum() {
            0 => first_record(entries)?,
            minimum => pruning(entries, minimum)?,
        };
        Ok(record.as_ref().and_then(Self::of_record))
    }
}

/// The record of the recovery that the log began with, if it did.
fn first_record(entries: &LogEntries) -> Result<Option<Record>, ReadError> {
    let mut first = None;
    if entries.end() > 0 {
        entries.read(0, &mut |_, leaf| {
            first = Record::from_leaf(leaf).ok();
            false
        })?;
    }
    Ok(first.filter(|record| record.event == Event::LogRecovered))
}

/// The first record that says that entries below `minimum` were pruned.
pub(crate) fn pruning(entries: &LogEntries, minimum: u64) -> Result<Option<Record>, ReadError> {
    let mut found = None;
    entries.read(entries.minimum(), &mut |_, leaf| {
        found = pruned_below(leaf, minimum);
        found.is_none()
    })?;
    Ok(found)
}

fn pruned_below(leaf: &[u8], minimum: u64) -> Option<Record> {
    if !contains(leaf, Event::LogPruned.name().as_bytes()) {
        return None;
    }
    let record = Record::from_leaf(leaf).ok()?;
    let index = record.details.get("minimum_index")?.as_u64()?;
    (record.event == Event::LogPruned && index >= minimum).then_some(record)
}
