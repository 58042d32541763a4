//! What is in the vault, without opening it.

use std::collections::BTreeMap;

use serde::Serialize;
use stockade_access::RowSource;
use stockade_evidence::{Digest, Timestamp};
use stockade_store::{BlobError, Blobs, ReadError};

use crate::{
    ArtifactName, ArtifactRef, Manifest, Tampered,
    manifest::JSON_MAX,
    rows::{ARTIFACT, ArtifactRow, BadRow, VERSION, VersionRow, read, version_id},
};

/// The vault's content, for everyone who may look: with a keeper, or beside one.
#[derive(Clone, Debug)]
pub struct Catalog {
    blobs: Blobs,
    rows: RowSource,
}

/// One artifact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ArtifactSummary {
    /// Its name.
    pub name: ArtifactName,
    /// Its versions, oldest first.
    pub versions: Vec<VersionSummary>,
}

/// One version of an artifact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct VersionSummary {
    /// Its number.
    pub version: u64,
    /// Its id: the digest of its manifest.
    pub id: Digest,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// How many files it has.
    pub files: u64,
    /// How long they are together.
    pub size: u64,
}

/// One version in full.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The version's id: the digest of its manifest.
    pub id: Digest,
    /// What it consists of.
    pub manifest: Manifest,
    /// The log that holds its record.
    pub origin: String,
    /// The record's index there.
    pub log_index: u64,
}

/// Why the catalog did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is no such artifact or version.
    #[error("there is no artifact `{reference}`\nhint: `stockade model list` shows what there is")]
    NotFound {
        /// What was asked for.
        reference: ArtifactRef,
    },
    /// A file of the vault is not what was sealed.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// A row is not what its kind holds.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// The rows could not be read.
    #[error("the rows of the vault could not be read")]
    Read(#[from] ReadError),
    /// The vault could not be read.
    #[error("the vault could not be read")]
    Blob(#[from] BlobError),
}

impl CatalogError {
    /// Whether the content of the vault is not what it was (exit code 4).
    pub const fn is_integrity_broken(&self) -> bool {
        match self {
            Self::Tampered(_) => true,
            Self::NotFound { .. } | Self::Row(_) | Self::Read(_) | Self::Blob(_) => false,
        }
    }
}

/// The version that a reference means, and where its record lies.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) row: VersionRow,
    pub(crate) origin: String,
    pub(crate) log_index: u64,
}

impl Catalog {
    /// The vault in `blobs`, by the rows in `rows`.
    pub fn new(blobs: Blobs, rows: impl Into<RowSource>) -> Self {
        Self {
            blobs,
            rows: rows.into(),
        }
    }

    pub(crate) const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// All artifacts, by name.
    pub async fn list(&self) -> Result<Vec<ArtifactSummary>, CatalogError> {
        let mut all: BTreeMap<ArtifactName, Vec<VersionSummary>> = BTreeMap::new();
        for row in self.versions().await? {
            let VersionRow {
                artifact,
                version,
                manifest,
                sealed,
                files,
                size,
            } = row;
            let summary = VersionSummary {
                version,
                id: manifest,
                sealed,
                files,
                size,
            };
            all.entry(artifact).or_default().push(summary);
        }
        let summary = |(name, mut versions): (ArtifactName, Vec<VersionSummary>)| {
            versions.sort_by_key(|version| version.version);
            ArtifactSummary { name, versions }
        };
        Ok(all.into_iter().map(summary).collect())
    }

    /// One version, its manifest checked against the log's row.
    pub async fn show(&self, reference: &ArtifactRef) -> Result<Shown, CatalogError> {
        let found = self.find(reference).await?;
        let manifest = self.manifest(&found.row).await?;
        Ok(Shown {
            id: found.row.manifest,
            manifest,
            origin: found.origin,
            log_index: found.log_index,
        })
    }

    pub(crate) async fn versions(&self) -> Result<Vec<VersionRow>, CatalogError> {
        let rows = self.rows.rows(VERSION).await?;
        Ok(rows.into_iter().map(VersionRow::read).collect::<Result<_, _>>()?)
    }

    pub(crate) async fn find(&self, reference: &ArtifactRef) -> Result<Found, CatalogError> {
        let not_found = || CatalogError::NotFound {
            reference: reference.clone(),
        };
        let version = match reference.version {
            Some(version) => version,
            None => {
                let row = self
                    .rows
                    .row(ARTIFACT, reference.name.as_str())
                    .await?
                    .ok_or_else(not_found)?;
                read::<ArtifactRow>(row)?.latest.ok_or_else(not_found)?
            }
        };
        let row = self
            .rows
            .row(VERSION, &version_id(&reference.name, version))
            .await?
            .ok_or_else(not_found)?;
        let (origin, log_index) = (row.origin.clone(), row.log_index);
        Ok(Found {
            row: VersionRow::read(row)?,
            origin,
            log_index,
        })
    }

    /// The manifest of a version, which is the one that the log names.
    pub(crate) async fn manifest(&self, row: &VersionRow) -> Result<Manifest, CatalogError> {
        let path = manifest_path(&row.artifact, row.version);
        let bytes = self.small_blob(row, &path).await?;
        if Digest::sha256(&bytes) != row.manifest {
            return Err(Tampered::new(row, &path, "is not the manifest that the log names").into());
        }
        let manifest = Manifest::parse(&bytes)
            .ok()
            .filter(|manifest| *manifest.artifact() == row.artifact && manifest.version() == row.version);
        Ok(manifest.ok_or_else(|| Tampered::new(row, &path, "is the manifest of another version"))?)
    }

    /// A blob that is read whole; its absence and a length beyond the bound are tampering.
    pub(crate) async fn small_blob(&self, row: &VersionRow, path: &str) -> Result<Vec<u8>, CatalogError> {
        let info = self.blobs.head(path).await?;
        let size = info.ok_or_else(|| Tampered::new(row, path, "is missing"))?.size;
        if size > JSON_MAX {
            return Err(Tampered::new(row, path, "is too long").into());
        }
        Ok(self.blobs.get(path).await?.to_vec())
    }
}

pub(crate) fn folder(artifact: &ArtifactName, version: u64) -> String {
    format!("{artifact}/{version}")
}

pub(crate) fn manifest_path(artifact: &ArtifactName, version: u64) -> String {
    format!("{artifact}/{version}/manifest.json")
}

pub(crate) fn keys_path(artifact: &ArtifactName, version: u64) -> String {
    format!("{artifact}/{version}/keys.json")
}

pub(crate) fn file_path(artifact: &ArtifactName, version: u64, place: usize) -> String {
    format!("{artifact}/{version}/files/{place}")
}
