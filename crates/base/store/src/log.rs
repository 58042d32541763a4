//! The evidence log's writer: appends become durable in a journal, then integrated in C2SP tiles under a signed
//! checkpoint (C2SP tlog-tiles, tlog-checkpoint, signed-note).
//!
//! **Durable** means written to the journal and synced: an answer waits for that. **Integrated** means under a signed
//! checkpoint; that begins at most 250 ms later and takes as long as the disk takes. Two threads keep these apart: `journal` commits groups, `integrator` grows the
//! tree. `docs/crash-safety.md` says what each sync is for.
//!
//! Start at [`LogWriter`]; reading commands start at [`FolderSource`].

mod anchor;
mod audit;
mod budget;
mod entries;
mod error;
mod files;
mod former;
mod head;
mod integrator;
mod journal;
mod left;
mod open;
mod proof;
mod proven;
mod prune;
mod recover;
mod replay;
mod segment;
mod shared;
mod source;
mod tree;
mod trust;
mod writer;

use std::{path::PathBuf, time::Duration};

pub use self::{
    anchor::Anchor,
    audit::{Audit, audit},
    budget::BudgetLevel,
    entries::LogEntries,
    error::{AppendError, LogOpenError, ReadError},
    former::{FormerOrigin, former_origins},
    head::{Head, TreeHead},
    left::{FormerLog, Left},
    proof::export_proof,
    prune::{PruneError, Retention, prune, set_legal_hold},
    recover::{Recovery, recover},
    segment::fuzz_journal,
    source::FolderSource,
    trust::{LogTrust, TrustError},
    writer::{LogHealth, LogWriter, read_log_head},
};
pub(crate) use self::{former::Predecessor, head::HeadOf, trust::keys_before_rebuild};

/// Where the parts of a log lie: four names in one folder.
#[derive(Clone, Debug)]
pub struct LogPaths {
    /// The C2SP layout: `checkpoint` and `tile/`.
    pub log: PathBuf,
    /// Entries that are durable and not yet integrated.
    pub journal: PathBuf,
    /// The private head. `retention.json` lies beside it.
    pub head: PathBuf,
    /// Logs that were left behind.
    pub origins: PathBuf,
}

/// How a log is written.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How long a durable entry may wait until its integration begins; 250 ms at most.
    pub integrate_every: Duration,
    /// The most entries that share one sync. A journal segment has 1 KiB for each, from 256 KiB to 64 MiB in all.
    pub max_batch: usize,
    /// The most bytes that tiles, bundles and journal may have.
    pub disk_budget_bytes: Option<u64>,
    /// Where checkpoints are copied to.
    pub anchor: Option<Anchor>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            integrate_every: Duration::from_millis(250),
            max_batch: 4096,
            disk_budget_bytes: None,
            anchor: None,
        }
    }
}
