//! One configuration joined with its models: immutable, swapped whole, so that a request sees one state from its
//! first phase to its last.

use std::{collections::BTreeMap, sync::Arc};

use stockade_protocol::oip::BodyLimits;

use crate::{
    config::{Config, DEFAULT_ROLE, InvalidIdentityConfig, ModelConfig, UpstreamSource},
    models::{Engine, ModelError, ModelSet, ModelSetError, ServedModel},
    upstream::{Remote, UpstreamError, Upstreams},
};

/// What a request is served under.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) parser_limits: BodyLimits,
    /// The limits of each principal, as answers name them.
    pub(crate) rate_limits: Option<http::HeaderValue>,
    models: BTreeMap<String, Arc<ServedModel>>,
    upstreams: Upstreams,
}

/// A configuration cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Plaintext beyond loopback.
    #[error(
        "`dangerous_plaintext` is allowed on loopback only, and `listen` is `{listen}`\nhint: listen on 127.0.0.1 or remove `dangerous_plaintext`"
    )]
    PlaintextBeyondLoopback {
        /// The address.
        listen: std::net::SocketAddr,
    },
    /// Two listeners on one address.
    #[error("two of `listen`, `grpc_listen` and `admin_listen` are `{listen}`")]
    SameAddress {
        /// The address.
        listen: std::net::SocketAddr,
    },
    /// `[identity]` does not hold together.
    #[error(transparent)]
    Identity(#[from] InvalidIdentityConfig),
    /// A configured model was not loaded.
    #[error("the model `{model}` is configured and was not loaded")]
    NotLoaded {
        /// The model.
        model: String,
    },
    /// A loaded model is not configured.
    #[error("the model `{model}` was loaded and is not configured")]
    NotConfigured {
        /// The model.
        model: String,
    },
    /// A key under `output` is neither a role nor `default`.
    #[error(
        "`{role}` under the outputs of the model `{model}` is not a role\nhint: a role is 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`; `default` stands for all others"
    )]
    Role {
        /// The model.
        model: String,
        /// The key.
        role: String,
    },
    /// A model in another server has a name that no path can hold.
    #[error(transparent)]
    Name(#[from] ModelSetError),
    /// Another model server, or a model in one.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A model's configuration does not fit it.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Config {
    /// Whether it can be served with these models: what a start or a reload would refuse.
    pub fn check(&self, models: &ModelSet) -> Result<(), ConfigError> {
        Snapshot::new(self.clone(), models, None).map(drop)
    }

    /// Whether the model servers that it names, and the models in them, can be asked; what needs no vault.
    pub fn check_upstreams(&self) -> Result<(), ConfigError> {
        let upstreams = Upstreams::new(&self.upstreams, &self.bodies, None)?;
        for (name, model) in &self.models {
            if UpstreamSource::is_named_by(&model.source) {
                served_remote(name, model, &upstreams, None)?;
            } else if !model.inputs.is_empty() || !model.outputs.is_empty() {
                let model = name.clone();
                return Err(UpstreamError::NeedlessDeclaration { model }.into());
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// What a former snapshot knows of other model servers is kept where their configuration is the same.
    pub(crate) fn new(config: Config, models: &ModelSet, former: Option<&Self>) -> Result<Self, ConfigError> {
        config.check_upstreams()?;
        if config.dangerous_plaintext && !config.listen.ip().is_loopback() {
            return Err(ConfigError::PlaintextBeyondLoopback {
                listen: config.listen,
            });
        }
        let listeners = [config.listen, config.grpc_listen, config.admin_listen];
        for (position, listen) in listeners.into_iter().enumerate() {
            if listen.port() != 0 && listeners.iter().skip(position + 1).any(|other| *other == listen) {
                return Err(ConfigError::SameAddress { listen });
            }
        }
        config.identity.check(config.dangerous_plaintext)?;
        if let Some(model) = models.names().find(|name| !config.models.contains_key(*name)) {
            return Err(ConfigError::NotConfigured { model: model.clone() });
        }
        let upstreams = Upstreams::new(
            &config.upstreams,
            &config.bodies,
            former.map(|former| &former.upstreams),
        )?;
        let mut served = BTreeMap::new();
        for (name, model) in &config.models {
            let is_role =
                |role: &String| role == DEFAULT_ROLE || role.parse::<stockade_access::Role>().is_ok();
            if let Some(role) = model.output.keys().find(|role| !is_role(role)) {
                return Err(ConfigError::Role {
                    model: name.clone(),
                    role: role.clone(),
                });
            }
            let one = if UpstreamSource::is_named_by(&model.source) {
                served_remote(name, model, &upstreams, Some((models, former)))?
            } else {
                let loaded = models
                    .get(name)
                    .ok_or_else(|| ConfigError::NotLoaded { model: name.clone() })?;
                let same = former.and_then(|former| former.models.get(name));
                let same = same.filter(|same| same.digest() == Some(&loaded.digest));
                let watch = models.watch(name, model, same.map(AsRef::as_ref))?;
                ServedModel::embedded(loaded, model.clone(), watch)?
            };
            served.insert(name.clone(), Arc::new(one));
        }
        Ok(Self {
            parser_limits: config.bodies.parser_limits(),
            rate_limits: http::HeaderValue::from_str(&config.limits.described()).ok(),
            config,
            models: served,
            upstreams,
        })
    }

    /// The model that a path names. A version in the path must be the one that is served.
    pub(crate) fn model(&self, name: &str, version: Option<&str>) -> Option<&Arc<ServedModel>> {
        self.models
            .get(name)
            .filter(|model| version.is_none_or(|asked| asked == model.version().to_string()))
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values()
    }

    pub(crate) const fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }
}

fn served_remote(
    name: &str,
    config: &ModelConfig,
    upstreams: &Upstreams,
    to_serve: Option<(&ModelSet, Option<&Snapshot>)>,
) -> Result<ServedModel, ConfigError> {
    let former = to_serve.and_then(|(_, former)| former?.models.get(name));
    let former_remote = former.and_then(|model| match model.engine() {
        Engine::Embedded(_) => None,
        Engine::Upstream(remote) => Some(remote),
    });
    if stockade_protocol::oip::Name::parse(name).is_none() {
        let name = name.to_owned();
        return Err(ModelSetError::Name { name }.into());
    }
    let remote = Remote::new(name, config, upstreams, former_remote)?;
    let same = former_remote.is_some_and(|former| Arc::ptr_eq(former, &remote));
    let former = former.filter(|_| same).map(AsRef::as_ref);
    let watch = to_serve.map(|(models, _)| models.watch(name, config, former));
    Ok(ServedModel::remote(
        name,
        remote,
        config.clone(),
        watch.transpose()?.flatten(),
    )?)
}

/// The snapshot now in force.
pub(crate) type Live = arc_swap::ArcSwap<Snapshot>;
