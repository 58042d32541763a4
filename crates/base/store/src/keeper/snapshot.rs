//! Snapshots: a blob with all rows and a `state.snapshot` record with its digest, so that a start need not replay
//! everything and old entries can be pruned. They are made from the log, never from SQLite.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use stockade_evidence::{Digest, Event, Subject, SubjectKind};

use super::{
    Keeper,
    open::{SNAPSHOT_HINT, blocking, system_record},
    replay::{Replayed, snapshot_path},
};
use crate::{
    blobs::BlobError,
    error::{AppendError, OpenError},
    rows::{Batch, Position, RowsError},
};

/// Entries after which a start should not have to begin further back.
const SNAPSHOT_EVERY: u64 = 100_000;

/// Why no snapshot was made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The log could not be replayed.
    #[error(transparent)]
    Replay(#[from] OpenError),
    /// The blob could not be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The record could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The rows could not be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Where the newest snapshot of the origin lies; 0 before the first.
#[derive(Debug)]
pub(crate) struct SnapshotAge(AtomicU64);

impl SnapshotAge {
    /// From the hint that the rows keep.
    pub(crate) fn new(hint: Option<Position>, origin: &str) -> Self {
        Self(AtomicU64::new(
            hint.filter(|hint| hint.origin == origin)
                .map_or(0, |hint| hint.size),
        ))
    }
}

impl Keeper {
    /// Makes a snapshot of all rows; commits wait meanwhile. Answers with the index of its record.
    pub async fn snapshot(&self) -> Result<u64, SnapshotError> {
        self.shared.quiet(self.make_snapshot()).await?
    }

    pub(crate) async fn snapshot_when_due(&self) -> Result<(), SnapshotError> {
        let newest = self.shared.snapshot.0.load(Ordering::Acquire);
        if self.shared.log.durable_size().saturating_sub(newest) >= SNAPSHOT_EVERY {
            self.snapshot().await?;
        }
        Ok(())
    }

    async fn make_snapshot(&self) -> Result<u64, SnapshotError> {
        let shared = &self.shared;
        let hint = shared.rows.backend().position(SNAPSHOT_HINT).await?;
        let log = shared.log.entries().map_err(OpenError::from)?;
        let end = log.end();
        let start = Replayed::start(&log, &shared.blobs, hint, end).await?;
        let replayed = blocking(move || start.forward(&log, end))
            .await
            .map_err(OpenError::from)??;
        let bytes = replayed
            .projection
            .to_snapshot()
            .map_err(|error| OpenError::Io(io::Error::other(error)))?;
        let digest = Digest::sha256(&bytes);
        shared.blobs.put(&snapshot_path(&digest), bytes).await?;
        let origin = shared.log.origin();
        let about = Subject {
            digest: Some(digest),
            ..Subject::new(SubjectKind::Log, &origin)
        };
        let record = system_record(Event::StateSnapshot, self.now())
            .map_err(OpenError::from)?
            .about(about)
            .with("rows", replayed.projection.len());
        let index = self
            .append_leaf(record.to_leaf().map_err(AppendError::from)?)
            .await?;
        let applied = Position {
            origin: origin.clone(),
            size: index.saturating_add(1),
        };
        shared
            .rows
            .apply(&Batch {
                changes: Vec::new(),
                applied,
            })
            .await?;
        shared
            .rows
            .backend()
            .set_position(SNAPSHOT_HINT, &Position { origin, size: index })
            .await?;
        shared.snapshot.0.store(index, Ordering::Release);
        Ok(index)
    }
}
