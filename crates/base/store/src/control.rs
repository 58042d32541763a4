//! The control socket: how other processes of the folder's owner reach the keeper (`.stockade/control.sock`, 0600).
//!
//! A frame is four bytes of length, big-endian, and as much JSON; a connection carries requests and answers in turn. Both
//! ends ask the kernel who the other is: only the user who owns the folder is answered, and only such a server is
//! believed. Frames, rows, connections and waits are bounded. Data keys cross here between two processes of one
//! owner, in buffers that are wiped; nothing that prints a request shows them.
//!
//! A worker speaks the same words over a socket that it was born with, many at once and few of them: see `worker`.

mod address;
mod client;
mod frame;
mod message;
mod pipe;
mod server;
mod worker;

use std::io;

pub(crate) use self::pipe::{Pipe, Pulse};
pub use self::{
    client::ControlClient,
    frame::fuzz_control_frame,
    message::Secret,
    worker::{ActorKind, Allowance, LinkError, MayPut},
};

/// Why the control socket failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket could not be bound, reached, read or written.
    #[error("the control socket failed: {0}")]
    Io(#[from] io::Error),
    /// The other end is another user than the folder's owner.
    #[error("the other end of the control socket runs as user {found}, the folder belongs to user {owner}")]
    Stranger {
        /// Its user id.
        found: u32,
        /// The folder's.
        owner: u32,
    },
    /// The other end sent what is no frame or no message.
    #[error(
        "the other end of the control socket does not speak this version's language\nhint: restart the server after an update"
    )]
    Malformed,
    /// The other end did not answer in time.
    #[error("the server that owns the folder does not answer")]
    TimedOut,
    /// The message does not fit into a frame.
    #[error("the message is too large for the control socket")]
    TooLarge,
}
