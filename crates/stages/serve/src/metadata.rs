//! What the server and a model say about themselves, as a principal may see it.

use stockade_protocol::oip::{ModelConfig, ModelIndex, ModelMetadata, ServerMetadata, TensorMetadata};

use crate::{config::OutputPolicy, models::ServedModel, phases::shape, tensors};

/// The format of every model here.
const PLATFORM: &str = "onnx";

/// The server: its name and version, and the extensions that it speaks.
pub(crate) fn server() -> ServerMetadata {
    let extensions = [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "statistics",
    ];
    ServerMetadata {
        name: "stockade".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions.map(str::to_owned).to_vec(),
    }
}

/// A model: its inputs, and the outputs that exist under the policy.
pub(crate) fn model(model: &ServedModel, policy: &OutputPolicy) -> ModelMetadata {
    ModelMetadata {
        name: model.name().to_owned(),
        versions: vec![model.version().to_string()],
        platform: PLATFORM.to_owned(),
        inputs: inputs(model),
        outputs: shape::visible_outputs(model.signature(), model.labels(), policy),
    }
}

/// A model's configuration, in which hidden outputs are not there either.
pub(crate) fn config(model: &ServedModel, policy: &OutputPolicy) -> ModelConfig {
    ModelConfig {
        name: model.name().to_owned(),
        platform: PLATFORM.to_owned(),
        inputs: inputs(model),
        outputs: shape::visible_outputs(model.signature(), None, policy),
    }
}

/// A model in the repository's index.
pub(crate) fn index(model: &ServedModel) -> ModelIndex {
    ModelIndex {
        name: model.name().to_owned(),
        version: model.version().to_string(),
        state: "READY".to_owned(),
        reason: String::new(),
    }
}

/// What a model takes.
pub(crate) fn inputs(model: &ServedModel) -> Vec<TensorMetadata> {
    let inputs = model.signature().inputs.iter().map(|spec| TensorMetadata {
        name: spec.name.clone(),
        datatype: tensors::wire_type(spec.data_type),
        shape: spec.oip_shape(),
        labels: Vec::new(),
    });
    inputs.collect()
}
