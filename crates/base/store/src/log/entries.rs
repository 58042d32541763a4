//! The entries of one log as of a moment: those in its bundles, then those that were durable and not integrated yet.
//!
//! Each one is proven: the tree has it, or the journal key sealed it. Of a log that was left behind what the files say
//! counts, so that nothing that was spent is forgotten.

use bytes::Bytes;
use stockade_crypto::JournalKey;
use stockade_evidence::{FULL_WIDTH, TilePath, parse_path};

use super::{
    error::{LogOpenError, ReadError},
    former::FormerOrigin,
    head::{Head, HeadOf},
    proven::Bundles,
    replay::replay,
    source::FolderSource,
};
use crate::disk::Posix;

/// The durable entries of a log.
#[derive(Debug)]
pub struct LogEntries {
    origin: String,
    minimum: u64,
    bundles: Bundled,
    integrated: u64,
    pending: Vec<Bytes>,
}

/// The entries in bundles.
#[derive(Debug)]
enum Bundled {
    Proven(Bundles),
    AsTheyAre(FolderSource),
}

impl LogEntries {
    /// The first `integrated` entries are in `bundles`.
    pub(crate) const fn new(
        origin: String,
        minimum: u64,
        bundles: Bundles,
        integrated: u64,
        pending: Vec<Bytes>,
    ) -> Self {
        Self {
            origin,
            minimum,
            bundles: Bundled::Proven(bundles),
            integrated,
            pending,
        }
    }

    /// Those of a log that was left behind. What broke it may have been its head or its journal: then they end with its
    /// checkpoint, or with its tiles.
    pub(crate) fn of_former(former: &FormerOrigin, key: &JournalKey) -> Self {
        let (mut integrated, mut pending) = (former.size, Vec::new());
        if let Ok(Some(head)) = Head::read_sealed(&Posix, &former.head, HeadOf::LeftBehind, key) {
            integrated = head.current.size;
            let replayed = replay(&Posix, &former.journal, &head.origin, key, integrated);
            pending = replayed.map_or_else(|error| lost(&error), |replayed| replayed.leaves);
        }
        Self {
            origin: former.origin.clone(),
            minimum: former.minimum_index,
            bundles: Bundled::AsTheyAre(former.source.clone()),
            integrated,
            pending,
        }
    }

    /// The log's name in its checkpoints.
    pub fn origin(&self) -> &str {
        &self.origin
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

    /// The first entry in a bundle that is there, after the one of `from`, which is not.
    pub(crate) fn after_gap(&self, from: u64) -> u64 {
        let width = u64::from(FULL_WIDTH);
        let source = match &self.bundles {
            Bundled::Proven(bundles) => bundles.source(),
            Bundled::AsTheyAre(source) => source,
        };
        let listing = source.listing().unwrap_or_default();
        let bundles = listing.iter().filter_map(|path| match parse_path(path)? {
            TilePath::Entries { index, .. } => Some(index.saturating_mul(width)),
            TilePath::Hashes { .. } => None,
        });
        let next = bundles
            .filter(|first| *first > from && *first < self.integrated)
            .min();
        next.unwrap_or_else(|| self.integrated.max(from.saturating_add(1)))
    }

    /// Calls `each` with every entry from index `from` on, until it says `false`.
    pub fn read(&self, from: u64, each: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        let minimum = self.minimum;
        if from < minimum {
            return Err(ReadError::Pruned { index: from, minimum });
        }
        let mut wanted = true;
        let look = &mut |index, entry: &[u8]| {
            wanted = each(index, entry);
            wanted
        };
        match &self.bundles {
            Bundled::Proven(bundles) => bundles.entries(from, self.integrated, look)?,
            Bundled::AsTheyAre(source) => source.entries(from, self.integrated, look)?,
        }
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
