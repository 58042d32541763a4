//! What a command holds: the keeper itself, or a running server's through its socket. Both do the same.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use stockade_crypto::{DataKey, KeyError, KeyProvider, Passphrase, WrappedKey};
use stockade_evidence::{Actor, Personal, Record, Timestamp};

use crate::{
    backup::{BackupError, BackupReport, create_backup},
    commit::{Appended, Commit, Row},
    config::Config,
    control::{ControlClient, ControlError},
    error::{AppendError, CommitError, OpenError, ReadError, WrapError},
    keeper::{Keeper, owned},
    layout::StateDir,
    lock::{Lock, LockError},
    personal::PersonalError,
};

/// How long a command waits for others that hold the folder.
const WAIT_MAX: Duration = Duration::from_secs(10);
const WAIT_STEP: Duration = Duration::from_millis(15);

/// The way to the state of a folder. Clones share it.
#[derive(Clone, Debug)]
pub enum Handle {
    /// This process owns the folder.
    Local(Keeper),
    /// A server owns it.
    Remote(ControlClient),
}

impl Handle {
    /// Reaches the server that owns the folder, or becomes its owner; while others of its kind hold the folder it waits,
    /// at most 10 s. `open` gives the keys, and is asked only where they are needed.
    pub async fn connect<F, E>(dir: StateDir, open: F, config: Config) -> Result<Self, OpenError>
    where
        F: FnOnce() -> Result<KeyProvider, E> + Send,
        E: Into<KeyError>,
    {
        dir.check_version()?;
        let started = Instant::now();
        loop {
            match ControlClient::connect(&dir).await {
                Ok(Some(client)) => return Ok(Self::Remote(client)),
                // A server that is closing hangs up; soon the folder is free, or another server answers.
                Err(ControlError::Io(_)) if started.elapsed() < WAIT_MAX => {}
                Err(error) => return Err(error.into()),
                Ok(None) => {}
            }
            match Lock::acquire(&dir) {
                Ok(lock) => {
                    let keys = open().map_err(|error| OpenError::Keys(error.into()))?;
                    let keeper = Box::pin(Keeper::open_locked(dir, lock, keys, config)).await?;
                    return Ok(Self::Local(keeper));
                }
                Err(LockError::Held(_)) if started.elapsed() < WAIT_MAX => {
                    tokio::time::sleep(WAIT_STEP).await;
                }
                Err(error) => return Err(owned(&dir, error)),
            }
        }
    }

    /// See [`Keeper::append`].
    pub async fn append(&self, record: Record) -> Result<Appended, AppendError> {
        match self {
            Self::Local(keeper) => keeper.append(record).await,
            Self::Remote(client) => client.append(record).await,
        }
    }

    /// See [`Keeper::commit`].
    pub async fn commit(&self, commit: Commit) -> Result<Appended, CommitError> {
        match self {
            Self::Local(keeper) => keeper.commit(commit).await,
            Self::Remote(client) => client.commit(commit).await,
        }
    }

    /// See [`Keeper::integrated`].
    pub async fn integrated(&self) -> Result<(), AppendError> {
        match self {
            Self::Local(keeper) => keeper.integrated().await,
            Self::Remote(client) => client.integrated().await,
        }
    }

    /// See [`Keeper::row`].
    pub async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, ReadError> {
        match self {
            Self::Local(keeper) => keeper.row(kind, id).await,
            Self::Remote(client) => client.row(kind, id).await,
        }
    }

    /// See [`Keeper::rows`].
    pub async fn rows(&self, kind: &str) -> Result<Vec<Row>, ReadError> {
        match self {
            Self::Local(keeper) => keeper.rows(kind).await,
            Self::Remote(client) => client.rows(kind).await,
        }
    }

    /// See [`Keeper::check_rows`].
    pub async fn check_rows(&self) -> Result<usize, ReadError> {
        match self {
            Self::Local(keeper) => keeper.check_rows().await,
            Self::Remote(client) => client.check_rows().await,
        }
    }

    /// See [`Keeper::seal_personal`].
    pub async fn seal_personal(
        &self,
        subject: &str,
        field: &str,
        value: &str,
    ) -> Result<Personal, PersonalError> {
        match self {
            Self::Local(keeper) => keeper.seal_personal(subject, field, value).await,
            Self::Remote(client) => client.seal_personal(subject, field, value).await,
        }
    }

    /// See [`Keeper::open_personal`].
    pub async fn open_personal(
        &self,
        subject: &str,
        field: &str,
        personal: &Personal,
    ) -> Result<Option<String>, PersonalError> {
        match self {
            Self::Local(keeper) => keeper.open_personal(subject, field, personal).await,
            Self::Remote(client) => client.open_personal(subject, field, personal).await,
        }
    }

    /// See [`Keeper::erase_subject`].
    pub async fn erase_subject(
        &self,
        subject: &str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Appended, PersonalError> {
        match self {
            Self::Local(keeper) => keeper.erase_subject(subject, actor, now).await,
            Self::Remote(client) => client.erase_subject(subject, actor, now).await,
        }
    }

    /// See [`Keeper::wrap_key`].
    pub async fn wrap_key(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, WrapError> {
        match self {
            Self::Local(keeper) => Ok(keeper.wrap_key(key, context)?),
            Self::Remote(client) => client.wrap_key(key, context).await,
        }
    }

    /// See [`Keeper::unwrap_key`].
    pub async fn unwrap_key(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, WrapError> {
        match self {
            Self::Local(keeper) => Ok(keeper.unwrap_key(wrapped, context)?),
            Self::Remote(client) => client.unwrap_key(wrapped, context).await,
        }
    }

    /// The keeper's security clock, see [`Keeper::now`].
    pub async fn now(&self) -> Result<Timestamp, ReadError> {
        match self {
            Self::Local(keeper) => Ok(keeper.now()),
            Self::Remote(client) => client.now().await,
        }
    }

    /// Makes a backup, on the keeper's side; see [`create_backup`].
    pub async fn backup(
        &self,
        into: &Path,
        passphrase: Option<&Passphrase>,
        actor: Actor,
    ) -> Result<BackupReport, BackupError> {
        match self {
            Self::Local(keeper) => Box::pin(create_backup(keeper, into, passphrase, actor)).await,
            Self::Remote(client) => client.backup(into, passphrase, actor).await,
        }
    }

    /// Gives the folder back where this process owns it; a server's keeper stays open.
    pub async fn close(self) -> Result<(), AppendError> {
        match self {
            Self::Local(keeper) => keeper.close().await,
            Self::Remote(_) => Ok(()),
        }
    }
}
