//! One inference in another server: to a replica, perhaps to another one, and its answer back as an engine gives it.

use std::sync::Arc;

use stockade_protocol::InferRequest;
use tokio::time::Instant;

use super::{
    failure::{Failure, Trouble},
    remote::Remote,
    replica::Attempt,
    request::{Answer, Ask, Trace},
    words,
};
use crate::{answer::Refusal, phases::forward::Named, tensors};

/// Bodies from this size on are written and read beside the connections' threads.
const LARGE_BODY: usize = 256 << 10;

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
    /// Runs the model once, before `deadline`.
    pub(crate) async fn infer(
        self: &Arc<Self>,
        inputs: Named,
        trace: Trace,
        deadline: Instant,
    ) -> (Result<Named, Refusal>, Via) {
        let mut via = Via {
            upstream: self.upstream().name().to_owned(),
            replica: None,
            retries: 0,
        };
        let deadline = deadline.min(Instant::now() + self.upstream().config.timeout_ms.get());
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
        self.upstream().budget.earn();
        loop {
            let may = |index| self.is_same_at(index) && !tried.contains(&index);
            let Some((index, attempt)) = self.upstream().choose(may) else {
                return Err(trouble);
            };
            if !tried.is_empty() && !self.upstream().budget.spend() {
                return Err(trouble);
            }
            (via.replica, via.retries) = (Some(index), tried.len());
            let ask;
            (request, ask) = self.write(request, attempt.replica.reads_binary()).await;
            let ask = match ask {
                Ok(ask) => ask,
                Err(unwritable) => return Err(unwritable),
            };
            let bearer = self.upstream().bearer.as_ref();
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
        let read = self.upstream().tasks.spawn_blocking(reading).await;
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
                self.upstream().suspect();
                true
            }
            Failure::Unanswered => {
                self.upstream().suspect();
                self.upstream().config.retry
            }
            Failure::Broken => {
                self.upstream().suspect();
                false
            }
            Failure::TooLarge | Failure::TimedOut => false,
        }
    }

    fn opened(&self, opened: bool) {
        if opened {
            let upstream = self.upstream().name();
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
            let protocol = remote.upstream().protocol();
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
        let written = self.upstream().tasks.spawn_blocking(writing).await;
        written.unwrap_or_else(|_| {
            let failed = Trouble::Failed("writing the request failed");
            (InferRequest::default(), Err(failed))
        })
    }

    fn read(&self, answer: Answer, id: &str) -> Result<Named, Trouble> {
        let (protocol, signature) = (self.upstream().protocol(), self.signature());
        let outputs = words::outputs(
            protocol,
            self.asked(),
            id,
            answer,
            signature,
            &self.upstream().limits,
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
