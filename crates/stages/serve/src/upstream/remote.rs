//! A model in another server: what it takes and gives, which replicas hold it unchanged, and one inference.
//!
//! INVARIANT: a signature is set once. A replica that says something else is not asked again until a reload.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use stockade_model::Signature;
use stockade_protocol::InferRequest;
use tokio::time::Instant;

use super::{
    UpstreamError,
    failure::{Failure, Trouble},
    replica::Attempt,
    request::{Answer, Ask, Trace},
    server::{Upstream, Upstreams},
    signature::{self, Said},
    words::{self, Asked},
};
use crate::{
    answer::Refusal,
    config::{ModelConfig, UpstreamSource},
    models::ModelError,
    phases::forward::Named,
    tensors,
};

/// Bodies from this size on are written and read beside the connections' threads.
const LARGE_BODY: usize = 256 << 10;

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

/// Which way an inference went.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    /// The upstream.
    pub(crate) upstream: String,
    /// The last replica asked, counted from 0: `url`, then `replicas`.
    pub(crate) replica: Option<usize>,
    /// How often it was sent again.
    pub(crate) retries: usize,
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
            && replicas.any(|(index, replica)| replica.is_healthy() && self.standing(index) == Standing::Same)
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

    /// Runs the model once, before `deadline`.
    pub(crate) async fn infer(
        self: &Arc<Self>,
        inputs: Named,
        trace: Trace,
        deadline: Instant,
    ) -> (Result<Named, Refusal>, Via) {
        let mut via = Via {
            upstream: self.upstream.name().to_owned(),
            replica: None,
            retries: 0,
        };
        let deadline = deadline.min(Instant::now() + self.upstream.config.timeout_ms.get());
        let outputs = self.run(inputs, &trace, deadline, &mut via).await.map_err(|trouble| {
            let (upstream, replica) = (via.upstream.as_str(), via.replica);
            tracing::warn!(phase = "forward", request_id = %trace.request_id, upstream, replica, ?trouble, "a model server did not answer");
            trouble.refusal()
        });
        (outputs, via)
    }

    async fn run(
        self: &Arc<Self>,
        inputs: Named,
        trace: &Trace,
        deadline: Instant,
        via: &mut Via,
    ) -> Result<Named, Trouble> {
        let id = trace.request_id.to_string();
        let mut request = InferRequest {
            id: Some(id.clone()),
            inputs: inputs
                .into_iter()
                .map(|(name, tensor)| tensors::to_wire(name, tensor))
                .collect(),
            ..InferRequest::default()
        };
        let mut tried = Vec::new();
        let mut trouble = Trouble::Unavailable;
        self.upstream.budget.earn();
        loop {
            let may = |index| self.standing(index) == Standing::Same && !tried.contains(&index);
            let Some((index, attempt)) = self.upstream.choose(may) else {
                return Err(trouble);
            };
            if !tried.is_empty() && !self.upstream.budget.spend() {
                return Err(trouble);
            }
            (via.replica, via.retries) = (Some(index), tried.len());
            let ask;
            (request, ask) = self.write(request, attempt.replica.reads_binary()).await;
            let ask = match ask {
                Ok(ask) => ask,
                Err(unwritable) => return Err(unwritable),
            };
            let bearer = self.upstream.bearer.as_ref();
            match attempt.replica.ask(ask, bearer, Some(trace), deadline).await {
                Ok(answer) => return self.answered(attempt, answer, id).await,
                Err(failure) => {
                    trouble = failure.into();
                    if !self.failed(attempt, failure) {
                        return Err(trouble);
                    }
                    tried.push(index);
                }
            }
        }
    }

    async fn answered(
        self: &Arc<Self>,
        attempt: Attempt<'_>,
        answer: Answer,
        id: String,
    ) -> Result<Named, Trouble> {
        let overloaded = matches!(answer.status, 502..=504) || matches!(answer.grpc_status, Some(4 | 14));
        if overloaded {
            self.opened(attempt.failed(Instant::now()));
        } else {
            attempt.answered();
        }
        let length = answer.body.len();
        let remote = self.clone();
        let reading = move || remote.read(answer, &id);
        if length < LARGE_BODY {
            return reading();
        }
        let read = self.upstream.tasks.spawn_blocking(reading).await;
        read.unwrap_or(Err(Trouble::Failed("reading the answer failed")))
    }

    /// Says whether the request may go to another replica.
    fn failed(&self, attempt: Attempt<'_>, failure: Failure) -> bool {
        let replica = attempt.replica;
        match failure {
            Failure::TooLarge => attempt.spoiled(),
            Failure::NotSent | Failure::Unanswered | Failure::Broken | Failure::TimedOut => {
                self.opened(attempt.failed(Instant::now()));
            }
        }
        // What comes back after it was away says first what it holds.
        match failure {
            Failure::NotSent => {
                replica.eject();
                self.upstream.suspect();
                true
            }
            Failure::Unanswered => {
                self.upstream.suspect();
                self.upstream.config.retry
            }
            Failure::Broken => {
                self.upstream.suspect();
                false
            }
            Failure::TooLarge | Failure::TimedOut => false,
        }
    }

    fn opened(&self, opened: bool) {
        if opened {
            let upstream = self.upstream.name();
            tracing::error!(
                phase = "forward",
                upstream,
                "a replica fails again and again and is left alone"
            );
        }
    }

    /// Writes the request, a large one beside the connections' threads, and gives it back for another attempt.
    async fn write(
        self: &Arc<Self>,
        mut request: InferRequest,
        reads_binary: bool,
    ) -> (InferRequest, Result<Ask, Trouble>) {
        let elements: usize = request.inputs.iter().map(|input| input.data.len()).sum();
        let remote = self.clone();
        let writing = move || {
            request.binary_outputs = reads_binary.then_some(true);
            let protocol = remote.upstream.protocol();
            let ask = words::infer(
                protocol,
                remote.asked(),
                &request,
                reads_binary,
                remote.signature(),
            );
            (request, ask)
        };
        if elements < LARGE_BODY / size_of::<f64>() {
            return writing();
        }
        let written = self.upstream.tasks.spawn_blocking(writing).await;
        written.unwrap_or_else(|_| {
            let failed = Trouble::Failed("writing the request failed");
            (InferRequest::default(), Err(failed))
        })
    }

    fn read(&self, answer: Answer, id: &str) -> Result<Named, Trouble> {
        let (protocol, signature) = (self.upstream.protocol(), self.signature());
        let outputs = words::outputs(
            protocol,
            self.asked(),
            id,
            answer,
            signature,
            &self.upstream.limits,
        )?;
        let mut named = Vec::with_capacity(outputs.len());
        for output in outputs {
            let tensor = tensors::from_wire(&output.shape, output.data)
                .map_err(|_| Trouble::Failed("an output does not fit its shape"))?;
            named.push((output.name, tensor));
        }
        // The order of the signature, as an engine gives it; what is not in it comes last and is refused there.
        let place = |name: &str| {
            let mut outputs = signature.outputs.iter();
            outputs.position(|spec| spec.name == name).unwrap_or(usize::MAX)
        };
        named.sort_by_key(|(name, _)| place(name));
        Ok(named)
    }
}
