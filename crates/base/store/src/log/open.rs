//! Creating and opening a log: what is on disk must agree with itself before anything is appended.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use stockade_crypto::{JournalKey, LogKeys};
use stockade_evidence::{
    LogVerifier, MAX_ENTRY, Record, TileWriter, Timestamp, empty_root, leaf_hash, open_checkpoint,
};

use super::{
    LogConfig, LogPaths,
    budget::{Budget, folder_bytes},
    error::{AppendError, LogOpenError},
    files::{MAX_STATE_FILE, parent},
    head::{Head, HeadOf, TreeHead},
    integrator::Integrator,
    journal::{Journal, Segments, parse_segment_name},
    replay::{MAX_SEGMENT, replay},
    segment::MAX_ORIGIN,
    shared::{Failure, Progress, Retired, Shared},
    source::{CHECKPOINT, FolderSource},
    tree::{Tree, sweep},
};
use crate::disk::{Disk, SyncPoint};

/// A log ready to be written to.
pub(crate) struct Opened {
    pub(crate) origin: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) journal: Journal,
    pub(crate) integrator: Integrator,
}

/// What a log is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) paths: &'a LogPaths,
    pub(crate) keys: LogKeys,
    pub(crate) former: &'a [LogVerifier],
    pub(crate) config: &'a LogConfig,
    pub(crate) now: fn() -> Timestamp,
}

/// The bytes of a segment: room for many groups, and for the largest entry twice.
fn segment_length(config: &LogConfig) -> u64 {
    let wanted = (config.max_batch as u64).saturating_mul(1024);
    wanted.clamp(256 * 1024, MAX_SEGMENT).next_multiple_of(4096)
}

/// Creates the folders, puts `first` into the journal, and then the head, which makes it a log.
pub(crate) fn prepare(
    disk: &Arc<dyn Disk>,
    paths: &LogPaths,
    origin: &str,
    key: &JournalKey,
    generation: u64,
    config: &LogConfig,
    first: Vec<u8>,
) -> Result<(), LogOpenError> {
    check_first(origin, &first)?;
    for folder in [&paths.log, &paths.journal, &paths.origins] {
        disk.make_dir(folder)?;
    }
    disk.sync_dir(parent(&paths.head), SyncPoint::FolderNames)?;
    // Segments without a head were left by an attempt that did not get as far as the head.
    let mut next = 0;
    for entry in disk.list(&paths.journal)?.unwrap_or_default() {
        if let Some(sequence) = parse_segment_name(&entry.name) {
            next = next.max(sequence + 1);
            disk.remove(&paths.journal.join(entry.name))?;
        }
    }
    let length = segment_length(config);
    let segments = Segments::new(
        Arc::clone(disk),
        paths.journal.clone(),
        origin.to_owned(),
        key.clone(),
        length,
        next,
    );
    let segments = Arc::new(segments);
    let segment = segments.create().map_err(AppendError::from)?;
    let mut journal = Journal::new(Arc::clone(disk), segments, segment, 0);
    let unlimited = Shared::new(
        Progress::at(Head::first(origin, generation).current, None),
        Budget::new(None, 0),
    );
    journal
        .commit(&[Bytes::from(first)], &unlimited)
        .map_err(AppendError::from)?;
    Head::first(origin, generation).write(&**disk, &paths.head, key)?;
    Ok(())
}

/// Whether a log can have this name and begin with this entry.
pub(crate) fn check_first(origin: &str, first: &[u8]) -> Result<(), LogOpenError> {
    if first.len() > MAX_ENTRY {
        return Err(AppendError::TooLarge {
            length: first.len(),
            limit: MAX_ENTRY,
        }
        .into());
    }
    check_origin(origin)
}

fn check_origin(origin: &str) -> Result<(), LogOpenError> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if origin.is_empty() || origin.len() > MAX_ORIGIN || origin.contains(forbidden) {
        let origin = origin.chars().take(80).collect();
        return Err(LogOpenError::BadOrigin {
            origin,
            limit: MAX_ORIGIN,
        });
    }
    Ok(())
}

impl Opening<'_> {
    /// Checks everything against everything, replays the journal and integrates what it held.
    pub(crate) fn open(self) -> Result<Opened, LogOpenError> {
        let disk = &self.disk;
        let Some(head) = Head::read_sealed(&**disk, &self.paths.head, HeadOf::Written, &self.keys.journal)?
        else {
            let file = &self.paths.head;
            return Err(match disk.len(&self.paths.log.join(CHECKPOINT))? {
                None => LogOpenError::Absent {
                    path: self.paths.log.clone(),
                },
                Some(_) => LogOpenError::tampered(file, "it is missing, and there is a checkpoint"),
            });
        };
        let source = FolderSource::new(&self.paths.log);
        let verifiers = self.verifiers(&head.origin);
        let signed = self.check_checkpoint(&source, &head, &verifiers)?;
        let tree = Tree::load(&source, &head.current)?;
        check_growth(&source, &signed, &head.current)?;
        let anchored = match &self.config.anchor {
            Some(anchor) => anchor.compare(&**disk, &source, &head.origin, &head.current, &verifiers)?,
            None => None,
        };
        let replayed = replay(
            &**disk,
            &self.paths.journal,
            &head.origin,
            &self.keys.journal,
            head.current.size,
        )?;
        if head.current.size == 0 && replayed.leaves.is_empty() {
            return Err(LogOpenError::tampered(
                &self.paths.journal,
                "the first entry is missing",
            ));
        }
        let budget = Budget::new(self.config.disk_budget_bytes, 0);
        let mut progress = Progress::at(head.current, anchored);
        progress.durable = head.current.size + replayed.leaves.len() as u64;
        let end = progress.durable;
        progress.retired = replayed
            .segments
            .into_iter()
            .map(|(path, length)| Retired { path, end, length })
            .collect();
        let shared = Arc::new(Shared::new(progress, budget));
        let mut integrator = Integrator::new(
            Arc::clone(disk),
            self.paths.clone(),
            self.keys.clone(),
            self.config,
            self.now,
            tree,
            &head,
        );
        catch_up(&mut integrator, &shared, &head, &replayed.leaves).map_err(AppendError::from)?;
        let tiles = sweep(&**disk, &self.paths.log, end)?;
        shared
            .budget
            .set(tiles + folder_bytes(&**disk, &self.paths.journal)?);
        let segments = Arc::new(Segments::new(
            Arc::clone(disk),
            self.paths.journal.clone(),
            head.origin.clone(),
            self.keys.journal.clone(),
            segment_length(self.config),
            replayed.next_sequence,
        ));
        let segment = segments.create().map_err(AppendError::from)?;
        shared.budget.add(segments.length());
        let journal = Journal::new(Arc::clone(disk), Arc::clone(&segments), segment, end);
        Ok(Opened {
            origin: head.origin,
            shared,
            segments,
            journal,
            integrator,
        })
    }

    fn verifiers(&self, origin: &str) -> Vec<LogVerifier> {
        let present = LogVerifier {
            name: origin.to_owned(),
            ed25519: self.keys.ed25519.verifying_key(),
            ml_dsa_44: self.keys.ml_dsa_44.verifying_key(),
        };
        [present].into_iter().chain(self.former.iter().cloned()).collect()
    }

    /// The checkpoint must be the head's, or the one before if the power failed between the two. A former pair of keys
    /// is thereby believed for no checkpoint but the one that the sealed head names. Returns what is signed.
    fn check_checkpoint(
        &self,
        source: &FolderSource,
        head: &Head,
        verifiers: &[LogVerifier],
    ) -> Result<TreeHead, LogOpenError> {
        let path = source.folder().join(CHECKPOINT);
        let Some(bytes) = self.disk.read(&path, MAX_STATE_FILE)? else {
            return match head.published {
                None => Ok(TreeHead {
                    size: 0,
                    root: empty_root(),
                }),
                Some(published) => Err(rolled_back(&path, 0, published.size)),
            };
        };
        let text = String::from_utf8(bytes).map_err(|cause| LogOpenError::tampered(&path, cause))?;
        let opened =
            open_checkpoint(&text, verifiers).map_err(|cause| LogOpenError::tampered(&path, cause))?;
        let found = TreeHead {
            size: opened.checkpoint.size,
            root: opened.checkpoint.root,
        };
        if opened.checkpoint.origin != head.origin {
            return Err(LogOpenError::tampered(
                &path,
                format!("it is of `{}`", opened.checkpoint.origin),
            ));
        }
        if found == head.current || Some(found) == head.published {
            return Ok(found);
        }
        if found.size > head.current.size {
            return Err(rolled_back(&self.paths.head, head.current.size, found.size));
        }
        let remembered = head
            .published
            .map_or(head.current.size, |published| published.size);
        if found.size < remembered {
            return Err(rolled_back(&path, found.size, remembered));
        }
        Err(LogOpenError::tampered(
            &path,
            format!("it has another root for {} entries", found.size),
        ))
    }
}

/// Whoever signs `current` next must know that it is what was `signed`, and records after it: the tree is grown again
/// from the one to the other.
fn check_growth(source: &FolderSource, signed: &TreeHead, current: &TreeHead) -> Result<(), LogOpenError> {
    let tampered = |cause: &dyn ToString| LogOpenError::tampered(source.folder(), cause.to_string());
    let mut tiles = TileWriter::from_source(signed.size, source).map_err(|cause| tampered(&cause))?;
    if tiles.root() != signed.root {
        return Err(tampered(&format!(
            "its tiles do not give the signed root of {} entries",
            signed.size
        )));
    }
    let mut foreign = None;
    let grow = &mut |index, leaf: &[u8]| {
        tiles.append(leaf_hash(leaf));
        foreign = Record::from_leaf(leaf).err().map(|cause| (index, cause));
        foreign.is_none()
    };
    source
        .entries(signed.size, current.size, grow)
        .map_err(|cause| tampered(&cause))?;
    if let Some((index, cause)) = foreign {
        return Err(tampered(&format!("entry {index} is no record: {cause}")));
    }
    if tiles.root() != current.root {
        return Err(tampered(&format!(
            "its {} entries are not those that were signed and what followed",
            current.size
        )));
    }
    Ok(())
}

fn rolled_back(file: &Path, found: u64, expected: u64) -> LogOpenError {
    LogOpenError::RolledBack {
        file: file.to_owned(),
        found,
        expected,
    }
}

/// Makes durable again what the process before may have renamed but not synced, then integrates the journal.
fn catch_up(
    integrator: &mut Integrator,
    shared: &Shared,
    head: &Head,
    leaves: &[Bytes],
) -> Result<(), Failure> {
    if head.current.size > 0 {
        integrator.write_head(head.current)?;
        integrator.publish()?;
    }
    let mut progress = shared.progress();
    progress.pending_bytes = leaves.iter().map(Bytes::len).sum();
    progress.pending.extend(leaves.iter().cloned());
    drop(progress);
    integrator.integrate(leaves, shared)
}

/// Checks that the parts lie in one folder, as the syncs assume.
pub(crate) fn check_layout(paths: &LogPaths) -> Result<(), LogOpenError> {
    let home = parent(&paths.head);
    for path in [&paths.log, &paths.journal, &paths.origins] {
        if parent(path) != home {
            return Err(LogOpenError::Scattered {
                path: path.clone(),
                home: home.to_owned(),
            });
        }
    }
    Ok(())
}
