//! What a gateway holds of the keeper: the keeper itself, or a worker's link to it. Both do the same.
//!
//! A worker keeps what is asked for in each request beside it: the counters, the security clock, the health and the
//! number of the last change, which the keeper tells again and again.

use std::{collections::BTreeMap, sync::Arc};

use stockade_evidence::{Record, Timestamp};
use tokio::{net::UnixStream, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admitted::Admitted,
    clock::{SecurityClock, wall_clock},
    commit::Appended,
    control::{ControlClient, ControlError, Pipe, Pulse},
    counters::Counters,
    error::{AppendError, OpenError, ReadError},
    handle::Handle,
    keeper::{Health, Keeper},
};

/// The keeper, from where a gateway stands. Clones share it.
#[derive(Clone, Debug)]
pub enum Station {
    /// In this process.
    Local(Keeper),
    /// At the other end of a worker's link.
    Worker(WorkerLink),
}

/// A worker's link to the keeper.
#[derive(Clone, Debug)]
pub struct WorkerLink(Arc<Link>);

#[derive(Debug)]
struct Link {
    client: ControlClient,
    clock: Arc<SecurityClock>,
    pulse: watch::Receiver<Option<Pulse>>,
    first: Pulse,
    changes: watch::Sender<u64>,
    counters: Counters,
    ended: CancellationToken,
    _tasks: TaskTracker,
}

impl WorkerLink {
    /// Opens the link over a socket whose other end the keeper serves ([`Keeper::serve_worker`]).
    ///
    /// # Errors
    /// Where the keeper hangs up before it said anything.
    pub async fn open(stream: UnixStream) -> Result<Self, ControlError> {
        let gone = || ControlError::Io(std::io::ErrorKind::UnexpectedEof.into());
        let (told, mut pulse) = watch::channel(None);
        let ended = CancellationToken::new();
        let pipe = Pipe::open(stream, told, ended.clone());
        let first = pulse.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        let first = first.ok_or_else(gone)?;
        let (changes, _) = watch::channel(first.changes);
        let clock = Arc::new(SecurityClock::new(first.now));
        let tasks = TaskTracker::new();
        tasks.spawn(follow(pulse.clone(), changes.clone(), clock.clone()));
        Ok(Self(Arc::new(Link {
            client: ControlClient::over(pipe),
            clock,
            pulse,
            first,
            changes,
            counters: Counters::new(),
            ended,
            _tasks: tasks,
        })))
    }

    /// Resolves when the keeper has hung up.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }
}

impl Station {
    /// For what works with a [`Handle`]. A worker's reads the rows that the keeper lets it read, and nothing else.
    pub fn handle(&self) -> Handle {
        match self {
            Self::Local(keeper) => Handle::Local(keeper.clone()),
            Self::Worker(link) => Handle::Remote(link.0.client.clone()),
        }
    }

    /// See [`Keeper::now`].
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Local(keeper) => keeper.now(),
            Self::Worker(link) => link.0.clock.at(wall_clock()),
        }
    }

    /// See [`Keeper::health`].
    pub fn health(&self) -> Health {
        match self {
            Self::Local(keeper) => keeper.health(),
            Self::Worker(link) => {
                let told = link.0.pulse.borrow();
                told.as_ref().unwrap_or(&link.0.first).health.clone()
            }
        }
    }

    /// The counters of this process.
    pub fn counters(&self) -> &Counters {
        match self {
            Self::Local(keeper) => keeper.counters(),
            Self::Worker(link) => &link.0.counters,
        }
    }

    /// See [`Keeper::changes`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        match self {
            Self::Local(keeper) => keeper.changes(),
            Self::Worker(link) => link.0.changes.subscribe(),
        }
    }

    /// See [`Keeper::append`].
    pub async fn append(&self, record: Record) -> Result<Appended, AppendError> {
        match self {
            Self::Local(keeper) => keeper.append(record).await,
            Self::Worker(link) => link.0.client.append(record).await,
        }
    }

    /// See [`Keeper::append_soon`].
    pub async fn append_soon(&self, record: Record) -> Result<Appended, AppendError> {
        match self {
            Self::Local(keeper) => keeper.append_soon(record).await,
            Self::Worker(link) => link.0.client.append_soon(record).await,
        }
    }

    /// See [`Keeper::checkpoint`].
    pub async fn checkpoint(&self) -> Result<Option<String>, AppendError> {
        match self {
            Self::Local(keeper) => keeper.checkpoint().await,
            Self::Worker(link) => link.0.client.checkpoint().await,
        }
    }

    /// See [`Keeper::admitted_since`].
    pub async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<BTreeMap<String, Admitted>, AdmittedError> {
        Ok(match self {
            Self::Local(keeper) => keeper.admitted_since(since).await?,
            Self::Worker(link) => link.0.client.admitted_since(since).await?,
        })
    }
}

impl From<Keeper> for Station {
    fn from(keeper: Keeper) -> Self {
        Self::Local(keeper)
    }
}

/// What was admitted could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum AdmittedError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The keeper did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Carries what the keeper tells to whom it concerns, until it tells no more.
async fn follow(
    mut pulse: watch::Receiver<Option<Pulse>>,
    changes: watch::Sender<u64>,
    clock: Arc<SecurityClock>,
) {
    while pulse.changed().await.is_ok() {
        let Some(told) = pulse.borrow_and_update().clone() else {
            continue;
        };
        clock.at(told.now);
        changes.send_if_modified(|last| std::mem::replace(last, told.changes) != told.changes);
    }
}
