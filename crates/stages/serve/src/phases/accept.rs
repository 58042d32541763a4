//! The first phase: TLS 1.3, and bounds on time, size and number before anything is known about the sender.
//!
//! A connection ends when its handshake, a request's head or its silence lasts too long; one source and all sources
//! together have so many connections; a body has a size, a duration and a least rate (RFC 9110 sections 15.5.9 and
//! 15.5.14).

mod activity;
mod body;
mod by_hand;
mod coding;
mod connection;
mod doors;
mod unread;

pub(crate) use self::{
    activity::Activity,
    body::{BodyBounds, BodyMemory, Buffered, read_body},
    coding::{Coding, GRPC_ENCODING, Growth},
    connection::{Connections, Handler, Protection},
    doors::Doors,
    unread::RequestBody,
};
