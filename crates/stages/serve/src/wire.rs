//! The protocols of an inference: how its body is read, and how its answer is written in the same form.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use stockade_evidence::{Control, RecordId};
use stockade_protocol::{
    BodyError, InferRequest, InferResponse, WriteError,
    grpc::{Contents, parse_grpc_infer_request, write_grpc_infer_response},
    oip::{BodyLimits, parse_binary_infer_request, parse_infer_request, write_binary_infer_response},
    tfs::{self, parse_predict_request, write_predict_response},
};

use crate::{
    answer::{self, Answer, Refusal},
    metadata,
    models::ServedModel,
};

/// How many bytes of a body are JSON, where tensors are behind it.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// How an inference comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// The Open Inference Protocol over HTTP: JSON.
    Json,
    /// The same, with tensors as raw bytes behind so many bytes of JSON.
    Binary {
        /// The bytes of JSON.
        json_length: usize,
    },
    /// TensorFlow Serving's protocol.
    Predict,
    /// The Open Inference Protocol over gRPC.
    Grpc,
}

/// How its answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// JSON, with the outputs behind it that were asked for as raw bytes.
    Json,
    /// Rows or columns, as the request was.
    Predict(tfs::Form),
    /// A message, its elements where the request's were.
    Grpc(Contents),
}

impl Wire {
    /// The Open Inference Protocol over HTTP, in the form that the header fields say.
    pub(crate) fn of_http(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut lengths = headers.get_all(JSON_LENGTH).iter();
        let Some(length) = lengths.next() else {
            return Ok(Self::Json);
        };
        let digits = length
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(json_length) if lengths.next().is_none() => Ok(Self::Binary { json_length }),
            Some(_) | None => {
                let message = "`Inference-Header-Content-Length` must be one number";
                Err(Refusal::invalid(message).closing())
            }
        }
    }

    /// Reads a body.
    pub(crate) fn read(
        self,
        body: Bytes,
        model: &ServedModel,
        limits: &BodyLimits,
    ) -> Result<(InferRequest, Form), Refusal> {
        match self {
            Self::Json => parse_infer_request(&body, limits).map(|request| (request, Form::Json)),
            Self::Binary { json_length } => {
                let request =
                    parse_binary_infer_request(&body, json_length, &metadata::inputs(model), limits);
                request.map(|request| (request, Form::Json))
            }
            Self::Predict => {
                let read = parse_predict_request(&body, &metadata::inputs(model), limits);
                read.map(|read| (read.request, Form::Predict(read.form)))
            }
            Self::Grpc => {
                let read = parse_grpc_infer_request(body, limits);
                read.map(|read| (read.request, Form::Grpc(read.contents)))
            }
        }
        .map_err(unreadable)
    }
}

impl Form {
    /// Whether the output of that name keeps half precision, for which JSON and typed contents have no words.
    pub(crate) fn carries_half_precision(self, asked: &InferRequest, output: &str) -> bool {
        match self {
            Self::Json => asked.wants_binary(output),
            Self::Predict(_) | Self::Grpc(Contents::Typed) => false,
            Self::Grpc(Contents::Raw) => true,
        }
    }

    /// Writes an answer.
    pub(crate) fn write(
        self,
        response: &InferResponse,
        asked: &InferRequest,
        request_id: &RecordId,
    ) -> Result<Answer, Refusal> {
        match self {
            Self::Json => write_http(response, asked, request_id),
            Self::Predict(form) => {
                let body = write_predict_response(&response.outputs, form).map_err(unwritable)?;
                Ok(answer::json(StatusCode::OK, body, request_id))
            }
            Self::Grpc(contents) => {
                let message = write_grpc_infer_response(response, contents).map_err(unwritable)?;
                answer::message(&message, request_id)
            }
        }
    }
}

fn write_http(
    response: &InferResponse,
    asked: &InferRequest,
    request_id: &RecordId,
) -> Result<Answer, Refusal> {
    let raw = |name: &str| asked.wants_binary(name);
    let body = write_binary_infer_response(response, |output| raw(&output.name)).map_err(unwritable)?;
    if !response.outputs.iter().any(|output| raw(&output.name)) {
        return Ok(answer::json(StatusCode::OK, body.bytes, request_id));
    }
    let mut answer = answer::json(StatusCode::OK, body.bytes, request_id);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(JSON_LENGTH, HeaderValue::from(body.json_length));
    Ok(answer)
}

/// The refusal of a body; the error's text never repeats any of it.
pub(crate) fn unreadable(error: BodyError) -> Refusal {
    Refusal::new(error.code(), Control::InputInspection, error.to_string())
}

fn unwritable(error: WriteError) -> Refusal {
    match error {
        // The client chose a form that the model's outputs do not have.
        WriteError::NoRows { .. } => Refusal::invalid(error.to_string()),
        WriteError::NotFinite { .. }
        | WriteError::HalfPrecision { .. }
        | WriteError::NotText { .. }
        | WriteError::EmptyRows { .. }
        | WriteError::Inconsistent { .. } => Refusal::internal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&'static str], expected: Result<Option<usize>, u16>) {
        let lengths = values
            .iter()
            .map(|value| (JSON_LENGTH, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        lengths.for_each(|(name, value)| {
            headers.append(name, value);
        });
        let read = Wire::of_http(&headers).map(|wire| match wire {
            Wire::Binary { json_length } => Some(json_length),
            Wire::Json | Wire::Predict | Wire::Grpc => None,
        });
        assert_eq!(
            read.map_err(|refusal| refusal.code.status()),
            expected,
            "{values:?}"
        );
    }

    #[test]
    fn half_precision_goes_where_raw_bytes_go() {
        let asked = |binary_outputs| InferRequest {
            binary_outputs,
            ..InferRequest::default()
        };
        let carries = |form: Form, binary| form.carries_half_precision(&asked(binary), "y");
        assert!(carries(Form::Json, Some(true)) && !carries(Form::Json, None));
        assert!(
            carries(Form::Grpc(Contents::Raw), None) && !carries(Form::Grpc(Contents::Typed), Some(true))
        );
        assert!(!carries(Form::Predict(tfs::Form::Row), Some(true)));
    }

    #[test]
    fn one_number_says_where_tensors_begin() {
        check(&[], Ok(None));
        check(&["0"], Ok(Some(0)));
        check(&["120"], Ok(Some(120)));
        for wrong in [
            &["+1"][..],
            &["-1"],
            &[""],
            &["1 "],
            &["99999999999999999999"],
            &["1", "1"],
        ] {
            check(wrong, Err(400));
        }
    }
}
