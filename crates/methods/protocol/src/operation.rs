//! What a policy decides on, whatever protocol asks.

/// A kind of thing that a request can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whether the server lives and is ready, and what it is.
    ServerMetadata,
    /// Whether a model is ready, and what it takes and gives.
    ModelMetadata,
    /// An answer of a model.
    ModelInfer,
    /// A model's configuration file: batching, instances, labels.
    ModelConfig,
    /// Counts and times of past inferences, of one model or of all.
    ModelStatistics,
    /// Which models there are.
    RepositoryIndex,
    /// To load or unload a model.
    RepositoryControl,
    /// To register, look at or unregister memory through which data bypasses the gateway.
    SharedMemory,
    /// To read or change what is traced and logged, and where it is written.
    Settings,
}

impl Operation {
    /// Every operation.
    pub const ALL: &'static [Self] = &[
        Self::ServerMetadata,
        Self::ModelMetadata,
        Self::ModelInfer,
        Self::ModelConfig,
        Self::ModelStatistics,
        Self::RepositoryIndex,
        Self::RepositoryControl,
        Self::SharedMemory,
        Self::Settings,
    ];

    /// Whether it changes the server or opens a way around the gateway, so that only a role of its own may allow it.
    #[must_use]
    pub const fn is_control(self) -> bool {
        match self {
            Self::RepositoryControl | Self::SharedMemory | Self::Settings => true,
            Self::ServerMetadata
            | Self::ModelMetadata
            | Self::ModelInfer
            | Self::ModelConfig
            | Self::ModelStatistics
            | Self::RepositoryIndex => false,
        }
    }
}
