//! A whole body, within its bounds of size, time and the memory of all bodies together.
//!
//! Memory is taken as bytes arrive, so a sender that announces much and sends little holds little.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use stockade_access::PrincipalId;
use stockade_evidence::Control;
use stockade_protocol::ErrorCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::unread::RequestBody;
use crate::{
    answer::Refusal,
    config::{Bodies, Timeouts},
    phases::meter::{self, Held, Shares},
};

/// The most memory taken on a client's word about its length.
const TRUSTED_LENGTH: usize = 1 << 20;

/// The memory for all bodies that are in the gateway, and each principal's share of it, in units of 1 KiB.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    all: Arc<Semaphore>,
    shares: Shares,
}

/// The memory of one body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserve {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    share: Held,
}

/// A body, and the memory it counts for until it is dropped.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) bytes: Bytes,
    pub(super) memory: Reserve,
}

impl BodyMemory {
    const UNIT: usize = 1024;

    /// Memory of so many bytes in all, and so many for each principal.
    pub(crate) fn new(bytes: usize, share: usize) -> Self {
        let units = (bytes / Self::UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(units)),
            shares: Shares::new(share.div_ceil(Self::UNIT)),
        }
    }

    /// Nothing yet, for a body of `who`.
    pub(crate) fn of(&self, who: &PrincipalId) -> Reserve {
        Reserve {
            all: self.all.clone(),
            held: None,
            share: self.shares.of(who),
        }
    }
}

impl Reserve {
    /// Covers `bytes` in all.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        let has = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BodyMemory::UNIT).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        if !self.share.take(more) {
            return Err(meter::crowded().closing());
        }
        let permits = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = self
            .all
            .clone()
            .try_acquire_many_owned(permits)
            .map_err(|_| full())?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

/// The bounds of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBounds {
    pub(crate) max_bytes: usize,
    pub(crate) whole: Duration,
    pub(crate) grace: Duration,
    pub(crate) bytes_per_second: u32,
}

impl BodyBounds {
    pub(crate) fn new(bodies: &Bodies, timeouts: &Timeouts) -> Self {
        Self {
            max_bytes: bodies.max_bytes.get(),
            whole: timeouts.body_ms.get(),
            grace: timeouts.body_grace_ms.get(),
            bytes_per_second: timeouts.body_bytes_per_second.get(),
        }
    }

    /// Until when the next bytes must come, after `received`.
    fn deadline(&self, start: Instant, received: usize) -> Instant {
        let earned = Duration::from_secs_f64(received as f64 / f64::from(self.bytes_per_second));
        start + self.whole.min(self.grace.saturating_add(earned))
    }
}

/// Reads a body to its end. A body of one piece is not copied.
pub(crate) async fn read_body<B>(
    body: &mut RequestBody<B>,
    bounds: BodyBounds,
    mut memory: Reserve,
) -> Result<Buffered, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint();
    if usize::try_from(announced.lower()).map_or(true, |least| least > bounds.max_bytes) {
        return Err(too_large(bounds.max_bytes));
    }
    let start = Instant::now();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut received = 0_usize;
    loop {
        let next = tokio::time::timeout_at(bounds.deadline(start, received), body.frame()).await;
        let Ok(frame) = next else {
            body.give_up();
            return Err(too_slow());
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else {
            continue;
        };
        received = received.saturating_add(data.len());
        if received > bounds.max_bytes {
            return Err(too_large(bounds.max_bytes));
        }
        memory.cover(received)?;
        if received == data.len() {
            first = data;
            continue;
        }
        if all.is_empty() {
            let expected = usize::try_from(announced.lower())
                .unwrap_or(0)
                .min(TRUSTED_LENGTH);
            all.reserve(expected.max(received));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(Buffered {
        bytes: if all.is_empty() { first } else { all.freeze() },
        memory,
    })
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        ErrorCode::BodyTooLarge,
        Control::InputInspection,
        format!("the body is larger than {limit} bytes"),
    )
    .closing()
}

fn too_slow() -> Refusal {
    Refusal::new(
        ErrorCode::Timeout,
        Control::InputInspection,
        "the body did not arrive in time",
    )
    .closing()
}

fn full() -> Refusal {
    Refusal::new(
        ErrorCode::Unavailable,
        Control::RateLimits,
        "too many large requests at once",
    )
    .after(Duration::from_secs(1))
    .closing()
}

fn broken() -> Refusal {
    Refusal::invalid("the body is not complete").closing()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt as _;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const BOUNDS: BodyBounds = BodyBounds {
        max_bytes: 1000,
        whole: Duration::from_secs(10),
        grace: Duration::from_secs(1),
        bytes_per_second: 100,
    };

    /// A body whose pieces of `size` bytes come every `pause`.
    fn dripping(pieces: usize, size: usize, pause: Duration) -> impl Body<Data = Bytes, Error = Infallible> {
        StreamBody::new(futures::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; size])))
        }))
    }

    fn who(id: &str) -> PrincipalId {
        id.parse().unwrap()
    }

    async fn read<B: Body<Data = Bytes>>(body: B, bounds: BodyBounds) -> Result<Bytes, ErrorCode> {
        let mut body = RequestBody::new(Box::pin(body), &http::HeaderMap::new());
        let read = read_body(&mut body, bounds, BodyMemory::new(1 << 30, 1 << 30).of(&who("a"))).await;
        read.map(|body| body.bytes).map_err(|refusal| refusal.code)
    }

    #[tokio::test(start_paused = true)]
    async fn whole_bodies_come_through() {
        let one = read(Full::new(Bytes::from_static(b"abc")), BOUNDS).await.unwrap();
        assert_eq!(one, "abc");
        let many = read(dripping(4, 200, Duration::from_millis(10)), BOUNDS)
            .await
            .unwrap();
        assert_eq!(many.len(), 800);
        assert!(read(Full::new(Bytes::new()), BOUNDS).await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_size_said_or_not() {
        let said = read(Full::new(Bytes::from(vec![0; 1001])), BOUNDS).await;
        assert_eq!(said, Err(ErrorCode::BodyTooLarge));
        let unsaid = read(dripping(6, 200, Duration::ZERO), BOUNDS).await;
        assert_eq!(unsaid, Err(ErrorCode::BodyTooLarge));
        assert!(read(dripping(5, 200, Duration::ZERO), BOUNDS).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_ends_after_its_grace() {
        let start = Instant::now();
        let slow = read(dripping(100, 1, Duration::from_millis(500)), BOUNDS).await;
        assert_eq!(slow, Err(ErrorCode::Timeout));
        assert!(
            start.elapsed() <= Duration::from_millis(1100),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_body_ends_after_the_whole_time() {
        let bounds = BodyBounds {
            max_bytes: 1 << 20,
            ..BOUNDS
        };
        let start = Instant::now();
        let steady = read(dripping(100_000, 100, Duration::from_millis(500)), bounds).await;
        assert_eq!(steady, Err(ErrorCode::Timeout));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_together_have_a_size_and_each_principal_a_share() {
        let memory = BodyMemory::new(4096, 3072);
        let bounds = BodyBounds {
            max_bytes: 4096,
            ..BOUNDS
        };
        let body = || RequestBody::new(Full::new(Bytes::from(vec![0; 1500])), &http::HeaderMap::new());
        let read = async |id: &str| read_body(&mut body(), bounds, memory.of(&who(id))).await;
        let first = read("a").await.unwrap();
        assert_eq!(read("b").await.unwrap().bytes.len(), 1500);
        let _second = read("b").await.unwrap();
        assert_eq!(read("c").await.unwrap_err().code, ErrorCode::Unavailable);
        drop(first);
        let _third = read("c").await.unwrap();
        drop(_second);
        assert_eq!(read("c").await.unwrap_err().code, ErrorCode::RateLimited);
        assert!(read("b").await.is_ok());
    }
}
