//! What each protocol calls things: questions to another server, and its answers.

use bytes::Bytes;
use prost::Message as _;
use stockade_model::{DataType, Dim, Signature, TensorSpec};
use stockade_protocol::{
    InferRequest, WireTensor, WireType, WriteError,
    grpc::{self, Contents, GrpcMethod},
    oip::{self, BodyLimits, TensorMetadata},
    tfs::{self, Form},
};

use super::{
    failure::Trouble,
    request::{Answer, Ask},
    signature::Said,
};
use crate::config::UpstreamProtocol;

const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";

/// The extension under which servers read binary tensors.
const BINARY: &str = "binary_tensor_data";

/// A model as its server knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) model: &'a str,
    pub(super) version: Option<u64>,
}

impl Asked<'_> {
    fn oip(self, end: &str) -> String {
        match self.version {
            Some(version) => format!("/v2/models/{}/versions/{version}{end}", self.model),
            None => format!("/v2/models/{}{end}", self.model),
        }
    }

    fn tfs(self, end: &str) -> String {
        match self.version {
            Some(version) => format!("/v1/models/{}/versions/{version}{end}", self.model),
            None => format!("/v1/models/{}{end}", self.model),
        }
    }

    fn version_text(self) -> Option<String> {
        self.version.map(|version| version.to_string())
    }
}

/// Whether the server is ready; TensorFlow Serving's protocol asks that of models alone.
pub(super) fn ready(protocol: UpstreamProtocol) -> Option<Ask> {
    match protocol {
        UpstreamProtocol::OipHttp => Some(Ask::get("/v2/health/ready")),
        UpstreamProtocol::OipGrpc => call(
            GrpcMethod::ServerReady,
            &grpc::ServerReadyRequest {}.encode_to_vec(),
        ),
        UpstreamProtocol::Tfs => None,
    }
}

pub(super) fn is_ready(protocol: UpstreamProtocol, answer: Answer, limits: &BodyLimits) -> bool {
    match protocol {
        UpstreamProtocol::OipHttp | UpstreamProtocol::Tfs => answer.status == 200,
        UpstreamProtocol::OipGrpc => {
            message::<grpc::ServerReadyResponse>(answer, limits).is_some_and(|it| it.ready)
        }
    }
}

/// What the server can do, where that is not known from its protocol.
pub(super) fn server(protocol: UpstreamProtocol) -> Option<Ask> {
    match protocol {
        UpstreamProtocol::OipHttp => Some(Ask::get("/v2")),
        UpstreamProtocol::OipGrpc | UpstreamProtocol::Tfs => None,
    }
}

/// Whether it says that it reads binary tensors.
pub(super) fn reads_binary(answer: &Answer, limits: &BodyLimits) -> bool {
    answer.status == 200
        && oip::parse_server_metadata(&answer.body, limits)
            .is_ok_and(|server| server.extensions.iter().any(|extension| extension == BINARY))
}

/// What a model takes and gives.
pub(super) fn model(protocol: UpstreamProtocol, asked: Asked<'_>) -> Option<Ask> {
    match protocol {
        UpstreamProtocol::OipHttp => Some(Ask::get(asked.oip(""))),
        UpstreamProtocol::Tfs => Some(Ask::get(asked.tfs("/metadata"))),
        UpstreamProtocol::OipGrpc => {
            let request = grpc::ModelMetadataRequest {
                name: asked.model.to_owned(),
                version: asked.version_text().unwrap_or_default(),
            };
            call(GrpcMethod::ModelMetadata, &request.encode_to_vec())
        }
    }
}

/// What a server says of a model; nothing where it does not know it or says nonsense.
pub(super) fn said(protocol: UpstreamProtocol, answer: Answer, limits: &BodyLimits) -> Option<Said> {
    match protocol {
        UpstreamProtocol::OipHttp => {
            let model = oip::parse_model_metadata(whole(&answer)?, limits).ok()?;
            Some(Said {
                inputs: model.inputs,
                outputs: model.outputs,
            })
        }
        UpstreamProtocol::Tfs => {
            let signature = tfs::parse_tfs_metadata(whole(&answer)?, None, limits).ok()?;
            Some(Said {
                inputs: signature.inputs,
                outputs: signature.outputs,
            })
        }
        UpstreamProtocol::OipGrpc => {
            let model = message::<grpc::ModelMetadataResponse>(answer, limits)?;
            Some(Said {
                inputs: tensors(model.inputs)?,
                outputs: tensors(model.outputs)?,
            })
        }
    }
}

/// An inference, in the server's form.
pub(super) fn infer(
    protocol: UpstreamProtocol,
    asked: Asked<'_>,
    request: &InferRequest,
    reads_binary: bool,
    signature: &Signature,
) -> Result<Ask, Trouble> {
    let unwritable = |error: WriteError| {
        Trouble::Unwritable(match error {
            WriteError::HalfPrecision { .. } => {
                "the model's server reads JSON alone, which cannot carry half precision; send FP32 to a model that takes it"
            }
            WriteError::NotText { .. } => {
                "the model's server reads JSON alone, which carries bytes only where they are text"
            }
            WriteError::NotFinite { .. } => "a tensor holds a number that is not finite",
            WriteError::NoRows { .. } | WriteError::EmptyRows { .. } | WriteError::Inconsistent { .. } => {
                "the tensors have no form that the model's server reads"
            }
        })
    };
    match protocol {
        UpstreamProtocol::OipHttp => {
            let body = oip::write_binary_infer_request(request, |_| reads_binary).map_err(unwritable)?;
            let mut ask = Ask::post(asked.oip("/infer"), body.bytes, JSON);
            if let Some(sent) = ask.body.as_mut().filter(|_| reads_binary) {
                sent.json_length = Some(body.json_length);
                sent.content_type = "application/octet-stream";
            }
            Ok(ask)
        }
        UpstreamProtocol::OipGrpc => {
            let version = asked.version_text();
            let message =
                grpc::write_grpc_infer_request(request, asked.model, version.as_deref(), Contents::Raw)
                    .map_err(unwritable)?;
            call(GrpcMethod::ModelInfer, &message).ok_or(Trouble::Unwritable("the request is too large"))
        }
        UpstreamProtocol::Tfs => {
            let body = tfs::write_predict_request(request, form(signature), None).map_err(unwritable)?;
            Ok(Ask::post(asked.tfs(":predict"), body, JSON))
        }
    }
}

/// The outputs in an answer to [`infer`].
pub(super) fn outputs(
    protocol: UpstreamProtocol,
    asked: Asked<'_>,
    id: &str,
    answer: Answer,
    signature: &Signature,
    limits: &BodyLimits,
) -> Result<Vec<WireTensor>, Trouble> {
    accepted(protocol, &answer)?;
    let unreadable = |_| Trouble::Failed("the answer is not one of the protocol");
    let response = match protocol {
        UpstreamProtocol::Tfs => {
            let outputs: Vec<TensorMetadata> = signature.outputs.iter().map(described).collect();
            return tfs::parse_predict_response(&answer.body, &outputs, limits).map_err(unreadable);
        }
        UpstreamProtocol::OipHttp => match answer.json_length {
            None => oip::parse_infer_response(&answer.body, limits),
            Some(Some(length)) => oip::parse_binary_infer_response(&answer.body, length, limits),
            Some(None) => return Err(Trouble::Failed("the answer's length of JSON is no number")),
        }
        .map_err(unreadable)?,
        UpstreamProtocol::OipGrpc => {
            let message =
                grpc::unframe(answer.body).map_err(|_| Trouble::Failed("the answer is not one message"))?;
            grpc::parse_grpc_infer_response(message, limits).map_err(unreadable)?
        }
    };
    // An answer to somebody else's request would name another: connections are shared.
    let is_ours =
        response.model_name == asked.model && response.id.as_deref().is_none_or(|named| named == id);
    is_ours
        .then_some(response.outputs)
        .ok_or(Trouble::Failed("the answer is that of another request or model"))
}

/// Whether the server answered at all. RFC 9110 section 15; grpc/grpc, `doc/statuscodes.md`.
fn accepted(protocol: UpstreamProtocol, answer: &Answer) -> Result<(), Trouble> {
    let refused = Trouble::Failed("the server refused the request, or failed");
    match answer.status {
        200 => {}
        429 | 503 => return Err(Trouble::Unavailable),
        504 => return Err(Trouble::TimedOut),
        _ => return Err(refused),
    }
    match (protocol, answer.grpc_status) {
        (UpstreamProtocol::OipHttp | UpstreamProtocol::Tfs, _) | (UpstreamProtocol::OipGrpc, Some(0)) => {
            Ok(())
        }
        (UpstreamProtocol::OipGrpc, Some(4)) => Err(Trouble::TimedOut),
        (UpstreamProtocol::OipGrpc, Some(8 | 14)) => Err(Trouble::Unavailable),
        (UpstreamProtocol::OipGrpc, Some(_) | None) => Err(refused),
    }
}

/// TensorFlow Serving takes rows where every tensor has them; columns carry anything.
fn form(signature: &Signature) -> Form {
    let has_rows = |spec: &TensorSpec| matches!(spec.shape.first(), Some(Dim::Symbol(_)));
    let tensors = || signature.inputs.iter().chain(&signature.outputs);
    if tensors().all(has_rows) {
        Form::Row
    } else {
        Form::Column
    }
}

fn described(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: exact_type(spec.data_type),
        shape: spec.oip_shape(),
        labels: Vec::new(),
    }
}

/// The wire's type of the same width, half precision included.
const fn exact_type(data_type: DataType) -> WireType {
    match data_type {
        DataType::F16 => WireType::F16,
        DataType::BF16 => WireType::BF16,
        other => crate::tensors::wire_type(other),
    }
}

fn tensors(list: Vec<grpc::TensorMetadata>) -> Option<Vec<TensorMetadata>> {
    list.into_iter()
        .map(|tensor| {
            Some(TensorMetadata {
                datatype: WireType::parse(&tensor.datatype)?,
                name: tensor.name,
                shape: tensor.shape,
                labels: Vec::new(),
            })
        })
        .collect()
}

fn call(method: GrpcMethod, message: &[u8]) -> Option<Ask> {
    let mut bytes = grpc::frame(message.len())?.to_vec();
    bytes.extend_from_slice(message);
    Some(Ask::post(method.path(), bytes, GRPC))
}

fn whole(answer: &Answer) -> Option<&Bytes> {
    (answer.status == 200).then_some(&answer.body)
}

fn message<M: prost::Message + Default>(answer: Answer, limits: &BodyLimits) -> Option<M> {
    (answer.status == 200 && answer.grpc_status == Some(0)).then_some(())?;
    grpc::decode(grpc::unframe(answer.body).ok()?, limits.max_bytes).ok()
}

#[cfg(test)]
mod tests {
    use stockade_protocol::{Parameters, WireData};

    use super::*;

    const M: Asked<'_> = Asked {
        model: "m",
        version: None,
    };

    fn signature(shape: Vec<Dim>) -> Signature {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            data_type: DataType::F32,
            shape: shape.clone(),
        };
        Signature {
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
        }
    }

    fn request(data: WireData) -> InferRequest {
        let input = WireTensor {
            name: "x".into(),
            datatype: data.datatype(),
            shape: vec![1, 1],
            parameters: Parameters::new(),
            data,
        };
        InferRequest {
            inputs: vec![input],
            ..InferRequest::default()
        }
    }

    #[test]
    fn what_json_cannot_carry_goes_in_binary_or_is_refused() {
        let rows = signature(vec![Dim::Symbol(String::new()), Dim::Fixed(1)]);
        for data in [
            WireData::F16(vec![0x3c00]),
            WireData::BF16(vec![0x3f80]),
            WireData::Bytes(vec![vec![0xff]]),
        ] {
            let is_half = !matches!(data, WireData::Bytes(_));
            let request = request(data);
            let ask = |protocol, binary| infer(protocol, M, &request, binary, &rows);
            assert!(matches!(
                ask(UpstreamProtocol::OipHttp, false),
                Err(Trouble::Unwritable(_))
            ));
            assert!(
                ask(UpstreamProtocol::OipHttp, true).is_ok() && ask(UpstreamProtocol::OipGrpc, false).is_ok()
            );
            if is_half {
                let refusal = ask(UpstreamProtocol::OipHttp, false).unwrap_err().refusal();
                assert_eq!(refusal.code.status(), 400);
            }
        }
    }

    #[test]
    fn rows_where_every_tensor_has_them_and_columns_elsewhere() {
        let body = |shape| {
            let ask = infer(
                UpstreamProtocol::Tfs,
                M,
                &request(WireData::F32(vec![1.0])),
                false,
                &signature(shape),
            );
            let ask = ask.unwrap();
            assert_eq!(ask.path, "/v1/models/m:predict");
            String::from_utf8(ask.body.unwrap().bytes.to_vec()).unwrap()
        };
        assert!(body(vec![Dim::Symbol(String::new()), Dim::Fixed(1)]).starts_with("{\"instances\":"));
        assert!(body(vec![Dim::Fixed(1), Dim::Fixed(1)]).starts_with("{\"inputs\":"));
    }

    #[test]
    fn a_version_is_part_of_the_path() {
        let asked = Asked {
            version: Some(3),
            ..M
        };
        assert_eq!(asked.oip("/infer"), "/v2/models/m/versions/3/infer");
        assert_eq!(asked.tfs("/metadata"), "/v1/models/m/versions/3/metadata");
    }
}
