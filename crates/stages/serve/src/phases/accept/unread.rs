//! A request's body until its last byte was read, and what becomes of the rest once the answer is known.
//!
//! An answer to a body that is still on its way reaches few clients: HTTP/2 resets the stream and TCP the connection,
//! and many clients then drop an answer that they already have. So the rest is read and thrown away, up to a size and
//! a time; beyond them the body is left alone for a moment, in which the answer goes out (RFC 9113 section 8.1,
//! RFC 9112 section 9.6).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::task::TaskTracker;

/// The most that is read of a body that nobody wants.
const MOST_BYTES: usize = 4 << 20;
/// The longest time that is taken for it.
const MOST_TIME: Duration = Duration::from_secs(2);
/// How long the answer has to go out before the stream ends under it.
const LINGER: Duration = Duration::from_secs(1);

/// A body, and how far it was read.
#[derive(Debug)]
pub(crate) struct RequestBody<B = Incoming> {
    body: B,
    started: bool,
    ended: bool,
    late: bool,
    asks_first: bool,
}

impl<B: Body<Data = Bytes> + Unpin> RequestBody<B> {
    /// The body of a request with these header fields.
    pub(crate) fn new(body: B, headers: &HeaderMap) -> Self {
        Self {
            ended: body.is_end_stream(),
            body,
            started: false,
            late: false,
            asks_first: headers.contains_key(EXPECT),
        }
    }

    /// What is known of its size.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// What comes next; `None` at the end and ever after.
    pub(super) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, B::Error>> {
        if self.ended {
            return None;
        }
        self.started = true;
        let frame = self.body.frame().await;
        self.ended = !matches!(frame, Some(Ok(_)));
        frame
    }

    /// The sender is too slow to be waited for again.
    pub(super) const fn give_up(&mut self) {
        self.late = true;
    }

    /// Reads what is left, up to `most` bytes; to be called between deciding on an answer and sending it.
    pub(crate) async fn discard(mut self, most: usize, tracker: &TaskTracker)
    where
        B: Send + 'static,
    {
        // Who asks first, and was not told to go on, has sent nothing; to read would tell it to.
        let nothing_comes = self.asks_first && !self.started;
        if !self.late && !nothing_comes {
            let _ = tokio::time::timeout(MOST_TIME, self.skip(most.min(MOST_BYTES))).await;
        }
        if !self.ended {
            tracker.spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(self);
            });
        }
    }

    async fn skip(&mut self, mut most: usize) {
        while let Some(Ok(frame)) = self.frame().await {
            match most.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => most = left,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt as _;
    use http_body_util::StreamBody;
    use tokio::time::Instant;

    use super::*;

    /// A body of pieces of 1000 bytes, one every `pause`.
    fn dripping(
        pieces: usize,
        pause: Duration,
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send {
        Box::pin(StreamBody::new(futures::stream::iter(0..pieces).then(
            move |_| async move {
                tokio::time::sleep(pause).await;
                Ok(Frame::data(Bytes::from_static(&[b'x'; 1000])))
            },
        )))
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_read_within_bounds() {
        let (tracker, second) = (TaskTracker::new(), Duration::from_secs(1));
        let start = Instant::now();
        let body = RequestBody::new(dripping(10, Duration::ZERO), &HeaderMap::new());
        body.discard(10_000, &tracker).await;
        assert!(tracker.is_empty(), "it was read to its end");
        let body = RequestBody::new(dripping(12, Duration::ZERO), &HeaderMap::new());
        body.discard(10_000, &tracker).await;
        assert_eq!(tracker.len(), 1, "it is too large");
        assert!(start.elapsed() < second);
        let body = RequestBody::new(dripping(10, second), &HeaderMap::new());
        body.discard(10_000, &tracker).await;
        assert!(start.elapsed() >= MOST_TIME && start.elapsed() < MOST_TIME + second);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_is_not_told_to_go_on() {
        let (tracker, start) = (TaskTracker::new(), Instant::now());
        let headers = HeaderMap::from_iter([(EXPECT, http::HeaderValue::from_static("100-continue"))]);
        let body = RequestBody::new(dripping(10, Duration::from_secs(1)), &headers);
        body.discard(10_000, &tracker).await;
        assert!(start.elapsed() < Duration::from_millis(10));
    }
}
