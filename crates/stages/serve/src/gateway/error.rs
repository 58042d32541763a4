//! Why the gateway did not start, reload or end as asked.

use std::{io, net::SocketAddr, path::PathBuf};

use stockade_store::AdmittedError;

use crate::{
    identity::TrustError,
    queries::{StandingsError, WatchError},
    snapshot::ConfigError,
    tls::TlsError,
};

/// The gateway could not open its ports.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The day's use could not be read from the log.
    #[error("the budgets could not be rebuilt from the log")]
    Budgets(#[from] AdmittedError),
    /// A port could not be taken.
    #[error("`{listen}` cannot be listened on\nhint: another process may use it; port 0 takes a free one")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The standings of clients could not be read.
    #[error("what was done about suspected clients cannot be read, so nothing is served")]
    Standings(#[from] StandingsError),
    /// A model cannot be watched as configured.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The engine's library could not be read for its digest.
    #[error("the engine's library `{}` cannot be read", path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The authorities of client certificates could not be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The start could not be recorded.
    #[error("the start cannot be recorded, so nothing is served")]
    Unrecorded,
}

/// A reload was refused; everything is as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration cannot be served.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A model cannot be watched as configured.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The reload could not be recorded.
    #[error("the reload cannot be recorded, so it does not take effect")]
    Unrecorded,
}

/// The gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `bind` was not called, or the gateway ran already.
    #[error("the gateway's ports are not open")]
    NotBound,
    /// The listeners could not be handed to the runtime.
    #[error("the listeners cannot be used")]
    Listeners(#[from] io::Error),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The end could not be recorded.
    #[error("the gateway stopped, and that cannot be recorded")]
    Unrecorded,
}
