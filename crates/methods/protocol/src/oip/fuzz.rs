//! Fuzz entries of this protocol.

use crate::WireType;

use super::{
    BodyLimits, Endpoint, Extension, TensorMetadata, endpoint, parse_binary_infer_request,
    parse_binary_infer_response, parse_infer_request, parse_infer_response, parse_model_metadata,
    parse_server_metadata, route, write_binary_infer_request, write_binary_infer_response,
    write_infer_request, write_infer_response,
};

/// Fuzz entry: must not panic. What is read can be written, and what was written is read as the same.
pub fn fuzz_oip_body(data: &[u8]) {
    let limits = BodyLimits {
        max_elements: 4096,
        max_bytes: 1 << 20,
        ..BodyLimits::default()
    };
    // Rewriting may lengthen a body (1e300 without an exponent), so the second reading has the wide bounds.
    if let Ok(request) = parse_infer_request(data, &limits) {
        let written = write_infer_request(&request);
        assert_eq!(
            written.map(|body| parse_infer_request(&body, &BodyLimits::default())),
            Ok(Ok(request))
        );
    }
    if let Ok(response) = parse_infer_response(data, &limits) {
        let written = write_infer_response(&response);
        assert_eq!(
            written.map(|body| parse_infer_response(&body, &BodyLimits::default())),
            Ok(Ok(response))
        );
    }
    if let Ok(model) = parse_model_metadata(data, &limits) {
        assert_eq!(
            parse_model_metadata(&model.to_json(), &BodyLimits::default()),
            Ok(model)
        );
    }
    if let Ok(server) = parse_server_metadata(data, &limits) {
        assert_eq!(
            parse_server_metadata(&server.to_json(), &BodyLimits::default()),
            Ok(server)
        );
    }
}

/// Fuzz entry: must not panic. The first line is a method, the rest a path.
pub fn fuzz_oip_route(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (method, path) = text.split_once('\n').unwrap_or(("GET", &text));
    let known = route(method, path);
    let endpoint = endpoint(method, path);
    if let Ok(route) = known {
        let statistics = matches!(
            endpoint,
            Ok(Endpoint::Extension(Extension::ModelStatistics { .. }))
        );
        assert!(endpoint == Ok(Endpoint::Specified(route)) || statistics);
    }
}

/// Fuzz entry: must not panic. The first two bytes are the JSON's length, the rest the body.
///
/// What is read can be written with all of its tensors raw, and what was written is read as the same.
pub fn fuzz_oip_binary(data: &[u8]) {
    let Some((length, body)) = data.split_first_chunk() else {
        return;
    };
    let json_length = usize::from(u16::from_le_bytes(*length));
    let limits = BodyLimits {
        max_elements: 4096,
        max_bytes: 1 << 20,
        ..BodyLimits::default()
    };
    let wide = BodyLimits::default();
    let inputs = WireType::ALL.get(json_length.wrapping_add(body.len()) % WireType::ALL.len());
    let inputs: Vec<_> = inputs
        .map(|&datatype| TensorMetadata {
            name: "x".to_owned(),
            datatype,
            shape: vec![-1, 3],
            labels: Vec::new(),
        })
        .into_iter()
        .collect();
    if let Ok(request) = parse_binary_infer_request(body, json_length, &inputs, &limits) {
        let written = write_binary_infer_request(&request, |_| true);
        assert_eq!(
            written.map(|written| parse_binary_infer_request(
                &written.bytes,
                written.json_length,
                &[],
                &wide
            )),
            Ok(Ok(request))
        );
    }
    if let Ok(response) = parse_binary_infer_response(body, json_length, &limits) {
        let written = write_binary_infer_response(&response, |_| true);
        assert_eq!(
            written.map(|written| parse_binary_infer_response(&written.bytes, written.json_length, &wide)),
            Ok(Ok(response))
        );
    }
}
