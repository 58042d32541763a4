//! Answers to what never became a request: no whole head came, or none that can be read, so the HTTP/1.1 layer hands
//! nothing on that could be answered as usual.

use std::time::Instant;

use stockade_evidence::{Control, RecordId};
use stockade_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{answer::Refusal, phases::record, shared::micros};

/// The most that is still read of what a client sends: a connection closed over unread bytes takes the answer with it.
const MOST_UNREAD: usize = 256 << 10;

/// The refusal of a head that did not arrive in time (RFC 9110 section 15.5.9).
pub(super) fn late() -> Refusal {
    refusal(ErrorCode::Timeout, "the request's head did not arrive in time")
}

/// The refusal of a head for which the HTTP layer wanted to give `status`.
pub(super) fn unreadable(status: Option<u16>) -> Refusal {
    match status {
        Some(414) => refusal(ErrorCode::UriTooLong, "the request's path is too long"),
        Some(431) => refusal(
            ErrorCode::HeadTooLarge,
            "the request's head has too many bytes or fields",
        ),
        Some(_) | None => refusal(ErrorCode::InvalidRequest, "the request's head is not HTTP/1.1"),
    }
}

fn refusal(code: ErrorCode, message: &'static str) -> Refusal {
    Refusal::new(code, Control::InputInspection, message).closing()
}

/// Writes the refusal's answer, ends the connection, and waits for the client to do so too. Bounded in time by the caller.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, refusal: &Refusal) {
    let id = record::fresh_id().unwrap_or(RecordId::new([0; 16]));
    let started = Instant::now();
    if write(&mut socket, refusal, &id).await.is_err() {
        return;
    }
    tracing::info!(
        request_id = %id,
        code = refusal.code.as_str(),
        status = refusal.code.status(),
        duration_us = micros(started.elapsed()),
        "refused"
    );
    let (mut unread, mut buffer) = (MOST_UNREAD, [0; 4096]);
    while let Ok(read @ 1..) = socket.read(&mut buffer).await {
        match unread.checked_sub(read) {
            Some(left) => unread = left,
            None => return,
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(
    socket: &mut S,
    refusal: &Refusal,
    id: &RecordId,
) -> std::io::Result<()> {
    let (parts, body) = refusal.answer(id).into_parts();
    let body = body.bytes();
    let mut text = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len()).into_bytes();
    for (name, value) in &parts.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(body);
    socket.write_all(&text).await?;
    socket.shutdown().await
}
