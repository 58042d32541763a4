//! Status codes and messages of gRPC.
//!
//! # Citation
//! grpc/grpc, `doc/statuscodes.md` and `doc/PROTOCOL-HTTP2.md` ("Status-Message").

use std::fmt::Write;

use crate::ErrorCode;

/// A status of gRPC that this gateway answers with; its value is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GrpcStatus {
    /// The request was answered.
    Ok = 0,
    /// The request cannot be understood or does not fit the model.
    InvalidArgument = 3,
    /// Something was not done in time.
    DeadlineExceeded = 4,
    /// No such model.
    NotFound = 5,
    /// The principal may not do this.
    PermissionDenied = 7,
    /// A limit, a budget or a bound is used up.
    ResourceExhausted = 8,
    /// No such method, or no such encoding.
    Unimplemented = 12,
    /// Something failed inside.
    Internal = 13,
    /// Not able to serve now; clients may try again by themselves.
    Unavailable = 14,
    /// No valid credential came with the request.
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// The number, for the trailer `grpc-status`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl From<ErrorCode> for GrpcStatus {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidRequest => Self::InvalidArgument,
            ErrorCode::Unauthenticated => Self::Unauthenticated,
            ErrorCode::Forbidden => Self::PermissionDenied,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::MethodNotAllowed | ErrorCode::UnsupportedMedia | ErrorCode::NotServed => {
                Self::Unimplemented
            }
            ErrorCode::Timeout | ErrorCode::UpstreamTimeout => Self::DeadlineExceeded,
            ErrorCode::BodyTooLarge
            | ErrorCode::UriTooLong
            | ErrorCode::HeadTooLarge
            | ErrorCode::RateLimited
            | ErrorCode::BudgetSpent
            | ErrorCode::Blocked => Self::ResourceExhausted,
            // Not `Unavailable`, which clients retry by themselves: the model may have run.
            ErrorCode::Internal | ErrorCode::UpstreamFailed => Self::Internal,
            ErrorCode::Unavailable => Self::Unavailable,
        }
    }
}

/// A text as the trailer `grpc-message` has it: percent-encoded but for the printable ASCII.
#[must_use]
pub fn grpc_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            message.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(message, "%{byte:02X}");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_status_that_is_no_success() {
        for &code in ErrorCode::ALL {
            assert_ne!(GrpcStatus::from(code), GrpcStatus::Ok, "{code}");
        }
        assert_eq!(GrpcStatus::from(ErrorCode::NotFound).number(), 5);
        assert_eq!(GrpcStatus::from(ErrorCode::Unauthenticated).number(), 16);
    }

    #[test]
    fn a_message_is_one_line_of_ascii() {
        assert_eq!(grpc_message("`x` is 5% é\n"), "`x` is 5%25 %C3%A9%0A");
    }
}
