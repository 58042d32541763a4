//! What the server and a model say about themselves, as a principal may see it.

use stockade_protocol::oip::{ModelMetadata, ServerMetadata, TensorMetadata};

use crate::{config::OutputPolicy, models::ServedModel, phases::shape, tensors};

/// The server: its name and version, no extensions.
pub(crate) fn server() -> Vec<u8> {
    ServerMetadata {
        name: "stockade".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: Vec::new(),
    }
    .to_json()
}

/// A model: its inputs, and the outputs that exist under the policy.
pub(crate) fn model(model: &ServedModel, policy: &OutputPolicy) -> Vec<u8> {
    let inputs = model.signature().inputs.iter().map(|spec| TensorMetadata {
        name: spec.name.clone(),
        datatype: tensors::wire_type(spec.data_type),
        shape: spec.oip_shape(),
        labels: Vec::new(),
    });
    ModelMetadata {
        name: model.name().to_owned(),
        versions: vec![model.version().to_string()],
        platform: "onnx".to_owned(),
        inputs: inputs.collect(),
        outputs: shape::visible_outputs(model.signature(), model.labels(), policy),
    }
    .to_json()
}
