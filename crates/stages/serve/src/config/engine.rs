//! Which engine runs the models.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_model::EngineChoice;

/// The engine and its threads.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Which engine.
    pub kind: EngineKind,
    /// Absolute path of libonnxruntime, for `onnx_runtime`.
    pub library: Option<PathBuf>,
    /// Threads within one inference; 1 suits small models, where requests already run beside each other.
    pub threads: std::num::NonZeroUsize,
}

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Pure Rust, always there.
    #[default]
    Rten,
    /// ONNX Runtime, loaded from `library`.
    OnnxRuntime,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kind: EngineKind::default(),
            library: None,
            threads: std::num::NonZeroUsize::MIN,
        }
    }
}

/// `onnx_runtime` was chosen without naming its library.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the engine `onnx_runtime` needs `library`\nhint: set `[engine] library` to the absolute path of libonnxruntime"
)]
pub struct MissingLibrary;

impl EngineConfig {
    /// The engine, as the model crate wants it named.
    pub fn choice(&self) -> Result<EngineChoice, MissingLibrary> {
        match (self.kind, &self.library) {
            (EngineKind::Rten, _) => Ok(EngineChoice::Rten),
            (EngineKind::OnnxRuntime, Some(library)) => Ok(EngineChoice::OnnxRuntime {
                library: library.clone(),
            }),
            (EngineKind::OnnxRuntime, None) => Err(MissingLibrary),
        }
    }
}
