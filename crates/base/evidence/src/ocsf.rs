//! The leaf of a [`Record`]: a canonical JSON object (RFC 8785) in the form of an OCSF 1.8.0 event.
//!
//! Class, activity, severity and status follow from the record, so a leaf that says otherwise is no leaf.
// INVARIANT: the fields of every structure here stand in the order of RFC 8785 section 3.2.3.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{
    Actor, CanonicalError, Change, Control, Decision, Event, Finding, MAX_ENTRY, Record, RecordId, Subject,
    Timestamp, Verdict,
    canonical::{MAX_INTEGER, Sorted, check_value, sorted_entries, write_sorted},
};

const OCSF_VERSION: &str = "1.8.0";
const PRODUCT: &str = "Stockade";

/// Why a record has no leaf, or bytes are no leaf.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The leaf is longer than a bundle's entry may be. Put the payload into a blob, and its digest here.
    #[error("the leaf has {length} bytes, over the limit of {MAX_ENTRY}")]
    TooLarge {
        /// Its bytes.
        length: usize,
    },
    /// The bytes are not JSON, or not the JSON of an event.
    #[error("the leaf is not an event: {0}")]
    NotAnEvent(#[source] serde_json::Error),
    /// A field that follows from the others says something else.
    #[error("the leaf's `{field}` does not follow from the rest of it")]
    Disagrees {
        /// The field.
        field: &'static str,
    },
    /// The bytes are not the canonical form of the event.
    #[error("the leaf is not canonical JSON")]
    NotCanonical,
    /// A value has no canonical form.
    #[error(transparent)]
    Value(#[from] CanonicalError),
}

impl Record {
    /// The entry of the log that holds this record: canonical JSON, at most [`MAX_ENTRY`] bytes.
    pub fn to_leaf(&self) -> Result<Vec<u8>, LeafError> {
        self.check_values()?;
        let leaf = write_sorted(&Leaf::of(self), 1024).map_err(CanonicalError::from)?;
        if leaf.len() > MAX_ENTRY {
            return Err(LeafError::TooLarge { length: leaf.len() });
        }
        Ok(leaf)
    }

    /// Reads an entry of the log. Only what [`Record::to_leaf`] writes is accepted, byte for byte.
    pub fn from_leaf(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_ENTRY {
            return Err(LeafError::TooLarge { length: bytes.len() });
        }
        let leaf: Leaf<'_> = serde_json::from_slice(bytes).map_err(LeafError::NotAnEvent)?;
        let record = leaf.check()?;
        record.check_values()?;
        let again = write_sorted(&Leaf::of(&record), bytes.len()).map_err(CanonicalError::from)?;
        if again == bytes {
            Ok(record)
        } else {
            Err(LeafError::NotCanonical)
        }
    }

    fn check_values(&self) -> Result<(), CanonicalError> {
        let version = self
            .subject
            .as_ref()
            .and_then(|subject| subject.version)
            .unwrap_or(0);
        let time = self.time.unix_ms();
        for (fits, number) in [
            (version <= MAX_INTEGER, version.into()),
            (time.unsigned_abs() <= MAX_INTEGER, time.into()),
        ] {
            if !fits {
                return Err(CanonicalError::IntegerTooLarge { number });
            }
        }
        self.details.values().try_for_each(check_value)?;
        self.changes.iter().try_for_each(|change| match change {
            Change::Put { value, .. } => check_value(value),
            Change::Delete { .. } => Ok(()),
        })
    }
}

/// Fuzz entry: must not panic. Whatever is a leaf, writes the same leaf.
pub fn fuzz_leaf(data: &[u8]) {
    if let Ok(record) = Record::from_leaf(data) {
        assert_eq!(record.to_leaf().ok().as_deref(), Some(data));
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Leaf<'a> {
    activity_id: u32,
    #[serde(borrow)]
    actor: LeafActor<'a>,
    category_uid: u32,
    class_uid: u32,
    #[serde(borrow)]
    metadata: Metadata<'a>,
    severity_id: u8,
    status_id: u8,
    time: Timestamp,
    type_uid: u32,
    #[serde(borrow)]
    unmapped: Unmapped<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Metadata<'a> {
    event_code: Event,
    #[serde(borrow)]
    product: Product<'a>,
    uid: RecordId,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Product<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    vendor_name: Cow<'a, str>,
}

/// OCSF's `actor`: an application, or a user whose `type_id` says which kind.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeafActor<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    app_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct User<'a> {
    type_id: u8,
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

/// OCSF `user.type_id`.
const UNKNOWN: u8 = 0;
const USER: u8 = 1;
const ADMIN: u8 = 2;

/// What OCSF has no place for (its `unmapped` attribute).
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Unmapped<'a> {
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<LeafChange<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    control: Option<Control>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    decision: Option<LeafDecision<'a>>,
    #[serde(default, serialize_with = "details", skip_serializing_if = "no_details")]
    details: Cow<'a, BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "no_findings")]
    findings: Cow<'a, [Finding]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, Subject>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeafChange<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    op: Operation,
    #[serde(
        default,
        deserialize_with = "present",
        serialize_with = "value",
        skip_serializing_if = "Option::is_none"
    )]
    value: Option<Cow<'a, Value>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Delete,
    Put,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeafDecision<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "no_policies")]
    policies: Cow<'a, [String]>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Allowed,
    Refused,
}

impl<'a> Leaf<'a> {
    fn of(record: &'a Record) -> Self {
        let class = record.event.ocsf();
        Self {
            activity_id: class.activity_id,
            actor: LeafActor::of(&record.actor),
            category_uid: class.class_uid / 1000,
            class_uid: class.class_uid,
            metadata: Metadata {
                event_code: record.event,
                product: Product {
                    name: PRODUCT.into(),
                    vendor_name: PRODUCT.into(),
                },
                uid: record.id,
                version: OCSF_VERSION.into(),
            },
            severity_id: severity(record),
            status_id: status(record),
            time: record.time,
            type_uid: class.class_uid * 100 + class.activity_id,
            unmapped: Unmapped {
                changes: record.changes.iter().map(LeafChange::of).collect(),
                control: record.control,
                decision: record.decision.as_ref().map(LeafDecision::of),
                details: Cow::Borrowed(&record.details),
                findings: Cow::Borrowed(&record.findings),
                subject: record.subject.as_ref().map(Cow::Borrowed),
            },
        }
    }

    /// The record, if everything that follows from it is as it should be.
    fn check(self) -> Result<Record, LeafError> {
        let event = self.metadata.event_code;
        let class = event.ocsf();
        let unmapped = self.unmapped;
        let record = Record {
            time: self.time,
            id: self.metadata.uid,
            event,
            actor: self.actor.read()?,
            subject: unmapped.subject.map(Cow::into_owned),
            control: unmapped.control,
            decision: unmapped.decision.map(LeafDecision::read).transpose()?,
            findings: unmapped.findings.into_owned(),
            changes: unmapped
                .changes
                .into_iter()
                .map(LeafChange::read)
                .collect::<Result<_, _>>()?,
            details: unmapped.details.into_owned(),
        };
        let product = &self.metadata.product;
        for (agrees, field) in [
            (self.class_uid == class.class_uid, "class_uid"),
            (self.activity_id == class.activity_id, "activity_id"),
            (self.category_uid == class.class_uid / 1000, "category_uid"),
            (
                self.type_uid == class.class_uid * 100 + class.activity_id,
                "type_uid",
            ),
            (self.metadata.version == OCSF_VERSION, "metadata.version"),
            (
                product.name == PRODUCT && product.vendor_name == PRODUCT,
                "metadata.product",
            ),
            (self.severity_id == severity(&record), "severity_id"),
            (self.status_id == status(&record), "status_id"),
        ] {
            if !agrees {
                return Err(LeafError::Disagrees { field });
            }
        }
        Ok(record)
    }
}

/// OCSF `severity_id`: 1 informational, 2 low, 3 medium, 4 high.
fn severity(record: &Record) -> u8 {
    let of_finding = |finding: &Finding| match finding.verdict {
        Verdict::Clean => 1,
        Verdict::NotScanned => 2,
        Verdict::Suspicious => 3,
        Verdict::Dangerous => 4,
    };
    let of_findings = record.findings.iter().map(of_finding).max().unwrap_or(1);
    of_findings.max(status(record))
}

/// OCSF `status_id`: 1 success, 2 failure.
fn status(record: &Record) -> u8 {
    match record.decision {
        None | Some(Decision::Allowed { .. }) => 1,
        Some(Decision::Refused { .. }) => 2,
    }
}

impl<'a> LeafActor<'a> {
    fn of(actor: &'a Actor) -> Self {
        let user = |type_id, uid| Self {
            app_name: None,
            user: Some(User { type_id, uid }),
        };
        match actor {
            Actor::Principal { id } => user(USER, Cow::Borrowed(id)),
            Actor::Operator { uid } => user(ADMIN, Cow::Owned(uid.to_string())),
            Actor::System {} => Self {
                app_name: Some(PRODUCT.into()),
                user: None,
            },
            Actor::Unidentified {} => user(UNKNOWN, Cow::Borrowed("")),
        }
    }

    fn read(self) -> Result<Actor, LeafError> {
        let disagrees = LeafError::Disagrees { field: "actor" };
        match (self.app_name, self.user) {
            (Some(name), None) if name == PRODUCT => Ok(Actor::System {}),
            (
                None,
                Some(User {
                    type_id: UNKNOWN,
                    uid,
                }),
            ) if uid.is_empty() => Ok(Actor::Unidentified {}),
            (None, Some(User { type_id: USER, uid })) => Ok(Actor::Principal { id: uid.into_owned() }),
            (None, Some(User { type_id: ADMIN, uid })) => uid
                .parse()
                .map(|uid| Actor::Operator { uid })
                .map_err(|_| disagrees),
            _ => Err(disagrees),
        }
    }
}

impl<'a> LeafChange<'a> {
    fn of(change: &'a Change) -> Self {
        let (kind, id, op, value) = match change {
            Change::Put { kind, id, value } => (kind, id, Operation::Put, Some(Cow::Borrowed(value))),
            Change::Delete { kind, id } => (kind, id, Operation::Delete, None),
        };
        Self {
            id: Cow::Borrowed(id),
            kind: Cow::Borrowed(kind),
            op,
            value,
        }
    }

    fn read(self) -> Result<Change, LeafError> {
        let (kind, id) = (self.kind.into_owned(), self.id.into_owned());
        match (self.op, self.value) {
            (Operation::Put, Some(value)) => Ok(Change::Put {
                kind,
                id,
                value: value.into_owned(),
            }),
            (Operation::Delete, None) => Ok(Change::Delete { kind, id }),
            (Operation::Put, None) | (Operation::Delete, Some(_)) => Err(LeafError::Disagrees {
                field: "unmapped.changes",
            }),
        }
    }
}

impl<'a> LeafDecision<'a> {
    fn of(decision: &'a Decision) -> Self {
        match decision {
            Decision::Allowed { policies } => Self {
                code: None,
                outcome: Outcome::Allowed,
                policies: Cow::Borrowed(policies),
            },
            Decision::Refused { code, policies } => Self {
                code: Some(Cow::Borrowed(code)),
                outcome: Outcome::Refused,
                policies: Cow::Borrowed(policies),
            },
        }
    }

    fn read(self) -> Result<Decision, LeafError> {
        let policies = self.policies.into_owned();
        match (self.outcome, self.code) {
            (Outcome::Allowed, None) => Ok(Decision::Allowed { policies }),
            (Outcome::Refused, Some(code)) => Ok(Decision::Refused {
                code: code.into_owned(),
                policies,
            }),
            (Outcome::Allowed, Some(_)) | (Outcome::Refused, None) => Err(LeafError::Disagrees {
                field: "unmapped.decision",
            }),
        }
    }
}

fn no_details(details: &BTreeMap<String, Value>) -> bool {
    details.is_empty()
}

fn no_findings(findings: &[Finding]) -> bool {
    findings.is_empty()
}

fn no_policies(policies: &[String]) -> bool {
    policies.is_empty()
}

fn details<S: Serializer>(details: &BTreeMap<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    sorted_entries(details.iter(), serializer)
}

fn value<S: Serializer>(value: &Option<Cow<'_, Value>>, serializer: S) -> Result<S::Ok, S::Error> {
    Sorted(value.as_deref().unwrap_or(&Value::Null)).serialize(serializer)
}

/// A `value` that is there, even as `null`.
fn present<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, Value>>, D::Error> {
    Value::deserialize(deserializer).map(|value| Some(Cow::Owned(value)))
}

#[cfg(test)]
mod tests;
