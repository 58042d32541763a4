//! From a path to a method of the service.

use crate::Operation;

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident => $operation:ident;)*) => {
        /// A method of `inference.GRPCInferenceService`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum GrpcMethod { $($(#[$doc])* $method,)* }

        impl GrpcMethod {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$method,)*];

            /// Its path, for a client.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$method => concat!("/inference.GRPCInferenceService/", stringify!($method)),)*
                }
            }

            /// What a policy decides on.
            #[must_use]
            pub const fn operation(self) -> Operation {
                match self { $(Self::$method => Operation::$operation,)* }
            }
        }
    };
}

methods! {
    /// Whether the server lives.
    ServerLive => ServerMetadata;
    /// Whether the server is ready.
    ServerReady => ServerMetadata;
    /// Whether a model is ready.
    ModelReady => ModelMetadata;
    /// What the server is.
    ServerMetadata => ServerMetadata;
    /// What a model takes and gives.
    ModelMetadata => ModelMetadata;
    /// One inference.
    ModelInfer => ModelInfer;
    /// Inferences in a stream.
    ModelStreamInfer => ModelInfer;
    /// A model's configuration.
    ModelConfig => ModelConfig;
    /// Counts and times of past inferences.
    ModelStatistics => ModelStatistics;
    /// Which models there are.
    RepositoryIndex => RepositoryIndex;
    /// Load a model.
    RepositoryModelLoad => RepositoryControl;
    /// Unload a model.
    RepositoryModelUnload => RepositoryControl;
    /// Look at regions of the host's memory.
    SystemSharedMemoryStatus => SharedMemory;
    /// Register a region of the host's memory.
    SystemSharedMemoryRegister => SharedMemory;
    /// Unregister a region of the host's memory.
    SystemSharedMemoryUnregister => SharedMemory;
    /// Look at regions of an accelerator's memory.
    CudaSharedMemoryStatus => SharedMemory;
    /// Register a region of an accelerator's memory.
    CudaSharedMemoryRegister => SharedMemory;
    /// Unregister a region of an accelerator's memory.
    CudaSharedMemoryUnregister => SharedMemory;
    /// Read or change what is traced.
    TraceSetting => Settings;
    /// Read or change what is logged.
    LogSettings => Settings;
}

/// The method of a request's path. gRPC has one spelling: nothing is decoded.
#[must_use]
pub fn grpc_method(path: &str) -> Option<GrpcMethod> {
    GrpcMethod::ALL
        .iter()
        .copied()
        .find(|method| method.path() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_one_path() {
        assert_eq!(
            GrpcMethod::ModelInfer.path(),
            "/inference.GRPCInferenceService/ModelInfer"
        );
        for &method in GrpcMethod::ALL {
            assert_eq!(grpc_method(method.path()), Some(method));
            let control = method.operation().is_control();
            let words = ["Load", "Unload", "SharedMemory", "Settings", "TraceSetting"];
            assert_eq!(
                control,
                words.iter().any(|word| method.path().contains(word)),
                "{method:?}"
            );
        }
        for path in [
            "",
            "/inference.GRPCInferenceService/",
            "/inference.GRPCInferenceService/modelinfer",
            "/inference.GRPCInferenceService/ModelInfer/",
            "//inference.GRPCInferenceService/ModelInfer",
            "/inference.GRPCInferenceService/Model%49nfer",
        ] {
            assert_eq!(grpc_method(path), None, "{path}");
        }
    }
}
