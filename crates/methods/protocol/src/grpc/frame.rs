//! A message between its length and the next: the five bytes before each.
//!
//! # Citation
//! grpc/grpc, `doc/PROTOCOL-HTTP2.md`: "Length-Prefixed-Message".

use bytes::{Buf, Bytes};

use crate::ErrorCode;

/// A flag and four bytes of length, big endian.
const PREFIX: usize = 5;

/// Why the body of a unary call is not one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Less or more than one message.
    #[error("the body must be a single message with its length before it")]
    NotOneMessage,
    /// The message is compressed.
    #[error("compressed messages are not served")]
    Compressed,
}

impl FrameError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotOneMessage => ErrorCode::InvalidRequest,
            Self::Compressed => ErrorCode::UnsupportedMedia,
        }
    }
}

/// The message in the body of a unary call, which must not be compressed.
pub fn unframe(body: Bytes) -> Result<Bytes, FrameError> {
    match unframe_coded(body)? {
        Framed::Plain(message) => Ok(message),
        Framed::Compressed(_) => Err(FrameError::Compressed),
    }
}

/// A message as it stands in its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The message.
    Plain(Bytes),
    /// The message, compressed as the call's `grpc-encoding` says.
    Compressed(Bytes),
}

/// The message in the body of a unary call, compressed or not.
pub fn unframe_coded(mut body: Bytes) -> Result<Framed, FrameError> {
    let Some(&[flag, length @ ..]) = body.first_chunk::<PREFIX>() else {
        return Err(FrameError::NotOneMessage);
    };
    body.advance(PREFIX);
    if u32::try_from(body.len()) != Ok(u32::from_be_bytes(length)) {
        return Err(FrameError::NotOneMessage);
    }
    match flag {
        0 => Ok(Framed::Plain(body)),
        1 => Ok(Framed::Compressed(body)),
        _ => Err(FrameError::NotOneMessage),
    }
}

/// What goes before a message of that length; none where it is too long for gRPC.
#[must_use]
pub fn frame(length: usize) -> Option<[u8; PREFIX]> {
    let [a, b, c, d] = u32::try_from(length).ok()?.to_be_bytes();
    Some([0, a, b, c, d])
}
