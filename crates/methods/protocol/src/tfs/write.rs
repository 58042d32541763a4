//! `:predict`: a request or an answer as its JSON body, in row or column form.
//!
//! A number that is not finite is written as the word for it, in an answer; a request has none.

use base64::Engine;

use crate::finite::not_finite;
use crate::limits::count;
use crate::oip::push_json;
use crate::{InferRequest, WireData, WireTensor, WriteError};

use super::predict::{Form, Keys, REQUEST, RESPONSE};
use super::tensor::{B64, BASE64};

/// Names of tensors that end so have bytes, not text.
const BYTES_SUFFIX: &str = "_bytes";

/// The most lists without an element that are written for one tensor: its shape alone says how many there are.
const MAX_EMPTY_LISTS: usize = 4096;

/// The body of `POST ...:predict`, as a client writes it.
pub fn write_predict_request(
    request: &InferRequest,
    form: Form,
    signature: Option<&str>,
) -> Result<Vec<u8>, WriteError> {
    for (position, input) in request.inputs.iter().enumerate() {
        if not_finite(&input.data).is_some() {
            return Err(WriteError::NotFinite { position });
        }
    }
    let mut body = vec![b'{'];
    if let Some(signature) = signature {
        body.extend_from_slice(b"\"signature_name\":");
        push_json(&mut body, signature);
        body.push(b',');
    }
    push_tensors(body, &REQUEST, &request.inputs, form)
}

/// The body that answers `POST ...:predict`.
pub fn write_predict_response(outputs: &[WireTensor], form: Form) -> Result<Vec<u8>, WriteError> {
    push_tensors(vec![b'{'], &RESPONSE, outputs, form)
}

fn push_tensors(
    mut body: Vec<u8>,
    keys: &Keys,
    tensors: &[WireTensor],
    form: Form,
) -> Result<Vec<u8>, WriteError> {
    for (position, tensor) in tensors.iter().enumerate() {
        check(position, tensor)?;
    }
    let elements = tensors.iter().map(|tensor| tensor.data.len());
    body.reserve(64 + elements.sum::<usize>() * 12);
    match form {
        Form::Row => {
            push_json(&mut body, keys.row);
            body.extend_from_slice(b":[");
            for row in 0..rows(tensors)? {
                if row > 0 {
                    body.push(b',');
                }
                push_values(&mut body, tensors, |tensor| tensor.row(row));
            }
            body.push(b']');
        }
        Form::Column => {
            push_json(&mut body, keys.column);
            body.push(b':');
            push_values(&mut body, tensors, WireTensor::whole);
        }
    }
    body.push(b'}');
    Ok(body)
}

/// Refuses a tensor that has no form here.
fn check(position: usize, tensor: &WireTensor) -> Result<(), WriteError> {
    if count(&tensor.shape) != Some(tensor.data.len()) || tensor.data.datatype() != tensor.datatype {
        return Err(WriteError::Inconsistent { position });
    }
    if let WireData::F16(_) | WireData::BF16(_) = tensor.data {
        let datatype = tensor.datatype;
        return Err(WriteError::HalfPrecision { position, datatype });
    }
    let lists = tensor.shape.split(|&extent| extent == 0).next().and_then(count);
    if tensor.data.is_empty() && lists.is_none_or(|lists| lists > MAX_EMPTY_LISTS) {
        return Err(WriteError::EmptyRows { position });
    }
    Ok(())
}

/// How many rows the tensors have, which must be the same.
fn rows(tensors: &[WireTensor]) -> Result<usize, WriteError> {
    let mut rows = None;
    for (position, tensor) in tensors.iter().enumerate() {
        let first = tensor.shape.first().and_then(|&rows| usize::try_from(rows).ok());
        let first = first.filter(|&first| first > 0 && rows.is_none_or(|rows| rows == first));
        rows = Some(first.ok_or(WriteError::NoRows { position })?);
    }
    Ok(rows.unwrap_or(0))
}

/// A part of a tensor: elements from `start` on in the shape of what is left of the dimensions.
struct Part<'t> {
    tensor: &'t WireTensor,
    shape: &'t [u64],
    start: usize,
}

impl WireTensor {
    fn whole(&self) -> Part<'_> {
        Part {
            tensor: self,
            shape: &self.shape,
            start: 0,
        }
    }

    fn row(&self, row: usize) -> Part<'_> {
        let shape = self.shape.get(1..).unwrap_or_default();
        Part {
            tensor: self,
            shape,
            // `check` has counted the whole tensor, so a part of it does not overflow.
            start: row.saturating_mul(count(shape).unwrap_or(0)),
        }
    }
}

/// The single tensor's value, or an object of each tensor's by its name.
fn push_values<'t>(body: &mut Vec<u8>, tensors: &'t [WireTensor], part: impl Fn(&'t WireTensor) -> Part<'t>) {
    if let [tensor] = tensors {
        return push_part(body, &part(tensor));
    }
    body.push(b'{');
    for (position, tensor) in tensors.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        push_json(body, &tensor.name);
        body.push(b':');
        push_part(body, &part(tensor));
    }
    body.push(b'}');
}

fn push_part(body: &mut Vec<u8>, part: &Part<'_>) {
    let Part { shape, start, .. } = *part;
    let plain = !part.tensor.name.ends_with(BYTES_SUFFIX);
    match &part.tensor.data {
        WireData::Bool(values) => push_lists(body, shape, values, start, &push_json),
        WireData::U8(values) => push_lists(body, shape, values, start, &push_json),
        WireData::I8(values) => push_lists(body, shape, values, start, &push_json),
        // Half precision has been refused; its bits are never written.
        WireData::U16(values) | WireData::F16(values) | WireData::BF16(values) => {
            push_lists(body, shape, values, start, &push_json);
        }
        WireData::I16(values) => push_lists(body, shape, values, start, &push_json),
        WireData::U32(values) => push_lists(body, shape, values, start, &push_json),
        WireData::I32(values) => push_lists(body, shape, values, start, &push_json),
        WireData::U64(values) => push_lists(body, shape, values, start, &push_json),
        WireData::I64(values) => push_lists(body, shape, values, start, &push_json),
        WireData::F32(values) => push_lists(body, shape, values, start, &|body, value| {
            push_float(body, value, f64::from(*value));
        }),
        WireData::F64(values) => push_lists(body, shape, values, start, &|body, value| {
            push_float(body, value, *value);
        }),
        WireData::Bytes(values) => push_lists(body, shape, values, start, &|body, value| {
            push_bytes(body, value, plain);
        }),
    }
}

/// Lists in lists of `shape`, filled with the values from `start` on.
fn push_lists<T>(
    body: &mut Vec<u8>,
    shape: &[u64],
    values: &[T],
    start: usize,
    push: &impl Fn(&mut Vec<u8>, &T),
) {
    let Some((&extent, inner)) = shape.split_first() else {
        if let Some(value) = values.get(start) {
            push(body, value);
        }
        return;
    };
    let step = count(inner).unwrap_or(0);
    body.push(b'[');
    for position in 0..usize::try_from(extent).unwrap_or(0) {
        if position > 0 {
            body.push(b',');
        }
        push_lists(body, inner, values, start + position * step, push);
    }
    body.push(b']');
}

fn push_float<T: serde::Serialize>(body: &mut Vec<u8>, value: &T, wide: f64) {
    if wide.is_finite() {
        push_json(body, value);
    } else if wide.is_nan() {
        body.extend_from_slice(b"NaN");
    } else if wide > 0.0 {
        body.extend_from_slice(b"Infinity");
    } else {
        body.extend_from_slice(b"-Infinity");
    }
}

fn push_bytes(body: &mut Vec<u8>, value: &[u8], plain: bool) {
    match std::str::from_utf8(value) {
        Ok(text) if plain => push_json(body, text),
        Ok(_) | Err(_) => {
            body.push(b'{');
            push_json(body, B64);
            body.push(b':');
            push_json(body, &BASE64.encode(value));
            body.push(b'}');
        }
    }
}
