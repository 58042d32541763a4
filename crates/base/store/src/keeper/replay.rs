//! The rows as of a place in a log, replayed from its newest usable snapshot.
//!
//! A snapshot is a `state.snapshot` record, or the `log.recovered` record with which an origin begins after a recovery; it
//! carries the digest of a blob with all rows, so neither a former origin nor a pruned entry is needed to know the state.
//! The place of the newest snapshot is a hint kept beside the rows and proves nothing: the entry there must be such a record
//! and the blob must have its digest. Without a usable hint the replay starts at the first entry.

use stockade_evidence::{Change, Digest, Event, Record};

use crate::{
    blobs::Blobs,
    error::OpenError,
    log::{LogEntries, ReadError},
    projection::{Projection, ReplayError, changes_of, contains},
    rows::{Batch, Position},
};

/// Changes that one catch-up transaction applies.
const CATCH_UP_BATCH: usize = 1_000;

/// What is done with each entry.
pub(crate) type Each<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ReplayError>;

/// Gives each entry from `from` to before `to`, in order, until one fails.
pub(crate) fn walk(log: &LogEntries, from: u64, to: u64, each: Each<'_>) -> Result<(), OpenError> {
    if from >= to {
        return Ok(());
    }
    let mut failed = None;
    log.read(from, &mut |index, leaf| {
        failed = if index < to { each(index, leaf).err() } else { None };
        failed.is_none() && index.saturating_add(1) < to
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The entry with this index; `None` where there is none or it is no record.
pub(crate) fn entry(log: &LogEntries, index: u64) -> Result<Option<Record>, OpenError> {
    let mut found = None;
    if index < log.end() {
        walk(log, index, index.saturating_add(1), &mut |_, leaf| {
            found = Record::from_leaf(leaf).ok();
            Ok(())
        })?;
    }
    Ok(found)
}

/// The rows as of a place in the log.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) projection: Projection,
    /// How many entries it is the sum of.
    pub(crate) size: u64,
    /// The snapshot that the replay began with.
    pub(crate) snapshot: Option<u64>,
}

impl Replayed {
    /// Where a replay starts that must not begin after entry `latest`.
    pub(crate) async fn start(
        log: &LogEntries,
        blobs: &Blobs,
        hint: Option<Position>,
        latest: u64,
    ) -> Result<Self, OpenError> {
        let hint = hint.filter(|hint| hint.origin == log.origin() && hint.size < latest);
        if let Some(hint) = hint
            && let Ok(Some(replayed)) = Self::from_snapshot(log, blobs, hint.size).await
        {
            return Ok(replayed);
        }
        match Self::first(log, blobs).await {
            Err(OpenError::Read(ReadError::Pruned { minimum, .. })) => {
                Self::newest_snapshot(log, blobs, minimum, latest).await
            }
            other => other,
        }
    }

    /// The newest snapshot from entry `minimum` to before `latest`, by looking at every entry.
    async fn newest_snapshot(
        log: &LogEntries,
        blobs: &Blobs,
        minimum: u64,
        latest: u64,
    ) -> Result<Self, OpenError> {
        let mut snapshots = Vec::new();
        walk(log, minimum, latest, &mut |index, leaf| {
            if contains(leaf, Event::StateSnapshot.name().as_bytes()) {
                snapshots.push(index);
            }
            Ok(())
        })?;
        for index in snapshots.into_iter().rev() {
            if let Some(replayed) = Self::from_snapshot(log, blobs, index).await? {
                return Ok(replayed);
            }
        }
        Err(OpenError::SnapshotMissing {
            origin: log.origin().to_owned(),
            index: minimum,
        })
    }

    /// The rows that the origin began with: none, or what its recovery names.
    pub(crate) async fn first(log: &LogEntries, blobs: &Blobs) -> Result<Self, OpenError> {
        match entry(log, 0)? {
            Some(record) if record.event == Event::LogRecovered => {
                let found = Self::from_snapshot(log, blobs, 0).await?;
                found.ok_or_else(|| OpenError::SnapshotMissing {
                    origin: log.origin().to_owned(),
                    index: 0,
                })
            }
            Some(_) | None => Ok(Self {
                projection: Projection::default(),
                size: 0,
                snapshot: None,
            }),
        }
    }

    /// The rows of the snapshot at `index`, where the log and the blob confirm it.
    async fn from_snapshot(log: &LogEntries, blobs: &Blobs, index: u64) -> Result<Option<Self>, OpenError> {
        let Some(digest) = entry(log, index)?.as_ref().and_then(snapshot_digest) else {
            return Ok(None);
        };
        let Ok(bytes) = blobs.get(&snapshot_path(&digest)).await else {
            return Ok(None);
        };
        if Digest::sha256(&bytes) != digest {
            return Ok(None);
        }
        let size = index.saturating_add(1);
        Ok(Projection::from_snapshot(&bytes).map(|projection| Self {
            projection,
            size,
            snapshot: Some(index),
        }))
    }

    /// Replays on until it is the sum of `size` entries.
    pub(crate) fn forward(mut self, log: &LogEntries, size: u64) -> Result<Self, OpenError> {
        let origin = log.origin();
        walk(log, self.size, size, &mut |index, leaf| {
            self.projection.replay(origin, index, leaf).map(drop)
        })?;
        self.size = size;
        Ok(self)
    }
}

fn snapshot_digest(record: &Record) -> Option<Digest> {
    let snapshot = matches!(record.event, Event::StateSnapshot | Event::LogRecovered);
    snapshot.then(|| record.subject.as_ref()?.digest).flatten()
}

pub(crate) fn snapshot_path(digest: &Digest) -> String {
    format!("state/{}.json", hex::encode(digest.as_bytes()))
}

/// The batches that bring rows from the sum of `from` entries to that of `to`.
pub(crate) fn batches(log: &LogEntries, from: u64, to: u64) -> Result<Vec<Batch>, OpenError> {
    let origin = log.origin();
    let applied = |size| Position {
        origin: origin.to_owned(),
        size,
    };
    let mut batches: Vec<Batch> = Vec::new();
    walk(log, from, to, &mut |index, leaf| {
        let changes: Vec<(u64, Change)> = changes_of(origin, index, leaf)?
            .into_iter()
            .map(|change| (index, change))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        match batches.last_mut() {
            Some(batch) if batch.changes.len() < CATCH_UP_BATCH => {
                batch.changes.extend(changes);
                batch.applied = applied(index.saturating_add(1));
            }
            Some(_) | None => batches.push(Batch {
                changes,
                applied: applied(index.saturating_add(1)),
            }),
        }
        Ok(())
    })?;
    batches.push(Batch {
        changes: Vec::new(),
        applied: applied(to),
    });
    Ok(batches)
}
