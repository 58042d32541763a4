//! A request or an answer from JSON with raw data behind it, or from raw data alone.
//!
//! # Citation
//! triton-inference-server/server, `docs/protocol/extension_binary_data.md`: "Binary Tensor Request", "Raw Binary
//! Request".

use crate::body_error::{BodyError, Place, Reason};
use crate::limits::{BodyLimits, Elements};
use crate::raw::{RawTensor, width};
use crate::{InferRequest, InferResponse, Parameters, WireData, WireTensor, WireType};

use super::fields::Reader;
use super::metadata::TensorMetadata;
use super::parse::Envelope;

/// Reads the body of `POST .../infer` that came with the header `Inference-Header-Content-Length: json_length`.
///
/// Where `json_length` is 0, the body is the data of the model's single input, whose name, type and shape
/// `model_inputs` says; one extent that varies follows from the body's length. All outputs are then wanted raw.
///
/// # Guarantee
/// That of [`parse_infer_request`](super::parse_infer_request), and each byte behind the JSON is in one tensor.
pub fn parse_binary_infer_request(
    body: &[u8],
    json_length: usize,
    model_inputs: &[TensorMetadata],
    limits: &BodyLimits,
) -> Result<InferRequest, BodyError> {
    let reader = Reader::new(limits);
    if json_length == 0 {
        reader.check_size(body)?;
        return raw_request(body, model_inputs, limits).map_err(BodyError::new);
    }
    let read = reader.read_binary(body, json_length, Envelope::request(&reader));
    read?.into_request()
}

/// Reads the body that answers `POST .../infer` with the header `Inference-Header-Content-Length: json_length`.
pub fn parse_binary_infer_response(
    body: &[u8],
    json_length: usize,
    limits: &BodyLimits,
) -> Result<InferResponse, BodyError> {
    let reader = Reader::new(limits);
    let read = reader.read_binary(body, json_length, Envelope::response(&reader));
    read?.into_response()
}

fn raw_request(body: &[u8], inputs: &[TensorMetadata], limits: &BodyLimits) -> Result<InferRequest, Reason> {
    let [input] = inputs else {
        return Err(Reason::NotRaw("a model with a single input"));
    };
    let at = Place::entry("inputs", 0);
    let (shape, data) = if input.datatype == WireType::Bytes {
        one_element(body, &input.shape, limits, at)?
    } else {
        let shape = solved(body.len(), input)?;
        let tensor = RawTensor {
            at,
            datatype: input.datatype,
            count: Elements::new(limits).claim(&shape, at)?,
            max_element_bytes: limits.max_element_bytes,
        };
        let data = tensor.read(body)?;
        (shape, data)
    };
    let input = WireTensor {
        name: input.name.clone(),
        datatype: input.datatype,
        shape,
        parameters: Parameters::new(),
        data,
    };
    Ok(InferRequest {
        inputs: vec![input],
        binary_outputs: Some(true),
        ..InferRequest::default()
    })
}

/// Of `BYTES` the whole body is the one element, without a length before it.
fn one_element(
    body: &[u8],
    shape: &[i64],
    limits: &BodyLimits,
    at: Place,
) -> Result<(Vec<u64>, WireData), Reason> {
    if shape.iter().any(|&extent| extent != 1 && extent >= 0) {
        return Err(Reason::NotRaw("an input that can be a single element"));
    }
    if body.len() > limits.max_element_bytes {
        return Err(Reason::TooLong {
            at,
            what: "an element",
            limit: limits.max_element_bytes,
        });
    }
    Ok((vec![1; shape.len()], WireData::Bytes(vec![body.to_vec()])))
}

/// The input's shape, with the one extent that varies so that `length` bytes fill it.
fn solved(length: usize, input: &TensorMetadata) -> Result<Vec<u64>, Reason> {
    let varies = input.shape.iter().filter(|&&extent| extent < 0).count();
    if varies > 1 {
        return Err(Reason::NotRaw("an input of which at most one extent varies"));
    }
    let known = input
        .shape
        .iter()
        .filter_map(|&extent| u64::try_from(extent).ok());
    let row = known
        .chain(width(input.datatype).map(|width| width as u64))
        .try_fold(1_u64, u64::checked_mul);
    let fits = row.and_then(|row| {
        (length as u64)
            .checked_div(row)
            .filter(|rows| rows * row == length as u64)
    });
    // Where nothing varies, or nothing is in a row, the length is held against the shape when the data is read.
    let solved = if varies == 0 { Some(0) } else { fits };
    let solved = solved.ok_or(Reason::NotRaw("a whole number of rows"))?;
    Ok(input
        .shape
        .iter()
        .map(|&extent| u64::try_from(extent).unwrap_or(solved))
        .collect())
}
