//! Copies into a folder, hashed and synced on the way.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use stockade_crypto::Sha256;
use stockade_evidence::{Digest, DigestAlgorithm};

use super::manifest::FileEntry;
use crate::files::{PART_SUFFIX, create_private, files_below, parent, sync_folder};

/// A folder that is being filled, and what it holds so far.
#[derive(Debug)]
pub(crate) struct Filling {
    root: PathBuf,
    folders: BTreeSet<PathBuf>,
    pub(crate) files: Vec<FileEntry>,
}

impl Filling {
    /// Starts with the folder at `root`, which must be new or empty (0700).
    pub(crate) fn new(root: &Path) -> Result<Self, super::BackupError> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        if fs::read_dir(root)?.next().is_some() {
            return Err(super::BackupError::NotEmpty {
                folder: root.to_owned(),
            });
        }
        Ok(Self::over(root))
    }

    /// Goes on with a folder that is there.
    pub(crate) fn over(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            folders: BTreeSet::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn bytes(&mut self, name: &str, mut bytes: &[u8]) -> io::Result<()> {
        self.stream(name, &mut bytes)
    }

    pub(crate) fn file(&mut self, name: &str, from: &Path) -> io::Result<()> {
        self.stream(name, &mut File::open(from)?)
    }

    /// Copies whatever lies below `from`, complete files only.
    pub(crate) fn folder(&mut self, name: &str, from: &Path) -> io::Result<()> {
        for file in files_below(from)? {
            let relative = file.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
            if !relative.ends_with(PART_SUFFIX) {
                self.file(&format!("{name}/{relative}"), &from.join(&file))?;
            }
        }
        Ok(())
    }

    /// Takes up a file that somebody else wrote here.
    pub(crate) fn adopt(&mut self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        let mut file = File::open(&path)?;
        let (size, digest) = pour(&mut file, &mut io::sink())?;
        file.sync_all()?;
        self.listed(name, &path, size, digest)
    }

    fn stream(&mut self, name: &str, from: &mut impl Read) -> io::Result<()> {
        let path = self.root.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent(&path)?)?;
        let mut file = create_private(&path)?;
        let (size, digest) = pour(from, &mut file)?;
        file.sync_all()?;
        self.listed(name, &path, size, digest)
    }

    fn listed(&mut self, name: &str, path: &Path, size: u64, digest: Digest) -> io::Result<()> {
        self.folders.extend(
            parent(path)?
                .ancestors()
                .take_while(|folder| folder.starts_with(&self.root))
                .map(Path::to_owned),
        );
        self.files.push(FileEntry {
            path: name.to_owned(),
            size,
            digest,
        });
        Ok(())
    }

    /// Makes every name durable.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.folders
            .iter()
            .rev()
            .try_for_each(|folder| sync_folder(folder))?;
        sync_folder(&self.root)?;
        self.root
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .map_or(Ok(()), sync_folder)
    }
}

/// Moves everything from one to the other and hashes it.
pub(crate) fn pour(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, Digest)> {
    let (mut hash, mut size) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        hash.update(part);
        to.write_all(part)?;
        size = size.saturating_add(u64::try_from(read).unwrap_or(0));
    }
    Ok((size, Digest::new(DigestAlgorithm::Sha256, hash.finish())))
}
