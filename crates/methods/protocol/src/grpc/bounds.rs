//! Counts what a message would become, before it becomes that.
//!
//! A tensor of two bytes on the wire takes hundreds in memory, a packed number of one byte takes eight; so the parts
//! are counted in one pass over the wire form, and only a message within its bounds is decoded.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::body_error::{Place, Reason};
use crate::limits::BodyLimits;

/// A field whose occurrences are counted.
pub(super) struct Field {
    number: u32,
    name: &'static str,
    count: Count,
    part: Part,
}

/// What is counted together, and its bound.
#[derive(Clone, Copy)]
enum Count {
    /// Per field, `max_tensors`.
    Tensors,
    /// Per message, `max_keys`.
    Keys,
    /// Per message, `max_dimensions`.
    Dimensions,
    /// In the whole body, `max_elements`.
    Elements,
    /// Not counted: its parts are.
    Nothing,
}

enum Part {
    Message(&'static [Field]),
    Bytes,
    Varints,
    Fixed(usize),
}

const fn field(number: u32, name: &'static str, count: Count, part: Part) -> Field {
    Field {
        number,
        name,
        count,
        part,
    }
}

/// `ModelInferRequest`.
pub(super) const REQUEST: &[Field] = &[
    field(4, "parameters", Count::Keys, Part::Bytes),
    field(5, "inputs", Count::Tensors, Part::Message(TENSOR)),
    field(6, "outputs", Count::Tensors, Part::Message(REQUESTED)),
    field(7, "raw_input_contents", Count::Tensors, Part::Bytes),
];

/// `ModelInferResponse`.
pub(super) const RESPONSE: &[Field] = &[
    field(4, "parameters", Count::Keys, Part::Bytes),
    field(5, "outputs", Count::Tensors, Part::Message(TENSOR)),
    field(6, "raw_output_contents", Count::Tensors, Part::Bytes),
];

const TENSOR: &[Field] = &[
    field(3, "shape", Count::Dimensions, Part::Varints),
    field(4, "parameters", Count::Keys, Part::Bytes),
    field(5, "contents", Count::Nothing, Part::Message(CONTENTS)),
];

const REQUESTED: &[Field] = &[field(2, "parameters", Count::Keys, Part::Bytes)];

const CONTENTS: &[Field] = &[
    field(1, "bool_contents", Count::Elements, Part::Varints),
    field(2, "int_contents", Count::Elements, Part::Varints),
    field(3, "int64_contents", Count::Elements, Part::Varints),
    field(4, "uint_contents", Count::Elements, Part::Varints),
    field(5, "uint64_contents", Count::Elements, Part::Varints),
    field(6, "fp32_contents", Count::Elements, Part::Fixed(4)),
    field(7, "fp64_contents", Count::Elements, Part::Fixed(8)),
    field(8, "bytes_contents", Count::Elements, Part::Bytes),
];

/// Holds a message of these fields against the bounds.
pub(super) fn check(body: &[u8], fields: &'static [Field], limits: &BodyLimits) -> Result<(), Reason> {
    if body.len() > limits.max_bytes {
        return Err(Reason::BodyTooLarge {
            limit: limits.max_bytes,
        });
    }
    let mut elements = 0;
    Walk {
        limits,
        elements: &mut elements,
    }
    .message(body, fields)
}

struct Walk<'a> {
    limits: &'a BodyLimits,
    elements: &'a mut usize,
}

/// The most fields that are counted in one message.
const MAX_FIELDS: usize = 8;

impl Walk<'_> {
    fn message(&mut self, mut rest: &[u8], fields: &'static [Field]) -> Result<(), Reason> {
        let mut counts = [0_usize; MAX_FIELDS];
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).map_err(|_| Reason::NotAMessage)?;
            let value = take(&mut rest, wire_type)?;
            let mut known = fields.iter().zip(&mut counts);
            if let Some((field, count)) = known.find(|(field, _)| field.number == number) {
                let found = match (wire_type, &field.part) {
                    (WireType::LengthDelimited, Part::Varints) => varints(value),
                    (WireType::LengthDelimited, Part::Fixed(width)) => value.len().div_ceil(*width),
                    _ => 1,
                };
                self.count(field, count, found)?;
                if let Part::Message(fields) = field.part {
                    self.message(value, fields)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, field: &Field, count: &mut usize, found: usize) -> Result<(), Reason> {
        let (at, count, limit, what) = match field.count {
            Count::Tensors => (
                Place::field(field.name),
                count,
                self.limits.max_tensors,
                "tensors",
            ),
            Count::Keys => (Place::field(field.name), count, self.limits.max_keys, "keys"),
            Count::Dimensions => (
                Place::field(field.name),
                count,
                self.limits.max_dimensions,
                "dimensions",
            ),
            Count::Elements => (
                Place::BODY,
                &mut *self.elements,
                self.limits.max_elements,
                "tensor elements",
            ),
            Count::Nothing => return Ok(()),
        };
        *count += found;
        if *count > limit {
            return Err(Reason::TooMany { at, what, limit });
        }
        Ok(())
    }
}

/// The value after a key. Groups, which proto3 does not have, are no value.
fn take<'a>(rest: &mut &'a [u8], wire_type: WireType) -> Result<&'a [u8], Reason> {
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(rest).map_err(|_| Reason::NotAMessage)?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|_| Reason::NotAMessage)?;
            usize::try_from(length).map_err(|_| Reason::NotAMessage)?
        }
        WireType::StartGroup | WireType::EndGroup => return Err(Reason::NotAMessage),
    };
    let (value, after) = rest.split_at_checked(length).ok_or(Reason::NotAMessage)?;
    *rest = after;
    Ok(value)
}

/// The last byte of each varint has no high bit.
fn varints(packed: &[u8]) -> usize {
    packed.iter().filter(|&&byte| byte < 0x80).count()
}
