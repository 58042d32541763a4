//! The verdict on all logs of a folder: each as a stranger would verify it, and all of them against what the folder
//! remembers of them.
//!
//! A log that was put back to an older state, or left out, is whole in itself. Only the sealed head, the records of
//! recoveries and the records of pruning tell. Nothing is written, and a running log may be audited.

use serde_json::Value;
use stockade_evidence::{Event, Record, Verification, root_at, verify_log};

use super::{
    LogPaths,
    head::{Head, TreeHead},
    prune::Retention,
    recover::{FormerOrigin, former_origins},
    source::FolderSource,
    trust::LogTrust,
};
use crate::{
    disk::{DiskError, Posix},
    projection::contains,
};

/// The verdict on the log now written, and on those before it.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The log now written.
    pub current: Verification,
    /// The logs that were left behind, oldest first.
    pub others: Vec<Verification>,
}

/// Audits the logs at `paths`. `since` is an older checkpoint, of whichever log, that must still be in it; `progress`
/// hears how many records of a log were checked so far.
pub fn audit(
    paths: &LogPaths,
    trust: &LogTrust,
    since: Option<&str>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Audit, DiskError> {
    // Before any checkpoint: a running log may be ahead of this head, and never behind it.
    let head = trust.head(&paths.head);
    let source = FolderSource::new(&paths.log);
    let origin = match &head {
        Ok(Some(head)) => head.origin.clone(),
        Ok(None) | Err(_) => source
            .unverified_head()?
            .map(|checkpoint| checkpoint.origin)
            .unwrap_or_default(),
    };
    let formers = former_origins(&paths.origins, &origin)?;
    let auditor = Auditor {
        paths,
        trust,
        formers: &formers,
        progress,
    };
    let of = |origin: &str| since.filter(|text| text.lines().next() == Some(origin));
    let is_former = formers.iter().any(|former| of(&former.origin).is_some());
    let mut current = auditor.current(&source, &origin, since.filter(|_| !is_former))?;
    match head {
        Ok(Some(head)) => {
            check_head(&head, &source, &mut current);
            check_signer(&head, trust, &mut current);
            check_count(&head, formers.len(), &mut current);
        }
        Ok(None) => current.add("head.json", "is missing"),
        Err(error) => current.add("head.json", first_line(&error.to_string())),
    }
    let others = formers
        .iter()
        .map(|former| auditor.former(former, of(&former.origin)))
        .collect::<Result<_, _>>()?;
    Ok(Audit { current, others })
}

struct Auditor<'a> {
    paths: &'a LogPaths,
    trust: &'a LogTrust,
    formers: &'a [FormerOrigin],
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Auditor<'_> {
    fn current(
        &self,
        source: &FolderSource,
        origin: &str,
        since: Option<&str>,
    ) -> Result<Verification, DiskError> {
        let retention = Retention::read(&Posix, self.paths);
        let minimum = retention.as_ref().map_or(0, |retention| retention.minimum_index);
        let mut found = self.verdict(source, origin, since, minimum)?;
        if let Err(error) = retention {
            found.add("retention.json", error.to_string());
        }
        if self.trust.file_differs() {
            found.add("log.vkey", "does not hold the keys that the keyring holds");
        }
        Ok(found)
    }

    fn former(&self, former: &FormerOrigin, since: Option<&str>) -> Result<Verification, DiskError> {
        let mut found = self.verdict(&former.source, &former.origin, since, former.minimum_index)?;
        // What broke the log may have been its head; the record of the recovery counts then.
        if let Ok(Some(head)) = self.trust.head(&former.head) {
            check_head(&head, &former.source, &mut found);
        }
        Ok(found)
    }

    /// One log by itself, and the log before it.
    fn verdict(
        &self,
        source: &FolderSource,
        origin: &str,
        since: Option<&str>,
        minimum: u64,
    ) -> Result<Verification, DiskError> {
        let verifiers = self.trust.verifiers(origin);
        let listing = source.listing()?;
        let mut found = verify_log(source, Some(&listing), &verifiers, since, minimum, self.progress);
        check_retention(source, minimum, &mut found);
        if let Some(record) = first_record(source, &found) {
            self.check_left_behind(&record, &mut found);
        }
        Ok(found)
    }

    /// The log that the first record of a log says was left behind must be there, with the size and root it had.
    fn check_left_behind(&self, first: &Record, found: &mut Verification) {
        let text = |name| first.details.get(name).and_then(Value::as_str);
        let Some(folder) = text("former_folder") else {
            return;
        };
        let file = format!("origins/{folder}");
        if !self.paths.origins.join(folder).is_dir() {
            found.add(file, "is missing: the log of this name was left behind here");
            return;
        }
        let Some(former) = self.formers.iter().find(|former| former.folder() == folder) else {
            found.add(format!("{file}.head.json"), "is missing");
            return;
        };
        let (Some(size), Some(root)) = (
            first.details.get("former_size").and_then(Value::as_u64),
            text("former_root"),
        ) else {
            return;
        };
        if former.size > size {
            let reason = format!("has {} entries where {size} were left behind", former.size);
            found.add(&file, reason);
        }
        if size > 0 && root_at(&former.source, size).ok().map(hex::encode).as_deref() != Some(root) {
            found.add(
                file,
                format!("is not the log of {size} entries that was left behind"),
            );
        }
    }
}

/// The log must be at or beyond what was signed when `head` was written, and contain the tree that it names.
fn check_head(head: &Head, source: &FolderSource, found: &mut Verification) {
    let signed = head.published.map_or(0, |published| published.size);
    if found.size < signed && !found.root.is_empty() {
        let reason = format!(
            "covers {} entries where {signed} were signed: it was put back to an older state",
            found.size
        );
        found.add("checkpoint", reason);
    }
    let TreeHead { size, root } = head.current;
    if size > 0 && root_at(source, size).ok() != Some(root) {
        let reason = format!("its head names a tree of {size} entries, which the tiles do not give");
        found.add("tile", reason);
    }
}

/// See [`LogTrust::open_checkpoint`].
fn check_signer(head: &Head, trust: &LogTrust, found: &mut Verification) {
    let now = trust
        .verifiers(&head.origin)
        .first()
        .is_some_and(|present| present.made(&found.checkpoint_signatures));
    let remembered = head
        .heads()
        .any(|known| known.size == found.size && known.root_text() == found.root);
    if !found.root.is_empty() && !now && !remembered {
        found.add("checkpoint", "is signed by keys that were rotated out");
    }
}

fn check_count(head: &Head, formers: usize, found: &mut Verification) {
    let left = head.generation;
    if u64::try_from(formers).unwrap_or(u64::MAX) < left {
        found.add(
            "origins",
            format!("{left} logs were left behind, and {formers} are there"),
        );
    }
}

/// Entries may be missing only where a record of the log says that they were pruned.
fn check_retention(source: &FolderSource, minimum: u64, found: &mut Verification) {
    let mut named = minimum == 0;
    // An entry that cannot be read is a problem already.
    let _ = source.entries(minimum, found.size, &mut |_, leaf| {
        named = named || pruned_below(leaf).is_some_and(|index| index >= minimum);
        !named
    });
    if !named {
        let reason = format!("says that entries below {minimum} were pruned, and no record of the log does");
        found.add("retention.json", reason);
    }
}

fn pruned_below(leaf: &[u8]) -> Option<u64> {
    if !contains(leaf, Event::LogPruned.name().as_bytes()) {
        return None;
    }
    let record = Record::from_leaf(leaf).ok()?;
    let index = record.details.get("minimum_index")?.as_u64()?;
    (record.event == Event::LogPruned).then_some(index)
}

/// The record of the recovery that this log began with, if it did and the record was not pruned.
fn first_record(source: &FolderSource, found: &Verification) -> Option<Record> {
    let mut first = None;
    // An entry that cannot be read is a problem already, or was pruned.
    let _ = source.entries(0, found.size.min(1), &mut |_, leaf| {
        first = Record::from_leaf(leaf).ok();
        false
    });
    first.filter(|record| record.event == Event::LogRecovered)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
