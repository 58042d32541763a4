//! Fuzz entries of this protocol.

use crate::oip::{BodyLimits, ModelMetadata, TensorMetadata};
use crate::{WireType, WriteError};

use super::{
    parse_predict_request, parse_predict_response, parse_tfs_metadata, parse_tfs_status, tfs_route,
    write_predict_request, write_predict_response, write_tfs_metadata,
};

/// Fuzz entry: must not panic. The first byte chooses the model's inputs, the rest is a body.
///
/// What is read can be written in its form, and what was written is read as the same.
pub fn fuzz_tfs_predict(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let limits = BodyLimits {
        max_elements: 4096,
        max_bytes: 1 << 20,
        ..BodyLimits::default()
    };
    let wide = BodyLimits::default();
    let choice = usize::from(choice);
    let types = WireType::ALL.iter().copied().cycle().skip(choice);
    let tensor = |(name, datatype): (&str, WireType)| TensorMetadata {
        name: name.to_owned(),
        datatype,
        shape: [-1, -1, 2].into_iter().take(choice / 64).collect(),
        labels: Vec::new(),
    };
    let tensors = ["x", "b64"].into_iter().zip(types).map(tensor);
    let tensors: Vec<_> = tensors.take(1 + choice / 32 % 2).collect();
    if let Ok(predict) = parse_predict_request(body, &tensors, &limits) {
        let written = write_predict_request(&predict.request, predict.form, predict.signature.as_deref());
        let read = written.map(|body| parse_predict_request(&body, &tensors, &wide));
        assert!(read == Ok(Ok(predict)) || matches!(read, Err(WriteError::EmptyRows { .. })));
    }
    if let Ok(outputs) = parse_predict_response(body, &tensors, &limits) {
        let form = super::Form::Column;
        let written = write_predict_response(&outputs, form);
        let read = written
            .as_ref()
            .map(|body| parse_predict_response(body, &tensors, &wide));
        // NaN is not equal to itself, so what is written is compared.
        let again = read.map(|read| read.map(|outputs| write_predict_response(&outputs, form)));
        let empty = matches!(written, Err(WriteError::EmptyRows { .. }));
        assert!(empty || again == Ok(Ok(written.clone())));
    }
}

/// Fuzz entry: must not panic. The first line is a method, the rest a path.
pub fn fuzz_tfs_route(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (method, path) = text.split_once('\n').unwrap_or(("GET", &text));
    // A refusal is as good as a route here; both are values.
    drop(tfs_route(method, path));
}

/// Fuzz entry: must not panic. A signature that is read can be written and is read as the same.
pub fn fuzz_tfs_metadata(data: &[u8]) {
    let limits = BodyLimits::default();
    // Whether a model is ready is a value, whatever it is.
    drop(parse_tfs_status(data, &limits));
    if let Ok(signature) = parse_tfs_metadata(data, None, &limits) {
        let model = ModelMetadata {
            name: "m".to_owned(),
            versions: Vec::new(),
            platform: String::new(),
            inputs: signature.inputs.clone(),
            outputs: signature.outputs.clone(),
        };
        let written = write_tfs_metadata(&model, "1");
        let wide = BodyLimits {
            max_bytes: usize::MAX,
            ..limits
        };
        assert_eq!(parse_tfs_metadata(&written, None, &wide), Ok(signature));
    }
}
