//! Reading a blob at any place: a file directly, an object by ranges.

use std::{fmt, fs::File, io, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt as _};
use stockade_crypto::ReadAt;

use super::path::BlobPath;

/// A blob for random access, from a thread that may block (for objects: never from an async task).
pub struct BlobReader(Source);

enum Source {
    File(File),
    Object {
        store: Arc<dyn ObjectStore>,
        path: BlobPath,
        size: u64,
        runtime: tokio::runtime::Handle,
    },
}

impl BlobReader {
    pub(crate) const fn file(file: File) -> Self {
        Self(Source::File(file))
    }

    pub(crate) fn object(store: Arc<dyn ObjectStore>, path: BlobPath, size: u64) -> Self {
        Self(Source::Object {
            store,
            path,
            size,
            runtime: tokio::runtime::Handle::current(),
        })
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobReader")
    }
}

impl ReadAt for BlobReader {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Source::File(file) => ReadAt::read_at(file, buf, offset),
            Source::Object {
                store,
                path,
                size,
                runtime,
            } => {
                let wanted = u64::try_from(buf.len()).unwrap_or(u64::MAX);
                let end = offset.saturating_add(wanted).min(*size);
                if offset >= end {
                    return Ok(0);
                }
                let bytes = runtime
                    .block_on(store.get_range(path.location(), offset..end))
                    .map_err(io::Error::other)?;
                let found = buf.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
                found.copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Source::File(file) => ReadAt::len(file),
            Source::Object { size, .. } => Ok(*size),
        }
    }
}
