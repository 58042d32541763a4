//! `ModelInfer`: messages to and from the exchange.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType as Wire, encode_key, encode_varint};

use crate::body_error::{BodyError, Place, Reason};
use crate::limits::{BodyLimits, Elements, count};
use crate::oip::Name;
use crate::raw::{self, RawTensor};
use crate::{
    InferRequest, InferResponse, Parameter, Parameters, RequestedOutput, WireTensor, WireType, WriteError,
    own,
};

use super::bounds;
use super::contents::{self, Typed};
use super::message::{
    InferParameter, InferParameterValue, InferRequestedOutputTensor, InferTensor, ModelInferRequest,
    ModelInferResponse,
};

/// Where the elements of a message are; the specification forbids both at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// In each tensor, in the field of its type. Half precision has none.
    Typed,
    /// In the message's list of raw contents.
    Raw,
}

/// A `ModelInfer` call.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfer {
    /// The model's name.
    pub model: Name,
    /// Its version, where the message names one.
    pub version: Option<Name>,
    /// What is asked.
    pub request: InferRequest,
    /// How the elements came, which is how the client will understand the answer's.
    pub contents: Contents,
}

/// Reads a `ModelInferRequest`.
///
/// # Guarantee
/// Time and memory grow with the body's length only; each tensor's data fits its type and shape, and stands in one
/// place; names of tensors differ; numbers are finite.
pub fn parse_grpc_infer_request(body: Bytes, limits: &BodyLimits) -> Result<ModelInfer, BodyError> {
    read_request(body, limits).map_err(BodyError::new)
}

/// Reads a `ModelInferResponse`, within the same bounds.
pub fn parse_grpc_infer_response(body: Bytes, limits: &BodyLimits) -> Result<InferResponse, BodyError> {
    read_response(body, limits).map_err(BodyError::new)
}

/// A `ModelInferRequest`, as a client writes it. Wishes for raw bytes behind JSON have no meaning here.
pub fn write_grpc_infer_request(
    request: &InferRequest,
    model: &str,
    version: Option<&str>,
    contents: Contents,
) -> Result<Vec<u8>, WriteError> {
    let outputs = request
        .outputs
        .iter()
        .flatten()
        .map(|output| InferRequestedOutputTensor {
            name: output.name.clone(),
            parameters: requested_parameters(output),
        });
    let message = ModelInferRequest {
        model_name: model.to_owned(),
        model_version: version.unwrap_or_default().to_owned(),
        id: request.id.clone().unwrap_or_default(),
        parameters: write_parameters(&request.parameters),
        inputs: write_tensors(&request.inputs, contents)?,
        outputs: outputs.collect(),
        raw_input_contents: Vec::new(),
    };
    with_raw(&message, RAW_INPUT_CONTENTS, &request.inputs, contents)
}

/// A `ModelInferResponse`.
pub fn write_grpc_infer_response(
    response: &InferResponse,
    contents: Contents,
) -> Result<Vec<u8>, WriteError> {
    let message = ModelInferResponse {
        model_name: response.model_name.clone(),
        model_version: response.model_version.clone().unwrap_or_default(),
        id: response.id.clone().unwrap_or_default(),
        parameters: write_parameters(&response.parameters),
        outputs: write_tensors(&response.outputs, contents)?,
        raw_output_contents: Vec::new(),
    };
    with_raw(&message, RAW_OUTPUT_CONTENTS, &response.outputs, contents)
}

/// `ModelInferRequest.raw_input_contents`
const RAW_INPUT_CONTENTS: u32 = 7;
/// `ModelInferResponse.raw_output_contents`
const RAW_OUTPUT_CONTENTS: u32 = 6;

fn read_request(body: Bytes, limits: &BodyLimits) -> Result<ModelInfer, Reason> {
    bounds::check(&body, bounds::REQUEST, limits)?;
    let message = ModelInferRequest::decode(body).map_err(|_| Reason::NotAMessage)?;
    let model = Name::parse(&message.model_name).ok_or(Reason::NoModel)?;
    let version = match message.model_version.as_str() {
        "" => None,
        version => Some(Name::parse(version).ok_or(Reason::NoModel)?),
    };
    if message.inputs.is_empty() {
        return Err(Reason::WrongType {
            at: Place::field("inputs"),
            expected: "a list of at least one tensor",
        });
    }
    let at = Place::field("parameters");
    let mut parameters = read_parameters(message.parameters, at, limits)?;
    let binary_outputs = own::take_bool(&mut parameters, own::BINARY_DATA_OUTPUT, at)?;
    own::refuse_rest(&parameters, at)?;
    let (inputs, contents) = read_tensors(message.inputs, message.raw_input_contents, "inputs", limits)?;
    let outputs = read_requested(message.outputs, limits)?;
    let request = InferRequest {
        id: bounded_text(message.id, Place::field("id"), limits.max_id_bytes)?,
        parameters,
        inputs,
        outputs: (!outputs.is_empty()).then_some(outputs),
        binary_outputs,
    };
    Ok(ModelInfer {
        model,
        version,
        request,
        contents,
    })
}

fn read_response(body: Bytes, limits: &BodyLimits) -> Result<InferResponse, Reason> {
    bounds::check(&body, bounds::RESPONSE, limits)?;
    let message = ModelInferResponse::decode(body).map_err(|_| Reason::NotAMessage)?;
    let at = Place::field("parameters");
    let parameters = read_parameters(message.parameters, at, limits)?;
    own::refuse_rest(&parameters, at)?;
    let names = limits.max_name_bytes;
    let (outputs, _) = read_tensors(message.outputs, message.raw_output_contents, "outputs", limits)?;
    Ok(InferResponse {
        model_name: bounded_text(message.model_name, Place::field("model_name"), names)?.unwrap_or_default(),
        model_version: bounded_text(message.model_version, Place::field("model_version"), names)?,
        id: bounded_text(message.id, Place::field("id"), limits.max_id_bytes)?,
        parameters,
        outputs,
    })
}

fn read_requested(
    list: Vec<InferRequestedOutputTensor>,
    limits: &BodyLimits,
) -> Result<Vec<RequestedOutput>, Reason> {
    let mut names = BTreeSet::new();
    let mut outputs = Vec::with_capacity(list.len());
    for (position, output) in list.into_iter().enumerate() {
        let at = Place::entry("outputs", position);
        let name = new_name(output.name, &mut names, at, limits)?;
        let parameters = read_parameters(output.parameters, at, limits)?;
        outputs.push(RequestedOutput::new(name, parameters, at)?);
    }
    Ok(outputs)
}

fn read_tensors(
    list: Vec<InferTensor>,
    raw: Vec<Bytes>,
    field: &'static str,
    limits: &BodyLimits,
) -> Result<(Vec<WireTensor>, Contents), Reason> {
    let contents = if raw.is_empty() {
        Contents::Typed
    } else {
        Contents::Raw
    };
    if contents == Contents::Raw && raw.len() != list.len() {
        return Err(Reason::RawCount {
            at: Place::field(field),
        });
    }
    let elements = Elements::new(limits);
    let mut names = BTreeSet::new();
    let mut tensors = Vec::with_capacity(list.len());
    let mut raw = raw.into_iter();
    for (position, tensor) in list.into_iter().enumerate() {
        let at = Place::entry(field, position);
        let name = new_name(tensor.name.clone(), &mut names, at, limits)?;
        tensors.push(read_tensor(tensor, name, raw.next(), at, &elements, limits)?);
    }
    Ok((tensors, contents))
}

fn read_tensor(
    tensor: InferTensor,
    name: String,
    raw: Option<Bytes>,
    at: Place,
    elements: &Elements,
    limits: &BodyLimits,
) -> Result<WireTensor, Reason> {
    let datatype = WireType::parse(&tensor.datatype).ok_or(Reason::UnknownDatatype {
        at: at.at("datatype"),
    })?;
    let shape: Result<Vec<u64>, _> = tensor.shape.iter().map(|&extent| u64::try_from(extent)).collect();
    let shape = shape.map_err(|_| Reason::WrongType {
        at: at.at("shape"),
        expected: "a list of integers from 0 on",
    })?;
    let parameters = read_parameters(tensor.parameters, at, limits)?;
    own::refuse_rest(&parameters, at)?;
    let count = elements.claim(&shape, at.at("shape"))?;
    let max_element_bytes = limits.max_element_bytes;
    let contents = tensor.contents.unwrap_or_default();
    let data = match raw {
        Some(_) if contents::has_elements(&contents) => return Err(Reason::TwoForms { at }),
        Some(raw) => RawTensor {
            at,
            datatype,
            count,
            max_element_bytes,
        }
        .read(&raw)?,
        None => Typed {
            at,
            datatype,
            count,
            max_element_bytes,
        }
        .read(contents)?,
    };
    Ok(WireTensor {
        name,
        datatype,
        shape,
        parameters,
        data,
    })
}

fn new_name(
    name: String,
    names: &mut BTreeSet<String>,
    at: Place,
    limits: &BodyLimits,
) -> Result<String, Reason> {
    let name = bounded_text(name, at.at("name"), limits.max_name_bytes)?.unwrap_or_default();
    if names.insert(name.clone()) {
        Ok(name)
    } else {
        Err(Reason::DuplicateName { at })
    }
}

/// A text within its bound; proto3 does not tell an empty one from none.
fn bounded_text(text: String, at: Place, limit: usize) -> Result<Option<String>, Reason> {
    if text.len() > limit {
        let what = "a text";
        return Err(Reason::TooLong { at, what, limit });
    }
    Ok((!text.is_empty()).then_some(text))
}

fn read_parameters(
    list: BTreeMap<String, InferParameter>,
    at: Place,
    limits: &BodyLimits,
) -> Result<Parameters, Reason> {
    let limit = limits.max_name_bytes;
    let mut parameters = Parameters::new();
    for (name, parameter) in list {
        if name.len() > limit {
            let what = "a key";
            return Err(Reason::TooLong { at, what, limit });
        }
        let value = match parameter.value {
            Some(InferParameterValue::Bool(value)) => Some(Parameter::Bool(value)),
            Some(InferParameterValue::Int64(value)) => Some(Parameter::Number(value.into())),
            Some(InferParameterValue::Uint64(value)) => Some(Parameter::Number(value.into())),
            Some(InferParameterValue::Double(value)) => {
                serde_json::Number::from_f64(value).map(Parameter::Number)
            }
            Some(InferParameterValue::String(text)) => {
                let text = bounded_text(text, at, limit)?;
                Some(Parameter::String(text.unwrap_or_default()))
            }
            None => None,
        };
        let value = value.ok_or(Reason::WrongType {
            at,
            expected: "a map to strings, finite numbers and booleans",
        })?;
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn write_parameters(parameters: &Parameters) -> BTreeMap<String, InferParameter> {
    let free = parameters.iter().filter(|(name, _)| !own::is_own(name));
    free.map(|(name, value)| {
        let value = match value {
            Parameter::Bool(value) => InferParameterValue::Bool(*value),
            Parameter::String(text) => InferParameterValue::String(text.clone()),
            Parameter::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => InferParameterValue::Int64(value),
                (None, Some(value)) => InferParameterValue::Uint64(value),
                (None, None) => InferParameterValue::Double(number.as_f64().unwrap_or_default()),
            },
        };
        (name.clone(), InferParameter { value: Some(value) })
    })
    .collect()
}

fn requested_parameters(output: &RequestedOutput) -> BTreeMap<String, InferParameter> {
    let mut parameters = write_parameters(&output.parameters);
    if let Some(count) = output.classification {
        let value = Some(InferParameterValue::Int64(i64::from(count.get())));
        parameters.insert(own::CLASSIFICATION.to_owned(), InferParameter { value });
    }
    parameters
}

fn write_tensors(tensors: &[WireTensor], form: Contents) -> Result<Vec<InferTensor>, WriteError> {
    let write = |(position, tensor): (usize, &WireTensor)| {
        let inconsistent = WriteError::Inconsistent { position };
        if count(&tensor.shape) != Some(tensor.data.len()) || tensor.data.datatype() != tensor.datatype {
            return Err(inconsistent);
        }
        let shape: Result<Vec<i64>, _> = tensor.shape.iter().map(|&extent| i64::try_from(extent)).collect();
        Ok(InferTensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype.as_str().to_owned(),
            shape: shape.map_err(|_| inconsistent)?,
            parameters: write_parameters(&tensor.parameters),
            contents: match form {
                Contents::Typed => Some(contents::write(position, &tensor.data)?),
                Contents::Raw => None,
            },
        })
    };
    tensors.iter().enumerate().map(write).collect()
}

/// The message, and behind it the raw contents, each copied once: they have the message's last field number.
fn with_raw(
    message: &impl Message,
    number: u32,
    tensors: &[WireTensor],
    contents: Contents,
) -> Result<Vec<u8>, WriteError> {
    /// The key and the length of one field.
    const FIELD: usize = 11;
    if contents == Contents::Typed {
        return Ok(message.encode_to_vec());
    }
    let sizes = tensors.iter().map(|tensor| raw::size(&tensor.data));
    let room = message.encoded_len() + sizes.clone().map(|size| FIELD + size).sum::<usize>();
    let mut body = Vec::with_capacity(room);
    message.encode_raw(&mut body);
    for (position, (tensor, size)) in tensors.iter().zip(sizes).enumerate() {
        encode_key(number, Wire::LengthDelimited, &mut body);
        encode_varint(size as u64, &mut body);
        raw::push(&mut body, position, &tensor.data)?;
    }
    Ok(body)
}
