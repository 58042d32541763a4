//! Why a model is refused: on reading, on writing, on loading into an engine, on running.

use crate::{external::ExternalDataError, tensor::DataType};

/// Bytes are not a model that this crate can read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The bytes are not an ONNX file.
    #[error("not an ONNX file: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A bound of [`Limits`](crate::Limits) is reached.
    #[error("the model has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The operator set is too old, too new or foreign.
    #[error(
        "the model uses version {version} of the operator set `{domain}`, and {supported} can be read\nhint: export the model again with `opset_version=17`"
    )]
    Opset {
        /// The operator set.
        domain: String,
        /// The version that the model asks for.
        version: i64,
        /// The versions that can be read.
        supported: &'static str,
    },
    /// An operator that cannot be read, or an option of it.
    #[error("the node `{node}` ({operator}) cannot be read: {reason}")]
    Unsupported {
        /// The node's name, or its first output where it has none.
        node: String,
        /// The operator's name with its domain.
        operator: String,
        /// What is not supported.
        reason: String,
    },
    /// A node, weight, input or output contradicts the ONNX specification.
    #[error("`{name}` is not valid ONNX: {reason}")]
    Invalid {
        /// The name of the node or value.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Weights outside the file could not be read.
    #[error(transparent)]
    External(#[from] ExternalDataError),
}

/// A graph cannot be written as one ONNX file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Protobuf cannot hold more than 2 GiB.
    #[error(
        "the model is larger than the 2 GiB that an ONNX file can hold\nhint: keep the weights in a separate file"
    )]
    TooLarge,
}

/// An engine cannot run a graph.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine refuses the graph.
    #[error("{engine} cannot run the model: {reason}")]
    Refused {
        /// The engine's name.
        engine: &'static str,
        /// The engine's reason, with the operator and node it names.
        reason: String,
    },
    /// An input or output has an element type that the engine does not have.
    #[error("{engine} does not support {data_type} tensors (`{name}`)")]
    DataType {
        /// The engine's name.
        engine: &'static str,
        /// The input, output or weight.
        name: String,
        /// Its element type.
        data_type: DataType,
    },
    /// The ONNX Runtime library must not be loaded.
    #[error("the ONNX Runtime library `{path}` is refused: {reason}")]
    Library {
        /// The configured path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The graph cannot be handed to the engine.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// A run was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An input is missing.
    #[error("the input `{name}` is missing")]
    MissingInput {
        /// The input's name.
        name: String,
    },
    /// The model has no such input.
    #[error("the model has no input `{name}`")]
    UnknownInput {
        /// The name given.
        name: String,
    },
    /// An input was given twice.
    #[error("the input `{name}` is given twice")]
    DuplicateInput {
        /// The input's name.
        name: String,
    },
    /// An input has another element type.
    #[error("the input `{name}` takes {expected}, not {given}")]
    InputType {
        /// The input's name.
        name: String,
        /// The element type that the model takes.
        expected: DataType,
        /// The element type given.
        given: DataType,
    },
    /// An input has another shape.
    #[error("the input `{name}` takes the shape {expected}, not {given}")]
    InputShape {
        /// The input's name.
        name: String,
        /// The shape that the model takes.
        expected: String,
        /// The shape given.
        given: String,
    },
    /// A value of an input cannot be represented by the engine.
    #[error("the input `{name}` holds {value}, which does not fit the engine's 32-bit integers")]
    InputRange {
        /// The input's name.
        name: String,
        /// The value.
        value: i64,
    },
    /// The engine failed.
    #[error("{engine} failed: {reason}")]
    Engine {
        /// The engine's name.
        engine: &'static str,
        /// The engine's reason.
        reason: String,
    },
}

impl RunError {
    /// Whether the caller's input is at fault, and not the model or the engine.
    pub fn is_input(&self) -> bool {
        match self {
            Self::MissingInput { .. }
            | Self::UnknownInput { .. }
            | Self::DuplicateInput { .. }
            | Self::InputType { .. }
            | Self::InputShape { .. }
            | Self::InputRange { .. } => true,
            Self::Engine { .. } => false,
        }
    }
}
