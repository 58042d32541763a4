//! The rows behind the vault: kind `artifact` under its name, kind `artifact_version` under `NAME@VERSION`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stockade_evidence::{Digest, Timestamp};
use stockade_store::Row;

use crate::ArtifactName;

pub(crate) const ARTIFACT: &str = "artifact";
pub(crate) const VERSION: &str = "artifact_version";

/// A row does not hold what its kind holds, so nothing is released by it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the row `{kind}` `{id}` cannot be read: {problem}\nhint: `stockade doctor --rebuild` makes the rows from the log again"
)]
pub struct BadRow {
    kind: String,
    id: String,
    problem: String,
}

/// Kind `artifact`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtifactRow {
    /// The highest number ever given.
    pub(crate) last: u64,
    /// The highest version that is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<u64>,
    /// Numbers given to versions that are being sealed, and when.
    #[serde(default)]
    pub(crate) pending: BTreeMap<u64, Timestamp>,
    /// Numbers whose sealing never ended; their blobs are swept.
    #[serde(default)]
    pub(crate) abandoned: Vec<u64>,
}

/// Kind `artifact_version`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionRow {
    pub(crate) artifact: ArtifactName,
    pub(crate) version: u64,
    /// The digest of the manifest: the version's id.
    pub(crate) manifest: Digest,
    pub(crate) sealed: Timestamp,
    pub(crate) files: u64,
    pub(crate) size: u64,
}

impl VersionRow {
    /// The row's content, which must be about the version that its id names.
    pub(crate) fn read(row: Row) -> Result<Self, BadRow> {
        let (kind, id) = (row.kind.clone(), row.id.clone());
        let content: Self = read(row)?;
        if id != version_id(&content.artifact, content.version) {
            return Err(BadRow {
                kind,
                id,
                problem: "it is about another version".to_owned(),
            });
        }
        Ok(content)
    }
}

pub(crate) fn read<T: DeserializeOwned>(row: Row) -> Result<T, BadRow> {
    let Row { kind, id, value, .. } = row;
    serde_json::from_value(value).map_err(|error| BadRow {
        kind,
        id,
        problem: error.to_string(),
    })
}

pub(crate) fn version_id(artifact: &ArtifactName, version: u64) -> String {
    format!("{artifact}@{version}")
}
