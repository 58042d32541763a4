//! Writing a blob of any size: straight into the folder's file, or in bounded parts to a bucket, hashed on the way.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStore, WriteMultipart};
use stockade_crypto::{Blake3, Sha256};
use stockade_evidence::{Digest, DigestAlgorithm};
use tokio::sync::mpsc;

use super::{BlobError, folder::Folder, path::BlobPath};

const BUFFER: usize = 1 << 20;
/// Pieces from this size on go into a file without a copy.
const LARGE: usize = 64 << 10;
/// Buffers that wait for a bucket.
const BUFFERS_WAITING: usize = 4;
/// Parts that a bucket takes at once.
const PARTS_AT_ONCE: usize = 4;

/// Where [`super::Blobs::put_with`] lets its caller write.
pub struct BlobWriter {
    target: Target,
    buffer: Vec<u8>,
    hash: Hash,
    written: u64,
}

enum Target {
    Folder(File),
    Store(mpsc::Sender<Bytes>),
}

enum Hash {
    Sha256(Sha256),
    Blake3(Blake3),
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl BlobWriter {
    fn new(target: Target, algorithm: DigestAlgorithm) -> Self {
        let hash = match algorithm {
            DigestAlgorithm::Sha256 => Hash::Sha256(Sha256::new()),
            DigestAlgorithm::Blake3 => Hash::Blake3(Blake3::new()),
        };
        Self {
            target,
            buffer: Vec::with_capacity(BUFFER),
            hash,
            written: 0,
        }
    }

    /// How many bytes were written.
    pub const fn written(&self) -> u64 {
        self.written
    }

    fn send(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Folder(file) => {
                file.write_all(&self.buffer)?;
                self.buffer.clear();
            }
            Target::Store(sender) => {
                let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
                sender
                    .blocking_send(full.into())
                    .map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, taken: &[u8]) {
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(taken),
            Hash::Blake3(hash) => hash.update(taken),
        };
        self.written = self
            .written
            .saturating_add(u64::try_from(taken.len()).unwrap_or(u64::MAX));
    }

    fn finish(mut self) -> io::Result<(Target, Digest)> {
        self.flush()?;
        let digest = match self.hash {
            Hash::Sha256(hash) => Digest::new(DigestAlgorithm::Sha256, hash.finish()),
            Hash::Blake3(hash) => Digest::new(DigestAlgorithm::Blake3, hash.finish()),
        };
        Ok((self.target, digest))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= LARGE {
            self.flush()?;
            if let Target::Folder(file) = &mut self.target {
                file.write_all(bytes)?;
                self.count(bytes);
                return Ok(bytes.len());
            }
        }
        let room = BUFFER.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        self.count(taken);
        if self.buffer.len() >= BUFFER {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            Ok(())
        } else {
            self.send()
        }
    }
}

pub(crate) fn to_folder<T>(
    folder: &Folder,
    path: &BlobPath,
    algorithm: DigestAlgorithm,
    write: impl FnOnce(&mut BlobWriter) -> io::Result<T>,
) -> Result<(Digest, T), BlobError> {
    let (part, file) = folder.begin(path)?;
    let mut writer = BlobWriter::new(Target::Folder(file), algorithm);
    let made = write(&mut writer)?;
    let (target, digest) = writer.finish()?;
    if let Target::Folder(file) = target {
        part.publish(&file)?;
    }
    Ok((digest, made))
}

pub(crate) async fn to_store<T, F>(
    store: Arc<dyn ObjectStore>,
    path: BlobPath,
    algorithm: DigestAlgorithm,
    write: F,
) -> Result<(Digest, T), BlobError>
where
    T: Send + 'static,
    F: FnOnce(&mut BlobWriter) -> io::Result<T> + Send + 'static,
{
    use object_store::ObjectStoreExt as _;
    let (sender, mut buffers) = mpsc::channel(BUFFERS_WAITING);
    let mut upload = WriteMultipart::new(store.put_multipart(path.location()).await?);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = BlobWriter::new(Target::Store(sender), algorithm);
        let made = write(&mut writer)?;
        let (_, digest) = writer.finish()?;
        Ok::<_, io::Error>((digest, made))
    });
    let mut failed = None;
    while let Some(buffer) = buffers.recv().await {
        match upload.wait_for_capacity(PARTS_AT_ONCE).await {
            Ok(()) => upload.put(buffer),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(buffers);
    let written = writing.await.map_err(io::Error::other)?;
    match (failed, written) {
        (None, Ok(made)) => {
            upload.finish().await?;
            Ok(made)
        }
        (Some(error), _) => {
            let _ = upload.abort().await;
            Err(error.into())
        }
        (None, Err(error)) => {
            let _ = upload.abort().await;
            Err(error.into())
        }
    }
}
