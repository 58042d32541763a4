//! The words of a change of state: [`Commit`] goes in, [`Appended`] comes out, [`Row`] is what it left.
//!
//! A row is set or removed by a `Change` in a record and by nothing else, so the rows are at any time the sum of the log.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stockade_evidence::{Change, Record};

const KIND_MAX_BYTES: usize = 64;
const ID_MAX_BYTES: usize = 512;
const EXPECTATIONS_MAX: usize = 64;

/// A record, and what must hold for it to be appended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// What happened, with its changes.
    pub record: Record,
    /// All of these hold when the record is appended, or it is not.
    #[serde(default)]
    pub expect: Vec<Expect>,
}

/// A condition on one row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "that", deny_unknown_fields)]
pub enum Expect {
    /// There is no such row.
    Absent {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// The row is as the entry with this index left it.
    At {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// The `log_index` that was read with it.
        log_index: u64,
    },
}

impl Expect {
    /// The kind of row.
    pub fn kind(&self) -> &str {
        match self {
            Self::Absent { kind, .. } | Self::At { kind, .. } => kind,
        }
    }

    /// The id of the row.
    pub fn id(&self) -> &str {
        match self {
            Self::Absent { id, .. } | Self::At { id, .. } => id,
        }
    }
}

/// Where a record came to lie.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Appended {
    /// The log.
    pub origin: String,
    /// The entry's index in it.
    pub index: u64,
}

/// One row of the projection.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// The kind of row, such as `api_key`.
    pub kind: String,
    /// Its id within the kind.
    pub id: String,
    /// Its content.
    pub value: Value,
    /// The entry that set it.
    pub log_index: u64,
    /// The log of that entry.
    pub origin: String,
}

/// A kind or id that no row may have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a row's kind is 1 to {KIND_MAX_BYTES} of a-z, 0-9 and _, its id 1 to {ID_MAX_BYTES} bytes without control characters, and a commit names at most {EXPECTATIONS_MAX} expectations"
)]
pub struct InvalidCommit;

impl Commit {
    /// A commit without conditions.
    pub const fn new(record: Record) -> Self {
        Self {
            record,
            expect: Vec::new(),
        }
    }

    /// The same commit, with one more condition.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect.push(expect);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidCommit> {
        let changes = self.record.changes.iter().map(change_key);
        let expected = self.expect.iter().map(|expect| (expect.kind(), expect.id()));
        let named = changes
            .chain(expected)
            .all(|(kind, id)| valid_kind(kind) && valid_id(id));
        (named && self.expect.len() <= EXPECTATIONS_MAX)
            .then_some(())
            .ok_or(InvalidCommit)
    }
}

pub(crate) fn change_key(change: &Change) -> (&str, &str) {
    match change {
        Change::Put { kind, id, .. } | Change::Delete { kind, id } => (kind, id),
    }
}

fn valid_kind(kind: &str) -> bool {
    (1..=KIND_MAX_BYTES).contains(&kind.len())
        && kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn valid_id(id: &str) -> bool {
    (1..=ID_MAX_BYTES).contains(&id.len()) && !id.chars().any(char::is_control)
}
