//! TensorFlow Serving's REST API, which KServe calls V1: `:predict` in row and column form, status, metadata.
//!
//! Bodies name no types: those and the ranks come from the model's metadata, given as values. What the protocol has
//! no words for (ids, parameters, requested outputs) is not written. Error bodies are those of
//! [`error_body`](crate::error_body), whose `error` is the key that clients of this protocol read.
//!
//! # Citation
//! tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md`; kserve/kserve, "V1 Inference Protocol".

mod cursor;
mod fuzz;
mod metadata;
mod predict;
mod route;
mod tensor;
mod write;

pub use fuzz::{fuzz_tfs_metadata, fuzz_tfs_predict, fuzz_tfs_route};
pub use metadata::{
    TfsSignature, parse_tfs_metadata, parse_tfs_status, write_tfs_metadata, write_tfs_status,
};
pub use predict::{Form, Predict, parse_predict_request, parse_predict_response};
pub use route::{TfsRoute, TfsRouteError, TfsVersion, tfs_route};
pub use write::{write_predict_request, write_predict_response};
