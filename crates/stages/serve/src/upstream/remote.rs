//! A model in another server: what it takes and gives, and which replicas hold it unchanged.
//!
//! INVARIANT: a signature is set once. A replica that says something else is not asked again until a reload.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use stockade_model::Signature;

use super::{
    UpstreamError,
    server::{Upstream, Upstreams},
    signature::{self, Said},
    words::Asked,
};
use crate::{
    config::{ModelConfig, UpstreamSource},
    models::ModelError,
};

/// A model in another server.
#[derive(Debug)]
pub(crate) struct Remote {
    upstream: Arc<Upstream>,
    source: UpstreamSource,
    declared: Option<Signature>,
    signature: OnceLock<Signature>,
    /// What each replica last said, a [`Standing`].
    standings: Vec<AtomicU8>,
}

/// What a replica says of a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Standing {
    /// Nothing, or nothing of use.
    Unknown,
    /// What was said before.
    Same,
    /// Something else; until a reload.
    Differs,
}

/// What came of a replica's word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Met {
    /// It is as known.
    Same,
    /// It says nothing of use.
    Unknown,
    /// It contradicts what is known, since now.
    Changed,
    /// It did so before.
    StillDiffers,
}

impl Remote {
    /// The model that a source names; `former` is taken on where nothing about it changed.
    pub(crate) fn new(
        name: &str,
        config: &ModelConfig,
        upstreams: &Upstreams,
        former: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let source = UpstreamSource::parse(&config.source).ok_or_else(|| UpstreamError::Source {
            model: name.to_owned(),
            source_text: config.source.clone(),
        })?;
        let upstream = upstreams
            .get(source.upstream.as_str())
            .ok_or_else(|| UpstreamError::Unknown {
                model: name.to_owned(),
                upstream: source.upstream.to_string(),
                known: upstreams.known(),
            })?;
        let declared = signature::declared(name, config, &upstream.limits)?;
        let is_same = |former: &&Arc<Self>| {
            Arc::ptr_eq(&former.upstream, upstream)
                && former.source == source
                && former.declared == declared
                && (0..former.standings.len()).all(|replica| former.standing(replica) != Standing::Differs)
        };
        if let Some(former) = former.filter(is_same) {
            return Ok(former.clone());
        }
        let remote = Self {
            upstream: upstream.clone(),
            source,
            signature: declared.clone().map_or_else(OnceLock::new, OnceLock::from),
            declared,
            standings: upstream
                .replicas()
                .iter()
                .map(|_| AtomicU8::new(Standing::Unknown as u8))
                .collect(),
        };
        Ok(Arc::new(remote))
    }

    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The version that is asked for, and 1 where the server chooses.
    pub(crate) fn version(&self) -> u64 {
        self.source.version.unwrap_or(1)
    }

    /// Empty until it is known.
    pub(crate) fn signature(&self) -> &Signature {
        static UNKNOWN: Signature = Signature {
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        self.signature.get().unwrap_or(&UNKNOWN)
    }

    /// Whether its signature is known and a replica has it.
    pub(crate) fn is_ready(&self) -> bool {
        let mut replicas = self.upstream.replicas().iter().enumerate();
        self.signature.get().is_some()
            && replicas.any(|(index, replica)| replica.is_healthy() && self.is_same_at(index))
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            model: &self.source.model,
            version: self.source.version,
        }
    }

    /// Takes note of what a replica says of it; `fits` holds a new signature against the configuration.
    pub(super) fn meet(
        &self,
        replica: usize,
        said: Option<&Said>,
        fits: impl FnOnce(&Signature) -> Result<(), ModelError>,
    ) -> Met {
        if self.standing(replica) == Standing::Differs {
            return Met::StillDiffers;
        }
        let met = self.judge(said, fits);
        let standing = match met {
            Met::Same => Standing::Same,
            Met::Unknown => Standing::Unknown,
            Met::Changed | Met::StillDiffers => Standing::Differs,
        };
        if let Some(kept) = self.standings.get(replica) {
            kept.store(standing as u8, Ordering::Release);
        }
        met
    }

    fn judge(&self, said: Option<&Said>, fits: impl FnOnce(&Signature) -> Result<(), ModelError>) -> Met {
        let (upstream, model) = (self.upstream.name(), self.source.model.as_str());
        let Some(said) = said else {
            tracing::warn!(
                upstream,
                model,
                "a model server does not know a model, or says nothing readable of it"
            );
            return Met::Unknown;
        };
        if let Some(known) = self.signature.get() {
            return if said.contradicts(known) {
                Met::Changed
            } else {
                Met::Same
            };
        }
        let Some(signature) = said.signature(&self.upstream.limits) else {
            tracing::warn!(
                upstream,
                model,
                "a model server does not say what a model takes and gives; declare it with `[[model.NAME.inputs]]` and `[[model.NAME.outputs]]`"
            );
            return Met::Unknown;
        };
        if let Err(error) = fits(&signature) {
            tracing::error!(upstream, model, %error, "a model does not fit its configuration, so it is not served");
            return Met::Unknown;
        }
        // Somebody else may have been first, and with another word.
        let known = self.signature.get_or_init(|| signature);
        if said.contradicts(known) {
            Met::Changed
        } else {
            Met::Same
        }
    }

    /// Whether a replica holds it unchanged.
    pub(super) fn is_same_at(&self, replica: usize) -> bool {
        self.standing(replica) == Standing::Same
    }

    fn standing(&self, replica: usize) -> Standing {
        match self
            .standings
            .get(replica)
            .map(|standing| standing.load(Ordering::Acquire))
        {
            Some(same) if same == Standing::Same as u8 => Standing::Same,
            Some(differs) if differs == Standing::Differs as u8 => Standing::Differs,
            Some(_) | None => Standing::Unknown,
        }
    }
}
