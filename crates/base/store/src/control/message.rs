//! What is asked and answered through the control socket. Unknown messages and fields are errors: both ends are one release.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stockade_crypto::{SecretBytes, WrappedKey};
use stockade_evidence::{Actor, Personal, Record, Timestamp};

use crate::{
    admitted::Admitted,
    commit::{Appended, Commit, Row},
    keeper::Health,
};

/// A question.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub(crate) enum Request {
    Ping {},
    Append {
        record: Box<Record>,
    },
    AppendSoon {
        record: Box<Record>,
    },
    Commit {
        commit: Box<Commit>,
    },
    Integrated {},
    Row {
        kind: String,
        id: String,
    },
    Page {
        kind: String,
        after: String,
    },
    CheckRows {},
    Checkpoint {},
    AdmittedSince {
        since: Timestamp,
    },
    SealPersonal {
        subject: String,
        field: String,
        value: Secret,
    },
    OpenPersonal {
        subject: String,
        field: String,
        personal: Personal,
    },
    EraseSubject {
        subject: String,
        actor: Actor,
        now: Timestamp,
    },
    WrapKey {
        key: Secret,
        context: Secret,
    },
    UnwrapKey {
        wrapped: WrappedKey,
        context: Secret,
    },
    Now {},
    Backup {
        into: std::path::PathBuf,
        passphrase: Option<Secret>,
        actor: Actor,
    },
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer", deny_unknown_fields)]
pub(crate) enum Response {
    Done {},
    Pong {
        owner_pid: u32,
    },
    Appended {
        appended: Appended,
    },
    Row {
        row: Option<Row>,
    },
    Page {
        rows: Vec<Row>,
        complete: bool,
    },
    Checked {
        rows: usize,
    },
    Differs {
        kind: String,
        id: String,
    },
    Personal {
        personal: Personal,
    },
    Opened {
        value: Option<Secret>,
    },
    Wrapped {
        wrapped: WrappedKey,
    },
    Key {
        key: Secret,
    },
    Time {
        now: Timestamp,
    },
    Checkpoint {
        checkpoint: Option<String>,
    },
    Admitted {
        admitted: BTreeMap<String, Admitted>,
    },
    Pulse {
        now: Timestamp,
        health: Health,
        changes: u64,
    },
    Backup {
        report: crate::backup::BackupReport,
    },
    Conflict {
        kind: String,
        id: String,
    },
    NotAuthentic {},
    Failed {
        message: String,
    },
}

/// Bytes that print as `****` and are wiped; base64 in a frame.
pub struct Secret(pub SecretBytes);

impl Secret {
    /// A copy of these bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(SecretBytes::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = SecretBytes::new(STANDARD.encode(self.0.expose()).into_bytes());
        serializer.serialize_str(std::str::from_utf8(text.expose()).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("not base64"))?;
                Ok(Secret(SecretBytes::new(bytes)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
