//! Opening: everything is checked before a byte comes out.
//!
//! What each check is for: the row binds the version to the log; the manifest's digest must be the row's; each wrapped
//! key authenticates that manifest; a blob's encryption authenticates every byte of it under its key, artifact, version and path; the
//! plaintext digest, checked when a file is read whole, holds even against somebody who had the keys unwrapped. A random
//! read relies on the encryption alone.

use std::io;

use stockade_crypto::{DataKey, KeyError, OpenError, OpenReader, RandomnessUnavailable, ReadAt, WrappedKey};
use stockade_evidence::{
    Actor, CanonicalError, Decision, Digest, Event, Subject, SubjectKind, Timestamp, canonical_json,
};
use stockade_store::{AppendError, BlobError, BlobReader, ReadError, WrapError};

use crate::{
    ArtifactRef, BadRow, CatalogError, FileEntry, Manifest, Tampered, Vault,
    catalog::{file_path, folder, keys_path, manifest_path},
    manifest::{associated_data, key_context},
    pipeline::{CopyError, open_and_check},
    release::ReleaseError,
    rows::VersionRow,
    vault::record,
};

/// Why an artifact was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenArtifactError {
    /// There is no such artifact or version.
    #[error("there is no artifact `{reference}`\nhint: `stockade model list` shows what there is")]
    NotFound {
        /// What was asked for.
        reference: ArtifactRef,
    },
    /// A file of the vault is not what was sealed. It was recorded.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// The same, and it could not be recorded.
    #[error("{tampered}\nhint: the refusal could not be recorded either")]
    RefusalNotRecorded {
        /// What is not what was sealed.
        tampered: Tampered,
        /// Why there is no record.
        #[source]
        source: AppendError,
    },
    /// A row is not what its kind holds.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// The rows could not be read.
    #[error("the rows of the vault could not be read")]
    Read(#[from] ReadError),
    /// The vault could not be read.
    #[error("the vault could not be read")]
    Blob(#[from] BlobError),
    /// A data key could not be unwrapped, though it was not changed.
    #[error("a data key could not be unwrapped")]
    Wrap(#[source] WrapError),
    /// The opening could not be recorded, so nothing was released.
    #[error("the opening could not be recorded, so nothing was released")]
    Append(#[from] AppendError),
    /// The plaintext could not be written.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The file is longer than the caller takes.
    #[error("`{file}` has {size} bytes, more than the {max} that are taken")]
    TooLong {
        /// The file's path in the artifact.
        file: String,
        /// Its length.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// Associated data has no canonical form.
    #[error("the associated data could not be written")]
    Canonical(#[from] CanonicalError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// The work was cancelled.
    #[error("the work was cancelled")]
    Cancelled,
}

impl OpenArtifactError {
    /// Whether the content of the vault is not what it was (exit code 4).
    pub const fn is_integrity_broken(&self) -> bool {
        matches!(self, Self::Tampered(_) | Self::RefusalNotRecorded { .. })
    }
}

impl From<CatalogError> for OpenArtifactError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { reference } => Self::NotFound { reference },
            CatalogError::Tampered(tampered) => Self::Tampered(tampered),
            CatalogError::Row(error) => Self::Row(error),
            CatalogError::Read(error) => Self::Read(error),
            CatalogError::Blob(error) => Self::Blob(error),
        }
    }
}

/// An artifact that was verified as far as it can be without reading it whole.
#[derive(Debug)]
pub struct OpenedArtifact {
    id: Digest,
    manifest: Manifest,
    files: Vec<OpenedFile>,
}

/// One file of it. Reading it at any place decrypts and authenticates what is read, and no more.
#[derive(Debug)]
pub struct OpenedFile {
    entry: FileEntry,
    blob: String,
    of: VersionRow,
    reader: OpenReader<BlobReader>,
}

impl OpenedArtifact {
    /// The version's id: the digest of its manifest.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// What it consists of.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its files, by path.
    pub fn files(&self) -> &[OpenedFile] {
        &self.files
    }

    /// The file at this path.
    pub fn file(&self, path: &str) -> Option<&OpenedFile> {
        self.files.iter().find(|file| file.entry.path.as_str() == path)
    }

    /// The files themselves, for readers that outlive this value.
    pub fn into_files(self) -> Vec<OpenedFile> {
        self.files
    }
}

impl OpenedFile {
    /// Its place in the artifact, its length and its digests.
    pub const fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// The whole file, at most `max` bytes, its digest checked. Blocks.
    pub fn read_whole(&self, max: u64) -> Result<Vec<u8>, OpenArtifactError> {
        let too_long = || OpenArtifactError::TooLong {
            file: self.entry.path.to_string(),
            size: self.entry.size,
            max,
        };
        let length = usize::try_from(self.entry.size)
            .ok()
            .filter(|_| self.entry.size <= max);
        let mut bytes = Vec::with_capacity(length.ok_or_else(too_long)?);
        self.copy_to(|part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Gives the whole file to `sink`, part by part. What it was given counts only if this succeeds. Blocks.
    pub(crate) fn copy_to(&self, sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), OpenArtifactError> {
        let entry = &self.entry;
        open_and_check(&self.reader, entry.size, entry.plaintext_digest, sink).map_err(|error| match error {
            CopyError::Open(error) => unsealed(error, &self.of, &self.blob, entry),
            CopyError::Digest => self.tampered("opens to something other than the manifest says"),
            CopyError::Sink(error) => ReleaseError::writing(error).into(),
        })
    }

    fn tampered(&self, problem: &str) -> OpenArtifactError {
        Tampered::new(&self.of, &self.blob, format!("(`{}`) {problem}", self.entry.path)).into()
    }
}

/// Reads authenticated plaintext at any place.
impl ReadAt for OpenedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reader.read_at(buf, offset).map_err(io::Error::from)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.entry.size)
    }
}

impl Vault {
    /// Opens an artifact for reading in this process. The opening is recorded.
    pub async fn read(
        &self,
        actor: &Actor,
        reference: &ArtifactRef,
        now: Timestamp,
    ) -> Result<OpenedArtifact, OpenArtifactError> {
        let opened = match self.open(reference).await {
            Ok(opened) => opened,
            Err(error) => return Err(self.refused(error, actor, now).await),
        };
        self.record_opened(&opened, actor, "read", now).await?;
        Ok(opened)
    }

    pub(crate) async fn record_opened(
        &self,
        opened: &OpenedArtifact,
        actor: &Actor,
        purpose: &str,
        now: Timestamp,
    ) -> Result<(), OpenArtifactError> {
        let mut subject = Subject::new(SubjectKind::Artifact, opened.manifest.artifact().as_str());
        (subject.version, subject.digest) = (Some(opened.manifest.version()), Some(opened.id));
        let record = record(Event::ArtifactOpened, actor, now)?
            .about(subject)
            .deciding(Decision::Allowed { policies: Vec::new() })
            .with("purpose", purpose);
        self.handle.append(record).await?;
        Ok(())
    }

    /// Everything but the blobs' bodies is checked.
    pub(crate) async fn open(&self, reference: &ArtifactRef) -> Result<OpenedArtifact, OpenArtifactError> {
        let row = self.catalog.find(reference).await?.row;
        let manifest = self.catalog.manifest(&row).await?;
        self.check_folder(&row, &manifest).await?;
        let keys = self.unwrap_keys(&row, &manifest).await?;
        let mut files = Vec::with_capacity(keys.len());
        for (place, (entry, key)) in manifest.files().iter().zip(keys).enumerate() {
            files.push(self.open_file(&row, place, entry, key).await?);
        }
        Ok(OpenedArtifact {
            id: row.manifest,
            manifest,
            files,
        })
    }

    /// The version's folder holds what the manifest says and nothing else.
    async fn check_folder(&self, row: &VersionRow, manifest: &Manifest) -> Result<(), OpenArtifactError> {
        let (artifact, version) = (&row.artifact, row.version);
        let mut expected: Vec<String> = (0..manifest.files().len())
            .map(|place| file_path(artifact, version, place))
            .collect();
        expected.push(manifest_path(artifact, version));
        expected.push(keys_path(artifact, version));
        expected.sort();
        let found = self.blobs().list(&folder(artifact, version)).await?;
        if let Some(extra) = found
            .iter()
            .find(|blob| expected.binary_search(&blob.path).is_err())
        {
            return Err(Tampered::new(row, &extra.path, "does not belong to the version").into());
        }
        let missing = expected
            .iter()
            .find(|path| !found.iter().any(|blob| blob.path == **path));
        missing.map_or(Ok(()), |path| Err(Tampered::new(row, path, "is missing").into()))
    }

    pub(crate) async fn unwrap_keys(
        &self,
        row: &VersionRow,
        manifest: &Manifest,
    ) -> Result<Vec<DataKey>, OpenArtifactError> {
        let path = keys_path(&row.artifact, row.version);
        let changed = |problem: &str| OpenArtifactError::from(Tampered::new(row, &path, problem));
        let bytes = self.catalog.small_blob(row, &path).await?;
        let wrapped: Vec<WrappedKey> =
            serde_json::from_slice(&bytes).map_err(|_| changed("holds no keys as they were written"))?;
        let canonical = canonical_json(&wrapped).is_ok_and(|canonical| canonical == bytes);
        if !canonical || wrapped.len() != manifest.files().len() {
            return Err(changed("holds no keys as they were written"));
        }
        let mut keys = Vec::with_capacity(wrapped.len());
        for (file, wrapped) in manifest.files().iter().zip(&wrapped) {
            let context = key_context(manifest, row.manifest, &file.path)?;
            let key = self
                .handle
                .unwrap_key(wrapped, &context)
                .await
                .map_err(|error| match error {
                    WrapError::Key(KeyError::NotAuthentic) => {
                        changed("holds a key that was changed or moved")
                    }
                    WrapError::Key(KeyError::UnknownRoot { .. }) => {
                        changed("names a root key that this project does not have")
                    }
                    other => OpenArtifactError::Wrap(other),
                })?;
            keys.push(key);
        }
        Ok(keys)
    }

    async fn open_file(
        &self,
        row: &VersionRow,
        place: usize,
        entry: &FileEntry,
        key: DataKey,
    ) -> Result<OpenedFile, OpenArtifactError> {
        let blob = file_path(&row.artifact, row.version, place);
        let associated = associated_data(&row.artifact, row.version, &entry.path)?;
        let reader = self.blobs().reader(&blob).await?;
        let opening = tokio::task::spawn_blocking(move || OpenReader::new(reader, &key, &associated));
        let reader = opening
            .await
            .map_err(|_| OpenArtifactError::Cancelled)?
            .map_err(|error| unsealed(error, row, &blob, entry))?;
        let file = OpenedFile {
            entry: entry.clone(),
            blob,
            of: row.clone(),
            reader,
        };
        if file.reader.plaintext_len() != entry.size {
            return Err(file.tampered("has another length than the manifest says"));
        }
        Ok(file)
    }
}

/// A blob that does not open is tampering, except where it could not be read at all.
fn unsealed(error: OpenError, row: &VersionRow, blob: &str, entry: &FileEntry) -> OpenArtifactError {
    match error {
        OpenError::Io(error) => BlobError::Io(error).into(),
        OpenError::NotSealed | OpenError::Changed { .. } => {
            Tampered::new(row, blob, format!("(`{}`) does not open: {error}", entry.path)).into()
        }
    }
}
