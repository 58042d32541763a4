//! A model server with its replicas, and all of them together.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::HeaderValue;
use rustls::pki_types::ServerName;
use stockade_crypto::constant_time_eq;
use stockade_protocol::oip::BodyLimits;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{
    UpstreamError,
    breaker::Breaker,
    budget::RetryBudget,
    connection::{Connections, Target},
    replica::{Attempt, Replica},
    tls,
};
use crate::config::{BaseUrl, Bodies, UpstreamConfig, UpstreamProtocol};

/// One model server.
pub(crate) struct Upstream {
    pub(super) config: UpstreamConfig,
    authorities: Option<Vec<u8>>,
    pub(super) bearer: Option<HeaderValue>,
    replicas: Vec<Replica>,
    pub(super) budget: RetryBudget,
    /// The bounds of what it answers.
    pub(super) limits: BodyLimits,
    /// Work beside connections' threads, and connections: they end with their requests.
    pub(super) tasks: TaskTracker,
    turn: AtomicUsize,
    looked: Mutex<Option<Instant>>,
    /// Somebody found something wrong since it was looked at.
    suspect: AtomicBool,
    looking: AtomicBool,
}

/// The model servers by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstreams(BTreeMap<String, Arc<Upstream>>);

impl Upstreams {
    /// Those of a configuration. Servers that a former one configured alike keep their connections.
    pub(crate) fn new(
        configs: &[UpstreamConfig],
        bodies: &Bodies,
        former: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let mut all = BTreeMap::new();
        for config in configs {
            let name = config.name.to_string();
            let new = Upstream::new(config.clone(), bodies)?;
            let old = former
                .and_then(|former| former.get(&name))
                .filter(|old| old.is_like(&new));
            let upstream = old.cloned().unwrap_or_else(|| Arc::new(new));
            if all.insert(name.clone(), upstream).is_some() {
                return Err(UpstreamError::Duplicate { upstream: name });
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> + Clone {
        self.0.values()
    }

    /// Their names, as a hint shows them.
    pub(super) fn known(&self) -> String {
        let names: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        if names.is_empty() {
            return "add it as `[[upstream]]`".to_owned();
        }
        format!("configured are {}", names.join(", "))
    }
}

impl Upstream {
    fn new(config: UpstreamConfig, bodies: &Bodies) -> Result<Self, UpstreamError> {
        check_urls(&config)?;
        let authorities = tls::authorities(&config)?;
        let bearer = tls::bearer(&config)?;
        let tasks = TaskTracker::new();
        let most = config.max_response_bytes.get();
        let limits = BodyLimits {
            max_bytes: most,
            // As many as the bytes can hold: an answer is bounded by its size.
            max_elements: most,
            ..bodies.parser_limits()
        };
        let mut replicas = Vec::new();
        for url in std::iter::once(&config.url).chain(&config.replicas) {
            let target = target(&config, url, authorities.as_deref())?;
            let breaker = Breaker::new(config.breaker.failures, config.breaker.open_ms.get());
            replicas.push(Replica::new(Connections::new(target, tasks.clone()), breaker));
        }
        Ok(Self {
            config,
            authorities,
            bearer,
            replicas,
            budget: RetryBudget::new(),
            limits,
            tasks,
            turn: AtomicUsize::new(0),
            looked: Mutex::default(),
            suspect: AtomicBool::new(false),
            looking: AtomicBool::new(false),
        })
    }

    /// Whether another would do exactly the same.
    fn is_like(&self, other: &Self) -> bool {
        let same_bearer = match (&self.bearer, &other.bearer) {
            (Some(a), Some(b)) => constant_time_eq(a.as_bytes(), b.as_bytes()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.config == other.config
            && self.authorities == other.authorities
            && self.limits == other.limits
            && same_bearer
    }

    pub(crate) fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// What the record of the start says of it.
    pub(crate) fn described(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name(),
            "protocol": self.protocol().as_str(),
            "replicas": self.replicas.len(),
            "dangerous_plaintext": self.config.dangerous_plaintext,
        })
    }

    pub(super) const fn protocol(&self) -> UpstreamProtocol {
        self.config.protocol
    }

    pub(super) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Takes the next of the replicas that `may` serve: of two neighbours in turn, the one with fewer requests.
    pub(super) fn choose(&self, may: impl Fn(usize) -> bool) -> Option<(usize, Attempt<'_>)> {
        let now = Instant::now();
        let open: Vec<(usize, &Replica)> = self
            .replicas
            .iter()
            .enumerate()
            .filter(|(index, replica)| may(*index) && replica.is_open_to(now))
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = |n: usize| open.get(n.checked_rem(open.len())?).copied();
        let (first, second) = (at(turn)?, at(turn.wrapping_add(1))?);
        let mut order = vec![first, second];
        order.sort_by_key(|(_, replica)| replica.in_flight());
        order.extend(open.iter().copied());
        // Another request may have taken a trial since.
        order
            .into_iter()
            .find_map(|(index, replica)| Some((index, replica.attempt(now)?)))
    }

    /// Has it looked at soon.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Whether it is to be looked at now; the one who asks does so, and says when that has ended.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        if self.looking.load(Ordering::Acquire) {
            return false;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let suspect = self.suspect.swap(false, Ordering::AcqRel);
        let every = self.config.health.every_ms.get();
        let due = suspect || looked.is_none_or(|looked| now.duration_since(looked) >= every);
        if due {
            *looked = Some(now);
            self.looking.store(true, Ordering::Release);
        }
        due
    }

    pub(super) fn looked(&self) {
        self.looking.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn check_urls(config: &UpstreamConfig) -> Result<(), UpstreamError> {
    let upstream = || config.name.to_string();
    let urls: Vec<&BaseUrl> = std::iter::once(&config.url).chain(&config.replicas).collect();
    for (position, url) in urls.iter().enumerate() {
        let (upstream, shown) = (upstream(), url.to_string());
        if urls.iter().take(position).any(|earlier| earlier == url) {
            return Err(UpstreamError::SameReplica { upstream, url: shown });
        }
        if !url.is_tls() && !config.dangerous_plaintext {
            return Err(UpstreamError::Plaintext { upstream, url: shown });
        }
        if !url.is_tls() && !url.is_loopback() {
            return Err(UpstreamError::PlaintextBeyondLoopback { upstream, url: shown });
        }
    }
    if config.dangerous_plaintext && urls.iter().all(|url| url.is_tls()) {
        return Err(UpstreamError::NeedlessPlaintext { upstream: upstream() });
    }
    Ok(())
}

fn target(
    config: &UpstreamConfig,
    url: &BaseUrl,
    authorities: Option<&[u8]>,
) -> Result<Target, UpstreamError> {
    let unusable = || UpstreamError::Host {
        upstream: config.name.to_string(),
        url: url.to_string(),
    };
    let tls = match (url.is_tls(), authorities) {
        (false, _) => None,
        (true, None) => return Err(unusable()),
        (true, Some(authorities)) => {
            let name = ServerName::try_from(url.host().to_owned()).map_err(|_| unusable())?;
            let settings = tls::client_config(authorities, config.protocol).map_err(|_| unusable())?;
            Some((name, TlsConnector::from(settings)))
        }
    };
    Ok(Target {
        url: url.clone(),
        tls,
        http2: config.protocol == UpstreamProtocol::OipGrpc,
        connect_timeout: config.connect_timeout_ms.get(),
        max_response_bytes: config.max_response_bytes.get(),
    })
}
