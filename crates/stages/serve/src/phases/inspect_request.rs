//! The fifth phase: a body becomes tensors that fit the model, or is refused (control 33, structural part).
//!
//! Names, types, ranks and sizes are held against the model's signature, dimensions of one name against each other,
//! and a number that is not finite is refused: it would travel through a model and say nothing.

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use stockade_evidence::Control;
use stockade_model::{Dim, Tensor, TensorSpec};
use stockade_protocol::{
    ErrorCode, InferRequest, RequestedOutput, WireTensor,
    oip::{BodyLimits, TensorMetadata, parse_infer_request},
};

use crate::{answer::Refusal, config::OutputPolicy, models::ServedModel, phases::shape, tensors};

/// A request that fits its model.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// The client's name for the request, which the answer repeats and nothing else does.
    pub(crate) id: Option<String>,
    /// One tensor per input of the model.
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// The outputs asked for; each exists for this principal.
    pub(crate) requested: Option<Vec<RequestedOutput>>,
    /// The size of the first dimension of the first input.
    pub(crate) rows: u64,
}

/// Refuses a body in a form that is not read, before a byte of it is.
pub(crate) fn headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported = |message| Refusal::new(ErrorCode::UnsupportedMedia, Control::InputInspection, message);
    let encoding = headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("compressed bodies are not served").closing());
    }
    if headers.contains_key("inference-header-content-length") {
        return Err(Refusal::invalid(
            "the binary tensor data extension is not served; send `data` as JSON (`binary_data=False`)",
        )
        .closing());
    }
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let json = |value: &[u8]| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        // Without a type, as several clients of the protocol send it, the body is read as JSON.
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
            || essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/octet-stream")
            || essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    };
    if content_type.is_some_and(|value| !json(value)) {
        return Err(unsupported("the body must be `application/json`").closing());
    }
    Ok(())
}

/// Reads a body and holds it against the model.
pub(crate) fn body(
    bytes: &[u8],
    limits: &BodyLimits,
    model: &ServedModel,
    policy: &OutputPolicy,
) -> Result<Inspected, Refusal> {
    let request = parse_infer_request(bytes, limits)
        .map_err(|error| Refusal::new(error.code(), Control::InputInspection, error.to_string()))?;
    inspect(request, model, policy)
}

fn inspect(request: InferRequest, model: &ServedModel, policy: &OutputPolicy) -> Result<Inspected, Refusal> {
    if let Some(requested) = &request.outputs {
        check_requested(
            requested,
            &shape::visible_outputs(model.signature(), None, policy),
        )?;
    }
    let specs = &model.signature().inputs;
    if request.inputs.len() != specs.len() {
        return Err(Refusal::invalid(format!(
            "the model takes {} input(s)",
            specs.len()
        )));
    }
    let mut sizes: Vec<(&str, u64)> = Vec::new();
    let mut rows = 1;
    let mut inputs = Vec::with_capacity(specs.len());
    for (position, wire) in request.inputs.into_iter().enumerate() {
        let spec = specs
            .iter()
            .find(|spec| spec.name == wire.name)
            .ok_or_else(|| refuse(position, "is not an input of the model"))?;
        check_type(position, &wire, spec)?;
        check_shape(position, &wire.shape, spec, &mut sizes)?;
        if position == 0 {
            rows = wire.shape.first().copied().unwrap_or(1);
        }
        let tensor = tensors::from_wire(&wire.shape, wire.data)
            .map_err(|_| refuse(position, "does not hold as many elements as its shape says"))?;
        if !tensors::all_finite(tensor.data()) {
            return Err(refuse(position, "holds a number that is not finite"));
        }
        inputs.push((wire.name, tensor));
    }
    let most = u64::from(model.config().max_rows.get());
    if rows > most {
        return Err(Refusal::invalid(format!(
            "the request holds more than {most} rows"
        )));
    }
    Ok(Inspected {
        id: request.id,
        inputs,
        requested: request.outputs,
        rows,
    })
}

fn refuse(position: usize, problem: &str) -> Refusal {
    Refusal::invalid(format!("`inputs[{position}]` {problem}"))
}

/// An output that is hidden is refused in the words of one that does not exist.
fn check_requested(requested: &[RequestedOutput], visible: &[TensorMetadata]) -> Result<(), Refusal> {
    for (position, wanted) in requested.iter().enumerate() {
        if visible.iter().all(|output| output.name != wanted.name) {
            return Err(Refusal::invalid(format!(
                "`outputs[{position}]` asks for an output that the model does not have"
            )));
        }
        if requested
            .iter()
            .take(position)
            .any(|earlier| earlier.name == wanted.name)
        {
            return Err(Refusal::invalid(format!(
                "`outputs[{position}]` asks for an output again"
            )));
        }
    }
    Ok(())
}

fn check_type(position: usize, wire: &WireTensor, spec: &TensorSpec) -> Result<(), Refusal> {
    if tensors::model_type(wire.data.datatype()) == spec.data_type {
        return Ok(());
    }
    Err(refuse(
        position,
        &format!("must be `{}`, not `{}`", spec.data_type, wire.data.datatype()),
    ))
}

fn check_shape<'a>(
    position: usize,
    shape: &[u64],
    spec: &'a TensorSpec,
    sizes: &mut Vec<(&'a str, u64)>,
) -> Result<(), Refusal> {
    let wrong = || {
        refuse(
            position,
            &format!("must have the shape {:?}, where -1 is any size", spec.oip_shape()),
        )
    };
    if shape.len() != spec.shape.len() {
        return Err(wrong());
    }
    for (size, dim) in shape.iter().zip(&spec.shape) {
        if *size == 0 {
            return Err(refuse(position, "has no elements"));
        }
        match dim {
            Dim::Fixed(fixed) if *fixed as u64 == *size => {}
            Dim::Fixed(_) => return Err(wrong()),
            Dim::Symbol(name) if name.is_empty() => {}
            Dim::Symbol(name) => match sizes.iter().find(|(known, _)| known == name) {
                Some((_, known)) if known == size => {}
                Some(_) => {
                    return Err(refuse(
                        position,
                        "has another size than an input with the same dimension",
                    ));
                }
                None => sizes.push((name, *size)),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn spec(shape: Vec<Dim>) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            data_type: stockade_model::DataType::F32,
            shape,
        }
    }

    #[test]
    fn shapes_are_held_against_the_signature() {
        let batch = spec(vec![Dim::Symbol("batch".into()), Dim::Fixed(64)]);
        let check = |shape: &[u64]| check_shape(0, shape, &batch, &mut Vec::new());
        assert!(check(&[1, 64]).is_ok() && check(&[500, 64]).is_ok());
        for wrong in [&[64][..], &[1, 63], &[1, 64, 1], &[0, 64], &[]] {
            assert_eq!(
                check(wrong).unwrap_err().code,
                ErrorCode::InvalidRequest,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn dimensions_of_one_name_have_one_size() {
        let batch = spec(vec![Dim::Symbol("batch".into())]);
        let free = spec(vec![Dim::Symbol(String::new())]);
        let mut sizes = Vec::new();
        assert!(check_shape(0, &[3], &batch, &mut sizes).is_ok());
        assert!(check_shape(1, &[3], &batch, &mut sizes).is_ok());
        assert!(check_shape(2, &[4], &batch, &mut sizes).is_err());
        assert!(check_shape(3, &[4], &free, &mut sizes).is_ok());
    }

    #[track_caller]
    fn check_headers(name: &'static str, value: &'static str, expected: Option<u16>) {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::from_static(value));
        assert_eq!(
            headers(&map).err().map(|refusal| refusal.code.status()),
            expected,
            "{name}: {value}"
        );
    }

    #[test]
    fn only_plain_json_is_read() {
        check_headers("content-type", "application/json", None);
        check_headers("content-type", "Application/JSON; charset=utf-8", None);
        check_headers("content-type", "text/html", Some(415));
        check_headers("content-type", "application/jsonx", Some(415));
        check_headers("content-encoding", "gzip", Some(415));
        check_headers("content-encoding", "identity", None);
        check_headers("inference-header-content-length", "12", Some(400));
        assert!(headers(&HeaderMap::new()).is_ok());
    }
}
