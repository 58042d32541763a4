//! Small files of the operator, read whole.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use stockade_crypto::SecretBytes;

/// The largest file: a system's bundle of authorities has a quarter of it.
const FILE_MAX: u64 = 1 << 20;

/// A file of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("`{}` is larger than {FILE_MAX} bytes", path.display())]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// Others can read a private key.
    #[error("the private key `{}` can be read by others\nhint: `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file that is no secret.
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, FileError> {
    read(path, false)
}

/// Reads a private key, which nobody but its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<SecretBytes, FileError> {
    read(path, true).map(SecretBytes::new)
}

fn read(path: &Path, private: bool) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if private && metadata.mode() & 0o077 != 0 {
        return Err(FileError::Open {
            path: path.to_owned(),
        });
    }
    // Sized at once: a growing vector would leave copies of a key behind.
    let size = usize::try_from(metadata.len().min(FILE_MAX)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size + 1);
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(FileError::Large {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
