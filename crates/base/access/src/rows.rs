//! The rows behind the live view: kind `principal` under its id, kind `api_key` under its prefix, and kind `identities`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stockade_evidence::{Digest, Personal, Timestamp};

use crate::{DnsName, Environment, KeyPrefix, Principal, PrincipalId, PrincipalKind, Role, SpiffeId};

/// The kind of a principal's row.
pub const PRINCIPAL: &str = "principal";
/// The kind of an API key's row.
pub const API_KEY: &str = "api_key";
/// One row, `all`, that every change of an external identity replaces: two changes at once cannot both pass, so that no
/// two principals hold one identity. Nothing in it is computed from an identity.
pub(crate) const IDENTITIES: &str = "identities";

/// A row does not hold what its kind holds, so nothing is decided from it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the row `{kind}` `{id}` cannot be read: {problem}\nhint: `stockade doctor --rebuild` makes the rows from the log again"
)]
pub struct BadRow {
    kind: &'static str,
    id: String,
    problem: String,
}

impl BadRow {
    fn new(kind: &'static str, id: &str, problem: &impl ToString) -> Self {
        Self {
            kind,
            id: id.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Kind `principal`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrincipalRow {
    pub(crate) kind: PrincipalKind,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) environment: Environment,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<Personal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<Personal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) identities: Vec<StoredIdentity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled: Option<Timestamp>,
}

/// An external identity as its row keeps it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredIdentity {
    Jwt { issuer: String, subject: StoredSubject },
    Spiffe(SpiffeId),
    Dns(DnsName),
}

/// What a token issuer calls a principal. A person's is personal (an address, often): erasure destroys it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum StoredSubject {
    Plain(String),
    Sealed(Personal),
}

impl PrincipalRow {
    pub(crate) fn read(id: &str, value: Value) -> Result<(Principal, Self), BadRow> {
        let row: Self = serde_json::from_value(value).map_err(|error| BadRow::new(PRINCIPAL, id, &error))?;
        let id: PrincipalId = id.parse().map_err(|error| BadRow::new(PRINCIPAL, id, &error))?;
        let principal = Principal {
            id,
            kind: row.kind,
            roles: row.roles.clone(),
            environment: row.environment,
        };
        Ok((principal, row))
    }
}

/// Kind `api_key`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRow {
    pub(crate) principal: PrincipalId,
    /// SHA-256 of the whole key.
    pub(crate) hash: Digest,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Timestamp>,
    /// The key that took this one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaced_by: Option<KeyPrefix>,
}

impl KeyRow {
    pub(crate) fn read(id: &str, value: Value) -> Result<(KeyPrefix, Self), BadRow> {
        let row: Self = serde_json::from_value(value).map_err(|error| BadRow::new(API_KEY, id, &error))?;
        let prefix = id.parse().map_err(|error| BadRow::new(API_KEY, id, &error))?;
        Ok((prefix, row))
    }
}
