//! The public keys of one token issuer: read in the background, kept for a stated time when they cannot be read again.
//!
//! A token that names an unknown key asks for a reading, at most every `retry_s` seconds: so a flood of made-up names
//! reaches nobody, and a rotated key works soon. No request waits for a reading.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use stockade_access::{BadKeySet, KeySet, TokenRules};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    LOOK_EVERY,
    fetch::{self, FetchError},
    files::FileError,
};
use crate::config::{JwtConfig, KeySource};

/// One issuer of tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    config: JwtConfig,
    rules: TokenRules,
    known: ArcSwapOption<Known>,
    wanted: Notify,
}

/// Keys that were read.
#[derive(Debug)]
struct Known {
    keys: Arc<KeySet>,
    /// What they were read from.
    bytes: Vec<u8>,
    read: Instant,
}

/// Why an issuer's keys were not read.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] BadKeySet),
    #[error("the reading was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

impl Issuer {
    pub(crate) fn new(config: &JwtConfig) -> Self {
        Self {
            rules: config.rules(),
            config: config.clone(),
            known: ArcSwapOption::empty(),
            wanted: Notify::new(),
        }
    }

    pub(crate) const fn rules(&self) -> &TokenRules {
        &self.rules
    }

    /// Whether its keys are in a file.
    pub(crate) const fn is_local(&self) -> bool {
        match self.config.jwks {
            KeySource::File(_) => true,
            KeySource::Url(_) => false,
        }
    }

    /// The keys, unless they were read too long ago or never.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        let known = self.known.load();
        let known = known.as_ref()?;
        let keep = Duration::from_secs(self.config.keep_s.get().into());
        (known.read.elapsed() < keep).then(|| known.keys.clone())
    }

    /// A token names a key that is not known: it may be new.
    pub(crate) fn want_keys(&self) {
        self.wanted.notify_one();
    }

    /// Reads the keys; says whether it could.
    pub(crate) async fn read(&self) -> bool {
        match self.try_read().await {
            Ok(()) => true,
            Err(error) => {
                let issuer = self.rules.issuer.as_str();
                tracing::warn!(issuer, error = %chain(&error), "the keys of a token issuer could not be read");
                false
            }
        }
    }

    async fn try_read(&self) -> Result<(), KeysError> {
        let bytes = match &self.config.jwks {
            KeySource::File(file) => {
                let file = file.clone();
                tokio::task::spawn_blocking(move || file.read_public()).await??
            }
            KeySource::Url(url) => fetch::get(url, self.config.ca.as_ref()).await?,
        };
        let before = self.known.load_full().filter(|known| known.bytes == bytes);
        let keys = match before {
            Some(known) => known.keys.clone(),
            None => {
                let keys = KeySet::parse(&bytes)?;
                tracing::info!(
                    issuer = self.rules.issuer,
                    keys = keys.len(),
                    "the keys of a token issuer were read"
                );
                Arc::new(keys)
            }
        };
        let read = Instant::now();
        self.known.store(Some(Arc::new(Known { keys, bytes, read })));
        Ok(())
    }

    /// Reads the keys again and again until told to stop.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let refresh = Duration::from_secs(self.config.refresh_s.get().into());
        let retry = Duration::from_secs(self.config.retry_s.get().into());
        let follow = async {
            loop {
                let wait = match (self.read().await, self.is_local()) {
                    (true, true) => LOOK_EVERY,
                    (true, false) => refresh,
                    (false, _) => retry,
                };
                let soonest = tokio::time::sleep(retry.min(wait));
                let wanted = async {
                    soonest.await;
                    self.wanted.notified().await;
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = wanted => {}
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
