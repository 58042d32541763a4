//! A constant tensor of a graph: shape, element type and little-endian bytes, shared and never copied where that can be avoided.

use bytes::Bytes;

use crate::{
    error::ImportError,
    external::{ExternalData, check_location},
    proto::{EXTERNAL, TensorProto},
    tensor::DataType,
};

/// A constant tensor.
// INVARIANT: `data` holds as many elements of `data_type` as `shape` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weight {
    pub(crate) data_type: DataType,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: WeightData,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WeightData {
    /// Elements as little-endian bytes.
    Raw(Bytes),
    /// Text; engines never see it.
    Text(Vec<Bytes>),
}

impl Weight {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self::raw(
            DataType::F32,
            shape,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    pub(crate) fn i64(shape: &[usize], values: &[i64]) -> Self {
        Self::raw(
            DataType::I64,
            shape,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    pub(crate) fn raw(data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self {
            data_type,
            shape: shape.to_vec(),
            data: WeightData::Raw(Bytes::from(bytes)),
        }
    }

    /// The little-endian bytes, unless this is text.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match &self.data {
            WeightData::Raw(bytes) => Some(bytes),
            WeightData::Text(_) => None,
        }
    }

    /// The elements, if they are 64-bit integers.
    pub(crate) fn as_i64(&self) -> Option<Vec<i64>> {
        let bytes = self.bytes().filter(|_| self.data_type == DataType::I64)?;
        Some(
            bytes
                .chunks_exact(8)
                .filter_map(|part| part.try_into().ok().map(i64::from_le_bytes))
                .collect(),
        )
    }

    /// The elements, if they are 32-bit floats.
    pub(crate) fn as_f32(&self) -> Option<Vec<f32>> {
        let bytes = self.bytes().filter(|_| self.data_type == DataType::F32)?;
        Some(
            bytes
                .chunks_exact(4)
                .filter_map(|part| part.try_into().ok().map(f32::from_le_bytes))
                .collect(),
        )
    }

    /// The elements, if they are text.
    pub(crate) fn as_text(&self) -> Option<&[Bytes]> {
        match &self.data {
            WeightData::Raw(_) => None,
            WeightData::Text(text) => Some(text),
        }
    }

    /// Reads a tensor; `budget` is the number of bytes of weights that remain allowed.
    pub(crate) fn from_proto(
        tensor: TensorProto,
        external: &dyn ExternalData,
        budget: &mut Budget,
    ) -> Result<Self, ImportError> {
        let invalid = |reason: &str| ImportError::Invalid {
            name: tensor.name.clone(),
            reason: reason.to_owned(),
        };
        let data_type = data_type_from_onnx(tensor.data_type)
            .ok_or_else(|| invalid("its element type is unknown or not supported"))?;
        let shape = tensor
            .dims
            .iter()
            .map(|dim| usize::try_from(*dim).map_err(|_| invalid("a dimension is negative")))
            .collect::<Result<Vec<_>, _>>()?;
        let count = shape
            .iter()
            .try_fold(1_usize, |count, dim| count.checked_mul(*dim))
            .ok_or_else(|| invalid("its shape overflows"))?;
        let Some(size) = data_type.size() else {
            let text = tensor.string_data;
            return if text.len() == count {
                budget.take(text.iter().map(Bytes::len).sum())?;
                Ok(Self {
                    data_type,
                    shape,
                    data: WeightData::Text(text),
                })
            } else {
                Err(ImportError::Invalid {
                    name: tensor.name,
                    reason: "its text does not fill its shape".to_owned(),
                })
            };
        };
        let length = count
            .checked_mul(size)
            .ok_or_else(|| invalid("its shape overflows"))?;
        let bytes = if tensor.data_location == EXTERNAL {
            read_external(&tensor, length, external, budget)?
        } else if tensor.raw_data.is_empty() {
            from_typed_fields(&tensor, data_type)
        } else {
            tensor.raw_data.clone()
        };
        budget.take(bytes.len())?;
        if bytes.len() == length {
            Ok(Self {
                data_type,
                shape,
                data: WeightData::Raw(bytes),
            })
        } else {
            Err(invalid(&format!(
                "its {} bytes do not fill its shape, which needs {length}",
                bytes.len()
            )))
        }
    }
}

/// The bytes of weights that remain allowed.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    left: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, left: limit }
    }

    fn take(&mut self, bytes: usize) -> Result<(), ImportError> {
        self.left = u64::try_from(bytes)
            .ok()
            .and_then(|bytes| self.left.checked_sub(bytes))
            .ok_or(ImportError::TooLarge {
                what: "bytes of weights",
                limit: self.limit,
            })?;
        Ok(())
    }
}

/// ONNX, "External Data": the keys are location, offset and length.
fn read_external(
    tensor: &TensorProto,
    length: usize,
    external: &dyn ExternalData,
    budget: &Budget,
) -> Result<Bytes, ImportError> {
    let invalid = |reason: &str| ImportError::Invalid {
        name: tensor.name.clone(),
        reason: reason.to_owned(),
    };
    let value = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value.as_str())
    };
    let number = |key: &str| {
        value(key)
            .map(|text| {
                text.parse::<u64>()
                    .map_err(|_| invalid(&format!("its {key} is not a number")))
            })
            .transpose()
    };
    let location = value("location").ok_or_else(|| invalid("its location is missing"))?;
    check_location(location)?;
    let expected = u64::try_from(length).map_err(|_| invalid("its shape overflows"))?;
    if number("length")?.is_some_and(|given| given != expected) {
        return Err(invalid("its external length does not fill its shape"));
    }
    let offset = number("offset")?.unwrap_or(0);
    Ok(external.read(location, offset, Some(expected), budget.left)?)
}

/// Elements in a typed field; ONNX lets the small types share `int32_data`.
fn from_typed_fields(tensor: &TensorProto, data_type: DataType) -> Bytes {
    let narrow = |size: usize| -> Vec<u8> {
        tensor
            .int32_data
            .iter()
            .flat_map(|value| value.to_le_bytes().into_iter().take(size))
            .collect()
    };
    match data_type {
        DataType::F32 => tensor
            .float_data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::F64 => tensor
            .double_data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::I64 => tensor
            .int64_data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::U64 => tensor
            .uint64_data
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        DataType::U32 => tensor
            .uint64_data
            .iter()
            .flat_map(|value| value.to_le_bytes().into_iter().take(4))
            .collect(),
        DataType::I32 => Bytes::from(narrow(4)),
        DataType::U16 | DataType::I16 | DataType::F16 | DataType::BF16 => Bytes::from(narrow(2)),
        DataType::Bool | DataType::U8 | DataType::I8 => Bytes::from(narrow(1)),
        DataType::Bytes => Bytes::new(),
    }
}

/// TensorProto.DataType.
pub(crate) fn data_type_from_onnx(number: i32) -> Option<DataType> {
    match number {
        1 => Some(DataType::F32),
        2 => Some(DataType::U8),
        3 => Some(DataType::I8),
        4 => Some(DataType::U16),
        5 => Some(DataType::I16),
        6 => Some(DataType::I32),
        7 => Some(DataType::I64),
        8 => Some(DataType::Bytes),
        9 => Some(DataType::Bool),
        10 => Some(DataType::F16),
        11 => Some(DataType::F64),
        12 => Some(DataType::U32),
        13 => Some(DataType::U64),
        16 => Some(DataType::BF16),
        _ => None,
    }
}

/// TensorProto.DataType.
pub(crate) fn data_type_to_onnx(data_type: DataType) -> i32 {
    match data_type {
        DataType::F32 => 1,
        DataType::U8 => 2,
        DataType::I8 => 3,
        DataType::U16 => 4,
        DataType::I16 => 5,
        DataType::I32 => 6,
        DataType::I64 => 7,
        DataType::Bytes => 8,
        DataType::Bool => 9,
        DataType::F16 => 10,
        DataType::F64 => 11,
        DataType::U32 => 12,
        DataType::U64 => 13,
        DataType::BF16 => 16,
    }
}
