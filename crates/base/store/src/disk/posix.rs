//! The real disk: files 0600, folders 0700, the last path element never a link.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;

use super::{DirEntry, Disk, DiskError, DiskOperation, EntryKind, SyncPoint};

/// A file open for writing.
#[derive(Debug)]
pub struct DiskFile {
    path: PathBuf,
    file: File,
    id: u64,
}

impl DiskFile {
    /// The name it was created under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number that no other file of this process has.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Files through the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Posix;

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

impl Disk for Posix {
    fn create(&self, path: &Path) -> Result<DiskFile, DiskError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::CLOEXEC))
            .open(path)
            .map_err(|cause| DiskError::new(DiskOperation::Create, path, cause))?;
        Ok(DiskFile {
            path: path.to_owned(),
            file,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        })
    }

    fn write_at(&self, file: &DiskFile, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let written = file.file.write_all_at(data, offset);
        written.map_err(|cause| DiskError::new(DiskOperation::Write, &file.path, cause))
    }

    fn sync_data(&self, file: &DiskFile, _point: SyncPoint) -> Result<(), DiskError> {
        let synced = file.file.sync_data();
        synced.map_err(|cause| DiskError::new(DiskOperation::SyncData, &file.path, cause))
    }

    fn sync_dir(&self, dir: &Path, _point: SyncPoint) -> Result<(), DiskError> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC))
            .open(dir);
        let synced = opened.and_then(|dir| dir.sync_all());
        synced.map_err(|cause| DiskError::new(DiskOperation::SyncDir, dir, cause))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        std::fs::rename(from, to).map_err(|cause| DiskError::new(DiskOperation::Rename, to, cause))
    }

    fn remove(&self, path: &Path) -> Result<bool, DiskError> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(DiskError::new(DiskOperation::Remove, path, cause)),
        }
    }

    fn remove_dir(&self, path: &Path) -> Result<bool, DiskError> {
        use io::ErrorKind::{DirectoryNotEmpty, NotFound};
        match std::fs::remove_dir(path) {
            Ok(()) => Ok(true),
            Err(cause) if matches!(cause.kind(), NotFound | DirectoryNotEmpty) => Ok(false),
            Err(cause) => Err(DiskError::new(DiskOperation::Remove, path, cause)),
        }
    }

    fn make_dir(&self, path: &Path) -> Result<bool, DiskError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(cause) => Err(DiskError::new(DiskOperation::MakeDir, path, cause)),
        }
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let failed = |cause| DiskError::new(DiskOperation::Read, path, cause);
        // A named pipe in place of a file must not block: O_NONBLOCK, and the kind is checked on the open file.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC))
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(cause) if is_absent(&cause) => return Ok(None),
            Err(cause) => return Err(failed(cause)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(failed(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "larger than it may be",
            )));
        }
        Ok(Some(bytes))
    }

    fn list(&self, dir: &Path) -> Result<Option<Vec<DirEntry>>, DiskError> {
        let failed = |cause| DiskError::new(DiskOperation::List, dir, cause);
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(cause) if is_absent(&cause) => return Ok(None),
            Err(cause) => return Err(failed(cause)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let kind = match entry.file_type().map_err(failed)? {
                kind if kind.is_file() => EntryKind::File,
                kind if kind.is_dir() => EntryKind::Dir,
                _ => EntryKind::Other,
            };
            found.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                kind,
            });
        }
        Ok(Some(found))
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, DiskError> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(cause) if is_absent(&cause) => Ok(None),
            Err(cause) => Err(DiskError::new(DiskOperation::Read, path, cause)),
        }
    }

    fn free_space(&self, dir: &Path) -> Result<u64, DiskError> {
        let free = rustix::fs::statvfs(dir);
        let free = free.map_err(|cause| DiskError::new(DiskOperation::FreeSpace, dir, cause.into()))?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_and_folders_belong_to_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (sub, file) = (dir.path().join("sub"), dir.path().join("sub/file"));
        assert!(Posix.make_dir(&sub).unwrap());
        assert!(!Posix.make_dir(&sub).unwrap());
        Posix.create(&file).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600));
        assert!(Posix.create(&file).is_err(), "an existing file is never opened");
    }

    #[test]
    fn links_are_not_followed_and_errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, b"x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = Posix.read(&link, 10).unwrap_err();
        assert!(error.to_string().contains("link"), "{error}");
        assert_eq!(Posix.read(&target, 1).unwrap(), Some(b"x".to_vec()));
        assert!(Posix.read(&target, 0).is_err(), "longer than the limit");
        assert_eq!(Posix.read(&dir.path().join("absent"), 1).unwrap(), None);
        let kinds = Posix.list(dir.path()).unwrap().unwrap();
        assert!(kinds.contains(&DirEntry {
            name: "link".into(),
            kind: EntryKind::Other
        }));
    }
}
