//! The gateway: real models behind TLS, keys, policies, limits and a log, one file per phase of a request.
//!
//! A request goes `accept` -> `identify` -> `authorize` -> `meter` -> `inspect_request` -> `forward` ->
//! `inspect_response` -> `shape`, with `record` beside them: its admission is durable before its answer leaves. Any
//! error in a phase is a refusal. The admin listener serves metrics, keys and the state of the gateway.
//!
//! Start at [`Gateway`]; then read `phases.rs`, where the phases follow each other.

mod admin;
mod answer;
mod calls;
mod config;
mod desk;
mod gateway;
mod given;
mod identity;
mod merged;
mod metadata;
mod metrics;
mod models;
mod phases;
mod plane;
mod queries;
mod rest;
mod shared;
mod snapshot;
mod source;
mod statistics;
mod tensors;
mod tls;
mod upstream;
mod watched;
mod wire;

pub use self::{
    admin::openapi_json,
    config::{
        BaseUrl, Bodies, BreakerConfig, CertificateIdentity, ClientConfig, Config, Deceive, Decimals,
        DeclaredType, EngineConfig, EngineKind, ExtractionConfig, FileReference, HeadBytes, HealthConfig,
        IdentityConfig, InvalidBound, InvalidDecimals, InvalidHeadBytes, InvalidIdentityConfig, InvalidText,
        JwtConfig, KeySource, Limits, Millis, MissingLibrary, ModelConfig, ModelLimits, MtlsConfig,
        NotAKeySource, NotPositive, OutputPolicy, PerSecond, Positive, RateLimit, SecretReference, Step,
        TensorDeclaration, Timeouts, TlsConfig, UpstreamConfig, UpstreamName, UpstreamProtocol,
        UpstreamSource, Variable,
    },
    desk::{
        Desk, DeskAnswer, DeskAsk, DeskLink, DeskQuestion, Issued, KeeperDesk, KeyChange, KeyDone,
        KeyProblem, WORKER_ALLOWANCE,
    },
    gateway::{BindError, Bound, Gateway, Listeners, Reload, ReloadError, RunError},
    given::{Contents, Given},
    identity::{FileError, TrustError},
    models::{LoadedModel, ModelError, ModelSet, ModelSetError},
    queries::{
        CLIENT_STANDING, ReleaseError, Sample, Samples, Standing, StandingsError, WatchError, release,
    },
    snapshot::ConfigError,
    tls::TlsError,
    upstream::UpstreamError,
};
