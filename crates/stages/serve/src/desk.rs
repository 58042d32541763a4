//! What a gateway has done for it by whoever holds the keys: leaf certificates, and changes of API keys.
//!
//! In one process with the keeper it is done here. In a worker it is asked of the keeper, which believes nothing that the
//! worker says of others: a leaf is issued for the configured hosts alone, and keys are changed for a caller whose own API
//! key the keeper checked. So code that took a worker over enrols nobody, as long as nobody who may change keys shows
//! it a key.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_access::{
    API_KEY, Access, Action, ChangeError, KeyInfo, KeyPrefix, NewKey, PRINCIPAL, PrincipalId, Resource,
    SUBJECT_FIELD, create_key, revoke_key, rotate_key,
};
use stockade_crypto::CertificateAuthority;
use stockade_evidence::{Actor, Event, Timestamp};
use stockade_store::{ActorKind, Allowance, Handle, Keeper, MayPut, Secret};
use tokio::sync::{mpsc, oneshot};

use crate::{
    queries::{CLIENT_STANDING, is_standing},
    tls,
};

/// What the keeper answers to a gateway in a worker: the gateway's own events, and the rows that say who is who.
pub const WORKER_ALLOWANCE: Allowance = Allowance {
    events: &[
        (Event::RequestAdmitted, ActorKind::Principal),
        (Event::RequestOutcome, ActorKind::Principal),
        (Event::RequestRefused, ActorKind::Principal),
        (Event::RequestsRefused, ActorKind::Anybody),
        (Event::GatewayStarted, ActorKind::System),
        (Event::GatewayStopped, ActorKind::System),
        (Event::ConfigReloaded, ActorKind::System),
        (Event::ConfigRefused, ActorKind::System),
        (Event::ModelChanged, ActorKind::System),
        (Event::WatchStarted, ActorKind::System),
        (Event::ClientSuspected, ActorKind::System),
    ],
    puts: &[MayPut {
        event: Event::ClientSuspected,
        kind: CLIENT_STANDING,
        fits: is_standing,
    }],
    kinds: &[PRINCIPAL, API_KEY, CLIENT_STANDING],
    fields: &[SUBJECT_FIELD],
};

/// Who does it.
#[derive(Debug)]
pub enum Desk {
    /// This process, with the authority as it was at the start.
    Here(CertificateAuthority),
    /// The keeper, in another process.
    Keeper(DeskLink),
}

impl From<CertificateAuthority> for Desk {
    fn from(authority: CertificateAuthority) -> Self {
        Self::Here(authority)
    }
}

/// The way to the keeper's desk.
#[derive(Clone, Debug)]
pub struct DeskLink(mpsc::Sender<DeskQuestion>);

/// A question on its way, and where its answer goes.
#[derive(Debug)]
pub struct DeskQuestion {
    /// What is asked.
    pub ask: DeskAsk,
    /// Who waits.
    pub answer: oneshot::Sender<DeskAnswer>,
}

/// What is asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum DeskAsk {
    /// The certificate of the local authority.
    Authority {},
    /// A leaf certificate.
    Leaf {
        /// The hosts that it covers.
        hosts: Vec<String>,
    },
    /// A change of API keys.
    Keys {
        /// The caller's own API key.
        presented: Secret,
        /// The change.
        change: KeyChange,
    },
}

/// What is answered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer", deny_unknown_fields)]
pub enum DeskAnswer {
    /// The authority's certificate, DER.
    Authority {
        /// Its bytes.
        der: Vec<u8>,
    },
    /// A leaf certificate.
    Leaf {
        /// With its key.
        leaf: Box<Issued>,
    },
    /// The keys were changed.
    Changed {
        /// How.
        done: Box<KeyDone>,
    },
    /// They were not.
    NotChanged {
        /// Why.
        problem: KeyProblem,
    },
    /// It was not done, and the keeper's log says why.
    Refused {},
}

/// A leaf certificate with its key.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The certificate of the authority that issued it, DER.
    pub authority_der: Vec<u8>,
    /// The leaf and what is between it and the authority, DER.
    pub chain_der: Vec<Vec<u8>>,
    /// The leaf's key, PKCS #8.
    pub key: Secret,
}

/// A change of API keys.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "change", deny_unknown_fields)]
pub enum KeyChange {
    /// A new key.
    Create {
        /// Whose.
        principal: PrincipalId,
        /// Seconds until it ends.
        expires_in_s: Option<u32>,
    },
    /// A key's end.
    Revoke {
        /// The key's public part.
        prefix: KeyPrefix,
    },
    /// A key in another's place.
    Rotate {
        /// The old key's public part.
        prefix: KeyPrefix,
        /// How long it lives on.
        grace: Duration,
    },
}

/// How keys were changed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDone {
    /// The new key's text, where there is one.
    pub key: Option<Secret>,
    /// What may be shown of the key.
    pub info: KeyInfo,
}

/// Why keys were not changed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyProblem {
    /// The caller showed no API key that holds, or policy does not allow the change.
    Forbidden,
    /// There is no such key.
    NoKey,
    /// There is no such principal.
    NoPrincipal,
    /// The key is revoked or has expired.
    Ended,
    /// The key was rotated already.
    Replaced,
    /// The key would have ended already.
    ExpiryPast,
    /// The old key would live on for too long.
    GraceTooLong,
    /// The change could not be recorded.
    Unrecorded,
    /// Anything else.
    Failed,
}

impl DeskLink {
    /// A desk whose questions go into `questions`.
    pub const fn new(questions: mpsc::Sender<DeskQuestion>) -> Self {
        Self(questions)
    }

    pub(crate) async fn ask(&self, ask: DeskAsk) -> DeskAnswer {
        let (answer, answered) = oneshot::channel();
        if self.0.send(DeskQuestion { ask, answer }).await.is_err() {
            return DeskAnswer::Refused {};
        }
        answered.await.unwrap_or(DeskAnswer::Refused {})
    }
}

/// The keeper's desk, which workers ask.
#[derive(Debug)]
pub struct KeeperDesk {
    keeper: Keeper,
    access: Arc<Access>,
    hosts: Mutex<BTreeSet<String>>,
}

impl KeeperDesk {
    /// A desk that issues nothing yet.
    pub const fn new(keeper: Keeper, access: Arc<Access>) -> Self {
        Self {
            keeper,
            access,
            hosts: Mutex::new(BTreeSet::new()),
        }
    }

    /// Issues for the hosts of these listeners from now on.
    pub fn serve_hosts(&self, listeners: &crate::Listeners) {
        let hosts = listeners.hosts().into_iter().flatten().collect();
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Answers a worker.
    pub async fn answer(&self, ask: DeskAsk) -> DeskAnswer {
        match ask {
            DeskAsk::Authority {} => self.authority().map_or(DeskAnswer::Refused {}, |authority| {
                let der = authority.certificate_der();
                DeskAnswer::Authority { der }
            }),
            DeskAsk::Leaf { hosts } => self.leaf(&hosts),
            DeskAsk::Keys { presented, change } => {
                // What was revoked a moment ago changes nothing any more.
                if self.access.refresh().await.is_err() {
                    let problem = KeyProblem::Failed;
                    return DeskAnswer::NotChanged { problem };
                }
                let handle = Handle::Local(self.keeper.clone());
                let changed = change_keys(&self.access, &handle, &presented, change, self.keeper.now());
                match changed.await {
                    Ok(done) => DeskAnswer::Changed { done: Box::new(done) },
                    Err(problem) => DeskAnswer::NotChanged { problem },
                }
            }
        }
    }

    fn authority(&self) -> Option<CertificateAuthority> {
        let read = self.keeper.keys().certificate_authority();
        read.inspect_err(|error| tracing::error!(%error, "the certificate authority could not be read"))
            .ok()
    }

    fn leaf(&self, hosts: &[String]) -> DeskAnswer {
        let allowed = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !hosts.iter().all(|host| allowed.contains(host)) {
            tracing::error!("the worker asked for a certificate of another host");
            return DeskAnswer::Refused {};
        }
        let issued = self
            .authority()
            .map(|authority| tls::issue(&authority, hosts, self.keeper.now(), tls::LEAF_LIFETIME_S));
        match issued {
            Some(Ok(leaf)) => DeskAnswer::Leaf { leaf: Box::new(leaf) },
            Some(Err(error)) => {
                tracing::error!(%error, "a server certificate could not be issued");
                DeskAnswer::Refused {}
            }
            None => DeskAnswer::Refused {},
        }
    }
}

/// Changes API keys for the caller who presents this key. Nobody else's word counts.
pub(crate) async fn change_keys(
    access: &Access,
    handle: &Handle,
    presented: &Secret,
    change: KeyChange,
    now: Timestamp,
) -> Result<KeyDone, KeyProblem> {
    let presented = std::str::from_utf8(presented.0.expose()).map_err(|_| KeyProblem::Forbidden)?;
    let who = access
        .authenticate(presented, now)
        .map_err(|_| KeyProblem::Forbidden)?
        .principal;
    let action = match &change {
        KeyChange::Create { .. } => Action::KeyCreate,
        KeyChange::Revoke { .. } => Action::KeyRevoke,
        KeyChange::Rotate { .. } => Action::KeyRotate,
    };
    if !access.authorize(&who, action, &Resource::Access).allowed {
        return Err(KeyProblem::Forbidden);
    }
    let actor = Actor::Principal {
        id: who.id.to_string(),
    };
    let shown = |(key, info): (stockade_access::ApiKey, KeyInfo)| KeyDone {
        key: Some(Secret::copy_of(key.expose().as_bytes())),
        info,
    };
    let done = match change {
        KeyChange::Create {
            principal,
            expires_in_s,
        } => {
            let expires_at = expires_in_s.map(|seconds| now.plus_ms(i64::from(seconds) * 1000));
            let new = NewKey {
                principal,
                expires_at,
            };
            create_key(handle, &actor, new, now).await.map(shown)
        }
        KeyChange::Revoke { prefix } => revoke_key(handle, &actor, &prefix, now)
            .await
            .map(|info| KeyDone { key: None, info }),
        KeyChange::Rotate { prefix, grace } => {
            rotate_key(handle, &actor, &prefix, grace, now).await.map(shown)
        }
    };
    done.map_err(|error| KeyProblem::from(&error))
}

impl From<&ChangeError> for KeyProblem {
    fn from(error: &ChangeError) -> Self {
        match error {
            ChangeError::NoKey { .. } => Self::NoKey,
            ChangeError::NoPrincipal { .. } => Self::NoPrincipal,
            ChangeError::KeyEnded { .. } => Self::Ended,
            ChangeError::KeyReplaced { .. } => Self::Replaced,
            ChangeError::ExpiryPast { .. } => Self::ExpiryPast,
            ChangeError::GraceTooLong => Self::GraceTooLong,
            ChangeError::Commit(_) => Self::Unrecorded,
            ChangeError::PrincipalExists { .. }
            | ChangeError::IdentityTaken { .. }
            | ChangeError::NotBound { .. }
            | ChangeError::TooManyIdentities
            | ChangeError::PersonalText { .. }
            | ChangeError::Contended
            | ChangeError::Read(_)
            | ChangeError::Row(_)
            | ChangeError::Personal(_)
            | ChangeError::Json(_)
            | ChangeError::Randomness(_) => {
                tracing::error!(%error, "an admin call failed");
                Self::Failed
            }
        }
    }
}
