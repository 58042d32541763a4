//! The entries of one log as of a moment: those in its bundles, then those that were durable and not integrated yet.

use bytes::Bytes;
use stockade_crypto::JournalKey;

use super::{
    error::{LogOpenError, ReadError},
    head::Head,
    recover::FormerOrigin,
    replay::replay,
    source::FolderSource,
};
use crate::disk::Posix;

/// The durable entries of a log.
#[derive(Debug)]
pub struct LogEntries {
    source: FolderSource,
    minimum: u64,
    integrated: u64,
    pending: Vec<Bytes>,
}

impl LogEntries {
    pub(crate) const fn new(
        source: FolderSource,
        minimum: u64,
        integrated: u64,
        pending: Vec<Bytes>,
    ) -> Self {
        Self {
            source,
            minimum,
            integrated,
            pending,
        }
    }

    /// Those of a log that was left behind. What broke it may have been its head or its journal: then they end with its
    /// checkpoint, or with its tiles.
    pub(crate) fn of_former(former: &FormerOrigin, key: &JournalKey) -> Self {
        let (mut integrated, mut pending) = (former.size, Vec::new());
        if let Ok(Some(head)) = Head::read(&Posix, &former.head) {
            integrated = head.current.size;
            let replayed = replay(&Posix, &former.journal, &head.origin, key, integrated);
            pending = replayed.map_or_else(|error| lost(&error), |replayed| replayed.leaves);
        }
        Self::new(former.source.clone(), former.minimum_index, integrated, pending)
    }

    /// The first entry that retention left.
    pub const fn minimum(&self) -> u64 {
        self.minimum
    }

    /// The index after the last entry.
    pub fn end(&self) -> u64 {
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.integrated.saturating_add(pending)
    }

    /// Calls `each` with every entry from index `from` on, until it says `false`.
    pub fn read(&self, from: u64, each: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        let minimum = self.minimum;
        if from < minimum {
            return Err(ReadError::Pruned { index: from, minimum });
        }
        let mut wanted = true;
        self.source.entries(from, self.integrated, &mut |index, entry| {
            wanted = each(index, entry);
            wanted
        })?;
        for (index, entry) in (self.integrated..)
            .zip(&self.pending)
            .filter(|(index, _)| *index >= from)
        {
            if !wanted {
                break;
            }
            wanted = each(index, entry);
        }
        Ok(())
    }
}

fn lost(error: &LogOpenError) -> Vec<Bytes> {
    tracing::warn!(%error, "the last entries of a former log cannot be read");
    Vec::new()
}
