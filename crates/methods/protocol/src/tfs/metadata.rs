//! A model's status and its signature, to and from JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::WireType;
use crate::body_error::{BodyError, Place, Reason};
use crate::limits::BodyLimits;
use crate::oip::{ModelMetadata, TensorMetadata, push_json};

/// The signature that is used where a request names none.
const DEFAULT: &str = "serving_default";

/// What a model takes and gives under one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TfsSignature {
    /// What the model takes, in the order of names.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives, in the order of names.
    pub outputs: Vec<TensorMetadata>,
}

/// The answer to `GET /v1/models/{model}`: TensorFlow Serving's fields and KServe's.
#[must_use]
pub fn write_tfs_status(model: &str, version: &str, ready: bool) -> Vec<u8> {
    let state = if ready { AVAILABLE } else { "LOADING" };
    let status = VersionStatus {
        version: version.to_owned(),
        state: state.to_owned(),
        status: StatusCode {
            error_code: "OK".to_owned(),
            error_message: String::new(),
        },
    };
    let status = ModelStatus {
        model_version_status: vec![status],
        name: Some(model.to_owned()),
        ready: Some(ready),
    };
    let mut body = Vec::new();
    push_json(&mut body, &status);
    body
}

/// Whether the answer to `GET /v1/models/{model}` says that the model can answer.
pub fn parse_tfs_status(body: &[u8], limits: &BodyLimits) -> Result<bool, BodyError> {
    let status: ModelStatus = limits.read_json(body)?;
    let available = |version: &VersionStatus| version.state == AVAILABLE;
    Ok(status
        .ready
        .unwrap_or_else(|| status.model_version_status.iter().any(available)))
}

/// The answer to `GET /v1/models/{model}/metadata`.
#[must_use]
pub fn write_tfs_metadata(model: &ModelMetadata, version: &str) -> Vec<u8> {
    let tensors = |list: &[TensorMetadata]| {
        let tensor = |tensor: &TensorMetadata| (tensor.name.clone(), TensorInfo::from(tensor));
        list.iter().map(tensor).collect()
    };
    let signature = Signature {
        inputs: tensors(&model.inputs),
        outputs: tensors(&model.outputs),
        method_name: "tensorflow/serving/predict".to_owned(),
    };
    let metadata = Metadata {
        model_spec: ModelSpec {
            name: model.name.clone(),
            signature_name: String::new(),
            version: version.to_owned(),
        },
        metadata: Signatures {
            signature_def: SignatureMap {
                signature_def: [(DEFAULT.to_owned(), signature)].into(),
            },
        },
    };
    let mut body = Vec::new();
    push_json(&mut body, &metadata);
    body
}

/// The signature of that name, or the default one, in the answer to `GET /v1/models/{model}/metadata`.
pub fn parse_tfs_metadata(
    body: &[u8],
    signature: Option<&str>,
    limits: &BodyLimits,
) -> Result<TfsSignature, BodyError> {
    let mut metadata: Metadata = limits.read_json(body)?;
    let at = Place::field("signature_def");
    let signatures = &mut metadata.metadata.signature_def.signature_def;
    let signature = signatures.remove(signature.unwrap_or(DEFAULT));
    let signature = signature.ok_or(BodyError::new(Reason::Missing { at }))?;
    Ok(TfsSignature {
        inputs: tensors(signature.inputs, "inputs", limits).map_err(BodyError::new)?,
        outputs: tensors(signature.outputs, "outputs", limits).map_err(BodyError::new)?,
    })
}

fn tensors(
    list: BTreeMap<String, TensorInfo>,
    field: &'static str,
    limits: &BodyLimits,
) -> Result<Vec<TensorMetadata>, Reason> {
    let limit = limits.max_tensors;
    if list.len() > limit {
        let (at, what) = (Place::field(field), "tensors");
        return Err(Reason::TooMany { at, what, limit });
    }
    let tensor = |(position, (name, info)): (usize, (String, TensorInfo))| {
        let at = Place::entry(field, position);
        let datatype = DATATYPES.iter().find(|(_, name)| *name == info.dtype);
        let (datatype, _) = datatype.ok_or(Reason::UnknownDatatype { at: at.at("dtype") })?;
        let extent = |dim: &Dim| dim.size.parse::<i64>().ok();
        let shape: Option<Vec<i64>> = info.tensor_shape.dim.iter().map(extent).collect();
        let shape = shape.filter(|_| !info.tensor_shape.unknown_rank);
        let expected = "a shape of known rank";
        let at = at.at("tensor_shape");
        let shape = shape.ok_or(Reason::WrongType { at, expected })?;
        let (what, limit) = ("dimensions", limits.max_dimensions);
        if shape.len() > limit {
            return Err(Reason::TooMany { at, what, limit });
        }
        Ok(TensorMetadata {
            name,
            datatype: *datatype,
            shape,
            labels: Vec::new(),
        })
    };
    list.into_iter().enumerate().map(tensor).collect()
}

/// TensorFlow's names of the types, `tensorflow/core/framework/types.proto`.
const DATATYPES: [(WireType, &str); 14] = [
    (WireType::Bool, "DT_BOOL"),
    (WireType::U8, "DT_UINT8"),
    (WireType::I8, "DT_INT8"),
    (WireType::U16, "DT_UINT16"),
    (WireType::I16, "DT_INT16"),
    (WireType::U32, "DT_UINT32"),
    (WireType::I32, "DT_INT32"),
    (WireType::U64, "DT_UINT64"),
    (WireType::I64, "DT_INT64"),
    (WireType::F16, "DT_HALF"),
    (WireType::BF16, "DT_BFLOAT16"),
    (WireType::F32, "DT_FLOAT"),
    (WireType::F64, "DT_DOUBLE"),
    (WireType::Bytes, "DT_STRING"),
];

const AVAILABLE: &str = "AVAILABLE";

#[derive(Deserialize, Serialize)]
struct ModelStatus {
    #[serde(default)]
    model_version_status: Vec<VersionStatus>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    ready: Option<bool>,
}

#[derive(Deserialize, Serialize)]
struct VersionStatus {
    #[serde(default)]
    version: String,
    state: String,
    #[serde(default)]
    status: StatusCode,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct StatusCode {
    error_code: String,
    error_message: String,
}

#[derive(Deserialize, Serialize)]
struct Metadata {
    #[serde(default)]
    model_spec: ModelSpec,
    metadata: Signatures,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct ModelSpec {
    name: String,
    signature_name: String,
    version: String,
}

#[derive(Deserialize, Serialize)]
struct Signatures {
    signature_def: SignatureMap,
}

#[derive(Deserialize, Serialize)]
struct SignatureMap {
    signature_def: BTreeMap<String, Signature>,
}

#[derive(Deserialize, Serialize)]
struct Signature {
    #[serde(default)]
    inputs: BTreeMap<String, TensorInfo>,
    #[serde(default)]
    outputs: BTreeMap<String, TensorInfo>,
    #[serde(default)]
    method_name: String,
}

#[derive(Deserialize, Serialize)]
struct TensorInfo {
    dtype: String,
    #[serde(default)]
    tensor_shape: TensorShape,
    #[serde(default)]
    name: String,
}

impl From<&TensorMetadata> for TensorInfo {
    fn from(tensor: &TensorMetadata) -> Self {
        let name = DATATYPES
            .iter()
            .find(|(datatype, _)| *datatype == tensor.datatype);
        let dim = |extent: &i64| Dim {
            size: extent.to_string(),
            name: String::new(),
        };
        Self {
            dtype: name.map_or("DT_INVALID", |(_, name)| name).to_owned(),
            tensor_shape: TensorShape {
                dim: tensor.shape.iter().map(dim).collect(),
                unknown_rank: false,
            },
            name: tensor.name.clone(),
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct TensorShape {
    dim: Vec<Dim>,
    unknown_rank: bool,
}

#[derive(Deserialize, Serialize)]
struct Dim {
    size: String,
    #[serde(default)]
    name: String,
}
