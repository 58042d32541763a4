//! Fuzz entries of this protocol.

use bytes::Bytes;

use crate::oip::BodyLimits;

use super::{
    Contents, frame, grpc_method, parse_grpc_infer_request, parse_grpc_infer_response, unframe,
    write_grpc_infer_request, write_grpc_infer_response,
};

/// Fuzz entry: must not panic. What is read can be written raw, and what was written is read as the same.
pub fn fuzz_grpc_infer(data: &[u8]) {
    let limits = BodyLimits {
        max_elements: 4096,
        max_bytes: 1 << 20,
        ..BodyLimits::default()
    };
    let wide = BodyLimits::default();
    let body = Bytes::copy_from_slice(data);
    if let Ok(mut call) = parse_grpc_infer_request(body.clone(), &limits) {
        // Wishes that only HTTP has are not written.
        call.request.binary_outputs = None;
        for output in call.request.outputs.iter_mut().flatten() {
            output.binary = None;
        }
        call.contents = Contents::Raw;
        let version = call.version.as_deref();
        let written = write_grpc_infer_request(&call.request, &call.model, version, Contents::Raw);
        assert_eq!(
            written.map(|body| parse_grpc_infer_request(body.into(), &wide)),
            Ok(Ok(call))
        );
    }
    if let Ok(response) = parse_grpc_infer_response(body, &limits) {
        let written = write_grpc_infer_response(&response, Contents::Raw);
        assert_eq!(
            written.map(|body| parse_grpc_infer_response(body.into(), &wide)),
            Ok(Ok(response))
        );
    }
}

/// Fuzz entry: must not panic. A message comes out as it went in.
pub fn fuzz_grpc_frame(data: &[u8]) {
    if let Ok(message) = unframe(Bytes::copy_from_slice(data)) {
        let prefix = frame(message.len());
        assert_eq!(
            prefix.map(|prefix| [&prefix, &*message].concat()).as_deref(),
            Some(data)
        );
    }
}

/// Fuzz entry: must not panic. A path is a method's own or none.
pub fn fuzz_grpc_method(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(method) = grpc_method(&text) {
        assert_eq!(method.path(), text);
    }
}
