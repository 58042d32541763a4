//! The sixth phase: the model runs, in the embedded engine or in another server, within a deadline.

mod pool;

use std::{sync::Arc, time::Duration};

use stockade_evidence::Control;
use stockade_model::Tensor;
use stockade_protocol::ErrorCode;
use tokio::time::Instant;

pub(crate) use self::pool::{Pool, Slot};
use crate::{
    answer::Refusal,
    models::{Engine, ServedModel},
    phases::authorize::Granted,
    upstream::{Trace, Via},
};

/// Named tensors.
pub(crate) type Named = Vec<(String, Tensor)>;

/// Passes a model on that can be asked now.
pub(crate) fn ready(
    (model, granted): (&Arc<ServedModel>, Granted),
) -> Result<(&Arc<ServedModel>, Granted), Refusal> {
    if model.is_ready() {
        return Ok((model, granted));
    }
    let (code, control) = (ErrorCode::Unavailable, Control::RunningModelIntegrity);
    Err(Refusal::new(code, control, "the model's server is not ready").after(Duration::from_secs(1)))
}

/// Runs the model once, before `deadline`, and says which way it went where that was not here.
pub(crate) async fn forward(
    pool: &Pool,
    model: &ServedModel,
    inputs: Named,
    slot: Slot,
    trace: Trace,
    deadline: Instant,
) -> (Result<Named, Refusal>, Option<Via>) {
    match model.engine() {
        Engine::Embedded(session) => (pool.run(session.clone(), inputs, slot, deadline).await, None),
        Engine::Upstream(remote) => {
            let (outputs, via) = remote.infer(inputs, trace, deadline).await;
            drop(slot);
            (outputs, Some(via))
        }
    }
}
