//! The verdict on all logs of a folder: each as a stranger would verify it, and all of them against what the folder
//! remembers of them.
//!
//! A log that was put back to an older state, or left out, is whole in itself. Only the sealed head, the records of
//! recoveries and the records of pruning tell. Nothing is written, and a running log may be audited.

use std::collections::BTreeMap;

use stockade_evidence::{LogVerifier, Verification, verify_log};

use super::{
    LogEntries, LogPaths,
    error::LogOpenError,
    former::{FormerOrigin, Predecessor, former_origins, pruning},
    head::{Head, HeadOf, TreeHead},
    proven::{Bundles, MadeTiles, grown},
    prune::Retention,
    source::FolderSource,
    trust::LogTrust,
};
use crate::disk::{DiskError, Posix};

const KEYRING: &str = "keys/keyring.json";
const UNCONFIRMED: &str = "does not open, so nothing here confirms the keys in `log.vkey`: verify with `--log` and `--key`, and keys \
                           that were kept elsewhere";

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
    let head = trust.head(HeadOf::Written, &paths.head);
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
    let (mut current, before) = auditor.current(&source, &origin, since.filter(|_| !is_former))?;
    if !trust.is_confirmed() {
        current.add(KEYRING, UNCONFIRMED);
    }
    match head {
        Ok(Some(head)) => {
            // A retention that cannot be read is a problem already.
            let minimum = Retention::read(&Posix, paths).map_or(0, |retention| retention.minimum_index);
            check_head(&head, "head.json", &source, minimum, &mut current);
            check_signer(&head, trust, &mut current);
            check_count(&head, formers.len(), &mut current);
        }
        Ok(None) => current.add("head.json", "is missing"),
        Err(error) => current.add("head.json", first_line(&error)),
    }
    let mut chain = Chain::default();
    chain.add(before);
    let mut others = Vec::new();
    // Newest first: each says what the one before it was.
    for former in formers.iter().rev() {
        let (found, before) = auditor.former(former, chain.named(former), of(&former.origin))?;
        chain.add(before);
        others.push(found);
    }
    others.reverse();
    Ok(Audit { current, others })
}

/// What the logs say of those before them, by folder.
#[derive(Default)]
struct Chain(BTreeMap<String, Predecessor>);

impl Chain {
    fn add(&mut self, before: Option<Predecessor>) {
        self.0
            .extend(before.map(|before| (before.folder.clone(), before)));
    }

    fn named(&self, former: &FormerOrigin) -> Option<&Predecessor> {
        self.0.get(former.folder())
    }
}

struct Auditor<'a> {
    paths: &'a LogPaths,
    trust: &'a LogTrust,
    formers: &'a [FormerOrigin],
    progress: &'a (dyn Fn(u64) + Sync),
}

/// One log, and what it says of the log before it.
type Verdict = (Verification, Option<Predecessor>);

impl Auditor<'_> {
    fn current(
        &self,
        source: &FolderSource,
        origin: &str,
        since: Option<&str>,
    ) -> Result<Verdict, DiskError> {
        let minimum = || Retention::read(&Posix, self.paths).map(|retention| retention.minimum_index);
        let verifiers = self.trust.verifiers(origin);
        let look = |minimum: &Result<u64, _>| {
            self.verdict(source, &verifiers, since, *minimum.as_ref().unwrap_or(&0))
        };
        let mut retention = minimum();
        let mut verdict = look(&retention)?;
        let now = minimum();
        if let (Ok(before), Ok(now)) = (&retention, &now)
            && before != now
        {
            // A running server pruned meanwhile.
            verdict = look(&Ok(*now))?;
            retention = Ok(*now);
        }
        if let Err(error) = retention {
            verdict.0.add("retention.json", error.to_string());
        }
        if self.trust.file_differs() {
            verdict
                .0
                .add("log.vkey", "does not hold the keys that the keyring holds");
        }
        Ok(verdict)
    }

    /// `named` is what the log after it says.
    fn former(
        &self,
        former: &FormerOrigin,
        named: Option<&Predecessor>,
        since: Option<&str>,
    ) -> Result<Verdict, DiskError> {
        let named_head = named.and_then(|named| named.head);
        let mut verifiers = self.trust.verifiers(&former.origin);
        if named_head.is_some() {
            verifiers.extend(self.trust.verifiers_before_rebuild(&former.origin));
        }
        let (mut found, before) = self.verdict(&former.source, &verifiers, since, former.minimum_index)?;
        let file = format!("origins/{}.head.json", former.folder());
        match self.trust.head(HeadOf::LeftBehind, &former.head) {
            Ok(Some(head)) => {
                check_head(&head, &file, &former.source, former.minimum_index, &mut found);
            }
            // Nothing could be confirmed when it was left behind.
            Ok(None) if named.is_some() && named_head.is_none() => {}
            Ok(None) => found.add(file, "is missing"),
            // A rebuilt keyring seals otherwise; what the next log says counts then.
            Err(_) if named_head.is_some() => {}
            Err(error) => found.add(file, first_line(&error)),
        }
        Ok((found, before))
    }

    /// One log by itself, and the log before it.
    fn verdict(
        &self,
        source: &FolderSource,
        verifiers: &[LogVerifier],
        since: Option<&str>,
        minimum: u64,
    ) -> Result<Verdict, DiskError> {
        let listing = source.listing()?;
        let mut found = verify_log(source, Some(&listing), verifiers, since, minimum, self.progress);
        let Some(tree) = TreeHead::from_text(found.size, &found.root) else {
            return Ok((found, None));
        };
        let entries = LogEntries::new(
            found.origin.clone(),
            minimum,
            Bundles::new(source.clone(), tree, MadeTiles::new()),
            found.size,
            Vec::new(),
        );
        check_retention(&entries, &mut found);
        // An entry that cannot be read is a problem already.
        let before = Predecessor::of_log(&entries).ok().flatten();
        if let Some(before) = &before {
            self.check_left_behind(before, &mut found);
        }
        Ok((found, before))
    }

    /// The log that was left behind must be there, with the size and root it had.
    fn check_left_behind(&self, before: &Predecessor, found: &mut Verification) {
        let file = format!("origins/{}", before.folder);
        if !self.paths.origins.join(&before.folder).is_dir() {
            found.add(file, "is missing: the log of this name was left behind here");
            return;
        }
        let Some(former) = self
            .formers
            .iter()
            .find(|former| former.folder() == before.folder)
        else {
            found.add(file, "has the name of the log now written");
            return;
        };
        let Some(head) = before.head else {
            return;
        };
        let size = head.size;
        if former.size > size {
            let reason = format!("has {} entries where {size} were left behind", former.size);
            found.add(&file, reason);
        }
        // The entries under its checkpoint are verified with it.
        let verified = former.size.max(former.minimum_index);
        if size > 0 && grown(&former.source, verified, &head).is_none() {
            found.add(
                file,
                format!("is not the log of {size} entries that was left behind"),
            );
        }
    }
}

/// The log must be at or beyond what was signed when `head` was written, and contain the tree that it names, with the
/// entries that no checkpoint covers yet.
fn check_head(head: &Head, file: &str, source: &FolderSource, minimum: u64, found: &mut Verification) {
    let signed = head.published.map_or(0, |published| published.size);
    if found.size < signed && !found.root.is_empty() {
        let reason = format!(
            "covers {} entries where {signed} were signed: it was put back to an older state",
            found.size
        );
        found.add("checkpoint", reason);
    }
    let size = head.current.size;
    if size > 0 && grown(source, found.size.max(minimum), &head.current).is_none() {
        let reason = format!("names a tree of {size} entries, which the tiles and entries do not give");
        found.add(file, reason);
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
fn check_retention(entries: &LogEntries, found: &mut Verification) {
    let minimum = entries.minimum();
    // An entry that cannot be read is a problem already.
    if minimum > 0 && pruning(entries, minimum).ok().flatten().is_none() {
        let reason = format!("says that entries below {minimum} were pruned, and no record of the log does");
        found.add("retention.json", reason);
    }
}

fn first_line(error: &LogOpenError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
