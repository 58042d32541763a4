//! Sealing: number first, then the blobs, then the keys and the manifest, then the record. Before the record is durable
//! the version does not exist; a sealer that dies leaves blobs that nobody reads and a later one sweeps.

use serde::Serialize;
use stockade_crypto::{DataKey, RandomnessUnavailable, SealWriter, WrappedKey};
use stockade_evidence::{Actor, CanonicalError, Digest, DigestAlgorithm, Timestamp, canonical_json};
use stockade_store::{BlobError, WrapError};

use crate::{
    ArtifactName, BadSource, FileEntry, FilePath, Manifest, Progress, ReserveError, SourceFile, Vault,
    catalog::{file_path, keys_path, manifest_path},
    manifest::{BadFiles, associated_data, check_paths, key_context},
    pipeline::hash_and_feed,
    reserve::{enter, reserve, sweep},
    rows::VersionRow,
    source::Source,
};

/// A version that was sealed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Version {
    /// Which artifact.
    pub artifact: ArtifactName,
    /// Its number.
    pub version: u64,
    /// Its id: the digest of its manifest.
    pub id: Digest,
    /// How long its files are together.
    pub size: u64,
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The files cannot be one artifact.
    #[error(transparent)]
    Files(#[from] BadFiles),
    /// A file cannot be sealed.
    #[error(transparent)]
    Source(#[from] BadSource),
    /// No number was given, or the version was not entered.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// The vault could not be written.
    #[error("the vault could not be written")]
    Blob(#[source] BlobError),
    /// A data key could not be wrapped.
    #[error("a data key could not be wrapped")]
    Wrap(#[from] WrapError),
    /// The manifest has no canonical form.
    #[error("the manifest could not be written")]
    Canonical(#[from] CanonicalError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

impl From<BlobError> for SealError {
    /// What failed under the blob's writer may be the source.
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Io(error) => match error.downcast::<BadSource>() {
                Ok(bad) => Self::Source(bad),
                Err(error) => Self::Blob(BlobError::Io(error)),
            },
            other => Self::Blob(other),
        }
    }
}

impl Vault {
    /// Seals files as the next version of an artifact. `hash` is for what they hold: SHA-256 is what model signatures
    /// of others use, BLAKE3 is faster.
    pub async fn seal(
        &self,
        actor: &Actor,
        name: &ArtifactName,
        files: &[SourceFile],
        hash: DigestAlgorithm,
        now: Timestamp,
        progress: Option<Progress>,
    ) -> Result<Version, SealError> {
        let mut files = files.to_vec();
        files.sort_by(|a, b| a.path_in_artifact.cmp(&b.path_in_artifact));
        check_paths(
            &files
                .iter()
                .map(|file| &file.path_in_artifact)
                .collect::<Vec<_>>(),
        )?;
        for file in &files {
            Source::open(&file.local)?;
        }
        let version = reserve(&self.handle, self.blobs(), name, actor, now).await?;
        let sealed = self.seal_as(name, version, files, hash, now, progress).await;
        let entered = match sealed {
            Ok((row, root)) => {
                enter(&self.handle, &row, &root.to_string(), actor, now).await?;
                Ok(Version {
                    artifact: row.artifact,
                    version,
                    id: row.manifest,
                    size: row.size,
                })
            }
            Err(error) => Err(error),
        };
        if entered.is_err() {
            // The number stays given; should this fail, a later sealer sweeps.
            let _ = sweep(self.blobs(), name, &[version]).await;
        }
        entered
    }

    async fn seal_as(
        &self,
        name: &ArtifactName,
        version: u64,
        files: Vec<SourceFile>,
        hash: DigestAlgorithm,
        now: Timestamp,
        progress: Option<Progress>,
    ) -> Result<(VersionRow, Digest), SealError> {
        let (mut entries, mut keys, mut done) = (Vec::new(), Vec::new(), 0);
        for (place, file) in files.into_iter().enumerate() {
            let associated = associated_data(name, version, &file.path_in_artifact)?;
            let blob = file_path(name, version, place);
            let (entry, key) = self
                .seal_file(&blob, file, associated, hash, (progress.clone(), done))
                .await?;
            done = done.saturating_add(entry.size);
            entries.push(entry);
            keys.push(key);
        }
        let manifest = Manifest::new(name.clone(), version, entries, now)?;
        let bytes = manifest.to_bytes()?;
        let id = Digest::sha256(&bytes);
        let wrapped = self.wrap_keys(&manifest, id, &keys).await?;
        self.blobs()
            .put(&keys_path(name, version), canonical_json(&wrapped)?)
            .await?;
        self.blobs().put(&manifest_path(name, version), bytes).await?;
        let row = VersionRow {
            artifact: name.clone(),
            version,
            manifest: id,
            sealed: now,
            files: manifest.files().len() as u64,
            size: manifest.size(),
        };
        Ok((row, manifest.model_signing_root()))
    }

    /// One file, read once: hashed, sealed, hashed again, written, synced.
    async fn seal_file(
        &self,
        blob: &str,
        file: SourceFile,
        associated_data: Vec<u8>,
        hash: DigestAlgorithm,
        (progress, before): (Option<Progress>, u64),
    ) -> Result<(FileEntry, DataKey), SealError> {
        let key = DataKey::generate()?;
        let path: FilePath = file.path_in_artifact;
        let (ciphertext_digest, (plaintext_digest, size, key)) = self
            .blobs()
            .put_with(blob, DigestAlgorithm::Blake3, move |writer| {
                let source = Source::open(&file.local).map_err(std::io::Error::other)?;
                let mut seal =
                    SealWriter::new(writer, &key, &associated_data).map_err(std::io::Error::other)?;
                let mut done = before;
                let read = hash_and_feed(&source.file, hash, |part| {
                    std::io::Write::write_all(&mut seal, part)?;
                    done = done.saturating_add(part.len() as u64);
                    if let Some(progress) = &progress {
                        progress(done);
                    }
                    Ok(())
                });
                let (digest, size) = read?;
                source.check_unchanged(size).map_err(std::io::Error::other)?;
                seal.finish()?;
                Ok((digest, size, key))
            })
            .await?;
        Ok((
            FileEntry {
                path,
                size,
                plaintext_digest,
                ciphertext_digest,
            },
            key,
        ))
    }

    pub(crate) async fn wrap_keys(
        &self,
        manifest: &Manifest,
        id: Digest,
        keys: &[DataKey],
    ) -> Result<Vec<WrappedKey>, SealError> {
        let mut wrapped = Vec::with_capacity(keys.len());
        for (file, key) in manifest.files().iter().zip(keys) {
            let context = key_context(manifest, id, &file.path)?;
            wrapped.push(self.handle.wrap_key(key, &context).await?);
        }
        Ok(wrapped)
    }
}
