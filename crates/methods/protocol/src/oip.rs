//! The Open Inference Protocol V2 over HTTP: paths, JSON bodies, metadata.
//!
//! # Citation
//! kserve/open-inference-protocol, `specification/protocol/inference_rest.md`. The binary tensor data extension is not
//! spoken here.

mod data;
mod error;
mod fields;
mod fuzz;
mod limits;
mod metadata;
mod parse;
mod route;
mod write;

pub use error::OipError;
pub use fuzz::{fuzz_oip_body, fuzz_oip_route};
pub use limits::BodyLimits;
pub use metadata::{
    Label, ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady, TensorMetadata,
};
pub use parse::{parse_infer_request, parse_infer_response};
pub use route::{Name, Route, RouteError, route};
pub(crate) use write::push_json;
pub use write::{WriteError, write_infer_request, write_infer_response};
