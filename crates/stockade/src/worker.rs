//! The worker: the gateway in a process of its own, which holds no key files and gives up whatever would lead to them.
//!
//! The command that was called stays the keeper: it owns the state folder, opens the listeners and the vault, and starts
//! this program once more (`supervisor`). What the worker needs comes over a socket that it is born with (`channel`,
//! `words`); a second one is its link to the keeper's log and rows. Before it reads a model or a client's first byte it
//! locks itself down (`child`). When it dies another takes its place on the same listeners.

mod channel;
mod child;
mod parts;
mod process;
mod supervisor;
mod words;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    child::run,
    parts::Parts,
    supervisor::{Reloading, Supervisor},
    words::{Head, HeldFile, Purpose},
};

/// The process that serves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerConfig {
    /// Serve only where the kernel has both Landlock and seccomp; otherwise what it lacks is logged and recorded.
    pub(crate) require_isolation: bool,
}
