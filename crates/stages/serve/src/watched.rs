//! A socket that tells its connection's [`Activity`] when bytes come in, and keeps what the HTTP/1.1 layer says by itself.
//!
//! hyper answers a head that it cannot read with a head of its own, without a body and without a request's id. Nothing
//! can be asked of it there, so those bytes end here, and the connection's owner answers instead.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::phases::accept::Activity;

/// As much of a head as has the status: `HTTP/1.1 431`.
const STATUS_LINE: usize = 12;
/// Where the status begins in it.
const STATUS: usize = 9;

/// The socket and whom it tells.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
    own_words: OwnWords,
}

/// What becomes of a head that answers no request.
// INVARIANT: once something was kept, nothing is written any more: such a head is the last of its connection.
#[derive(Debug)]
enum OwnWords {
    /// HTTP/2, where answers are frames.
    Pass,
    /// HTTP/1.1: the beginning of the head is kept, the rest is dropped.
    Keep(Vec<u8>),
}

impl<S> Watched<S> {
    pub(crate) const fn http1(socket: S, activity: Arc<Activity>) -> Self {
        Self {
            socket,
            activity,
            own_words: OwnWords::Keep(Vec::new()),
        }
    }

    pub(crate) const fn http2(socket: S, activity: Arc<Activity>) -> Self {
        Self {
            socket,
            activity,
            own_words: OwnWords::Pass,
        }
    }

    /// The socket, and the status that the HTTP layer wanted to give.
    pub(crate) fn into_parts(self) -> (S, Option<u16>) {
        let status = match &self.own_words {
            OwnWords::Pass => None,
            OwnWords::Keep(head) => head
                .get(STATUS..)
                .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()),
        };
        (self.socket, status)
    }

    /// Keeps `bytes` if they are the HTTP layer's own words; says whether they are.
    fn keeps(&mut self, bytes: &[u8]) -> bool {
        let OwnWords::Keep(head) = &mut self.own_words else {
            return false;
        };
        // A body of ours may follow its head after a flush; it begins with something else.
        if head.is_empty() && (self.activity.owes_answer() || !bytes.starts_with(b"HTTP/1.")) {
            return false;
        }
        let missing = STATUS_LINE.saturating_sub(head.len());
        head.extend(bytes.iter().take(missing));
        true
    }

    fn is_silent(&self) -> bool {
        match &self.own_words {
            OwnWords::Pass => false,
            OwnWords::Keep(head) => !head.is_empty(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.bytes();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.keeps(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        if first.is_some_and(|buf| self.keeps(buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.activity.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_silent() {
            // The connection's owner has something to say yet.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
