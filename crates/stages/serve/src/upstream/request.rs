//! What is sent to another server: our own words, and of the client's headers at most the trace.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use stockade_evidence::RecordId;

/// What names a request on its way through several servers.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The request's id, as in the log.
    pub(super) request_id: RecordId,
    /// The client's trace, where it is one.
    pub(super) parent: Option<HeaderValue>,
}

impl Trace {
    /// Of a request that no client sent.
    pub(crate) const fn own(request_id: RecordId) -> Self {
        Self {
            request_id,
            parent: None,
        }
    }

    pub(crate) fn new(request_id: RecordId, headers: &HeaderMap) -> Self {
        let parent = headers
            .get("traceparent")
            .filter(|value| is_trace(value.as_bytes()));
        Self {
            request_id,
            parent: parent.cloned(),
        }
    }
}

/// W3C Trace Context section 3.2: `00-`, 32 hexadecimal digits, `-`, 16, `-`, 2.
fn is_trace(value: &[u8]) -> bool {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let lengths = [2, 32, 16, 2];
    let mut parts = value.split(|byte| *byte == b'-');
    let fits = lengths.iter().all(|length| {
        parts
            .next()
            .is_some_and(|part| part.len() == *length && part.iter().all(digit))
    });
    fits && parts.next().is_none() && value.starts_with(b"00-")
}

/// One request to a replica.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) path: String,
    /// Absent where the method is GET.
    pub(super) body: Option<Body>,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) content_type: &'static str,
    /// Bytes of JSON before the tensors, under the binary tensor extension.
    pub(super) json_length: Option<usize>,
}

impl Ask {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            body: None,
        }
    }

    pub(super) fn post(path: impl Into<String>, bytes: Vec<u8>, content_type: &'static str) -> Self {
        Self {
            path: path.into(),
            body: Some(Body {
                bytes: bytes.into(),
                content_type,
                json_length: None,
            }),
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Inference-Header-Content-Length`, where it is there; absent inside where it is no number.
    pub(super) json_length: Option<Option<usize>>,
    /// `grpc-status`, where it is there.
    pub(super) grpc_status: Option<u16>,
    pub(super) body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_passed_on_and_nothing_that_looks_like_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_trace(good.as_bytes()));
        for bad in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            good.trim_start_matches('0'),
            &format!("{good}-x"),
            &good.to_uppercase(),
        ] {
            assert!(!is_trace(bad.as_bytes()), "{bad}");
        }
    }
}
