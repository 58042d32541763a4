//! A request or an answer as its body: JSON, and raw data behind it where that is wanted.
//!
//! Floats are written as the shortest decimal that reads back to the same value.

use serde::Serialize;

use crate::limits::count;
use crate::{
    InferRequest, InferResponse, Parameters, RequestedOutput, WireData, WireTensor, WriteError, own, raw,
};

/// A body of the binary tensor data extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryBody {
    /// The JSON, then the raw data of each tensor that has it so, in order.
    pub bytes: Vec<u8>,
    /// The bytes of JSON, for the header `Inference-Header-Content-Length`.
    pub json_length: usize,
}

/// The body that answers `POST .../infer`.
pub fn write_infer_response(response: &InferResponse) -> Result<Vec<u8>, WriteError> {
    let body = write_binary_infer_response(response, |_| false)?;
    Ok(body.bytes)
}

/// The body of `POST .../infer`, as a client writes it.
pub fn write_infer_request(request: &InferRequest) -> Result<Vec<u8>, WriteError> {
    let body = write_binary_infer_request(request, |_| false)?;
    Ok(body.bytes)
}

/// The body that answers `POST .../infer`, with the outputs that are `raw` behind the JSON.
pub fn write_binary_infer_response(
    response: &InferResponse,
    raw: impl Fn(&WireTensor) -> bool,
) -> Result<BinaryBody, WriteError> {
    let tensors = Tensors {
        list: &response.outputs,
        raw,
    };
    let mut body = Vec::with_capacity(128 + tensors.room());
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
    push_parameters(&mut body, &response.parameters, &[]);
    body.extend_from_slice(b",\"outputs\":");
    tensors.push_json(&mut body)?;
    body.push(b'}');
    tensors.push_raw(body)
}

/// The body of `POST .../infer`, as a client writes it, with the inputs that are `raw` behind the JSON.
pub fn write_binary_infer_request(
    request: &InferRequest,
    raw: impl Fn(&WireTensor) -> bool,
) -> Result<BinaryBody, WriteError> {
    let tensors = Tensors {
        list: &request.inputs,
        raw,
    };
    let mut body = Vec::with_capacity(128 + tensors.room());
    body.push(b'{');
    if let Some(id) = &request.id {
        body.extend_from_slice(b"\"id\":");
        push_json(&mut body, id);
        body.push(b',');
    }
    body.extend_from_slice(b"\"inputs\":");
    tensors.push_json(&mut body)?;
    let binary = request
        .binary_outputs
        .map(|binary| (own::BINARY_DATA_OUTPUT, binary.into()));
    push_parameters(&mut body, &request.parameters, binary.as_slice());
    if let Some(outputs) = &request.outputs {
        body.extend_from_slice(b",\"outputs\":[");
        for (position, output) in outputs.iter().enumerate() {
            push_requested(&mut body, position, output);
        }
        body.push(b']');
    }
    body.push(b'}');
    tensors.push_raw(body)
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
    let own: Vec<_> = [
        output.binary.map(|binary| (own::BINARY_DATA, Own::from(binary))),
        output
            .classification
            .map(|count| (own::CLASSIFICATION, Own::Number(u64::from(count.get())))),
    ]
    .into_iter()
    .flatten()
    .collect();
    push_parameters(body, &output.parameters, &own);
    body.push(b'}');
}

/// A value of one of the protocol's own parameters.
#[derive(Serialize)]
#[serde(untagged)]
enum Own {
    Bool(bool),
    Number(u64),
}

impl From<bool> for Own {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Writes `own` and the free ones. INVARIANT: a name of the protocol's own is never written from the free ones.
fn push_parameters(body: &mut Vec<u8>, parameters: &Parameters, own: &[(&str, Own)]) {
    if own.is_empty() && parameters.is_empty() {
        return;
    }
    body.extend_from_slice(b",\"parameters\":{");
    let mut first = true;
    for (name, value) in own {
        push_pair(body, &mut first, name, value);
    }
    for (name, value) in parameters.iter().filter(|(name, _)| !own::is_own(name)) {
        push_pair(body, &mut first, name, value);
    }
    body.push(b'}');
}

fn push_pair<T: Serialize>(body: &mut Vec<u8>, first: &mut bool, name: &str, value: &T) {
    if !std::mem::take(first) {
        body.push(b',');
    }
    push_json(body, name);
    body.push(b':');
    push_json(body, value);
}

/// The tensors of a body, and which of them go raw.
struct Tensors<'a, R> {
    list: &'a [WireTensor],
    raw: R,
}

impl<R: Fn(&WireTensor) -> bool> Tensors<'_, R> {
    /// About how many bytes they take.
    fn room(&self) -> usize {
        let room = |tensor: &WireTensor| {
            if (self.raw)(tensor) {
                128 + raw::size(&tensor.data)
            } else {
                128 + tensor.data.len() * 12
            }
        };
        self.list.iter().map(room).sum()
    }

    fn push_json(&self, body: &mut Vec<u8>) -> Result<(), WriteError> {
        body.push(b'[');
        for (position, tensor) in self.list.iter().enumerate() {
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
            if (self.raw)(tensor) {
                let size = (own::BINARY_DATA_SIZE, Own::Number(raw::size(&tensor.data) as u64));
                push_parameters(body, &tensor.parameters, &[size]);
            } else {
                push_parameters(body, &tensor.parameters, &[]);
                body.extend_from_slice(b",\"data\":");
                push_data(body, position, &tensor.data)?;
            }
            body.push(b'}');
        }
        body.push(b']');
        Ok(())
    }

    /// Finishes a body whose JSON is written.
    fn push_raw(&self, mut body: Vec<u8>) -> Result<BinaryBody, WriteError> {
        let json_length = body.len();
        for (position, tensor) in self.list.iter().enumerate() {
            if (self.raw)(tensor) {
                raw::push(&mut body, position, &tensor.data)?;
            }
        }
        Ok(BinaryBody {
            bytes: body,
            json_length,
        })
    }
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
