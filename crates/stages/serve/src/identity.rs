//! Who may vouch for principals besides API keys: issuers of tokens, and authorities of client certificates.
//!
//! Both are read from files or over https and read again while the gateway runs, without touching open connections.
//! What cannot be read again stays as it was; an issuer's keys for a stated time only.

mod clients;
mod fetch;
mod files;
mod issuer;

use std::{sync::Arc, time::Duration};

use stockade_access::Token;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::{clients::TrustError, files::FileError};
pub(crate) use self::{
    clients::{Clients, Presented},
    files::{read_private, read_public},
    issuer::Issuer,
};
use crate::config::IdentityConfig;

/// How often files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Everything that identifies besides API keys.
#[derive(Debug)]
pub(crate) struct Identification {
    issuers: Vec<Arc<Issuer>>,
    clients: Option<Arc<Clients>>,
}

impl Identification {
    /// Nothing is read yet.
    pub(crate) fn new(config: &IdentityConfig) -> Self {
        Self {
            issuers: config.jwt.iter().map(Issuer::new).map(Arc::new).collect(),
            clients: config.mtls.clone().map(Clients::new).map(Arc::new),
        }
    }

    /// Reads what must be there before a port opens. Tokens wait for their keys, certificates do not.
    pub(crate) async fn prepare(&self) -> Result<(), TrustError> {
        for issuer in self.issuers.iter().filter(|issuer| issuer.is_local()) {
            issuer.read().await;
        }
        match &self.clients {
            Some(clients) => clients.reload().await.map(drop),
            None => Ok(()),
        }
    }

    /// Follows keys and authorities until told to stop.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let mut following = JoinSet::new();
        for issuer in &self.issuers {
            following.spawn(issuer.clone().follow(stop.clone()));
        }
        if let Some(clients) = &self.clients {
            following.spawn(clients.clone().follow(stop));
        }
        while following.join_next().await.is_some() {}
    }

    /// Whether tokens are taken at all.
    pub(crate) fn takes_tokens(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// The issuer that a token names.
    pub(crate) fn issuer(&self, token: &Token<'_>) -> Option<&Issuer> {
        let named = token.issuer()?;
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| issuer.rules().issuer == named)?;
        Some(issuer)
    }

    /// The authorities of client certificates.
    pub(crate) const fn clients(&self) -> Option<&Arc<Clients>> {
        self.clients.as_ref()
    }
}
