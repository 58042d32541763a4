//! Answers: JSON bodies, a request id on each, and refusals as values.
//!
//! INVARIANT: a refusal's text never repeats what a client sent, so it may be logged and recorded as it is.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use stockade_evidence::{Control, RecordId};
use stockade_protocol::{ErrorCode, error_body};

/// The header that names the request in answers, records and logs.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// An answer, complete in memory.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request is not answered as asked.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The code, and with it the status.
    pub(crate) code: ErrorCode,
    /// One sentence for the client.
    pub(crate) message: Cow<'static, str>,
    /// The control that refused.
    pub(crate) control: Control,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
    /// The method to use instead.
    pub(crate) allow: Option<&'static str>,
    /// The policies that decided; for the record alone.
    pub(crate) policies: Vec<String>,
    /// The stream cannot be used again, because its body was not read to the end.
    pub(crate) close: bool,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, control: Control, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            control,
            retry_after: None,
            allow: None,
            policies: Vec::new(),
            close: false,
        }
    }

    /// The request does not fit the protocol or the model.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, Control::InputInspection, message)
    }

    /// Something that should not happen; the client learns nothing about it.
    pub(crate) fn internal() -> Self {
        Self::new(
            ErrorCode::Internal,
            Control::RunningModelIntegrity,
            "something failed inside the gateway",
        )
    }

    /// The log cannot take a record, so nothing may be answered.
    pub(crate) fn unrecorded() -> Self {
        Self::new(
            ErrorCode::Unavailable,
            Control::AuditLog,
            "the request cannot be recorded now, so it is not answered",
        )
        .after(Duration::from_secs(5))
    }

    /// The same refusal, to be tried again after `wait`.
    pub(crate) const fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same refusal, closing the connection.
    pub(crate) const fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The answer that carries it.
    pub(crate) fn answer(&self, request_id: &RecordId) -> Answer {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = error_body(self.code, &self.message, &request_id.to_string());
        let mut answer = json(status, body, request_id);
        let headers = answer.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.code == ErrorCode::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// Seconds to wait, rounded up and at least 1, as `Retry-After` wants them (RFC 9110 section 10.2.3).
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
        .max(1)
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: Vec<u8>, request_id: &RecordId) -> Answer {
    typed(
        status,
        HeaderValue::from_static("application/json"),
        body,
        request_id,
    )
}

/// An answer of any content type.
pub(crate) fn typed(
    status: StatusCode,
    content_type: HeaderValue,
    body: Vec<u8>,
    request_id: &RecordId,
) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RecordId {
        RecordId::new([7; 16])
    }

    #[test]
    fn every_refusal_names_its_request() {
        let answer = Refusal::invalid("no").answer(&id());
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()[REQUEST_ID], id().to_string().as_str());
        assert!(answer.headers().get("server").is_none());
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let refusal = Refusal::unrecorded().after(Duration::from_millis(1200));
        assert_eq!(refusal.answer(&id()).headers()[RETRY_AFTER], "2");
        assert_eq!(whole_seconds(Duration::ZERO), 1);
    }
}
