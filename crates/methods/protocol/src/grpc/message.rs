//! Messages of inference and metadata, with the field numbers of the `.proto` file.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::body_error::{BodyError, Reason};

/// Reads a message of no more than `max_bytes`; meant for the small ones, whose parts are not counted.
pub fn decode<M: Message + Default>(body: Bytes, max_bytes: usize) -> Result<M, BodyError> {
    if body.len() > max_bytes {
        return Err(BodyError::new(Reason::BodyTooLarge { limit: max_bytes }));
    }
    M::decode(body).map_err(|_| BodyError::new(Reason::NotAMessage))
}

/// A message as it goes into its frame.
pub fn encode(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// `ServerLive`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ServerLiveRequest {}

/// `ServerLive`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ServerLiveResponse {
    /// Whether the server takes requests.
    #[prost(bool, tag = "1")]
    pub live: bool,
}

/// `ServerReady`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ServerReadyRequest {}

/// `ServerReady`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ServerReadyResponse {
    /// Whether all models can answer.
    #[prost(bool, tag = "1")]
    pub ready: bool,
}

/// `ModelReady`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ModelReadyRequest {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty is the server's choice.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ModelReady`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelReadyResponse {
    /// Whether the model can answer.
    #[prost(bool, tag = "1")]
    pub ready: bool,
}

/// `ServerMetadata`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ServerMetadataRequest {}

/// `ServerMetadata`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ServerMetadataResponse {
    /// What the server calls itself.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The extensions it speaks.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// `ModelMetadata`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ModelMetadataRequest {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty is the server's choice.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ModelMetadata`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelMetadataResponse {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The versions that can be asked.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// The model's format.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// What the model takes.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
}

/// `ModelMetadataResponse.TensorMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorMetadata {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The protocol's name of its element type.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its shape; -1 where the size varies.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// A value that passes along.
#[derive(Clone, PartialEq, Message)]
pub struct InferParameter {
    /// The value; what has none is no parameter.
    #[prost(oneof = "InferParameterValue", tags = "1, 2, 3, 4, 5")]
    pub value: Option<InferParameterValue>,
}

/// `InferParameter.parameter_choice`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum InferParameterValue {
    /// `bool_param`
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// `int64_param`
    #[prost(int64, tag = "2")]
    Int64(i64),
    /// `string_param`
    #[prost(string, tag = "3")]
    String(String),
    /// `double_param`
    #[prost(double, tag = "4")]
    Double(f64),
    /// `uint64_param`
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

/// Elements in the field of their type.
#[derive(Clone, PartialEq, Message)]
pub struct InferTensorContents {
    /// `BOOL`
    #[prost(bool, repeated, tag = "1")]
    pub bool_contents: Vec<bool>,
    /// `INT8`, `INT16`, `INT32`
    #[prost(int32, repeated, tag = "2")]
    pub int_contents: Vec<i32>,
    /// `INT64`
    #[prost(int64, repeated, tag = "3")]
    pub int64_contents: Vec<i64>,
    /// `UINT8`, `UINT16`, `UINT32`
    #[prost(uint32, repeated, tag = "4")]
    pub uint_contents: Vec<u32>,
    /// `UINT64`
    #[prost(uint64, repeated, tag = "5")]
    pub uint64_contents: Vec<u64>,
    /// `FP32`
    #[prost(float, repeated, tag = "6")]
    pub fp32_contents: Vec<f32>,
    /// `FP64`
    #[prost(double, repeated, tag = "7")]
    pub fp64_contents: Vec<f64>,
    /// `BYTES`
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes_contents: Vec<Vec<u8>>,
}

/// `ModelInferRequest.InferInputTensor` and `ModelInferResponse.InferOutputTensor`, which are alike.
#[derive(Clone, PartialEq, Message)]
pub struct InferTensor {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The protocol's name of its element type.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its shape.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// Parameters of this tensor.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The elements, unless they are in the message's raw contents.
    #[prost(message, optional, tag = "5")]
    pub contents: Option<InferTensorContents>,
}

/// `ModelInferRequest.InferRequestedOutputTensor`.
#[derive(Clone, PartialEq, Message)]
pub struct InferRequestedOutputTensor {
    /// The output's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Parameters of this output.
    #[prost(btree_map = "string, message", tag = "2")]
    pub parameters: BTreeMap<String, InferParameter>,
}

/// `ModelInfer`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInferRequest {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version; empty is the server's choice.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The client's own name for the request; empty is none.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Parameters of the whole request.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The input tensors.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<InferTensor>,
    /// The outputs that the client wants; empty is all of them.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<InferRequestedOutputTensor>,
    /// The elements of each input, unless they are in the inputs.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_input_contents: Vec<Bytes>,
}

/// `ModelInfer`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInferResponse {
    /// The model that answered.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The request's id.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Parameters of the whole answer.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The output tensors.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<InferTensor>,
    /// The elements of each output, unless they are in the outputs.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_output_contents: Vec<Bytes>,
}

/// `ModelStreamInfer`: an answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelStreamInferResponse {
    /// Why there is none; empty is success.
    #[prost(string, tag = "1")]
    pub error_message: String,
    /// The answer.
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<ModelInferResponse>,
}

/// `ModelConfig`: the question.
#[derive(Clone, PartialEq, Message)]
pub struct ModelConfigRequest {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version; empty is the server's choice.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ModelConfig`: the answer.
#[derive(Clone, PartialEq, Message)]
pub struct ModelConfigResponse {
    /// A `ModelConfig` message, which is passed along unread.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub config: Option<Bytes>,
}
