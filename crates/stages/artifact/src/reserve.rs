//! Giving version numbers: by compare-and-set, before anything is sealed, so that two sealers never share one.
//!
//! A number that was given and never sealed (its process died) is never given again. Its blobs are swept by a later
//! sealer: after [`PENDING_MAX_MS`] it is marked as abandoned, which its own sealer can no longer undo, and from then on
//! its blobs are deleted until they are gone.

use stockade_crypto::RandomnessUnavailable;
use stockade_evidence::{Actor, Change, Event, Subject, SubjectKind, Timestamp};
use stockade_store::{BlobError, Blobs, Commit, CommitError, Expect, Handle, ReadError};

use crate::{
    ArtifactName,
    catalog::folder,
    rows::{ARTIFACT, ArtifactRow, BadRow, VERSION, VersionRow, read, version_id},
    vault::record,
};

/// How long a version may take to seal.
const PENDING_MAX_MS: i64 = 6 * 3_600_000;
/// Most versions of one artifact that are being sealed or swept at once.
const OPEN_MAX: usize = 500;
/// How often a commit is tried again when the row changed in between.
const ATTEMPTS: usize = 100;

/// Why no version number was given, or a version was not entered.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// Others kept sealing the same artifact.
    #[error("`{artifact}` kept changing meanwhile\nhint: try again")]
    Contended {
        /// Which artifact.
        artifact: ArtifactName,
    },
    /// The version took too long and was given up.
    #[error("sealing `{artifact}@{version}` took too long, so the version was given up\nhint: seal it again")]
    GivenUp {
        /// Which artifact.
        artifact: ArtifactName,
        /// Which version.
        version: u64,
    },
    /// Too many versions were begun and not ended.
    #[error("too many versions of `{artifact}` are being sealed\nhint: try again when some are done")]
    TooMany {
        /// Which artifact.
        artifact: ArtifactName,
    },
    /// A row is not what its kind holds.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// A row could not be written as JSON.
    #[error("the row could not be written")]
    Json(#[from] serde_json::Error),
    /// The rows could not be read.
    #[error("the rows of the vault could not be read")]
    Read(#[from] ReadError),
    /// The change was not recorded, so it did not happen.
    #[error("the change was not recorded, so it did not happen")]
    Commit(#[source] CommitError),
    /// Blobs that an earlier sealer left could not be deleted.
    #[error("what an earlier sealing left could not be deleted")]
    Blob(#[from] BlobError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

/// A number for a new version of `artifact`.
pub(crate) async fn reserve(
    handle: &Handle,
    blobs: &Blobs,
    artifact: &ArtifactName,
    actor: &Actor,
    now: Timestamp,
) -> Result<u64, ReserveError> {
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, artifact).await?;
        sweep(blobs, artifact, &std::mem::take(&mut row.abandoned)).await?;
        row.abandoned = take_expired(&mut row, now);
        if row.pending.len() >= OPEN_MAX {
            return Err(ReserveError::TooMany {
                artifact: artifact.clone(),
            });
        }
        let version = row.last.saturating_add(1);
        row.last = version;
        row.pending.insert(version, now);
        let mut subject = Subject::new(SubjectKind::Artifact, artifact.as_str());
        subject.version = Some(version);
        let record = record(Event::ArtifactReserved, actor, now)?
            .about(subject)
            .changing(put(artifact, &row)?);
        if committed(handle, Commit::new(record).expecting(expect)).await? {
            // Should this fail, the next sealer finds them in the row and tries again.
            let _ = sweep(blobs, artifact, &row.abandoned).await;
            return Ok(version);
        }
    }
    Err(ReserveError::Contended {
        artifact: artifact.clone(),
    })
}

/// Enters a sealed version: from here on it exists. Returns where its record lies.
pub(crate) async fn enter(
    handle: &Handle,
    version: &VersionRow,
    model_signing_root: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), ReserveError> {
    let artifact = &version.artifact;
    let id = version_id(artifact, version.version);
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, artifact).await?;
        if row.pending.remove(&version.version).is_none() {
            return Err(ReserveError::GivenUp {
                artifact: artifact.clone(),
                version: version.version,
            });
        }
        row.latest = row.latest.max(Some(version.version));
        let mut subject = Subject::new(SubjectKind::Artifact, artifact.as_str());
        (subject.version, subject.digest) = (Some(version.version), Some(version.manifest));
        let value = serde_json::to_value(version)?;
        let record = record(Event::ArtifactSealed, actor, now)?
            .about(subject)
            .with("model_signing_root", model_signing_root)
            .changing(put(artifact, &row)?)
            .changing(Change::Put {
                kind: VERSION.to_owned(),
                id: id.clone(),
                value,
            });
        let absent = Expect::Absent {
            kind: VERSION.to_owned(),
            id: id.clone(),
        };
        if committed(handle, Commit::new(record).expecting(expect).expecting(absent)).await? {
            return Ok(());
        }
    }
    Err(ReserveError::Contended {
        artifact: artifact.clone(),
    })
}

/// Deletes the blobs of versions that were never entered.
pub(crate) async fn sweep(blobs: &Blobs, artifact: &ArtifactName, versions: &[u64]) -> Result<(), BlobError> {
    for version in versions {
        for blob in blobs.list(&folder(artifact, *version)).await? {
            blobs.delete(&blob.path).await?;
        }
    }
    Ok(())
}

fn take_expired(row: &mut ArtifactRow, now: Timestamp) -> Vec<u64> {
    let expired = |since: &Timestamp| since.plus_ms(PENDING_MAX_MS) <= now;
    let versions: Vec<u64> = row
        .pending
        .iter()
        .filter(|(_, since)| expired(since))
        .map(|(version, _)| *version)
        .collect();
    row.pending.retain(|_, since| !expired(since));
    versions
}

async fn find(handle: &Handle, artifact: &ArtifactName) -> Result<(ArtifactRow, Expect), ReserveError> {
    let (kind, id) = (ARTIFACT.to_owned(), artifact.to_string());
    match handle.row(ARTIFACT, artifact.as_str()).await? {
        Some(row) => {
            let expect = Expect::At {
                kind,
                id,
                log_index: row.log_index,
            };
            Ok((read(row)?, expect))
        }
        None => Ok((ArtifactRow::default(), Expect::Absent { kind, id })),
    }
}

fn put(artifact: &ArtifactName, row: &ArtifactRow) -> Result<Change, ReserveError> {
    Ok(Change::Put {
        kind: ARTIFACT.to_owned(),
        id: artifact.to_string(),
        value: serde_json::to_value(row)?,
    })
}

/// Whether it was committed; `false` when a row had changed meanwhile.
async fn committed(handle: &Handle, commit: Commit) -> Result<bool, ReserveError> {
    match handle.commit(commit).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(ReserveError::Commit(error)),
    }
}
