//! Parameters that mean something to the protocol itself. They leave the free parameters for typed fields, or are
//! refused: what passes along to a model's server is never an instruction of ours to it.

use std::num::NonZeroU32;

use crate::body_error::{Place, Reason};
use crate::{Parameter, Parameters, RequestedOutput};

pub(crate) const BINARY_DATA: &str = "binary_data";
pub(crate) const BINARY_DATA_OUTPUT: &str = "binary_data_output";
pub(crate) const BINARY_DATA_SIZE: &str = "binary_data_size";
pub(crate) const CLASSIFICATION: &str = "classification";
/// What the names of the shared memory extension's parameters begin with.
const SHARED_MEMORY: &str = "shared_memory_";

/// Whether a name is one of the protocol's own.
pub(crate) fn is_own(name: &str) -> bool {
    let words = [BINARY_DATA, BINARY_DATA_OUTPUT, BINARY_DATA_SIZE, CLASSIFICATION];
    words.contains(&name) || name.starts_with(SHARED_MEMORY)
}

/// Takes a boolean.
pub(crate) fn take_bool(
    parameters: &mut Parameters,
    name: &'static str,
    at: Place,
) -> Result<Option<bool>, Reason> {
    match parameters.remove(name) {
        None => Ok(None),
        Some(Parameter::Bool(value)) => Ok(Some(value)),
        Some(Parameter::Number(_) | Parameter::String(_)) => Err(Reason::WrongParameter {
            at,
            name,
            expected: "true or false",
        }),
    }
}

/// Takes a number of bytes.
pub(crate) fn take_size(parameters: &mut Parameters, at: Place) -> Result<Option<usize>, Reason> {
    let wrong = Reason::WrongParameter {
        at,
        name: BINARY_DATA_SIZE,
        expected: "an integer from 0 on",
    };
    match parameters.remove(BINARY_DATA_SIZE) {
        None => Ok(None),
        Some(value) => integer(&value)
            .and_then(|size| usize::try_from(size).ok())
            .map_or(Err(wrong), |size| Ok(Some(size))),
    }
}

/// Takes the number of classes asked for.
pub(crate) fn take_classification(
    parameters: &mut Parameters,
    at: Place,
) -> Result<Option<NonZeroU32>, Reason> {
    let wrong = Reason::WrongParameter {
        at,
        name: CLASSIFICATION,
        expected: "an integer from 1 on",
    };
    match parameters.remove(CLASSIFICATION) {
        None => Ok(None),
        Some(value) => integer(&value)
            .and_then(|count| u32::try_from(count).ok())
            .and_then(NonZeroU32::new)
            .map_or(Err(wrong), |count| Ok(Some(count))),
    }
}

/// Refuses a parameter of the protocol's own that was not taken: it has no meaning where it stands.
pub(crate) fn refuse_rest(parameters: &Parameters, at: Place) -> Result<(), Reason> {
    match parameters.keys().find(|name| is_own(name)) {
        None => Ok(()),
        Some(name) if name.starts_with(SHARED_MEMORY) => Err(Reason::SharedMemory { at }),
        Some(_) => Err(Reason::Misplaced { at }),
    }
}

fn integer(value: &Parameter) -> Option<u64> {
    match value {
        Parameter::Number(number) => number.as_u64(),
        Parameter::Bool(_) | Parameter::String(_) => None,
    }
}

impl RequestedOutput {
    /// The output with its own parameters taken out of the free ones.
    pub(crate) fn new(name: String, mut parameters: Parameters, at: Place) -> Result<Self, Reason> {
        let binary = take_bool(&mut parameters, BINARY_DATA, at)?;
        let classification = take_classification(&mut parameters, at)?;
        refuse_rest(&parameters, at)?;
        Ok(Self {
            name,
            parameters,
            binary,
            classification,
        })
    }
}
