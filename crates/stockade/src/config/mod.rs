//! `stockade.toml`: the crates own their tables, this module nests them and knows who set what.

mod check;
mod error;
mod layers;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_serve as gateway;

pub(crate) use self::check::{check, role as check_role};
use self::error::InvalidSetting;
pub(crate) use self::layers::{Layers, Origin, flatten};
use crate::{
    failure::{Exit, Failure},
    worker::WorkerConfig,
};

/// The file's name in the project folder.
pub(crate) const FILE: &str = "stockade.toml";

/// Everything that `stockade.toml` may say. Every setting has a safe default.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Root {
    /// Address of the gateway; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Address of the gRPC listener; port 0 takes a free one.
    pub(crate) grpc_listen: SocketAddr,
    /// Address of the admin listener; port 0 takes a free one.
    pub(crate) admin_listen: SocketAddr,
    /// Further host names and addresses that the leaf certificate covers.
    pub(crate) hosts: Vec<String>,
    /// Serve without TLS. Loopback only, and recorded.
    pub(crate) dangerous_plaintext: bool,
    /// A server certificate of one's own, for both listeners; without it the local authority issues one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<gateway::TlsConfig>,
    /// Who may vouch for principals besides API keys.
    pub(crate) identity: gateway::IdentityConfig,
    /// Which engine runs the models.
    pub(crate) engine: gateway::EngineConfig,
    /// Rates, budgets, connections and concurrency.
    pub(crate) limits: gateway::Limits,
    /// How large a request may be.
    pub(crate) bodies: gateway::Bodies,
    /// How long things may take.
    pub(crate) timeouts: gateway::Timeouts,
    /// The models served, by the name in the path.
    pub(crate) model: BTreeMap<String, gateway::ModelConfig>,
    /// Other model servers, which models may come from.
    pub(crate) upstream: Vec<gateway::UpstreamConfig>,
    /// The process that serves.
    pub(crate) worker: WorkerConfig,
    /// How the evidence log is written and kept.
    pub(crate) evidence: stockade_store::Config,
}

impl Default for Root {
    fn default() -> Self {
        Self::nest(gateway::Config::default(), stockade_store::Config::default())
    }
}

impl Root {
    fn nest(gateway: gateway::Config, evidence: stockade_store::Config) -> Self {
        let gateway::Config {
            listen,
            grpc_listen,
            admin_listen,
            hosts,
            dangerous_plaintext,
            tls,
            identity,
            engine,
            limits,
            bodies,
            timeouts,
            models,
            upstreams,
        } = gateway;
        Self {
            listen,
            grpc_listen,
            admin_listen,
            hosts,
            dangerous_plaintext,
            tls,
            identity,
            engine,
            limits,
            bodies,
            timeouts,
            model: models,
            upstream: upstreams,
            worker: WorkerConfig::default(),
            evidence,
        }
    }

    /// What the gateway needs of it.
    pub(crate) fn gateway(&self) -> gateway::Config {
        gateway::Config {
            listen: self.listen,
            grpc_listen: self.grpc_listen,
            admin_listen: self.admin_listen,
            hosts: self.hosts.clone(),
            dangerous_plaintext: self.dangerous_plaintext,
            tls: self.tls.clone(),
            identity: self.identity.clone(),
            engine: self.engine.clone(),
            limits: self.limits.clone(),
            bodies: self.bodies.clone(),
            timeouts: self.timeouts.clone(),
            models: self.model.clone(),
            upstreams: self.upstream.clone(),
        }
    }
}

/// The configuration in force, and who set what.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) root: Root,
    pub(crate) layers: Layers,
}

/// Reads the file of a project folder, then the environment, then the given flags.
pub(crate) fn load(project: &Path, flags: &[(&str, toml::Value)]) -> Result<Loaded, Failure> {
    let mut layers = Layers::from_file::<Root>(&project.join(FILE))?;
    layers.add_environment(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )?;
    for (name, value) in flags {
        layers.set(
            &[(*name).to_owned()],
            value.clone(),
            Origin::Flag(name.replace('_', "-")),
        )?;
    }
    let mut root: Root = layers.parse()?;
    if let Some(anchor) = root
        .evidence
        .anchor
        .as_ref()
        .filter(|anchor| anchor.is_relative())
    {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "`evidence.anchor` is `{}`, which is another file from every working directory",
                anchor.display()
            ),
        )
        .hint("write an absolute path"));
    }
    // Port 0 lets every listener take a free port; only a setting as strong as the flag keeps its own.
    let strong = |name| {
        matches!(
            layers.origins.get(name),
            Some(Origin::Flag(_) | Origin::Environment(_))
        )
    };
    if root.listen.port() == 0 {
        if !strong("grpc_listen") {
            root.grpc_listen.set_port(0);
        }
        if !strong("admin_listen") {
            root.admin_listen.set_port(0);
        }
    }
    Ok(Loaded { root, layers })
}

/// The JSON schema of `stockade.toml`.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(Root).to_value()
}
