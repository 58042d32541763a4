//! The vault: sealed artifacts, and the keeper that records and wraps.

use std::sync::Arc;

use stockade_crypto::{RandomnessUnavailable, random_array};
use stockade_evidence::{Actor, Control, Event, Record, RecordId, Timestamp};
use stockade_store::{Blobs, Handle};

use crate::Catalog;

/// Told how many bytes are done so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Sealed artifacts. Looking at them without opening is [`Vault::catalog`].
#[derive(Clone, Debug)]
pub struct Vault {
    pub(crate) catalog: Catalog,
    pub(crate) handle: Handle,
}

impl Vault {
    /// The vault whose blobs lie in `blobs` and nothing else does, and whose state `handle` owns.
    pub fn new(blobs: Blobs, handle: Handle) -> Self {
        Self {
            catalog: Catalog::new(blobs, handle.clone()),
            handle,
        }
    }

    /// What is in the vault.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) const fn blobs(&self) -> &Blobs {
        self.catalog.blobs()
    }
}

/// A record under control 27, with a fresh id.
pub(crate) fn record(event: Event, actor: &Actor, now: Timestamp) -> Result<Record, RandomnessUnavailable> {
    let id = RecordId::new(random_array()?);
    Ok(Record::new(now, id, event, actor.clone()).under(Control::SealedVault))
}
