//! The codes that an error answer carries, their HTTP status and their meaning.
//!
//! Statuses are those of RFC 9110 section 15 and RFC 6585. A code is part of the contract with clients: one that was
//! published keeps its text and its status. `docs/errors.md` is generated from [`ErrorCode::ALL`].

use std::fmt;

use serde::{Serialize, Serializer};

/// Why a request was not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request cannot be understood or does not fit the model.
    InvalidRequest,
    /// No valid credential came with the request.
    Unauthenticated,
    /// The principal may not do this.
    Forbidden,
    /// No such path or model, or none that the principal may see.
    NotFound,
    /// The path exists, the method does not fit it.
    MethodNotAllowed,
    /// The request did not arrive in time.
    Timeout,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The path is longer than allowed.
    UriTooLong,
    /// The request's head is larger than allowed.
    HeadTooLarge,
    /// The body is in a form or an encoding that is not served.
    UnsupportedMedia,
    /// Too many requests in a short time.
    RateLimited,
    /// The budget of the day is spent.
    BudgetSpent,
    /// A control stopped the request or its answer.
    Blocked,
    /// Something failed inside.
    Internal,
    /// The request is understood, and nothing here can do it.
    NotServed,
    /// The model's server failed.
    UpstreamFailed,
    /// Not able to serve now.
    Unavailable,
    /// The model did not answer in time.
    UpstreamTimeout,
}

impl ErrorCode {
    /// Every code, in the order of their statuses' first use in the docs.
    pub const ALL: &'static [Self] = &[
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMedia,
        Self::RateLimited,
        Self::BudgetSpent,
        Self::Blocked,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotServed,
        Self::UpstreamFailed,
        Self::Unavailable,
        Self::UpstreamTimeout,
    ];

    /// The text on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Timeout => "timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::UnsupportedMedia => "unsupported_media",
            Self::RateLimited => "rate_limited",
            Self::BudgetSpent => "budget_spent",
            Self::Blocked => "blocked",
            Self::Internal => "internal",
            Self::NotServed => "not_served",
            Self::UpstreamFailed => "upstream_failed",
            Self::Unavailable => "unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::UnsupportedMedia => 415,
            Self::RateLimited | Self::BudgetSpent | Self::Blocked => 429,
            Self::Internal => 500,
            Self::NotServed => 501,
            Self::UpstreamFailed => 502,
            Self::Unavailable => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// What it means, for the docs.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is malformed, or its tensors do not fit the model's inputs.",
            Self::Unauthenticated => "The key is missing, unknown, expired or revoked.",
            Self::Forbidden => "A policy does not allow this principal to do this.",
            Self::NotFound => "There is no such path or model, or the principal may not see it.",
            Self::MethodNotAllowed => "The path is served, but not with this method.",
            Self::Timeout => "The request's head or body did not arrive in time.",
            Self::BodyTooLarge => "The body is larger than the configured bound.",
            Self::UriTooLong => "The path is longer than any that is served.",
            Self::HeadTooLarge => "The request's head has more bytes or fields than the configured bound.",
            Self::UnsupportedMedia => "The body's content type or content encoding is not served.",
            Self::RateLimited => "Requests came faster than the limit of the principal or the model.",
            Self::BudgetSpent => "The day's budget of the principal or the model is spent.",
            Self::Blocked => "The principal's requests are not answered for now.",
            Self::Internal => "Something failed inside the gateway; nothing of the answer was released.",
            Self::NotServed => "The method or operation is known, and nothing behind this gateway can do it.",
            Self::UpstreamFailed => "The model's engine or server failed, or answered something unreadable.",
            Self::Unavailable => {
                "The gateway cannot serve now: it starts, drains, is full, or cannot write its log."
            }
            Self::UpstreamTimeout => "The model did not answer within its time bound.",
        }
    }

    /// What the caller can do about it, for the docs.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        match self {
            Self::InvalidRequest => "Compare the request with the model's metadata (`GET /v2/models/NAME`).",
            Self::Unauthenticated => "Send `Authorization: Bearer KEY` with a key that is in force.",
            Self::Forbidden => "Ask an operator; `stockade access check` names the policy that decided.",
            Self::NotFound => "Check the spelling; ask an operator which models your principal may use.",
            Self::MethodNotAllowed => "Use the method that the `Allow` header names.",
            Self::Timeout => "Send the whole request without pauses; then try again.",
            Self::BodyTooLarge => "Send fewer rows in one request.",
            Self::UriTooLong => "Check the URL.",
            Self::HeadTooLarge => "Send fewer and shorter header fields.",
            Self::UnsupportedMedia => {
                "Send `application/json` or binary tensors, plain or under one `gzip` or `deflate`."
            }
            Self::RateLimited => "Wait for the seconds that `Retry-After` names.",
            Self::BudgetSpent => {
                "Wait until the day (UTC) ends, as `Retry-After` says, or ask for a larger budget."
            }
            Self::Blocked => {
                "Ask an operator: `stockade watch clients` names the reason, `stockade watch release` ends it."
            }
            Self::Internal => "Try again; give an operator the request id.",
            Self::NotServed => "Use another method; over gRPC, `ModelInfer` in place of `ModelStreamInfer`.",
            Self::UpstreamFailed => "Try again; give an operator the request id.",
            Self::Unavailable => "Try again after the seconds that `Retry-After` names.",
            Self::UpstreamTimeout => "Try again with fewer rows in one request.",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The body of an error answer: `{"error","code","request_id"}`.
#[must_use]
pub fn error_body(code: ErrorCode, message: &str, request_id: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + message.len() + request_id.len());
    body.extend_from_slice(b"{\"error\":");
    crate::oip::push_json(&mut body, message);
    body.extend_from_slice(b",\"code\":\"");
    body.extend_from_slice(code.as_str().as_bytes());
    body.extend_from_slice(b"\",\"request_id\":");
    crate::oip::push_json(&mut body, request_id);
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_code_once_and_texts_differ() {
        let mut texts: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        // The last variant's number is the count less one when every variant is listed.
        assert_eq!(ErrorCode::ALL.len(), ErrorCode::UpstreamTimeout as usize + 1);
    }

    #[test]
    fn a_body_is_json_whatever_the_message_holds() {
        let body = error_body(ErrorCode::BodyTooLarge, "line\nbreak \"quoted\" \u{1}", "r-1");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"], "line\nbreak \"quoted\" \u{1}");
        assert_eq!(value["code"], "body_too_large");
        assert_eq!(value["request_id"], "r-1");
    }
}
