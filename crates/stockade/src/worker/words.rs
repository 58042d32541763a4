//! What the keeper and its worker say to each other. Both are one program, so unknown words are errors.

use serde::{Deserialize, Serialize};
use stockade_access::Environment;
use stockade_evidence::Digest;
use stockade_serve::{Bound, Config, Contents, DeskAnswer, DeskAsk};
use stockade_store::Secret;

/// From the keeper.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "say", deny_unknown_fields)]
pub(super) enum ToWorker {
    /// Everything to start with. Descriptors: the link, the three listeners, and one for each artifact.
    Setup(Box<Setup>),
    /// New parts to put in force. One descriptor for each artifact.
    Reload(Box<Setup>),
    /// New parts could not even be read.
    RefuseReload { reason: String },
    /// The contents of files and variables, which changed.
    Contents { contents: Contents },
    /// The answer to a question.
    Answer { id: u64, answer: DeskAnswer },
    /// Take nothing new, finish, and end.
    Stop {},
}

/// What is served, and with what.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    pub(super) config: Config,
    /// File names and texts.
    pub(super) policies: Vec<(String, String)>,
    pub(super) contents: Contents,
    pub(super) artifacts: Vec<Head>,
    /// What the watches over queries hide their choices under.
    pub(super) watch_secret: Secret,
    pub(super) require_isolation: bool,
    pub(super) needs_restart: Vec<String>,
}

/// An artifact whose bytes lie in a descriptor.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The model that it is for.
    pub(crate) model: String,
    pub(crate) purpose: Purpose,
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) files: Vec<HeldFile>,
}

/// What an artifact is for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Purpose {
    /// It is the model.
    Model { environment: Environment },
    /// What the watch over its queries learns from.
    Reference {},
    /// What one kind of honest clients asks.
    Survey { role: String },
}

/// A file of an artifact: where it lies in the descriptor.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldFile {
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// From the worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "say", deny_unknown_fields)]
pub(super) enum ToKeeper {
    /// It serves.
    Ready { bound: Bound },
    /// It cannot serve, and why: a failure as scripts read it.
    Failed { failure: serde_json::Value },
    /// How a reload ended.
    Reloaded { problem: Option<String> },
    /// A question.
    Ask { id: u64, ask: DeskAsk },
}
