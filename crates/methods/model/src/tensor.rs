//! Tensors as callers see them: a shape and a flat, row-major, typed vector.
//!
//! The element types are those of the Open Inference Protocol V2 (required API, "Tensor Data Types"); FP16 and BF16 travel as their 16 bits (IEEE 754 binary16, bfloat16).
//! The invariant is that the element count equals the product of the shape, and `Tensor::new` is the only door.

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DataType {
    /// True or false.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an IEEE 754 binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// A byte string, usually UTF-8 text.
    Bytes,
}

impl DataType {
    /// The name that the Open Inference Protocol uses, such as `FP32`.
    pub fn oip_name(self) -> &'static str {
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

    /// The type with this Open Inference Protocol name.
    pub fn from_oip_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|data_type| data_type.oip_name() == name)
    }

    /// Bytes of one element, or `None` for byte strings.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Bytes => None,
        }
    }

    const ALL: [Self; 14] = [
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
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.oip_name())
    }
}

/// The elements of a tensor, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Elements of [`DataType::Bool`].
    Bool(Vec<bool>),
    /// Elements of [`DataType::U8`].
    U8(Vec<u8>),
    /// Elements of [`DataType::I8`].
    I8(Vec<i8>),
    /// Elements of [`DataType::U16`].
    U16(Vec<u16>),
    /// Elements of [`DataType::I16`].
    I16(Vec<i16>),
    /// Elements of [`DataType::U32`].
    U32(Vec<u32>),
    /// Elements of [`DataType::I32`].
    I32(Vec<i32>),
    /// Elements of [`DataType::U64`].
    U64(Vec<u64>),
    /// Elements of [`DataType::I64`].
    I64(Vec<i64>),
    /// Bits of elements of [`DataType::F16`].
    F16(Vec<u16>),
    /// Bits of elements of [`DataType::BF16`].
    BF16(Vec<u16>),
    /// Elements of [`DataType::F32`].
    F32(Vec<f32>),
    /// Elements of [`DataType::F64`].
    F64(Vec<f64>),
    /// Elements of [`DataType::Bytes`].
    Bytes(Vec<Vec<u8>>),
}

impl TensorData {
    /// The element type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Bool,
            Self::U8(_) => DataType::U8,
            Self::I8(_) => DataType::I8,
            Self::U16(_) => DataType::U16,
            Self::I16(_) => DataType::I16,
            Self::U32(_) => DataType::U32,
            Self::I32(_) => DataType::I32,
            Self::U64(_) => DataType::U64,
            Self::I64(_) => DataType::I64,
            Self::F16(_) => DataType::F16,
            Self::BF16(_) => DataType::BF16,
            Self::F32(_) => DataType::F32,
            Self::F64(_) => DataType::F64,
            Self::Bytes(_) => DataType::Bytes,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) | Self::F16(v) | Self::BF16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A shape and its elements.
// INVARIANT: `data.len()` is the product of `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor, if `data` holds exactly as many elements as `shape` says.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, ShapeMismatch> {
        let count = shape
            .iter()
            .try_fold(1_usize, |count, dim| count.checked_mul(*dim));
        if count == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(ShapeMismatch {
                elements: data.len(),
                shape,
            })
        }
    }

    /// The size of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, taken out of the tensor.
    pub fn into_data(self) -> TensorData {
        self.data
    }

    /// The element type.
    pub fn data_type(&self) -> DataType {
        self.data.data_type()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// The element count is not the product of the shape.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the shape {shape:?} does not hold exactly {elements} elements")]
pub struct ShapeMismatch {
    shape: Vec<usize>,
    elements: usize,
}

/// One dimension of an input or an output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Known only at run time; equal names are equal sizes. The name may be empty.
    Symbol(String),
}

/// What an input takes or an output gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorSpec {
    /// The name, unique among the inputs or the outputs.
    pub name: String,
    /// The element type.
    pub data_type: DataType,
    /// The dimensions.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// The shape as the Open Inference Protocol writes it: -1 where the size varies.
    pub fn oip_shape(&self) -> Vec<i64> {
        self.shape
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
                Dim::Symbol(_) => -1,
            })
            .collect()
    }
}

/// The inputs and outputs of a model.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// The inputs, in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the model's order.
    pub outputs: Vec<TensorSpec>,
}

/// The names of a classifier's classes, in the order of its scores.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum Labels {
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Text.
    Strings(Vec<String>),
}

impl Labels {
    /// The number of classes.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Strings(labels) => labels.len(),
        }
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label of one class as text.
    pub fn text(&self, class: usize) -> Option<String> {
        match self {
            Self::Ints(labels) => labels.get(class).map(ToString::to_string),
            Self::Strings(labels) => labels.get(class).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_holds_exactly_its_shape() {
        assert!(Tensor::new(vec![2, 3], TensorData::F32(vec![0.0; 6])).is_ok());
        assert!(Tensor::new(vec![], TensorData::I64(vec![7])).is_ok());
        assert!(Tensor::new(vec![0, 9], TensorData::Bytes(vec![])).is_ok());
        let error = Tensor::new(vec![2, 3], TensorData::F32(vec![0.0; 5])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shape [2, 3] does not hold exactly 5 elements"
        );
        assert!(Tensor::new(vec![usize::MAX, 2], TensorData::F32(vec![])).is_err());
    }

    #[test]
    fn oip_names_read_back() {
        for data_type in DataType::ALL {
            assert_eq!(DataType::from_oip_name(data_type.oip_name()), Some(data_type));
        }
        assert_eq!(DataType::from_oip_name("fp32"), None);
    }
}
