//! One entry of the evidence log, in Stockade's own words. Its leaf (canonical JSON in OCSF form) is made from it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Control, Digest, Event, Timestamp};

/// A random 128-bit name of one record, as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct RecordId([u8; 16]);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a record id is 32 lower-case hexadecimal digits")]
pub struct InvalidRecordId;

impl RecordId {
    /// The id with these 16 random bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for RecordId {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidRecordId);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidRecordId)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RecordId {
    type Error = InvalidRecordId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.to_string()
    }
}

/// Who acted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Actor {
    /// A verified principal. The id is opaque; a person's name is a [`Personal`] field elsewhere.
    Principal {
        /// The principal's id.
        id: String,
    },
    /// The owner of the state folder, at a command line.
    Operator {
        /// The user id of the process.
        uid: u32,
    },
    /// Stockade itself.
    System {},
    /// Nobody yet: before identification.
    Unidentified {},
}

/// The kind of thing a record is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// The server as a whole.
    Server,
    /// A model or other artifact.
    Artifact,
    /// A principal.
    Principal,
    /// An API key, by its public prefix.
    ApiKey,
    /// The log, by origin.
    Log,
    /// A long-lived key of the key provider, by name.
    Key,
    /// Configuration or policies.
    Configuration,
    /// A backup.
    Backup,
    /// The record of a person, by opaque id.
    Person,
}

/// What a record is about.
// INVARIANT: the fields stand in the order of RFC 8785 section 3.2.3, so that a leaf is written as it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its content, for artifacts, configuration and backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its name. Never text that an unidentified client chose.
    pub name: String,
    /// Its version number, for artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Subject {
    /// A subject with a kind and a name alone.
    pub fn new(kind: SubjectKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            version: None,
            digest: None,
        }
    }
}

/// What a control decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", deny_unknown_fields)]
pub enum Decision {
    /// It may pass.
    Allowed {
        /// The policies that said so.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
    },
    /// It may not.
    Refused {
        /// A stable reason, such as `rate_limited`.
        code: String,
        /// The policies that said so.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
    },
}

/// What an inspection concluded. Nothing inspected is never "clean".
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Inspected, nothing found.
    Clean,
    /// Found, but not certain.
    Suspicious,
    /// Found.
    Dangerous,
    /// Not inspected, or not completely.
    NotScanned,
}

/// One observation of a control.
// INVARIANT: the fields stand in the order of RFC 8785 section 3.2.3, so that a leaf is written as it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The control that looked.
    pub control: Control,
    /// One sentence, without content of the thing inspected.
    pub message: String,
    /// A stable rule id.
    pub rule: String,
    /// What it concluded.
    pub verdict: Verdict,
}

/// A personal value, readable only while its subject's key exists.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// The cipher, `A256GCM`.
    pub alg: String,
    /// The opaque id of the subject's key.
    pub kid: String,
    /// Nonce, ciphertext and tag, base64.
    pub ct: String,
}

/// A change of projected state. The rows of the store are the sum of all changes in the log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "op", deny_unknown_fields)]
pub enum Change {
    /// Set a row.
    Put {
        /// The kind of row, such as `api_key`.
        kind: String,
        /// Its id within the kind.
        id: String,
        /// Its whole new content.
        value: Value,
    },
    /// Remove a row.
    Delete {
        /// The kind of row.
        kind: String,
        /// Its id within the kind.
        id: String,
    },
}

/// One entry of the evidence log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When, by the writer's wall clock.
    pub time: Timestamp,
    /// A random name.
    pub id: RecordId,
    /// What happened.
    pub event: Event,
    /// Who acted.
    pub actor: Actor,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The control concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What was observed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What state changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Measurements and digests particular to the event. Integers stay within ±(2^53 - 1) (RFC 7493 section 2.2).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

impl Record {
    /// A record with nothing but when, what and who.
    pub const fn new(time: Timestamp, id: RecordId, event: Event, actor: Actor) -> Self {
        Self {
            time,
            id,
            event,
            actor,
            subject: None,
            control: None,
            decision: None,
            findings: Vec::new(),
            changes: Vec::new(),
            details: BTreeMap::new(),
        }
    }

    /// The same record, about `subject`.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The same record, concerning `control`.
    #[must_use]
    pub const fn under(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// The same record, with a decision.
    #[must_use]
    pub fn deciding(mut self, decision: Decision) -> Self {
        self.decision = Some(decision);
        self
    }

    /// The same record, with one more change of state.
    #[must_use]
    pub fn changing(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// The same record, with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}
