//! Wire forms of inference protocols to and from one exchange; pure.
//!
//! Every protocol is translated into the same words ([`InferRequest`], [`InferResponse`], [`WireTensor`]), so that
//! whatever looks at a request below this crate looks at it once. Start in [`oip`], the Open Inference Protocol over
//! HTTP; [`grpc`] is the same over gRPC, [`tfs`] is TensorFlow Serving's protocol, which KServe calls V1.
//!
//! INVARIANT: an error's text never repeats a byte that the client sent, so it may be logged as it is.

mod body_error;
mod classify;
mod element;
mod error_code;
mod exchange;
mod finite;
pub mod grpc;
mod limits;
pub mod oip;
mod operation;
mod own;
mod raw;
pub mod tfs;
mod write_error;

pub use body_error::BodyError;
pub use classify::{NotRanked, classify};
pub use error_code::{ErrorCode, error_body};
pub use exchange::{
    InferRequest, InferResponse, Parameter, Parameters, RequestedOutput, UnknownOutput, WireData, WireTensor,
    WireType, select_outputs,
};
pub use finite::Floats;
pub use grpc::{fuzz_grpc_frame, fuzz_grpc_infer, fuzz_grpc_method};
pub use oip::{fuzz_oip_binary, fuzz_oip_body, fuzz_oip_route};
pub use operation::Operation;
pub use tfs::{fuzz_tfs_metadata, fuzz_tfs_predict, fuzz_tfs_route};
pub use write_error::WriteError;
