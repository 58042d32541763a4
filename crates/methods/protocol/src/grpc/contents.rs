//! Tensor elements in the typed field of their type.

use crate::body_error::{Place, Reason};
use crate::finite::not_finite;
use crate::{WireData, WireType, WriteError};

use super::message::InferTensorContents;

/// What the reader knows of a tensor before it takes the elements.
pub(super) struct Typed {
    pub(super) at: Place,
    pub(super) datatype: WireType,
    pub(super) count: usize,
    pub(super) max_element_bytes: usize,
}

impl Typed {
    /// Takes the elements out of the one field that the type has; no other may have any.
    pub(super) fn read(&self, mut contents: InferTensorContents) -> Result<WireData, Reason> {
        use std::mem::take;
        let data = match self.datatype {
            WireType::Bool => WireData::Bool(take(&mut contents.bool_contents)),
            WireType::I8 => WireData::I8(self.narrow(take(&mut contents.int_contents))?),
            WireType::I16 => WireData::I16(self.narrow(take(&mut contents.int_contents))?),
            WireType::I32 => WireData::I32(take(&mut contents.int_contents)),
            WireType::I64 => WireData::I64(take(&mut contents.int64_contents)),
            WireType::U8 => WireData::U8(self.narrow(take(&mut contents.uint_contents))?),
            WireType::U16 => WireData::U16(self.narrow(take(&mut contents.uint_contents))?),
            WireType::U32 => WireData::U32(take(&mut contents.uint_contents)),
            WireType::U64 => WireData::U64(take(&mut contents.uint64_contents)),
            WireType::F32 => WireData::F32(take(&mut contents.fp32_contents)),
            WireType::F64 => WireData::F64(take(&mut contents.fp64_contents)),
            WireType::Bytes => WireData::Bytes(take(&mut contents.bytes_contents)),
            WireType::F16 | WireType::BF16 => {
                return Err(Reason::HalfPrecision {
                    at: self.at,
                    datatype: self.datatype,
                });
            }
        };
        if has_elements(&contents) {
            return Err(Reason::WrongContents {
                at: self.at,
                datatype: self.datatype,
            });
        }
        self.check(&data)?;
        Ok(data)
    }

    fn narrow<W: Copy, T: TryFrom<W>>(&self, wide: Vec<W>) -> Result<Vec<T>, Reason> {
        let narrow = |(element, value)| {
            T::try_from(value).map_err(|_| Reason::OutOfRange {
                at: self.at,
                element,
                datatype: self.datatype,
            })
        };
        wide.into_iter().enumerate().map(narrow).collect()
    }

    fn check(&self, data: &WireData) -> Result<(), Reason> {
        if data.len() != self.count {
            return Err(Reason::WrongCount {
                at: self.at,
                expected: self.count,
            });
        }
        if let Some(element) = not_finite(data) {
            return Err(Reason::WrongRawElement {
                at: self.at,
                element,
                expected: "a finite number",
            });
        }
        let limit = self.max_element_bytes;
        match data {
            WireData::Bytes(texts) if texts.iter().any(|text| text.len() > limit) => Err(Reason::TooLong {
                at: self.at,
                what: "an element",
                limit,
            }),
            _ => Ok(()),
        }
    }
}

/// Whether any field has an element.
pub(super) fn has_elements(contents: &InferTensorContents) -> bool {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    !(bool_contents.is_empty()
        && int_contents.is_empty()
        && int64_contents.is_empty()
        && uint_contents.is_empty()
        && uint64_contents.is_empty()
        && fp32_contents.is_empty()
        && fp64_contents.is_empty()
        && bytes_contents.is_empty())
}

/// The elements of the tensor at `position`, in the field of their type.
pub(super) fn write(position: usize, data: &WireData) -> Result<InferTensorContents, WriteError> {
    if not_finite(data).is_some() {
        return Err(WriteError::NotFinite { position });
    }
    let mut contents = InferTensorContents::default();
    match data {
        WireData::Bool(values) => contents.bool_contents = values.clone(),
        WireData::I8(values) => contents.int_contents = widen(values),
        WireData::I16(values) => contents.int_contents = widen(values),
        WireData::I32(values) => contents.int_contents = values.clone(),
        WireData::I64(values) => contents.int64_contents = values.clone(),
        WireData::U8(values) => contents.uint_contents = widen(values),
        WireData::U16(values) => contents.uint_contents = widen(values),
        WireData::U32(values) => contents.uint_contents = values.clone(),
        WireData::U64(values) => contents.uint64_contents = values.clone(),
        WireData::F32(values) => contents.fp32_contents = values.clone(),
        WireData::F64(values) => contents.fp64_contents = values.clone(),
        WireData::Bytes(values) => contents.bytes_contents = values.clone(),
        WireData::F16(_) | WireData::BF16(_) => {
            return Err(WriteError::HalfPrecision {
                position,
                datatype: data.datatype(),
            });
        }
    }
    Ok(contents)
}

fn widen<N: Copy, W: From<N>>(values: &[N]) -> Vec<W> {
    values.iter().map(|&value| W::from(value)).collect()
}
