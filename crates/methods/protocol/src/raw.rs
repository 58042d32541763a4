//! Tensor elements as raw bytes: little endian, row major, without gaps.
//!
//! The binary tensor data extension and gRPC's raw contents share this form. Numbers are copied in blocks, and checked
//! in passes without a branch per element.
//!
//! # Citation
//! triton-inference-server/server, `docs/protocol/extension_binary_data.md`: "Binary Tensor Data Extension".
//!
//! INVARIANT: memory grows with the bytes that were sent, never with the shape that was claimed.

use crate::body_error::{Place, Reason};
use crate::finite::{first, not_finite};
use crate::{WireData, WireType, WriteError};

/// What the reader knows of a tensor before it reads the bytes.
pub(crate) struct RawTensor {
    pub(crate) at: Place,
    pub(crate) datatype: WireType,
    /// The product of the shape.
    pub(crate) count: usize,
    pub(crate) max_element_bytes: usize,
}

impl RawTensor {
    /// Reads the whole of `bytes`.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<WireData, Reason> {
        let expected = match width(self.datatype) {
            Some(width) => self.count.checked_mul(width),
            None => Some(bytes.len()),
        };
        if expected != Some(bytes.len()) {
            return Err(Reason::WrongSize {
                at: self.at,
                expected: expected.unwrap_or(usize::MAX),
            });
        }
        Ok(match self.datatype {
            WireType::Bool => WireData::Bool(self.booleans(bytes)?),
            WireType::U8 => WireData::U8(bytes.to_vec()),
            WireType::I8 => WireData::I8(numbers(bytes, i8::from_le_bytes)),
            WireType::U16 => WireData::U16(numbers(bytes, u16::from_le_bytes)),
            WireType::I16 => WireData::I16(numbers(bytes, i16::from_le_bytes)),
            WireType::U32 => WireData::U32(numbers(bytes, u32::from_le_bytes)),
            WireType::I32 => WireData::I32(numbers(bytes, i32::from_le_bytes)),
            WireType::U64 => WireData::U64(numbers(bytes, u64::from_le_bytes)),
            WireType::I64 => WireData::I64(numbers(bytes, i64::from_le_bytes)),
            WireType::F16 => self.finite(WireData::F16(numbers(bytes, u16::from_le_bytes)))?,
            WireType::BF16 => self.finite(WireData::BF16(numbers(bytes, u16::from_le_bytes)))?,
            WireType::F32 => self.finite(WireData::F32(numbers(bytes, f32::from_le_bytes)))?,
            WireType::F64 => self.finite(WireData::F64(numbers(bytes, f64::from_le_bytes)))?,
            WireType::Bytes => WireData::Bytes(self.texts(bytes)?),
        })
    }

    fn booleans(&self, bytes: &[u8]) -> Result<Vec<bool>, Reason> {
        match first(bytes, |byte| byte > 1) {
            Some(element) => Err(Reason::WrongRawElement {
                at: self.at,
                element,
                expected: "the byte 0 or 1",
            }),
            None => Ok(bytes.iter().map(|&byte| byte == 1).collect()),
        }
    }

    fn finite(&self, data: WireData) -> Result<WireData, Reason> {
        match not_finite(&data) {
            Some(element) => Err(Reason::WrongRawElement {
                at: self.at,
                element,
                expected: "a finite number",
            }),
            None => Ok(data),
        }
    }

    fn texts(&self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Reason> {
        let broken = Reason::BrokenBytes { at: self.at };
        let mut texts = Vec::with_capacity(self.count.min(bytes.len() / LENGTH));
        while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            if length > self.max_element_bytes {
                return Err(Reason::TooLong {
                    at: self.at,
                    what: "an element",
                    limit: self.max_element_bytes,
                });
            }
            let Some((text, rest)) = rest.split_at_checked(length) else {
                return Err(broken);
            };
            if texts.len() == self.count {
                return Err(broken);
            }
            texts.push(text.to_vec());
            bytes = rest;
        }
        if bytes.is_empty() && texts.len() == self.count {
            Ok(texts)
        } else {
            Err(broken)
        }
    }
}

/// The bytes of the length before an element of `BYTES`.
const LENGTH: usize = 4;

/// The bytes of one element; of `BYTES` each has its own.
pub(crate) const fn width(datatype: WireType) -> Option<usize> {
    match datatype {
        WireType::Bool | WireType::U8 | WireType::I8 => Some(1),
        WireType::U16 | WireType::I16 | WireType::F16 | WireType::BF16 => Some(2),
        WireType::U32 | WireType::I32 | WireType::F32 => Some(4),
        WireType::U64 | WireType::I64 | WireType::F64 => Some(8),
        WireType::Bytes => None,
    }
}

/// How many bytes [`push`] appends.
pub(crate) fn size(data: &WireData) -> usize {
    match (data, width(data.datatype())) {
        (WireData::Bytes(texts), _) => texts.iter().map(|text| LENGTH + text.len()).sum(),
        (_, width) => data.len() * width.unwrap_or(0),
    }
}

/// Appends the elements of the tensor at `position`.
pub(crate) fn push(body: &mut Vec<u8>, position: usize, data: &WireData) -> Result<(), WriteError> {
    if not_finite(data).is_some() {
        return Err(WriteError::NotFinite { position });
    }
    match data {
        WireData::Bool(values) => body.extend(values.iter().map(|&value| u8::from(value))),
        WireData::U8(values) => body.extend_from_slice(values),
        WireData::I8(values) => push_numbers(body, values, i8::to_le_bytes),
        WireData::U16(values) | WireData::F16(values) | WireData::BF16(values) => {
            push_numbers(body, values, u16::to_le_bytes);
        }
        WireData::I16(values) => push_numbers(body, values, i16::to_le_bytes),
        WireData::U32(values) => push_numbers(body, values, u32::to_le_bytes),
        WireData::I32(values) => push_numbers(body, values, i32::to_le_bytes),
        WireData::U64(values) => push_numbers(body, values, u64::to_le_bytes),
        WireData::I64(values) => push_numbers(body, values, i64::to_le_bytes),
        WireData::F32(values) => push_numbers(body, values, f32::to_le_bytes),
        WireData::F64(values) => push_numbers(body, values, f64::to_le_bytes),
        WireData::Bytes(texts) => {
            for text in texts {
                let length = u32::try_from(text.len()).map_err(|_| WriteError::Inconsistent { position })?;
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(text);
            }
        }
    }
    Ok(())
}

fn numbers<T, const WIDTH: usize>(bytes: &[u8], from: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&chunk| from(chunk)).collect()
}

fn push_numbers<T: Copy, const WIDTH: usize>(
    body: &mut Vec<u8>,
    values: &[T],
    to: impl Fn(T) -> [u8; WIDTH],
) {
    let start = body.len();
    body.resize(start + values.len() * WIDTH, 0);
    let room = body.get_mut(start..).unwrap_or_default();
    for (chunk, &value) in room.as_chunks_mut().0.iter_mut().zip(values) {
        *chunk = to(value);
    }
}
