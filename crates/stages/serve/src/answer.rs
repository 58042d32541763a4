//! Answers: bodies with what follows them, a request id on each, and refusals as values.
//!
//! INVARIANT: a refusal's text never repeats what a client sent, so it may be logged and recorded as it is.

use std::{
    borrow::Cow,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use hyper::body::{Body, Frame, SizeHint};
use stockade_evidence::{Control, RecordId};
use stockade_protocol::{
    ErrorCode, error_body,
    grpc::{GrpcStatus, frame, grpc_message},
};

/// What is left of a principal's limit, and the limits that bind it.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The header that names the request in answers, records and logs.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The status of a call (gRPC over HTTP/2, "Responses").
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What went wrong with a call, percent-encoded.
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The encodings of messages that are read.
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The error code of a refused call, for which gRPC has too few statuses.
const ERROR_CODE: HeaderName = HeaderName::from_static("error-code");

/// An answer, complete in memory.
pub(crate) type Answer = Response<Whole>;

/// The body of an answer, and the trailers behind it.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// How answers and refusals are said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// A status, and JSON or tensors.
    Http,
    /// A message, and the status in trailers.
    Grpc,
}

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
    /// The limit of the principal that is used up, as `RateLimit-Policy` names it.
    pub(crate) limit: Option<&'static str>,
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
            limit: None,
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

    /// The same refusal, because this limit is used up.
    pub(crate) const fn limited_by(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same refusal, closing the connection.
    pub(crate) const fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The answer that carries it, as the request's dialect has it.
    pub(crate) fn answer_in(&self, dialect: Dialect, request_id: &RecordId) -> Answer {
        match dialect {
            Dialect::Http => self.answer(request_id),
            Dialect::Grpc => self.grpc_answer(request_id),
        }
    }

    /// The answer of a call: trailers alone. The message and the code are in the words of HTTP.
    fn grpc_answer(&self, request_id: &RecordId) -> Answer {
        let mut answer = call_answer(Whole::default(), request_id);
        let headers = answer.headers_mut();
        headers.insert(GRPC_STATUS, grpc_status(self.code.into()));
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.code.as_str()));
        if let Ok(message) = HeaderValue::from_str(&grpc_message(&self.message)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        self.wait(headers);
        answer
    }

    /// When to come again, and which limit is used up.
    fn wait(&self, headers: &mut HeaderMap) {
        let Some(wait) = self.retry_after.map(whole_seconds) else {
            return;
        };
        headers.insert(RETRY_AFTER, HeaderValue::from(wait));
        if let Some(limit) = self.limit {
            remaining(headers, limit, 0, wait);
        }
    }

    /// The answer that carries it over HTTP.
    pub(crate) fn answer(&self, request_id: &RecordId) -> Answer {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = error_body(self.code, &self.message, &request_id.to_string());
        let mut answer = json(status, body, request_id);
        let headers = answer.headers_mut();
        self.wait(headers);
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

/// What is left of a limit, and the seconds until it is whole again (draft-ietf-httpapi-ratelimit-headers-10 section 4).
pub(crate) fn remaining(headers: &mut HeaderMap, limit: &str, left: u64, seconds: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{limit}\";r={left};t={seconds}")) {
        headers.insert(RATE_LIMIT, value);
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
    let mut answer = Response::new(Whole::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    name(headers, request_id);
    answer
}

/// The answer of a call: one message, and the status behind it.
pub(crate) fn message(message: &[u8], request_id: &RecordId) -> Result<Answer, Refusal> {
    let prefix = frame(message.len()).ok_or_else(Refusal::internal)?;
    let mut body = Whole::from([&prefix, message].concat());
    body.trailers = Some(HeaderMap::from_iter([(GRPC_STATUS, grpc_status(GrpcStatus::Ok))]));
    Ok(call_answer(body, request_id))
}

fn call_answer(body: Whole, request_id: &RecordId) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(
        GRPC_ACCEPT_ENCODING,
        HeaderValue::from_static("identity,deflate,gzip"),
    );
    name(headers, request_id);
    answer
}

fn grpc_status(status: GrpcStatus) -> HeaderValue {
    u16::from(status.number()).into()
}

fn name(headers: &mut HeaderMap, request_id: &RecordId) {
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
}

impl Whole {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }
}

impl From<Vec<u8>> for Whole {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            data: (!bytes.is_empty()).then(|| bytes.into()),
            trailers: None,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes().len() as u64)
    }
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
    fn a_refused_call_has_its_status_in_trailers_alone() {
        let refusal = Refusal::new(ErrorCode::BudgetSpent, Control::RateLimits, "5% left")
            .after(Duration::from_secs(3))
            .answer_in(Dialect::Grpc, &id());
        assert_eq!(refusal.status(), 200);
        for (name, value) in [
            ("grpc-status", "8"),
            ("grpc-message", "5%25 left"),
            ("error-code", "budget_spent"),
            ("retry-after", "3"),
            (REQUEST_ID, &id().to_string()),
        ] {
            assert_eq!(refusal.headers()[name], value);
        }
        assert!(refusal.body().is_end_stream());
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let refusal = Refusal::unrecorded().after(Duration::from_millis(1200));
        assert_eq!(refusal.answer(&id()).headers()[RETRY_AFTER], "2");
        assert_eq!(whole_seconds(Duration::ZERO), 1);
    }
}
