//! The Open Inference Protocol V2 over HTTP: paths, JSON bodies, metadata.
//!
//! # Citation
//! kserve/open-inference-protocol, `specification/protocol/inference_rest.md`. The binary tensor data extension is that of
//! triton-inference-server/server, `docs/protocol/extension_binary_data.md`.

mod binary;
mod data;
mod described;
mod extension;
mod fields;
mod fuzz;
mod metadata;
mod parse;
mod repository;
mod route;
mod write;

pub use crate::limits::BodyLimits;
pub use binary::{parse_binary_infer_request, parse_binary_infer_response};
pub use described::{parse_model_metadata, parse_server_metadata};
pub use extension::{Access, Endpoint, Extension, Memory, MemoryAction, endpoint};
pub use fuzz::{fuzz_oip_binary, fuzz_oip_body, fuzz_oip_route};
pub use metadata::{
    Label, ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady, TensorMetadata,
};
pub use parse::{parse_infer_request, parse_infer_response};
pub(crate) use repository::config_type;
pub use repository::{ModelConfig, ModelIndex, ModelStatistics, StatisticDuration};
pub(crate) use route::decode;
pub use route::{Name, Route, RouteError, route};
pub(crate) use write::push_json;
pub use write::{
    BinaryBody, write_binary_infer_request, write_binary_infer_response, write_infer_request,
    write_infer_response,
};
