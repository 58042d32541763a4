//! The graph: one normal form for every model.

use std::collections::BTreeSet;

use crate::{
    error::{ExportError, ImportError},
    external::ExternalData,
    limits::Limits,
    tensor::{Labels, TensorSpec},
};

/// A model as a graph of ONNX operators in normal form.
#[derive(Clone, Debug)]
pub struct Graph {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    labels: Option<Labels>,
    opset: u32,
    operators: BTreeSet<String>,
}

impl Graph {
    /// Reads an ONNX file. `external` gives the weights that lie outside it.
    pub fn from_onnx(
        bytes: &[u8],
        external: &dyn ExternalData,
        limits: &Limits,
    ) -> Result<Self, ImportError> {
        let _ = (external, limits);
        Err(ImportError::Malformed {
            reason: format!("{} bytes", bytes.len()),
        })
    }

    /// Writes the graph as one ONNX file.
    pub fn to_onnx(&self) -> Result<Vec<u8>, ExportError> {
        Err(ExportError::TooLarge)
    }

    /// What the model takes.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// What the model gives.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// The names of a classifier's classes, in the order of its scores.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The version of the ONNX operator set.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// The operators used, such as `Conv` or `ai.onnx.ml.LabelEncoder`.
    pub fn operators(&self) -> BTreeSet<String> {
        self.operators.clone()
    }
}
