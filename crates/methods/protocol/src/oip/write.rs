//! A request or an answer as its JSON body.
//!
//! Floats are written as the shortest decimal that reads back to the same value.

use serde::Serialize;

use crate::{InferRequest, InferResponse, Parameters, RequestedOutput, WireData, WireTensor, WireType};

use super::parse::count;

/// A tensor that JSON cannot carry. Nothing of it may leave: the answer becomes an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// NaN or an infinity.
    #[error("tensor {position} holds a value that is not finite, which JSON cannot carry")]
    NotFinite {
        /// Which tensor, from 0.
        position: usize,
    },
    /// Half precision.
    #[error("tensor {position} is `{datatype}`, which has no JSON form")]
    HalfPrecision {
        /// Which tensor, from 0.
        position: usize,
        /// `FP16` or `BF16`.
        datatype: WireType,
    },
    /// `BYTES` that are not UTF-8.
    #[error("tensor {position} holds bytes that are not text, which JSON cannot carry")]
    NotText {
        /// Which tensor, from 0.
        position: usize,
    },
    /// The parts of the tensor contradict each other.
    #[error("tensor {position} has data that does not fit its type or shape")]
    Inconsistent {
        /// Which tensor, from 0.
        position: usize,
    },
}

/// The body that answers `POST .../infer`.
pub fn write_infer_response(response: &InferResponse) -> Result<Vec<u8>, WriteError> {
    let mut body = Vec::with_capacity(
        128 + response
            .outputs
            .iter()
            .map(|output| output.data.len() * 12)
            .sum::<usize>(),
    );
    body.extend_from_slice(b"{\"model_name\":");
    push_json(&mut body, &response.model_name);
    if let Some(version) = &response.model_version {
        body.extend_from_slice(b",\"model_version\":");
        push_json(&mut body, version);
    }
    if let Some(id) = &response.id {
        body.extend_from_slice(b",\"id\":");
        push_json(&mut body, id);
    }
    push_parameters(&mut body, &response.parameters);
    body.extend_from_slice(b",\"outputs\":");
    push_tensors(&mut body, &response.outputs)?;
    body.push(b'}');
    Ok(body)
}

/// The body of `POST .../infer`, as a client writes it.
pub fn write_infer_request(request: &InferRequest) -> Result<Vec<u8>, WriteError> {
    let mut body = b"{".to_vec();
    if let Some(id) = &request.id {
        body.extend_from_slice(b"\"id\":");
        push_json(&mut body, id);
        body.push(b',');
    }
    body.extend_from_slice(b"\"inputs\":");
    push_tensors(&mut body, &request.inputs)?;
    push_parameters(&mut body, &request.parameters);
    if let Some(outputs) = &request.outputs {
        body.extend_from_slice(b",\"outputs\":[");
        for (position, output) in outputs.iter().enumerate() {
            push_requested(&mut body, position, output);
        }
        body.push(b']');
    }
    body.push(b'}');
    Ok(body)
}

/// Appends a value's JSON.
pub(crate) fn push_json<T: Serialize + ?Sized>(body: &mut Vec<u8>, value: &T) {
    #[expect(
        clippy::expect_used,
        reason = "writing to memory cannot fail, and only maps with text keys come here"
    )]
    serde_json::to_writer(body, value).expect("the value has a JSON form");
}

fn push_requested(body: &mut Vec<u8>, position: usize, output: &RequestedOutput) {
    body.extend_from_slice(if position == 0 {
        b"{\"name\":"
    } else {
        b",{\"name\":"
    });
    push_json(body, &output.name);
    push_parameters(body, &output.parameters);
    body.push(b'}');
}

fn push_parameters(body: &mut Vec<u8>, parameters: &Parameters) {
    if !parameters.is_empty() {
        body.extend_from_slice(b",\"parameters\":");
        push_json(body, parameters);
    }
}

fn push_tensors(body: &mut Vec<u8>, tensors: &[WireTensor]) -> Result<(), WriteError> {
    body.push(b'[');
    for (position, tensor) in tensors.iter().enumerate() {
        if count(&tensor.shape) != Some(tensor.data.len()) || tensor.data.datatype() != tensor.datatype {
            return Err(WriteError::Inconsistent { position });
        }
        if position > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        push_json(body, &tensor.name);
        body.extend_from_slice(b",\"datatype\":\"");
        body.extend_from_slice(tensor.datatype.as_str().as_bytes());
        body.extend_from_slice(b"\",\"shape\":");
        push_json(body, &tensor.shape);
        push_parameters(body, &tensor.parameters);
        body.extend_from_slice(b",\"data\":");
        push_data(body, position, &tensor.data)?;
        body.push(b'}');
    }
    body.push(b']');
    Ok(())
}

fn push_data(body: &mut Vec<u8>, position: usize, data: &WireData) -> Result<(), WriteError> {
    match data {
        WireData::Bool(data) => push_json(body, data),
        WireData::U8(data) => push_json(body, data),
        WireData::I8(data) => push_json(body, data),
        WireData::U16(data) => push_json(body, data),
        WireData::I16(data) => push_json(body, data),
        WireData::U32(data) => push_json(body, data),
        WireData::I32(data) => push_json(body, data),
        WireData::U64(data) => push_json(body, data),
        WireData::I64(data) => push_json(body, data),
        WireData::F16(_) | WireData::BF16(_) => {
            return Err(WriteError::HalfPrecision {
                position,
                datatype: data.datatype(),
            });
        }
        // serde_json would write `null` for what is not finite.
        WireData::F32(data) if data.iter().all(|value| value.is_finite()) => push_json(body, data),
        WireData::F64(data) if data.iter().all(|value| value.is_finite()) => push_json(body, data),
        WireData::F32(_) | WireData::F64(_) => return Err(WriteError::NotFinite { position }),
        WireData::Bytes(data) => {
            let texts: Result<Vec<&str>, _> =
                data.iter().map(|element| std::str::from_utf8(element)).collect();
            push_json(body, &texts.map_err(|_| WriteError::NotText { position })?);
        }
    }
    Ok(())
}
