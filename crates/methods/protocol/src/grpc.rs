//! The Open Inference Protocol V2 over gRPC: `inference.GRPCInferenceService`, with Triton's additions.
//!
//! The messages are written by hand, with the field numbers of the `.proto` file. What becomes tensors is counted on
//! the wire first, so that a short message cannot ask for much memory.
//!
//! # Citation
//! kserve/open-inference-protocol, `specification/protocol/open_inference_grpc.proto`; triton-inference-server/common,
//! `protobuf/grpc_service.proto`.

mod answers;
mod bounds;
mod contents;
mod control;
mod frame;
mod fuzz;
mod infer;
mod message;
mod method;
mod statistics;
mod status;

pub use answers::{ModelConfig, ModelInput, ModelOutput};
pub use control::{
    CudaSharedMemoryRegion, CudaSharedMemoryRegisterRequest, CudaSharedMemoryRegisterResponse,
    CudaSharedMemoryStatusRequest, CudaSharedMemoryStatusResponse, CudaSharedMemoryUnregisterRequest,
    CudaSharedMemoryUnregisterResponse, LogSetting, LogSettingValue, LogSettingsRequest, LogSettingsResponse,
    ModelIndex, ModelRepositoryParameter, ModelRepositoryParameterValue, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModelLoadRequest, RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest, RepositoryModelUnloadResponse, SystemSharedMemoryRegion,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse, SystemSharedMemoryStatusRequest,
    SystemSharedMemoryStatusResponse, SystemSharedMemoryUnregisterRequest,
    SystemSharedMemoryUnregisterResponse, TraceSetting, TraceSettingRequest, TraceSettingResponse,
};
pub use frame::{FrameError, Framed, frame, unframe, unframe_coded};
pub use fuzz::{fuzz_grpc_frame, fuzz_grpc_infer, fuzz_grpc_method};
pub use infer::{
    Contents, ModelInfer, parse_grpc_infer_request, parse_grpc_infer_response, write_grpc_infer_request,
    write_grpc_infer_response,
};
pub use message::{
    InferParameter, InferParameterValue, InferRequestedOutputTensor, InferTensor, InferTensorContents,
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStreamInferResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse, TensorMetadata, decode, encode,
};
pub use method::{GrpcMethod, grpc_method};
pub use statistics::{
    InferBatchStatistics, InferResponseStatistics, InferStatistics, MemoryUsage, ModelStatistics,
    ModelStatisticsRequest, ModelStatisticsResponse, StatisticDuration,
};
pub use status::{GrpcStatus, grpc_message};
