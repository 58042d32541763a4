//! The gateway as its owner sees it: made, bound, run, reloaded, drained.
//!
//! INVARIANT: budgets are rebuilt from the log before a port opens, and what stops the gateway from recording stops it
//! from serving.

mod background;
mod engine;
mod error;
mod fixed;
mod listeners;

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_access::{Access, PolicySet};
use stockade_evidence::{Control, Decision, Digest, Event, Record, Subject, SubjectKind};
use stockade_store::Station;
use tokio::{task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::AdminPlane,
    answer::Dialect,
    config::Config,
    desk::Desk,
    models::ModelSet,
    phases::{
        accept::{Connections, Doors, Handler, Protection},
        meter, record,
    },
    plane::DataPlane,
    queries,
    shared::Shared,
    snapshot::{ConfigError, Snapshot},
    tls::{self, Leaf},
    upstream,
};

pub use self::{
    error::{BindError, ReloadError, RunError},
    listeners::Listeners,
};

/// Time for what was dropped to end, and for the last outcomes to reach the log.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The gateway. Clones share it, so that one may run while another reloads.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    ports: Mutex<Option<Ports>>,
    /// Held while a reload is decided, so that two do not cross.
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Ports {
    gateway: Port,
    grpc: Port,
    admin: Port,
}

#[derive(Debug)]
struct Port {
    listener: TcpListener,
    leaf: Option<Arc<Leaf>>,
    protocols: &'static [&'static [u8]],
}

impl Port {
    const fn plain(listener: TcpListener) -> Self {
        Self {
            listener,
            leaf: None,
            protocols: HTTP,
        }
    }
}

/// What a listener speaks over TLS (RFC 7301).
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// gRPC is spoken over HTTP/2 alone.
const GRPC: &[&[u8]] = &[b"h2"];

/// Where the gateway listens: URLs without a trailing slash.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The gateway's listener.
    pub gateway_url: String,
    /// The gRPC listener.
    pub grpc_url: String,
    /// The admin listener.
    pub admin_url: String,
}

/// What a reload brings. All of it takes effect, or nothing; settings that bind at start keep their values, and the
/// record of the reload names them.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The new configuration.
    pub config: Config,
    /// The new policies.
    pub policies: PolicySet,
    /// The models that the configuration names, loaded.
    pub models: ModelSet,
    /// Changed settings outside the gateway that bind at start.
    pub needs_restart: Vec<String>,
}

impl Gateway {
    /// A gateway for this configuration and these models. Nothing is open yet.
    pub fn new(
        config: Config,
        access: Arc<Access>,
        keeper: impl Into<Station>,
        models: ModelSet,
        desk: impl Into<Desk>,
    ) -> Result<Self, ConfigError> {
        let snapshot = Snapshot::new(config, &models, None)?;
        let shared = Arc::new(Shared::new(keeper.into(), access, desk.into(), snapshot));
        let (ports, reloading) = (Mutex::new(None), tokio::sync::Mutex::new(()));
        Ok(Self(Arc::new(Inner {
            shared,
            ports,
            reloading,
        })))
    }

    /// Opens the ports, rebuilds the budgets and records the start. Connections wait until [`Gateway::run`].
    pub async fn bind(&self) -> Result<Bound, BindError> {
        let listeners = Listeners::open(&self.0.shared.live.load().config)?;
        self.bind_to(listeners, Vec::new()).await
    }

    /// The same on ports that are open, in a process that `isolation` keeps in its place.
    pub async fn bind_to(&self, listeners: Listeners, isolation: Vec<String>) -> Result<Bound, BindError> {
        let shared = &self.0.shared;
        let keeper = &shared.keeper;
        meter::rebuild(keeper, keeper.now()).await?;
        shared.standings.refresh(keeper).await?;
        shared.identification.prepare().await?;
        let live = shared.live.load_full();
        queries::prepare(shared, &live).await?;
        let config = &live.config;
        let [of_gateway, of_grpc, of_admin] = listeners.hosts();
        let bound = listeners.bound();
        let (gateway_url, grpc_url, admin_url) = (&bound.gateway_url, &bound.grpc_url, &bound.admin_url);
        let gateway = if config.dangerous_plaintext {
            Port::plain(listeners.gateway.0)
        } else {
            self.protect(listeners.gateway.0, of_gateway).await?
        };
        let mut grpc = self.protect(listeners.grpc.0, of_grpc).await?;
        grpc.protocols = GRPC;
        let admin = self.protect(listeners.admin.0, of_admin).await?;
        let models: Vec<String> = live
            .models()
            .map(|model| format!("{}@{}", model.name(), model.version()))
            .collect();
        let upstreams: Vec<serde_json::Value> = live
            .upstreams()
            .iter()
            .map(|upstream| upstream.described())
            .collect();
        let engine = engine::describe(&live).await?;
        let fill = |record: Record| {
            record
                .with("gateway_url", gateway_url.as_str())
                .with("grpc_url", grpc_url.as_str())
                .with("admin_url", admin_url.as_str())
                .with("dangerous_plaintext", config.dangerous_plaintext)
                .with("models", models)
                .with("upstreams", upstreams)
                .with("engine", engine.name)
                .with("engine_version", engine.version)
                .with("engine_library", engine.library)
                .with("isolation", isolation)
                .with("policies", shared.access.policies().digest().to_string())
                .with("config", config_digest(config).to_string())
        };
        shared
            .recorder
            .system(Event::GatewayStarted, record::server(), fill)
            .await
            .map_err(|_| BindError::Unrecorded)?;
        *self.0.ports.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ports { gateway, grpc, admin });
        Ok(bound)
    }

    /// Serves until `shutdown` resolves; then takes nothing new, finishes what is in flight within the drain's time,
    /// flushes the outcomes and records the stop.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let ports = self.0.ports.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Ports { gateway, grpc, admin } = ports.ok_or(RunError::NotBound)?;
        let shared = self.0.shared.clone();
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let leaves: Vec<Arc<Leaf>> = [&gateway, &grpc, &admin]
            .into_iter()
            .filter_map(|port| port.leaf.clone())
            .collect();
        let data_plane = Arc::new(DataPlane::new(shared.clone(), Dialect::Http));
        let grpc_plane = Arc::new(DataPlane::new(shared.clone(), Dialect::Grpc));
        let admin_plane = Arc::new(AdminPlane::new(shared.clone()));
        self.listen(
            &mut tasks,
            gateway,
            data_plane,
            shared.doors.clone(),
            (&stop, &kill),
        )?;
        self.listen(
            &mut tasks,
            grpc,
            grpc_plane,
            shared.grpc_doors.clone(),
            (&stop, &kill),
        )?;
        self.listen(
            &mut tasks,
            admin,
            admin_plane,
            shared.admin_doors.clone(),
            (&stop, &kill),
        )?;
        tasks.spawn(background::follow_changes(shared.clone(), stop.clone()));
        tasks.spawn(background::renew(shared.clone(), leaves.clone(), stop.clone()));
        tasks.spawn(background::follow_identities(shared.clone(), stop.clone()));
        tasks.spawn(background::follow_certificates(leaves, stop.clone()));
        tasks.spawn(background::flush_merged(shared.clone(), stop.clone()));
        tasks.spawn(upstream::watch(shared.clone(), stop.clone()));
        tasks.spawn(queries::keep_ready(shared.clone(), stop.clone()));
        shared.set_serving(true);
        shutdown.await;
        shared.set_serving(false);
        self.drain(tasks, &stop, &kill).await
    }

    /// Puts a new configuration, policies and models in force, or keeps all of the old and says why. Either is recorded.
    pub async fn reload(&self, reload: Reload) -> Result<(), ReloadError> {
        let _one_at_a_time = self.0.reloading.lock().await;
        let Reload {
            config,
            policies,
            models,
            mut needs_restart,
        } = reload;
        let shared = &self.0.shared;
        let snapshot = match fixed::prepare(&shared.live.load(), config, &models, &mut needs_restart) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.refuse_reload(&error.to_string()).await;
                return Err(error.into());
            }
        };
        if !needs_restart.is_empty() {
            let settings = needs_restart.join(", ");
            tracing::warn!(settings, "changed settings bind at start; restart to change them");
        }
        if let Err(error) = queries::prepare(shared, &snapshot).await {
            self.refuse_reload(&error.to_string()).await;
            return Err(error.into());
        }
        let fill = |record: Record| {
            record
                .with("policies", policies.digest().to_string())
                .with("config", config_digest(&snapshot.config).to_string())
                .with("needs_restart", needs_restart)
        };
        let subject = Subject::new(SubjectKind::Configuration, "serve");
        shared
            .recorder
            .system(Event::ConfigReloaded, subject, fill)
            .await
            .map_err(|_| ReloadError::Unrecorded)?;
        // Policies first: a new model is never served under policies that do not know it.
        shared.access.replace_policies(policies);
        shared.live.store(Arc::new(snapshot));
        shared.metrics.reload(true);
        Ok(())
    }

    /// Records that new configuration or policies could not even be read; everything stays as it is. `reason` is an
    /// error of ours about a file of the operator.
    pub async fn refuse_reload(&self, reason: &str) {
        const REASON_MAX: usize = 2000;
        let reason: String = reason.chars().take(REASON_MAX).collect();
        tracing::warn!(reason, "a reload was refused; the old configuration stays");
        let shared = &self.0.shared;
        shared.metrics.reload(false);
        let fill = |record: Record| {
            record
                .under(Control::AccessControl)
                .deciding(Decision::Refused {
                    code: "invalid_configuration".to_owned(),
                    policies: Vec::new(),
                })
                .with("reason", reason)
        };
        let subject = Subject::new(SubjectKind::Configuration, "serve");
        // Nothing changes either way; the warning above stays when the log takes no record.
        let _ = shared.recorder.system(Event::ConfigRefused, subject, fill).await;
    }

    async fn protect(&self, listener: TcpListener, hosts: Vec<String>) -> Result<Port, BindError> {
        let shared = &self.0.shared;
        let files = shared.live.load().config.tls.clone();
        let leaf = match files {
            Some(files) => Leaf::from_files(files)?,
            None => Leaf::new(&shared.desk, hosts, shared.keeper.now()).await?,
        };
        Ok(Port {
            leaf: Some(Arc::new(leaf)),
            ..Port::plain(listener)
        })
    }

    fn listen<H: Handler>(
        &self,
        tasks: &mut JoinSet<()>,
        port: Port,
        handler: Arc<H>,
        doors: Arc<Doors>,
        (stop, kill): (&CancellationToken, &CancellationToken),
    ) -> Result<(), RunError> {
        let protection = match port.leaf {
            Some(leaf) => {
                let clients = self.0.shared.identification.clients().cloned();
                let mut config = Arc::unwrap_or_clone(tls::server_config(leaf, clients.clone())?);
                config.alpn_protocols = port.protocols.iter().map(|name| name.to_vec()).collect();
                Protection::Tls(TlsAcceptor::from(Arc::new(config)), clients)
            }
            None => Protection::DangerousPlaintext,
        };
        let shared = &self.0.shared;
        let connections = Arc::new(Connections {
            handler,
            protection,
            doors,
            live: shared.live.clone(),
            merged: shared.merged.clone(),
            tracker: shared.trackers.requests.clone(),
            stop: stop.clone(),
            kill: kill.clone(),
        });
        tasks.spawn(connections.accept(tokio::net::TcpListener::from_std(port.listener)?));
        Ok(())
    }

    async fn drain(
        &self,
        mut tasks: JoinSet<()>,
        stop: &CancellationToken,
        kill: &CancellationToken,
    ) -> Result<(), RunError> {
        let shared = &self.0.shared;
        let trackers = &shared.trackers;
        let within = shared.live.load().config.timeouts.drain_ms.get();
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        trackers.requests.close();
        let finished = timeout(within, trackers.requests.wait()).await.is_ok();
        kill.cancel();
        if !finished {
            tracing::warn!("requests were still in flight when the drain's time was over");
            let _ = timeout(LAST_WORDS, trackers.requests.wait()).await;
        }
        shared.pool.close();
        for tracker in [&trackers.engine, &trackers.outcomes] {
            tracker.close();
            let _ = timeout(LAST_WORDS, tracker.wait()).await;
        }
        shared.recorder.merged(&shared.merged).await;
        shared
            .recorder
            .system(Event::GatewayStopped, record::server(), |record| {
                record.with("drained", finished)
            })
            .await
            .map_err(|_| RunError::Unrecorded)
    }
}

/// What the configuration is. Secrets are not part of it.
fn config_digest(config: &Config) -> Digest {
    Digest::sha256(&serde_json::to_vec(config).unwrap_or_default())
}
