//! The gateway's configuration: the top level of `stockade.toml`, where each model is a table `[model.NAME]`.
//!
//! Every field has a safe default and unknown fields are refused. Numbers become types here, so that no code below
//! checks a range again; what depends on a model's signature is checked when a configuration meets its models.

mod bounds;
mod engine;
mod extraction;
mod identity;
mod limits;
mod output;
mod text;
mod upstream;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_access::Environment;

pub use self::{
    bounds::{InvalidBound, Millis, PerSecond},
    engine::{EngineConfig, EngineKind, MissingLibrary},
    extraction::{ClientConfig, Deceive, ExtractionConfig, NotPositive, Positive, Step},
    identity::{
        CertificateIdentity, IdentityConfig, InvalidIdentityConfig, JwtConfig, KeySource, MtlsConfig,
        NotAKeySource, TlsConfig,
    },
    limits::{Bodies, HeadBytes, InvalidHeadBytes, Limits, ModelLimits, RateLimit, Timeouts},
    output::{Decimals, InvalidDecimals, OutputPolicy},
    text::{BaseUrl, DeclaredType, FileReference, InvalidText, SecretReference, UpstreamName, Variable},
    upstream::{
        BreakerConfig, HealthConfig, TensorDeclaration, UpstreamConfig, UpstreamProtocol, UpstreamSource,
    },
};

pub(crate) use self::limits::HTTP_DEFAULT_HEADERS;
use crate::given::{Contents, Given};

/// The key under `output` that stands for every role without an entry of its own.
pub(crate) const DEFAULT_ROLE: &str = "default";

/// How the gateway listens, what it serves and within which bounds.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the gateway's listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the gRPC listener; port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// Address of the admin listener; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// Further host names and addresses that the leaf certificate covers; the first one names the URLs when the
    /// listener is bound to every address.
    pub hosts: Vec<String>,
    /// Serve the gateway's listener without TLS. Loopback only, and recorded. The gRPC and admin listeners keep TLS.
    pub dangerous_plaintext: bool,
    /// A server certificate of one's own, for both listeners; without it the local authority issues one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Who may vouch for principals besides API keys.
    pub identity: IdentityConfig,
    /// Which engine runs the models.
    pub engine: EngineConfig,
    /// Rates, budgets, connections and concurrency.
    pub limits: Limits,
    /// How large a request may be.
    pub bodies: Bodies,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The models served, by the name in the path.
    pub models: BTreeMap<String, ModelConfig>,
    /// Other model servers, which models may come from.
    pub upstreams: Vec<UpstreamConfig>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            listen: SocketAddr::new(loopback, 8443),
            grpc_listen: SocketAddr::new(loopback, 8445),
            admin_listen: SocketAddr::new(loopback, 8444),
            hosts: Vec::new(),
            dangerous_plaintext: false,
            tls: None,
            identity: IdentityConfig::default(),
            engine: EngineConfig::default(),
            limits: Limits::default(),
            bodies: Bodies::default(),
            timeouts: Timeouts::default(),
            models: BTreeMap::new(),
            upstreams: Vec::new(),
        }
    }
}

impl Config {
    /// The same configuration, with relative `file:` paths taken as paths in `folder`.
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.files().for_each(|file| file.resolve(folder));
        self
    }

    /// What the files and variables hold that it names, for a process that may not read them.
    pub fn contents(&self) -> Contents {
        let mut named = self.clone();
        let mut contents = Contents::default();
        named.files().for_each(|file| contents.add_file(file));
        named
            .variables()
            .for_each(|variable| contents.add_variable(variable));
        contents
    }

    /// The same configuration, which takes the content of files and variables from what is `given`.
    pub fn reading_from(mut self, given: &Given) -> Self {
        self.files().for_each(|file| file.read_from(given));
        self.variables().for_each(|variable| variable.read_from(given));
        self
    }

    /// Where connections to other servers go: their hosts and ports.
    pub fn destinations(&self) -> Vec<(String, u16)> {
        let upstreams = self.upstreams.iter().flat_map(|upstream| {
            std::iter::once(&upstream.url)
                .chain(&upstream.replicas)
                .map(|url| (url.host().to_owned(), url.port()))
        });
        let keys = self.identity.jwt.iter().filter_map(|jwt| match &jwt.jwks {
            KeySource::Url(url) => {
                let usual = if url.scheme_str() == Some("https") {
                    443
                } else {
                    80
                };
                Some((url.host()?.to_owned(), url.port_u16().unwrap_or(usual)))
            }
            KeySource::File(_) => None,
        });
        upstreams.chain(keys).collect()
    }

    fn files(&mut self) -> impl Iterator<Item = &mut FileReference> {
        let tls = self.tls.iter_mut().flat_map(TlsConfig::files);
        let upstreams = self.upstreams.iter_mut().flat_map(|upstream| {
            let bearer = match &mut upstream.bearer {
                Some(SecretReference::File(file)) => Some(file),
                Some(SecretReference::Environment(_)) | None => None,
            };
            upstream.ca.iter_mut().chain(bearer)
        });
        self.identity.files().chain(tls).chain(upstreams)
    }

    fn variables(&mut self) -> impl Iterator<Item = &mut Variable> {
        self.upstreams
            .iter_mut()
            .filter_map(|upstream| match &mut upstream.bearer {
                Some(SecretReference::Environment(variable)) => Some(variable),
                Some(SecretReference::File(_)) | None => None,
            })
    }
}

/// One model that the gateway serves.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Where the model comes from: `vault:NAME@VERSION`, or `upstream:NAME/MODEL` with or without `@VERSION`.
    pub source: String,
    /// The environment that the model runs in: `dev`, `test` or `prod`.
    #[schemars(with = "EnvironmentSchema")]
    pub environment: Environment,
    /// What each role may see of an answer. The key `default` stands for roles without an entry; without it they see
    /// the whole answer. A principal with several roles gets the most restrictive of each part.
    #[serde(default)]
    pub output: BTreeMap<String, OutputPolicy>,
    /// What each principal may do at this model.
    #[serde(default)]
    pub limits: ModelLimits,
    /// The watch over its queries; absent means that nobody watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraction: Option<ExtractionConfig>,
    /// Rows (size of the first dimension) that one request may hold.
    #[serde(default = "default_max_rows")]
    pub max_rows: std::num::NonZeroU32,
    /// What a model in another server takes, where that server does not say so, or is to be held to it.
    #[serde(default)]
    pub inputs: Vec<TensorDeclaration>,
    /// What it gives; declared together with `inputs`.
    #[serde(default)]
    pub outputs: Vec<TensorDeclaration>,
}

const fn default_max_rows() -> std::num::NonZeroU32 {
    #[expect(clippy::expect_used, reason = "evaluated by the compiler")]
    std::num::NonZeroU32::new(4096).expect("not zero")
}

/// How the schema describes an environment.
#[derive(JsonSchema)]
#[schemars(rename = "Environment", rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum EnvironmentSchema {
    Dev,
    Test,
    Prod,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(json: serde_json::Value) -> Result<Config, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_a_safe_configuration() {
        let config = parse(serde_json::json!({})).unwrap();
        assert_eq!(config, Config::default());
        assert!(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback());
        assert!(!config.dangerous_plaintext);
        assert_eq!(config.limits.daily_budget, 100_000);
        assert!((config.limits.principal.per_second.get() - 200.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_configuration_round_trips() {
        let text = serde_json::json!({
            "listen": "127.0.0.1:0",
            "models": {"digits": {
                "source": "vault:digits@1", "environment": "prod",
                "output": {"client": {"top_k": 3, "decimals": 2, "hidden": ["features"]}, "default": {"labels_only": true}},
            }},
        });
        let config = parse(text).unwrap();
        let again = parse(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!(config.models["digits"].max_rows.get(), 4096);
    }

    #[test]
    fn bad_values_are_refused_at_the_edge() {
        for bad in [
            serde_json::json!({"lisen": "127.0.0.1:0"}),
            serde_json::json!({"limits": {"principal": {"per_second": 0.0}}}),
            serde_json::json!({"limits": {"principal": {"per_second": -1}}}),
            serde_json::json!({"timeouts": {"header_ms": 0}}),
            serde_json::json!({"timeouts": {"header_ms": 99_999_999}}),
            serde_json::json!({"models": {"m": {"source": "vault:m", "environment": "staging"}}}),
            serde_json::json!({"models": {"m": {"source": "vault:m", "environment": "dev", "output": {"client": {"decimals": 16}}}}}),
            serde_json::json!({"models": {"m": {"source": "vault:m", "environment": "dev", "output": {"client": {"top_k": 0}}}}}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_schema_names_every_table() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        for field in [
            "listen",
            "grpc_listen",
            "admin_listen",
            "dangerous_plaintext",
            "limits",
            "bodies",
            "timeouts",
            "models",
        ] {
            assert!(schema["properties"].get(field).is_some(), "{field}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
