//! Rates, budgets, sizes and times, with defaults that hold on two cores.

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_protocol::oip::BodyLimits;

use super::bounds::{Millis, PerSecond};

/// A rate and how far a caller may run ahead of it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second, in the long run.
    pub per_second: PerSecond,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            per_second: PerSecond::known(200.0),
            burst: nonzero(100),
        }
    }
}

/// What each principal may do at one model.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelLimits {
    /// Requests per second, in the long run.
    pub per_second: PerSecond,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
    /// The information budget: bits that its answers of one UTC day can carry at the precision that the principal is granted.
    /// Absent means no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_day: Option<u64>,
}

impl Default for ModelLimits {
    fn default() -> Self {
        let RateLimit { per_second, burst } = RateLimit::default();
        Self {
            per_second,
            burst,
            bits_per_day: None,
        }
    }
}

impl ModelLimits {
    pub(crate) const fn rate(&self) -> RateLimit {
        RateLimit {
            per_second: self.per_second,
            burst: self.burst,
        }
    }
}

/// Rates, budgets, connections and concurrency.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Rate of each principal over all models.
    pub principal: RateLimit,
    /// Rows that each principal may ask, over all models; `burst` is the most of one request. Absent means no bound but
    /// `max_rows` of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RateLimit>,
    /// Bytes of bodies that each principal may send; `burst` is the most of one request. Absent means no bound but those of
    /// `[bodies]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<RateLimit>,
    /// Admitted requests of each principal in one UTC day.
    pub daily_budget: u64,
    /// Refusals of each principal that get a record of their own. Beyond it one in 10 s does, which says that further
    /// ones are counted, and they are counted together.
    pub refusal_records: RateLimit,
    /// Connections open at once on one listener.
    pub max_connections: NonZeroUsize,
    /// Connections open at once from one source: an IPv4 address, or an IPv6 /64.
    pub max_connections_per_source: NonZeroUsize,
    /// Streams that one HTTP/2 connection may have open.
    pub max_streams: NonZeroU32,
    /// Inferences that run at once; absent means one per core.
    pub workers: Option<NonZeroUsize>,
    /// Admitted requests that wait for a worker; one more is refused with 503.
    pub max_queued: usize,
    /// Requests of one principal that are in the gateway at once, from their head to their answer; one more is refused
    /// with 429. Absent means a quarter of `workers` and `max_queued` together.
    pub max_concurrent_per_principal: Option<NonZeroUsize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            principal: RateLimit::default(),
            rows: None,
            bytes: None,
            daily_budget: 100_000,
            refusal_records: RateLimit {
                per_second: PerSecond::known(20.0),
                burst: nonzero(200),
            },
            max_connections: nonzero_usize(1024),
            max_connections_per_source: nonzero_usize(256),
            max_streams: nonzero(64),
            workers: None,
            max_queued: 256,
            max_concurrent_per_principal: None,
        }
    }
}

impl Limits {
    /// The limits of each principal as a list of quotas and windows in seconds (draft-ietf-httpapi-ratelimit-headers-10 section 3).
    pub(crate) fn described(&self) -> String {
        let quota = |name: &str, limit: RateLimit| {
            let window = (f64::from(limit.burst.get()) / limit.per_second.get()).ceil();
            format!("\"{name}\";q={};w={window:.0}", limit.burst)
        };
        let mut all = vec![quota("rate", self.principal)];
        all.extend(self.rows.map(|limit| quota("rows", limit)));
        all.extend(self.bytes.map(|limit| quota("bytes", limit)));
        all.push(format!("\"day\";q={};w=86400", self.daily_budget));
        all.join(", ")
    }

    /// How many inferences run at once.
    pub(crate) fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.workers.unwrap_or_else(cores).get()
    }

    /// How many requests of one principal are in the gateway at once.
    pub(crate) fn share_count(&self) -> usize {
        let quarter = self.worker_count().saturating_add(self.max_queued) / SHARES;
        self.max_concurrent_per_principal
            .map_or(quarter.max(1), NonZeroUsize::get)
    }
}

/// How many principals it takes to fill the gateway, unless configured otherwise.
const SHARES: usize = 4;

/// What the HTTP layer holds without taking memory for it.
pub(crate) const HTTP_DEFAULT_HEADERS: usize = 100;

/// How large a request may be.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bodies {
    /// Bytes of one body.
    pub max_bytes: NonZeroUsize,
    /// Bytes of all bodies that are in the gateway at once.
    pub max_bytes_in_all: NonZeroUsize,
    /// Bytes of all bodies of one principal that are in the gateway at once; beyond it a request is refused with 429.
    /// Absent means a quarter of `max_bytes_in_all`, and at least `max_bytes`.
    pub max_bytes_per_principal: Option<NonZeroUsize>,
    /// How many times larger a compressed body may become; `max_bytes` holds for it too.
    pub max_compression_ratio: NonZeroU32,
    /// Answers of so many bytes are compressed for clients that ask for it. Absent means never: compressing takes longer
    /// than sending, on most networks.
    pub compress_answers_from: Option<NonZeroUsize>,
    /// Tensors of one request.
    pub max_tensors: NonZeroUsize,
    /// Elements of all tensors of one request.
    pub max_elements: NonZeroUsize,
    /// Header fields of one request.
    pub max_headers: NonZeroUsize,
    /// Bytes of one request's head.
    pub max_head_bytes: HeadBytes,
}

/// Bytes of a request's head.
// INVARIANT: from 8,192 (what the HTTP parser needs) to 1 MiB; `try_from` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct HeadBytes(#[schemars(range(min = 8192, max = 1_048_576))] u32);

/// The bound of a request's head is too small or too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`max_head_bytes` must lie from 8192 to 1048576")]
pub struct InvalidHeadBytes;

impl TryFrom<u32> for HeadBytes {
    type Error = InvalidHeadBytes;

    fn try_from(bytes: u32) -> Result<Self, Self::Error> {
        (8192..=1_048_576)
            .contains(&bytes)
            .then_some(Self(bytes))
            .ok_or(InvalidHeadBytes)
    }
}

impl From<HeadBytes> for u32 {
    fn from(value: HeadBytes) -> Self {
        value.0
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            max_bytes: nonzero_usize(8 << 20),
            max_bytes_in_all: nonzero_usize(256 << 20),
            max_bytes_per_principal: None,
            max_compression_ratio: nonzero(100),
            compress_answers_from: None,
            max_tensors: nonzero_usize(64),
            max_elements: nonzero_usize(2 << 20),
            max_headers: nonzero_usize(HTTP_DEFAULT_HEADERS),
            max_head_bytes: HeadBytes(16_384),
        }
    }
}

impl Bodies {
    /// The bytes of one principal's bodies.
    pub(crate) fn share_bytes(&self) -> usize {
        let quarter = self.max_bytes_in_all.get() / SHARES;
        self.max_bytes_per_principal
            .map_or(quarter.max(self.max_bytes.get()), NonZeroUsize::get)
    }

    /// The bounds that the protocol's parser holds.
    pub(crate) fn parser_limits(&self) -> BodyLimits {
        BodyLimits {
            max_bytes: self.max_bytes.get(),
            max_tensors: self.max_tensors.get(),
            max_elements: self.max_elements.get(),
            ..BodyLimits::default()
        }
    }
}

/// How long things may take.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_ms: Millis,
    /// From the first byte of a request's head to its last.
    pub header_ms: Millis,
    /// For a whole body.
    pub body_ms: Millis,
    /// Time before the least rate of a body counts.
    pub body_grace_ms: Millis,
    /// Least rate of a body, in bytes per second.
    pub body_bytes_per_second: NonZeroU32,
    /// A connection without a request is closed after this time.
    pub idle_ms: Millis,
    /// For waiting for a worker and running the model.
    pub inference_ms: Millis,
    /// For requests in flight when the gateway stops.
    pub drain_ms: Millis,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake_ms: Millis::known(5_000),
            header_ms: Millis::known(10_000),
            body_ms: Millis::known(60_000),
            body_grace_ms: Millis::known(5_000),
            body_bytes_per_second: nonzero(1024),
            idle_ms: Millis::known(75_000),
            inference_ms: Millis::known(30_000),
            drain_ms: Millis::known(20_000),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "called with literals in defaults, which a test builds"
)]
const fn nonzero(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("not zero")
}

#[expect(
    clippy::expect_used,
    reason = "called with literals in defaults, which a test builds"
)]
const fn nonzero_usize(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).expect("not zero")
}
