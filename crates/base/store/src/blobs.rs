//! Blobs: whole files under a path, over `object_store`, so that a folder and a bucket behave alike.
//!
//! `put` answers when the blob is durable under its name and complete: nobody ever reads half of one. A bucket gives that by
//! itself. `object_store`'s folder does not sync, so in a folder a blob is written here: temporary name, fsync, rename,
//! fsync of every folder up to the root; a crash leaves at most a `*.part` file, which the next keeper removes.
//! Blobs of any size pass through a writer and never lie in memory whole. Files are 0600.

mod folder;
mod path;
mod reader;
mod writer;

use std::{fmt, io, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem};
use stockade_evidence::{Digest, DigestAlgorithm};

use self::{folder::Folder, path::BlobPath};
pub use self::{path::InvalidBlobPath, reader::BlobReader, writer::BlobWriter};
use crate::files::PART_SUFFIX;

/// A blob that is read whole is at most this long; longer ones are read through a [`BlobReader`].
const GET_MAX: u64 = 1 << 30;

/// A store of blobs. Clones share it.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    folder: Option<Folder>,
}

/// What is known of a blob without reading it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobInfo {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Why a blob was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No blob can have this path.
    #[error(transparent)]
    Path(#[from] InvalidBlobPath),
    /// There is none.
    #[error("there is no blob `{path}`")]
    NotFound {
        /// Its path.
        path: String,
    },
    /// It is too long to be read whole.
    #[error("the blob `{path}` is longer than {GET_MAX} bytes")]
    TooLong {
        /// Its path.
        path: String,
    },
    /// The store failed.
    #[error("the blob store failed")]
    Store(#[source] object_store::Error),
    /// The folder failed: disk full, no permission.
    #[error("the blob folder failed: {0}")]
    Io(#[from] io::Error),
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::NotFound { path },
            other => Self::Store(other),
        }
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({})", self.store)
    }
}

impl Blobs {
    /// Blobs in a folder, which is made (0700) where it is missing.
    pub fn folder(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        let folder = Folder::open(&root)?;
        let store = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Self {
            store: Arc::new(store),
            folder: Some(folder),
        })
    }

    /// Blobs in a store that makes each put durable and atomic by itself.
    pub fn in_store(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, folder: None }
    }

    /// Stores `bytes` under `path`, replacing what was there; the digest is SHA-256.
    pub async fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<Digest, BlobError> {
        let (path, bytes) = (BlobPath::parse(path)?, bytes.into());
        let digest = Digest::sha256(&bytes);
        match &self.folder {
            Some(folder) => {
                let folder = folder.clone();
                blocking(move || folder.put(&path, &bytes)).await?;
            }
            None => {
                self.store.put(path.location(), bytes.into()).await?;
            }
        }
        Ok(digest)
    }

    /// Stores what `write` writes, without holding it in memory, and answers with its digest and with what `write` made.
    /// When `write` fails, nothing is stored. It runs on a thread that may block.
    pub async fn put_with<T, F>(
        &self,
        path: &str,
        algorithm: DigestAlgorithm,
        write: F,
    ) -> Result<(Digest, T), BlobError>
    where
        T: Send + 'static,
        F: FnOnce(&mut BlobWriter) -> io::Result<T> + Send + 'static,
    {
        let path = BlobPath::parse(path)?;
        match &self.folder {
            Some(folder) => {
                let folder = folder.clone();
                blocking(move || writer::to_folder(&folder, &path, algorithm, write)).await
            }
            None => writer::to_store(self.store.clone(), path, algorithm, write).await,
        }
    }

    /// The whole blob.
    pub async fn get(&self, path: &str) -> Result<Bytes, BlobError> {
        let path = BlobPath::parse(path)?;
        let found = self.store.get(path.location()).await?;
        if found.meta.size > GET_MAX {
            return Err(BlobError::TooLong {
                path: path.to_string(),
            });
        }
        Ok(found.bytes().await?)
    }

    /// Bytes `range` of the blob.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        let path = BlobPath::parse(path)?;
        Ok(self.store.get_range(path.location(), range).await?)
    }

    /// The blob for reading at any place, from a thread that may block.
    pub async fn reader(&self, path: &str) -> Result<BlobReader, BlobError> {
        let path = BlobPath::parse(path)?;
        match &self.folder {
            Some(folder) => {
                let folder = folder.clone();
                blocking(move || Ok(BlobReader::file(folder.read(&path)?))).await
            }
            None => {
                let size = self.store.head(path.location()).await?.size;
                Ok(BlobReader::object(self.store.clone(), path, size))
            }
        }
    }

    /// Length of the blob, or `None` where there is none.
    pub async fn head(&self, path: &str) -> Result<Option<BlobInfo>, BlobError> {
        let path = BlobPath::parse(path)?;
        match self.store.head(path.location()).await {
            Ok(meta) => Ok(Some(BlobInfo {
                path: path.to_string(),
                size: meta.size,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Every blob whose path begins with the folder `prefix` (all with an empty one), sorted by path.
    pub async fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
        let prefix = if prefix.is_empty() {
            None
        } else {
            Some(BlobPath::parse(prefix)?)
        };
        let mut found: Vec<BlobInfo> = self
            .store
            .list(prefix.as_ref().map(BlobPath::location))
            .map_ok(|meta| BlobInfo {
                path: meta.location.to_string(),
                size: meta.size,
            })
            .try_collect()
            .await?;
        found.retain(|info| !info.path.ends_with(PART_SUFFIX));
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Removes the blob, durably. One that is not there is removed already.
    pub async fn delete(&self, path: &str) -> Result<(), BlobError> {
        let path = BlobPath::parse(path)?;
        match &self.folder {
            Some(folder) => {
                let folder = folder.clone();
                blocking(move || Ok(folder.delete(&path)?)).await
            }
            None => match self.store.delete(path.location()).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
