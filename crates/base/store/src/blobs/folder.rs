//! Durable writes in a folder.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{BlobError, path::BlobPath};
use crate::files::{create_private, parent, part_name, sync_folder};

/// The folder of a store of blobs.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// A blob that is being written under a temporary name; dropped before [`Part::publish`], it is gone.
#[derive(Debug)]
pub(crate) struct Part {
    root: PathBuf,
    target: PathBuf,
    part: PathBuf,
    published: bool,
}

impl Folder {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn begin(&self, path: &BlobPath) -> io::Result<(Part, File)> {
        let target = self.root.join(path.as_str());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent(&target)?)?;
        let part = part_name(&target)?;
        let file = create_private(&part)?;
        Ok((
            Part {
                root: self.root.clone(),
                target,
                part,
                published: false,
            },
            file,
        ))
    }

    pub(crate) fn put(&self, path: &BlobPath, bytes: &[u8]) -> Result<(), BlobError> {
        let (part, mut file) = self.begin(path)?;
        file.write_all(bytes)?;
        Ok(part.publish(&file)?)
    }

    pub(crate) fn read(&self, path: &BlobPath) -> Result<File, BlobError> {
        match File::open(self.root.join(path.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::NotFound {
                path: path.to_string(),
            }),
            other => Ok(other?),
        }
    }

    pub(crate) fn delete(&self, path: &BlobPath) -> io::Result<()> {
        let target = self.root.join(path.as_str());
        match fs::remove_file(&target) {
            Ok(()) => sync_folder(parent(&target)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Part {
    /// Gives the finished file its name, durably.
    pub(crate) fn publish(mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.part, &self.target)?;
        self.published = true;
        let mut folder = parent(&self.target)?;
        // A folder made for this blob is itself only a name in the folder above.
        while folder.starts_with(&self.root) {
            sync_folder(folder)?;
            folder = parent(folder)?;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.part);
        }
    }
}
