//! The integrator thread: puts durable entries under a signed checkpoint, so that appends never wait for a tree.
//!
//! The order is the safety: tiles, their folders, the private head, the checkpoint; each durable before the next. Only
//! then are the partial tiles that were replaced and the journal segments that are not needed any more removed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stockade_crypto::LogKeys;
use stockade_evidence::{Checkpoint, Timestamp, sign_checkpoint};

use super::{
    LogConfig, LogPaths,
    anchor::Anchor,
    error::AppendError,
    files::Replacement,
    head::{Head, TreeHead, beside},
    journal::Segments,
    shared::{Answer, Failure, Progress, Shared},
    source::CHECKPOINT,
    tree::{TileFile, TileFolder, Tree},
};
use crate::disk::{Disk, DiskError, SyncPoint};

/// No entry waits longer for its integration to begin, unless the one before still runs.
const MAX_INTERVAL: Duration = Duration::from_millis(250);

/// The most entries of one integration: under a load that never ends, a checkpoint comes after every so many.
const MAX_STEP: usize = 64 * 256;

/// The one that signs.
// INVARIANT: `tree` is the tree of the head on disk, which is durable before a checkpoint of it is signed. `published` is the last checkpoint known to be durable.
pub(crate) struct Integrator {
    disk: Arc<dyn Disk>,
    paths: LogPaths,
    keys: LogKeys,
    now: fn() -> Timestamp,
    interval: Duration,
    anchor: Option<Anchor>,
    tree: Tree,
    head: Head,
    published: Option<TreeHead>,
    signed_with_old_keys: bool,
    tiles: TileFolder,
    written: Vec<TileFile>,
    /// When the last integration took its entries: those that wait after it became durable later.
    began: Instant,
}

/// What the thread found to do.
enum Work {
    Integrate(Vec<Bytes>),
    Finish,
}

impl Integrator {
    /// Goes on from `tree`, whose head is durable in `head`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        paths: LogPaths,
        keys: LogKeys,
        config: &LogConfig,
        now: fn() -> Timestamp,
        tree: Tree,
        head: &Head,
    ) -> Self {
        Self {
            tiles: TileFolder::new(&paths.log),
            disk,
            paths,
            keys,
            now,
            interval: config.integrate_every.min(MAX_INTERVAL),
            anchor: config.anchor.clone(),
            tree,
            head: head.clone(),
            published: head.published,
            signed_with_old_keys: false,
            written: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Integrates as entries become durable, until the journal is closed.
    pub(crate) fn run(mut self, shared: &Shared, segments: &Segments) {
        self.prepare_segment(shared, segments);
        loop {
            match self.next_work(shared) {
                Work::Finish => return,
                Work::Integrate(leaves) => {
                    if let Err(failure) = self.integrate(&leaves, shared)
                        && self.failed(failure, shared)
                    {
                        return;
                    }
                }
            }
            self.prepare_segment(shared, segments);
        }
    }

    /// Waits until entries have waited long enough, or somebody asks, or the journal closed.
    fn next_work(&mut self, shared: &Shared) -> Work {
        let mut progress = shared.progress();
        let mut since = (!progress.pending.is_empty()).then_some(self.began);
        loop {
            if progress.stopped.is_some() {
                return Work::Finish;
            }
            if let Some(keys) = progress.keys.take() {
                let journal = self.keys.journal.clone();
                self.keys = LogKeys { journal, ..keys };
                self.signed_with_old_keys = true;
            }
            let owed = !progress.pending.is_empty() || self.signed_with_old_keys;
            if progress.journal_closed && (!owed || progress.integration_error.is_some()) {
                drop(progress);
                self.abandon_waiters(shared);
                return Work::Finish;
            }
            let due = since.is_some_and(|since| since.elapsed() >= self.interval);
            // After a failure for want of space, only time brings the next attempt.
            let asked =
                progress.is_awaited() || self.signed_with_old_keys || progress.pending.len() >= MAX_STEP;
            let asked = asked && progress.integration_error.is_none();
            if owed && (due || asked || progress.journal_closed) {
                let done = self.tree.size().saturating_sub(progress.integrated.size);
                let leaves = progress
                    .pending
                    .iter()
                    .skip(usize::try_from(done).unwrap_or(usize::MAX))
                    .take(MAX_STEP);
                self.began = Instant::now();
                return Work::Integrate(leaves.cloned().collect());
            }
            let limit = owed.then(|| {
                let since = since.get_or_insert_with(Instant::now);
                self.interval.saturating_sub(since.elapsed())
            });
            progress = shared.wait(progress, limit);
        }
    }

    /// One integration, whole.
    pub(crate) fn integrate(&mut self, leaves: &[Bytes], shared: &Shared) -> Result<(), Failure> {
        let current = self.tree.head();
        if self.published != Some(current) && current.size > 0 {
            // The last attempt ended between head and checkpoint. That size is signed first: its tiles are not written
            // again, since the head on disk stands on them.
            self.publish()?;
        }
        if !leaves.is_empty() {
            self.grow(leaves, shared)?;
        }
        if self.published != Some(self.tree.head()) || self.signed_with_old_keys {
            self.publish()?;
        }
        self.signed_with_old_keys = false;
        self.settle(shared)?;
        Ok(())
    }

    /// Tiles, then the private head.
    fn grow(&mut self, leaves: &[Bytes], shared: &Shared) -> Result<(), Failure> {
        let grown = self
            .tree
            .grown(leaves)
            .map_err(|cause| Failure::Stop(cause.to_string()))?;
        let (tree, files) = grown;
        self.tiles.write(&*self.disk, &files)?;
        self.write_head(tree.head())?;
        shared
            .budget
            .add(files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        self.tree = tree;
        self.written.extend(files);
        Ok(())
    }

    /// Makes `current` what may be signed.
    pub(crate) fn write_head(&self, current: TreeHead) -> Result<(), DiskError> {
        let head = Head {
            current,
            published: self.published,
            ..self.head.clone()
        };
        head.write(&*self.disk, &self.paths.head, &self.keys.journal)
    }

    /// Signs the tree's head and puts the checkpoint in place.
    pub(crate) fn publish(&mut self) -> Result<(), Failure> {
        let head = self.tree.head();
        let checkpoint = Checkpoint {
            origin: self.head.origin.clone(),
            size: head.size,
            root: head.root,
        };
        let text = sign_checkpoint(&checkpoint, &self.keys, (self.now)());
        let text = text.map_err(|cause| Failure::Stop(cause.to_string()))?;
        let path = self.paths.log.join(CHECKPOINT);
        let replacement = Replacement {
            // Beside the head, so that `log/` never holds a file that the layout does not know.
            temporary: &beside(&self.paths.head, "checkpoint.tmp"),
            path: &path,
            file: SyncPoint::CheckpointFile,
            dir: SyncPoint::CheckpointDir,
        };
        replacement.write(&*self.disk, text.as_bytes())?;
        self.published = Some(head);
        Ok(())
    }

    /// After the checkpoint: the anchor, the answers, and what is not needed any more.
    pub(crate) fn settle(&mut self, shared: &Shared) -> Result<(), Failure> {
        let head = self.tree.head();
        let size = head.size;
        let anchored = self
            .anchor
            .as_ref()
            .map(|anchor| anchor.copy(&*self.disk, &self.paths.log));
        let mut progress = shared.progress();
        match anchored {
            None => {}
            Some(Ok(())) => (progress.anchored, progress.anchor_error) = (Some(size), None),
            Some(Err(error)) => {
                tracing::warn!(%error, "the checkpoint was not anchored");
                progress.anchor_error = Some(error.to_string());
            }
        }
        let integrated = usize::try_from(size - progress.integrated.size).unwrap_or(usize::MAX);
        let count = integrated.min(progress.pending.len());
        let bytes: usize = progress.pending.drain(..count).map(|leaf| leaf.len()).sum();
        progress.pending_bytes = progress.pending_bytes.saturating_sub(bytes);
        progress.integrated = head;
        progress.last_integration = Instant::now();
        progress.integration_error = None;
        let answers = take_waiters(&mut progress, size);
        let (unneeded, kept) = std::mem::take(&mut progress.retired)
            .into_iter()
            .partition(|old| old.end <= size);
        progress.retired = kept;
        drop(progress);
        shared.notify();
        answers.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
        shared
            .budget
            .subtract(self.tiles.remove_superseded(&*self.disk, &self.written, size)?);
        self.written.clear();
        let unneeded: Vec<super::shared::Retired> = unneeded;
        for segment in unneeded {
            self.disk.remove(&segment.path)?;
            shared.budget.subtract(segment.length);
        }
        Ok(())
    }

    /// The next segment, so that the journal need not wait for one. Without space the journal finds out itself.
    fn prepare_segment(&self, shared: &Shared, segments: &Segments) {
        let progress = shared.progress();
        let needed = progress.spare.is_none() && progress.stopped.is_none() && !progress.journal_closed;
        drop(progress);
        if !needed {
            return;
        }
        match segments.create() {
            Ok(segment) => {
                shared.budget.add(segments.length());
                shared.progress().spare = Some(segment);
            }
            Err(Failure::NoSpace(error)) => tracing::warn!(%error, "no space for the next journal segment"),
            Err(Failure::Stop(reason)) => shared.stop(&reason),
        }
    }

    /// Notes a failure; whether it is the end.
    fn failed(&self, failure: Failure, shared: &Shared) -> bool {
        match failure {
            Failure::Stop(reason) => {
                shared.stop(&reason);
                true
            }
            Failure::NoSpace(error) => {
                tracing::warn!(%error, "durable entries wait for space to be integrated");
                let mut progress = shared.progress();
                let answers = take_waiters(&mut progress, u64::MAX);
                progress.integration_error = Some(error.clone());
                drop(progress);
                shared.notify();
                answers
                    .into_iter()
                    .for_each(|answer| drop(answer.send(Err(AppendError::NoSpace(error.clone())))));
                false
            }
        }
    }

    fn abandon_waiters(&self, shared: &Shared) {
        let mut progress = shared.progress();
        let error = progress
            .integration_error
            .clone()
            .map_or(AppendError::Closed, AppendError::NoSpace);
        let answers = take_waiters(&mut progress, u64::MAX);
        drop(progress);
        answers
            .into_iter()
            .for_each(|answer| drop(answer.send(Err(error.clone()))));
    }
}

fn take_waiters(progress: &mut Progress, size: u64) -> Vec<Answer<()>> {
    let (answered, waiting) = std::mem::take(&mut progress.waiters)
        .into_iter()
        .partition(|(at, _)| *at <= size);
    progress.waiters = waiting;
    let answered: Vec<(u64, Answer<()>)> = answered;
    answered.into_iter().map(|(_, answer)| answer).collect()
}
