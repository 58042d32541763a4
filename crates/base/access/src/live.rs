//! The live view that the gateway asks: principals and keys as the rows say, and the policies in force.
//!
//! Rows and policies are each swapped whole, so a request sees one state or the next, never a mixture. When the rows
//! cannot be read again after a change, no key is accepted until they can.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use stockade_evidence::Timestamp;
use stockade_store::{Handle, Keeper, ReadError, Reader, Row};
use tokio::sync::{Mutex, watch};

use crate::{
    Action, AuthenticationError, Authorization, ChangeError, ExternalIdentity, Identity, PolicySet,
    Principal, PrincipalId, Resource,
    authenticate::Directory,
    bindings,
    remember::Decisions,
    rows::{API_KEY, BadRow, PRINCIPAL, PrincipalRow},
};

/// Between two attempts to read rows that could not be read.
const RETRY: Duration = Duration::from_millis(100);

/// Where the rows are read: a keeper (in process or through its socket), or a folder beside one.
#[derive(Clone, Debug)]
pub enum RowSource {
    /// The keeper's rows.
    Handle(Handle),
    /// The rows of a folder, without its lock.
    Reader(Reader),
}

impl RowSource {
    /// One row.
    pub async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, ReadError> {
        match self {
            Self::Handle(handle) => handle.row(kind, id).await,
            Self::Reader(reader) => reader.row(kind, id).await,
        }
    }

    /// All rows of a kind, by id.
    pub async fn rows(&self, kind: &str) -> Result<Vec<Row>, ReadError> {
        match self {
            Self::Handle(handle) => handle.rows(kind).await,
            Self::Reader(reader) => reader.rows(kind).await,
        }
    }
}

impl From<Handle> for RowSource {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl From<Keeper> for RowSource {
    fn from(keeper: Keeper) -> Self {
        Self::Handle(Handle::Local(keeper))
    }
}

impl From<Reader> for RowSource {
    fn from(reader: Reader) -> Self {
        Self::Reader(reader)
    }
}

/// Who is who, and who may do what, now.
#[derive(Debug)]
pub struct Access {
    source: RowSource,
    directory: ArcSwap<Directory>,
    decisions: ArcSwap<Decisions>,
    /// The rows could not be read after they changed.
    stale: AtomicBool,
    /// Held while rows are read and put in place, so that an older reading never replaces a newer one.
    refreshing: Mutex<()>,
    /// The latest time seen: going back from it revives no expired key.
    latest: AtomicI64,
}

/// The rows of principals and keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The store did not answer.
    #[error("the principals and keys could not be read")]
    Read(#[from] ReadError),
    /// A row is not what its kind holds.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// The identity of a person could not be opened.
    #[error("the identities of the principals could not be read")]
    Identities(#[source] Box<ChangeError>),
}

impl Access {
    /// The view of the rows in `source`, under `policies`.
    pub async fn new(source: impl Into<RowSource>, policies: PolicySet) -> Result<Self, RefreshError> {
        let source = source.into();
        let directory = read(&source).await?;
        Ok(Self {
            source,
            directory: ArcSwap::from_pointee(directory),
            decisions: ArcSwap::from_pointee(Decisions::new(policies)),
            stale: AtomicBool::new(false),
            refreshing: Mutex::new(()),
            latest: AtomicI64::new(i64::MIN),
        })
    }

    /// Who presented this key. `now` is the keeper's clock; a step back does not revive an expired key.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<Identity, AuthenticationError> {
        if self.stale.load(Ordering::Acquire) {
            return Err(AuthenticationError::Stale);
        }
        self.directory.load().authenticate(presented, self.latest(now))
    }

    /// The principal that an identity is bound to, which somebody else vouched for.
    pub fn bound(&self, identity: &ExternalIdentity) -> Result<Principal, AuthenticationError> {
        if self.stale.load(Ordering::Acquire) {
            return Err(AuthenticationError::Stale);
        }
        self.directory.load().bound(identity)
    }

    /// `now`, or the latest time seen: a step back revives no expired key, token or certificate.
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        let latest = self.latest.fetch_max(now.unix_ms(), Ordering::AcqRel);
        Timestamp::from_unix_ms(latest.max(now.unix_ms()))
    }

    /// Whether `who` may do `action` to `what`, and which policies decided.
    pub fn authorize(&self, who: &Principal, action: Action, what: &Resource) -> Authorization {
        self.decisions.load().authorize(who, action, what)
    }

    /// The principal with this id.
    pub fn principal(&self, id: &PrincipalId) -> Option<Principal> {
        self.directory.load().principal(id).cloned()
    }

    /// The policies in force.
    pub fn policies(&self) -> PolicySet {
        self.decisions.load().policies().clone()
    }

    /// Puts other policies in force. No decision made under the old ones is remembered.
    pub fn replace_policies(&self, policies: PolicySet) {
        self.decisions.store(Decisions::new(policies).into());
    }

    /// Reads the rows again; to be called whenever the store reports a change. Where it fails no key is accepted
    /// until it succeeds.
    pub async fn refresh(&self) -> Result<(), RefreshError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let read = read(&self.source).await;
        self.stale.store(read.is_err(), Ordering::Release);
        self.directory.store(read?.into());
        Ok(())
    }

    /// Refreshes at every change that `changes` (from [`Keeper::changes`]) reports, until the keeper is gone; from then on
    /// no key is accepted. A revocation binds as soon as this has run, so it wants a task of its own.
    pub async fn follow(&self, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            while self.refresh().await.is_err() && changes.has_changed().is_ok() {
                tokio::time::sleep(RETRY).await;
            }
        }
        self.stale.store(true, Ordering::Release);
    }
}

async fn read(source: &RowSource) -> Result<Directory, RefreshError> {
    let mut principals = Vec::new();
    for row in source.rows(PRINCIPAL).await? {
        let (principal, row) = PrincipalRow::read(&row.id, row.value)?;
        let identities = match source {
            RowSource::Handle(handle) => bindings::opened(handle, &principal.id, &row)
                .await
                .map_err(|error| RefreshError::Identities(Box::new(error)))?,
            // Without the keys a person's identities cannot be opened, and commands identify by API keys alone.
            RowSource::Reader(_) => Vec::new(),
        };
        principals.push((principal, row, identities));
    }
    let keys = source.rows(API_KEY).await?;
    let content = |row: Row| (row.id, row.value);
    Ok(Directory::new(principals, keys.into_iter().map(content))?)
}
