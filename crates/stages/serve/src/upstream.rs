//! Models that live in another model server: connections, health, breakers, and the words of each protocol.
//!
//! An [`Upstream`] is a server with its replicas; a [`Remote`] is one of its models. A replica is asked for a model only
//! after it said, since it was last away, that the model is what it was: [`watch`] asks it.
//!
//! INVARIANT: no text of another server reaches a client, a record or a label.

mod breaker;
mod budget;
mod connection;
mod error;
mod failure;
mod inference;
mod io;
mod remote;
mod replica;
mod request;
mod server;
mod signature;
mod stats;
mod tls;
mod watch;
mod words;

pub use self::error::UpstreamError;
pub(crate) use self::{
    inference::Via, remote::Remote, request::Trace, server::Upstreams, stats::text, watch::watch,
};
