//! Other model servers: where they are, how they are spoken to, and when they count as down.

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_protocol::oip::Name;

use super::{
    bounds::Millis,
    text::{BaseUrl, DeclaredType, FileReference, SecretReference, UpstreamName},
};

/// A model server that holds models of this gateway.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name in `source = "upstream:NAME/MODEL"`, in records and in metrics.
    #[schemars(with = "String")]
    pub name: UpstreamName,
    /// Where it listens: scheme, host and port.
    #[schemars(with = "String")]
    pub url: BaseUrl,
    /// What it speaks.
    pub protocol: UpstreamProtocol,
    /// Further servers with the same models.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub replicas: Vec<BaseUrl>,
    /// Whom its certificate must come from, as `file:PATH`; absent means the platform's authorities.
    #[serde(default)]
    pub ca: Option<FileReference>,
    /// What is sent as its bearer token: `file:PATH` or `env:NAME`. Never the token itself.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub bearer: Option<SecretReference>,
    /// Speak to it without TLS. Loopback only, and recorded.
    #[serde(default)]
    pub dangerous_plaintext: bool,
    /// For one inference, connecting and trying again included; never longer than `timeouts.inference_ms`.
    #[serde(default = "default_timeout")]
    pub timeout_ms: Millis,
    /// For a connection and its TLS handshake.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_ms: Millis,
    /// Bytes of one answer.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: NonZeroUsize,
    /// Whether its models may be asked again where a connection broke before an answer began: true only where an
    /// inference that ran twice does no harm. One that was never sent is always sent to another replica.
    #[serde(default)]
    pub retry: bool,
    /// How it is looked at.
    #[serde(default)]
    pub health: HealthConfig,
    /// When it is left alone.
    #[serde(default)]
    pub breaker: BreakerConfig,
}

/// How an upstream's replicas are looked at.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Between two looks.
    pub every_ms: Millis,
    /// For one look.
    pub timeout_ms: Millis,
    /// Looks without success in a row after which a replica gets no requests. One that refuses a connection gets none at
    /// once.
    pub failures: NonZeroU32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            every_ms: Millis::known(5_000),
            timeout_ms: Millis::known(2_000),
            failures: NonZeroU32::MIN.saturating_add(1),
        }
    }
}

/// When a replica that fails is left alone.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Requests in a row that end without a whole answer, or with 502, 503 or 504. What one request alone can cause,
    /// such as 400 or 500, does not count.
    pub failures: NonZeroU32,
    /// How long it is left alone; then one request tries it.
    pub open_ms: Millis,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: NonZeroU32::MIN.saturating_add(4),
            open_ms: Millis::known(5_000),
        }
    }
}

const fn default_timeout() -> Millis {
    Millis::known(30_000)
}

const fn default_connect_timeout() -> Millis {
    Millis::known(2_000)
}

const fn default_max_response_bytes() -> NonZeroUsize {
    #[expect(clippy::expect_used, reason = "evaluated by the compiler")]
    NonZeroUsize::new(16 << 20).expect("not zero")
}

/// What a model server speaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// The Open Inference Protocol V2 over HTTP/1.1, with binary tensors where the server says that it reads them.
    OipHttp,
    /// The same over gRPC.
    OipGrpc,
    /// TensorFlow Serving's REST.
    Tfs,
}

impl UpstreamProtocol {
    /// The name in `stockade.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OipHttp => "oip_http",
            Self::OipGrpc => "oip_grpc",
            Self::Tfs => "tfs",
        }
    }
}

/// A tensor that a model takes or gives, where its server does not say so itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TensorDeclaration {
    /// Its name.
    pub name: String,
    /// Its type, such as `FP32`.
    #[schemars(with = "String")]
    pub datatype: DeclaredType,
    /// Its shape; -1 where the size varies.
    pub shape: Vec<i64>,
}

/// A model in another server: `upstream:NAME/MODEL`, or `upstream:NAME/MODEL@VERSION`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamSource {
    pub(crate) upstream: UpstreamName,
    pub(crate) model: Name,
    pub(crate) version: Option<u64>,
}

impl UpstreamSource {
    const PREFIX: &str = "upstream:";

    /// Whether a source names another server at all.
    pub fn is_named_by(source: &str) -> bool {
        source.starts_with(Self::PREFIX)
    }

    /// The model that a source names.
    pub(crate) fn parse(source: &str) -> Option<Self> {
        let (upstream, model) = source.strip_prefix(Self::PREFIX)?.split_once('/')?;
        let (model, version) = match model.split_once('@') {
            Some((model, version)) => (model, Some(version.parse().ok().filter(|version| *version > 0)?)),
            None => (model, None),
        };
        Some(Self {
            upstream: UpstreamName::parse(upstream)?,
            model: Name::parse(model)?,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_an_upstream_and_its_model() {
        let source = UpstreamSource::parse("upstream:mls/iris.v2@2").unwrap();
        assert_eq!((source.upstream.as_str(), source.version), ("mls", Some(2)));
        for bad in [
            "upstream:mls",
            "upstream:mls/",
            "upstream:/m",
            "upstream:mls/a/b",
            "upstream:mls/a@x",
            "upstream:mls/a@0",
            "vault:a@1",
        ] {
            assert!(UpstreamSource::parse(bad).is_none(), "{bad}");
        }
    }
}
