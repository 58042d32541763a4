//! What every protocol is translated to and from: one request, one answer, their tensors.
//!
//! The names of data types are those of the Open Inference Protocol V2 ("Tensor Data Types").

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Serialize, Serializer};

/// Values that a protocol passes along without meaning of its own; scalars only, as the protocol says.
///
/// Parsers take the protocol's own (`binary_data`, `classification` and the like) out into typed fields and refuse
/// those of shared memory; writers never write a name of these from here.
pub type Parameters = BTreeMap<String, Parameter>;

/// One value of [`Parameters`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A JSON number.
    Number(serde_json::Number),
    /// A string.
    String(String),
}

/// A request for one inference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The client's own name for the request; the answer repeats it.
    pub id: Option<String>,
    /// Parameters of the whole request.
    pub parameters: Parameters,
    /// The input tensors; at least one, names differ.
    pub inputs: Vec<WireTensor>,
    /// The outputs that the client wants; `None` is all of them.
    pub outputs: Option<Vec<RequestedOutput>>,
    /// Whether outputs are to come as raw bytes where [`RequestedOutput::binary`] says nothing; HTTP only.
    pub binary_outputs: Option<bool>,
}

impl InferRequest {
    /// Whether the client wants the output of that name as raw bytes behind the JSON.
    #[must_use]
    pub fn wants_binary(&self, output: &str) -> bool {
        let requested = self.outputs.iter().flatten().find(|each| each.name == output);
        requested
            .and_then(|each| each.binary)
            .or(self.binary_outputs)
            .unwrap_or(false)
    }
}

/// An output that a client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestedOutput {
    /// The output's name.
    pub name: String,
    /// Parameters of this output.
    pub parameters: Parameters,
    /// Whether it is to come as raw bytes behind the JSON; HTTP only.
    pub binary: Option<bool>,
    /// That many of the greatest elements as `value:index[:label]`, in place of the output itself.
    pub classification: Option<NonZeroU32>,
}

/// The answer to one [`InferRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferResponse {
    /// The model that answered.
    pub model_name: String,
    /// Its version.
    pub model_version: Option<String>,
    /// The request's `id`.
    pub id: Option<String>,
    /// Parameters of the whole answer.
    pub parameters: Parameters,
    /// The output tensors.
    pub outputs: Vec<WireTensor>,
}

/// One named tensor, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct WireTensor {
    /// The input's or output's name.
    pub name: String,
    /// The element type. In a parsed request it always fits `data`.
    pub datatype: WireType,
    /// The extent of each dimension. In a parsed request their product is the number of elements.
    pub shape: Vec<u64>,
    /// Parameters of this tensor.
    pub parameters: Parameters,
    /// The elements.
    pub data: WireData,
}

/// The element types of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireType {
    /// `BOOL`
    Bool,
    /// `UINT8`
    U8,
    /// `INT8`
    I8,
    /// `UINT16`
    U16,
    /// `INT16`
    I16,
    /// `UINT32`
    U32,
    /// `INT32`
    I32,
    /// `UINT64`
    U64,
    /// `INT64`
    I64,
    /// `FP16`
    F16,
    /// `BF16`
    BF16,
    /// `FP32`
    F32,
    /// `FP64`
    F64,
    /// `BYTES`
    Bytes,
}

impl WireType {
    /// Every type.
    pub const ALL: &'static [Self] = &[
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
        Self::Bytes,
    ];

    /// The protocol's name, such as `FP32`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "UINT8",
            Self::I8 => "INT8",
            Self::U16 => "UINT16",
            Self::I16 => "INT16",
            Self::U32 => "UINT32",
            Self::I32 => "INT32",
            Self::U64 => "UINT64",
            Self::I64 => "INT64",
            Self::F16 => "FP16",
            Self::BF16 => "BF16",
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type of that name; names are exact.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|each| each.as_str() == name)
    }
}

impl fmt::Display for WireType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for WireType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A tensor's elements; half precision as bits.
#[derive(Clone, Debug, PartialEq)]
pub enum WireData {
    /// `BOOL`
    Bool(Vec<bool>),
    /// `UINT8`
    U8(Vec<u8>),
    /// `INT8`
    I8(Vec<i8>),
    /// `UINT16`
    U16(Vec<u16>),
    /// `INT16`
    I16(Vec<i16>),
    /// `UINT32`
    U32(Vec<u32>),
    /// `INT32`
    I32(Vec<i32>),
    /// `UINT64`
    U64(Vec<u64>),
    /// `INT64`
    I64(Vec<i64>),
    /// `FP16`, IEEE 754 binary16 bits
    F16(Vec<u16>),
    /// `BF16`, the upper half of binary32 bits
    BF16(Vec<u16>),
    /// `FP32`
    F32(Vec<f32>),
    /// `FP64`
    F64(Vec<f64>),
    /// `BYTES`
    Bytes(Vec<Vec<u8>>),
}

impl WireData {
    /// The element type.
    #[must_use]
    pub const fn datatype(&self) -> WireType {
        match self {
            Self::Bool(_) => WireType::Bool,
            Self::U8(_) => WireType::U8,
            Self::I8(_) => WireType::I8,
            Self::U16(_) => WireType::U16,
            Self::I16(_) => WireType::I16,
            Self::U32(_) => WireType::U32,
            Self::I32(_) => WireType::I32,
            Self::U64(_) => WireType::U64,
            Self::I64(_) => WireType::I64,
            Self::F16(_) => WireType::F16,
            Self::BF16(_) => WireType::BF16,
            Self::F32(_) => WireType::F32,
            Self::F64(_) => WireType::F64,
            Self::Bytes(_) => WireType::Bytes,
        }
    }

    /// The number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Bool(data) => data.len(),
            Self::U8(data) => data.len(),
            Self::I8(data) => data.len(),
            Self::U16(data) | Self::F16(data) | Self::BF16(data) => data.len(),
            Self::I16(data) => data.len(),
            Self::U32(data) => data.len(),
            Self::I32(data) => data.len(),
            Self::U64(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::F32(data) => data.len(),
            Self::F64(data) => data.len(),
            Self::Bytes(data) => data.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The client asks for an output that the model does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`outputs[{position}]` asks for an output that the model does not have")]
pub struct UnknownOutput {
    position: usize,
}

/// The outputs that were asked for, in the order asked for; all of them when nothing was asked for.
pub fn select_outputs(
    mut outputs: Vec<WireTensor>,
    requested: Option<&[RequestedOutput]>,
) -> Result<Vec<WireTensor>, UnknownOutput> {
    let Some(requested) = requested else {
        return Ok(outputs);
    };
    let mut selected = Vec::with_capacity(requested.len());
    for (position, wanted) in requested.iter().enumerate() {
        let found = outputs.iter().position(|output| output.name == wanted.name);
        selected.push(outputs.swap_remove(found.ok_or(UnknownOutput { position })?));
    }
    Ok(selected)
}
