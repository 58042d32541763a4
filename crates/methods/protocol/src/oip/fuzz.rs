//! Fuzz entries of this protocol.

use super::{
    BodyLimits, parse_infer_request, parse_infer_response, route, write_infer_request, write_infer_response,
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
}

/// Fuzz entry: must not panic. The first line is a method, the rest a path.
pub fn fuzz_oip_route(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (method, path) = text.split_once('\n').unwrap_or(("GET", &text));
    // A refusal is as good as a route here; both are values.
    drop(route(method, path));
}
