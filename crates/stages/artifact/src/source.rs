//! The files that somebody seals: regular files, read once, unchanged while they are read.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::FilePath;

/// One file to seal.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Where it will lie in the artifact.
    pub path_in_artifact: FilePath,
    /// Where it lies now.
    pub local: PathBuf,
}

/// Why a file was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum BadSource {
    /// It is a symbolic link, a folder or a device.
    #[error("`{}` is not a regular file\nhint: links are not followed; name the file itself", file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// It changed while it was read.
    #[error("`{}` changed while it was read\nhint: wait until nobody writes it, and seal again", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// It could not be read.
    #[error("`{}` could not be read", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open source and what it was when it was opened.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    pub(crate) file: File,
    opened: Metadata,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, BadSource> {
        let bad = |source| BadSource::Io {
            file: path.to_owned(),
            source,
        };
        let kind = std::fs::symlink_metadata(path).map_err(bad)?;
        if !kind.is_file() {
            return Err(BadSource::NotAFile {
                file: path.to_owned(),
            });
        }
        // The name may have been given to something else since: no link is followed, and no pipe is waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(bad)?;
        let opened = file.metadata().map_err(bad)?;
        if !opened.is_file() {
            return Err(BadSource::NotAFile {
                file: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            opened,
        })
    }

    pub(crate) fn failed(&self, source: io::Error) -> BadSource {
        BadSource::Io {
            file: self.path.clone(),
            source,
        }
    }

    /// Whether the file is still what it was, and was read whole.
    pub(crate) fn check_unchanged(&self, read: u64) -> Result<(), BadSource> {
        let now = self.file.metadata().map_err(|source| self.failed(source))?;
        let when = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
        if read == self.opened.len() && when(&now) == when(&self.opened) {
            return Ok(());
        }
        Err(BadSource::Changed {
            file: self.path.clone(),
        })
    }
}
