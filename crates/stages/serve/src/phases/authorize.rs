//! The third phase: Cedar decides whether the principal may do this (control 29).
//!
//! A model that one may not see and a model that does not exist are one case: the same two questions are asked about
//! a stand-in, and the same answer is given.

use std::sync::Arc;

use stockade_access::{Access, Action, Principal, Resource};
use stockade_evidence::Control;
use stockade_protocol::{ErrorCode, Operation};

use crate::{answer::Refusal, models::ServedModel};

/// Stands for every model that does not exist. No model can be named so.
const NO_MODEL: &str = "(none)";

/// What allowed it.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) policies: Vec<String>,
}

/// The action that policies know an operation by.
pub(crate) const fn action(operation: Operation) -> Action {
    match operation {
        Operation::ServerMetadata => Action::ServerMetadata,
        Operation::ModelMetadata => Action::ModelMetadata,
        Operation::ModelInfer => Action::ModelInfer,
        Operation::ModelConfig => Action::ModelConfig,
        Operation::ModelStatistics => Action::ModelStatistics,
        Operation::RepositoryIndex => Action::RepositoryIndex,
        Operation::RepositoryControl => Action::RepositoryControl,
        Operation::SharedMemory => Action::ServerSharedMemory,
        Operation::Settings => Action::ServerSettings,
    }
}

/// Whether `who` may do `action` to something that is no secret.
pub(crate) fn thing(
    access: &Access,
    who: &Principal,
    action: Action,
    what: &Resource,
) -> Result<Granted, Refusal> {
    let decided = access.authorize(who, action, what);
    if decided.allowed {
        return Ok(Granted {
            policies: decided.policies,
        });
    }
    Err(Refusal {
        policies: decided.policies,
        ..forbidden()
    })
}

/// Whether `who` may do `action` to a model, which may not exist.
pub(crate) fn model<'a>(
    access: &Access,
    who: &Principal,
    action: Action,
    served: Option<&'a Arc<ServedModel>>,
) -> Result<(&'a Arc<ServedModel>, Granted), Refusal> {
    let what = served.map_or_else(
        || Resource::Model {
            name: NO_MODEL.to_owned(),
            environment: who.environment,
        },
        |model| Resource::Model {
            name: model.name().to_owned(),
            environment: model.environment(),
        },
    );
    let decided = access.authorize(who, action, &what);
    if let (true, Some(model)) = (decided.allowed, served) {
        return Ok((
            model,
            Granted {
                policies: decided.policies,
            },
        ));
    }
    let seen = access.authorize(who, Action::ModelMetadata, &what).allowed && served.is_some();
    Err(Refusal {
        policies: decided.policies,
        ..if seen { forbidden() } else { no_such_model() }
    })
}

fn forbidden() -> Refusal {
    Refusal::new(
        ErrorCode::Forbidden,
        Control::AccessControl,
        "your roles do not allow this",
    )
}

fn no_such_model() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        Control::AccessControl,
        "there is no such model",
    )
}
