//! The models that the gateway serves: loaded elsewhere, joined with their configuration here.

use std::{collections::BTreeMap, sync::Arc};

use stockade_access::Environment;
use stockade_crypto::SecretBytes;
use stockade_evidence::{Digest, Subject, SubjectKind};
use stockade_model::{Labels, Session, Signature};
use stockade_protocol::oip::Name;

use crate::{
    config::{DEFAULT_ROLE, ModelConfig, OutputPolicy, Step},
    phases::{meter::row_bits, shape},
    queries::{QueryWatch, Samples},
    upstream::Remote,
};

/// A model in its engine. The binary takes it out of the vault and hands it over; the gateway opens no artifact.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// The name in paths, policies and records.
    pub name: String,
    /// The artifact's version.
    pub version: u64,
    /// The artifact's digest: what a record names.
    pub digest: Digest,
    /// The model, ready to run.
    pub session: Arc<Session>,
    /// A classifier's classes, in the order of its scores.
    pub labels: Option<Labels>,
    /// The environment that it runs in.
    pub environment: Environment,
}

/// Loaded models by name, and what the watches over queries learn from.
// INVARIANT: each key of `loaded` is its model's name and a name that a path can hold; `new` is the only door.
#[derive(Clone, Debug, Default)]
pub struct ModelSet {
    loaded: BTreeMap<String, Arc<LoadedModel>>,
    samples: BTreeMap<String, Arc<Samples>>,
    secret: Option<Arc<SecretBytes>>,
}

/// The models handed over cannot be served together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ModelSetError {
    /// Two models have one name.
    #[error("two models are named `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that no path can hold.
    #[error("`{name}` is not a model name\nhint: use letters, digits, `.`, `_` and `-`, at most 128 of them")]
    Name {
        /// The name.
        name: String,
    },
}

impl ModelSet {
    /// The set of these models.
    pub fn new(models: impl IntoIterator<Item = LoadedModel>) -> Result<Self, ModelSetError> {
        let mut set = BTreeMap::new();
        for model in models {
            let name = model.name.clone();
            if Name::parse(&name).is_none() {
                return Err(ModelSetError::Name { name });
            }
            if set.insert(name.clone(), Arc::new(model)).is_some() {
                return Err(ModelSetError::Duplicate { name });
            }
        }
        Ok(Self {
            loaded: set,
            ..Self::default()
        })
    }

    /// The same models, with the samples of those that are watched, by model. `secret` (32 bytes) hides what the detectors choose.
    #[must_use]
    pub fn watching(self, samples: BTreeMap<String, Samples>, secret: SecretBytes) -> Self {
        let shared = samples
            .into_iter()
            .map(|(model, samples)| (model, Arc::new(samples)));
        Self {
            samples: shared.collect(),
            secret: Some(Arc::new(secret)),
            ..self
        }
    }

    /// How many models there are.
    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<LoadedModel>> {
        self.loaded.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.loaded.keys()
    }

    /// The watch that a model's configuration asks for; `former` goes on where nothing about it changed.
    pub(crate) fn watch(
        &self,
        name: &str,
        config: &ModelConfig,
        former: Option<&ServedModel>,
    ) -> Result<Option<Arc<QueryWatch>>, ModelError> {
        let Some(extraction) = &config.extraction else {
            return Ok(None);
        };
        let (Some(samples), Some(secret)) = (self.samples.get(name), &self.secret) else {
            return Err(ModelError::NoSample {
                model: name.to_owned(),
            });
        };
        let is_same = |watch: &&Arc<QueryWatch>| watch.is_for(extraction, samples);
        let former = former.and_then(ServedModel::watch).filter(is_same);
        Ok(Some(former.cloned().unwrap_or_else(|| {
            Arc::new(QueryWatch::new(
                extraction.clone(),
                samples.clone(),
                secret.clone(),
            ))
        })))
    }
}

/// A model with the configuration it is served under.
#[derive(Clone, Debug)]
pub(crate) struct ServedModel {
    name: String,
    version: u64,
    /// Absent where another server holds the model: nobody can say what it is.
    digest: Option<Digest>,
    labels: Option<Labels>,
    engine: Engine,
    watch: Option<Arc<QueryWatch>>,
    config: ModelConfig,
    whole: OutputPolicy,
}

/// Where a model runs.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    /// Here.
    Embedded(Arc<Session>),
    /// In another server.
    Upstream(Arc<Remote>),
}

/// A model's configuration does not fit the model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The configured environment is not the model's.
    #[error("the model `{model}` is configured for `{configured}` and was loaded for `{loaded}`")]
    Environment {
        /// The model.
        model: String,
        /// The environment in the configuration.
        configured: Environment,
        /// The environment it was loaded for.
        loaded: Environment,
    },
    /// A policy hides an output that does not exist: probably a misspelt name, which would leave it visible.
    #[error(
        "the model `{model}` has no output `{output}` to hide from the role `{role}`\nhint: `stockade model show` lists its outputs"
    )]
    NoSuchOutput {
        /// The model.
        model: String,
        /// The role.
        role: String,
        /// The name that is not an output.
        output: String,
    },
    /// An answer that may carry any number of bits has no budget.
    #[error(
        "`bits_per_day` of the model `{model}` needs outputs of a known size for the role `{role}`\nhint: hide outputs of text and of a size that differs from answer to answer"
    )]
    Unbounded {
        /// The model.
        model: String,
        /// The role.
        role: String,
    },
    /// What its watch is to learn from was not handed over.
    #[error("the model `{model}` is to be watched, and its reference sample was not loaded")]
    NoSample {
        /// The model.
        model: String,
    },
    /// Nothing is left for a role to see.
    #[error(
        "every output of the model `{model}` is hidden from the role `{role}`\nhint: forbid `model.infer` by a policy instead"
    )]
    NothingVisible {
        /// The model.
        model: String,
        /// The role.
        role: String,
    },
    /// A policy on scores meets outputs that have none in rows.
    #[error(
        "`{part}` for the role `{role}` needs rows of scores, which the output `{output}` of the model `{model}` does not have\nhint: hide that output"
    )]
    NoScores {
        /// The model.
        model: String,
        /// The role.
        role: String,
        /// `labels_only` or `top_k`.
        part: &'static str,
        /// The output.
        output: String,
    },
}

impl ServedModel {
    /// A model of the vault.
    pub(crate) fn embedded(
        loaded: &LoadedModel,
        config: ModelConfig,
        watch: Option<Arc<QueryWatch>>,
    ) -> Result<Self, ModelError> {
        let served = Self {
            name: loaded.name.clone(),
            version: loaded.version,
            digest: Some(loaded.digest),
            labels: loaded.labels.clone(),
            engine: Engine::Embedded(loaded.session.clone()),
            watch,
            config,
            whole: OutputPolicy::default(),
        };
        if served.config.environment != loaded.environment {
            return Err(ModelError::Environment {
                model: served.name,
                configured: served.config.environment,
                loaded: loaded.environment,
            });
        }
        served.fits(served.signature())?;
        Ok(served)
    }

    /// A model in another server; its signature may become known later.
    pub(crate) fn remote(
        name: &str,
        remote: Arc<Remote>,
        config: ModelConfig,
        watch: Option<Arc<QueryWatch>>,
    ) -> Result<Self, ModelError> {
        let served = Self {
            name: name.to_owned(),
            version: remote.version(),
            digest: None,
            labels: None,
            engine: Engine::Upstream(remote),
            watch,
            config,
            whole: OutputPolicy::default(),
        };
        if !served.signature().outputs.is_empty() {
            served.fits(served.signature())?;
        }
        Ok(served)
    }

    /// Whether the configuration means something for a model with this signature.
    pub(crate) fn fits(&self, signature: &Signature) -> Result<(), ModelError> {
        let default = (DEFAULT_ROLE, self.output_of_default_role());
        let roles = self
            .config
            .output
            .iter()
            .map(|(role, policy)| (role.as_str(), policy));
        let extraction = self.config.extraction.as_ref();
        let coarser = extraction.filter(|extraction| extraction.ladder.contains(&Step::Coarser));
        let mut policies = Vec::new();
        for (role, policy) in roles.chain([default]) {
            policies.push((role, policy.clone()));
            policies.extend(coarser.map(|extraction| (role, policy.and(&extraction.coarser))));
        }
        for (role, policy) in &policies {
            self.check(role, policy, signature)?;
            let bounded = self.config.limits.bits_per_day.is_some();
            if bounded && row_bits(signature, self.labels(), policy).is_none() {
                return Err(ModelError::Unbounded {
                    model: self.name.clone(),
                    role: (*role).to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Whether the policy means something for this model: a misspelt name must not leave an output visible.
    fn check(&self, role: &str, policy: &OutputPolicy, signature: &Signature) -> Result<(), ModelError> {
        let (model, role) = (|| self.name.clone(), || role.to_owned());
        let outputs = &signature.outputs;
        if let Some(output) = policy
            .hidden
            .iter()
            .find(|name| outputs.iter().all(|spec| spec.name != **name))
        {
            return Err(ModelError::NoSuchOutput {
                model: model(),
                role: role(),
                output: output.clone(),
            });
        }
        if shape::visible_outputs(
            signature,
            None,
            &OutputPolicy {
                labels_only: false,
                ..policy.clone()
            },
        )
        .is_empty()
        {
            return Err(ModelError::NothingVisible {
                model: model(),
                role: role(),
            });
        }
        let no_scores = |part, output: &str| ModelError::NoScores {
            model: model(),
            role: role(),
            part,
            output: output.to_owned(),
        };
        if policy.labels_only && shape::score_output(signature, policy).is_none() {
            let first = outputs.first().map_or("", |spec| spec.name.as_str());
            return Err(no_scores("labels_only", first));
        }
        let flat = |spec: &&stockade_model::TensorSpec| {
            crate::tensors::is_float(spec.data_type)
                && spec.shape.len() < 2
                && !policy.hidden.contains(&spec.name)
        };
        match outputs.iter().find(flat) {
            Some(spec) if policy.top_k.is_some() && !policy.labels_only => {
                Err(no_scores("top_k", &spec.name))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    pub(crate) const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    pub(crate) const fn environment(&self) -> Environment {
        self.config.environment
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Empty while the model is not ready.
    pub(crate) fn signature(&self) -> &Signature {
        match &self.engine {
            Engine::Embedded(session) => session.signature(),
            Engine::Upstream(remote) => remote.signature(),
        }
    }

    /// Whether clients may ask it now: it answers, and where it is to be watched it is.
    pub(crate) fn is_ready(&self) -> bool {
        self.answers() && self.watch.as_ref().is_none_or(|watch| watch.is_ready())
    }

    /// Whether it would answer now.
    pub(crate) fn answers(&self) -> bool {
        match &self.engine {
            Engine::Embedded(_) => true,
            Engine::Upstream(remote) => remote.is_ready(),
        }
    }

    pub(crate) const fn watch(&self) -> Option<&Arc<QueryWatch>> {
        self.watch.as_ref()
    }

    pub(crate) const fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    pub(crate) const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model as a record names it.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            version: Some(self.version),
            digest: self.digest,
            ..Subject::new(SubjectKind::Artifact, self.name.clone())
        }
    }

    pub(crate) fn output_of_role(&self, role: &str) -> &OutputPolicy {
        self.config
            .output
            .get(role)
            .unwrap_or_else(|| self.output_of_default_role())
    }

    pub(crate) fn output_of_default_role(&self) -> &OutputPolicy {
        self.config.output.get(DEFAULT_ROLE).unwrap_or(&self.whole)
    }
}
