//! Replacing a small file so that a crash leaves the old or the new one whole.

use std::path::Path;

use crate::disk::{Disk, DiskError, DiskFile, SyncPoint};

/// No state file of the log is larger.
pub(crate) const MAX_STATE_FILE: u64 = 64 * 1024;

/// How one file is replaced.
pub(crate) struct Replacement<'a> {
    /// The name it is written under first, in a folder of the same file system.
    pub(crate) temporary: &'a Path,
    /// The name it gets.
    pub(crate) path: &'a Path,
    /// The sync of its content.
    pub(crate) file: SyncPoint,
    /// The sync of its name.
    pub(crate) dir: SyncPoint,
}

impl Replacement<'_> {
    /// Writes, syncs, renames, syncs the folder.
    pub(crate) fn write(&self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), DiskError> {
        create_anew(disk, self.temporary, bytes, self.file)?;
        disk.rename(self.temporary, self.path)?;
        disk.sync_dir(parent(self.path), self.dir)
    }
}

/// Writes a synced file in place of whatever has that name. Its name is durable once the folder is synced.
pub(crate) fn create_anew(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    point: SyncPoint,
) -> Result<(), DiskError> {
    let file = write_anew(disk, path, bytes)?;
    disk.sync_data(&file, point)
}

/// Writes a file in place of whatever has that name, and leaves the sync to the caller.
pub(crate) fn write_anew(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<DiskFile, DiskError> {
    // Never opened for writing: after a crash the name may be a second one of a file that is in use.
    disk.remove(path)?;
    let file = disk.create(path)?;
    disk.write_at(&file, 0, bytes)?;
    Ok(file)
}

/// The folder a file lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}
