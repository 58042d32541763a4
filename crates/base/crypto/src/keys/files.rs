//! Files that only their owner may use, written whole or not at all.
//!
//! A file is written under another name, synced, renamed over the old one, and the folder synced: after a crash
//! there is the old file or the new one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::KeyError;
use crate::random::random_array;

/// No key file is near this long.
const FILE_MAX: u64 = 4 << 20;
const TEMPORARY: &str = ".tmp-";

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError + use<> {
    let path = path.to_path_buf();
    move |source| KeyError::Io { path, source }
}

/// Refuses a folder that is missing, a link, or open to others.
pub(super) fn check_folder(path: &Path) -> Result<(), KeyError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.into() });
        }
        Err(error) => return Err(io_error(path)(error)),
    };
    if !metadata.is_dir() {
        return Err(io_error(path)(io::ErrorKind::NotADirectory.into()));
    }
    check_mode(path, &metadata)
}

fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen {
            path: path.into(),
            mode,
            folder: metadata.is_dir(),
        });
    }
    Ok(())
}

/// Reads a private file whole; `None` when there is none. Links, other kinds of files and open modes are refused.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let metadata = file.metadata().map_err(io_error(path))?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return Err(KeyError::Damaged {
            path: path.into(),
            recoverable: false,
        });
    }
    check_mode(path, &metadata)?;
    // One byte more than expected, so that reading never grows the buffer and leaves no copy behind.
    let len = usize::try_from(metadata.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
    file.take(metadata.len())
        .read_to_end(&mut bytes)
        .map_err(io_error(path))?;
    Ok(Some(bytes))
}

/// Replaces a private file.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), KeyError> {
    let path = folder.join(name);
    let temporary = folder.join(format!(".{name}{TEMPORARY}{}", hex::encode(random_array::<8>()?)));
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &path).map_err(io_error(&path)))
        .and_then(|()| sync_folder(folder));
    if written.is_err() {
        // Best effort: the name is unused either way, and `sweep` removes it later.
        drop(fs::remove_file(&temporary));
    }
    written
}

pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error(path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io_error(path))
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), KeyError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error(folder))
}

/// Gives a file a name that nobody reads.
pub(super) fn set_aside(folder: &Path, name: &str) -> Result<(), KeyError> {
    let aside = folder.join(format!("{name}.damaged-{}", hex::encode(random_array::<4>()?)));
    let path = folder.join(name);
    fs::rename(&path, &aside).map_err(io_error(&path))?;
    sync_folder(folder)
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), KeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what an interrupted write left behind.
pub(super) fn sweep(folder: &Path) -> Result<(), KeyError> {
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let entry = entry.map_err(io_error(folder))?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with('.') && name.contains(TEMPORARY))
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes a private folder with these files, whole or not at all. An empty folder at `path` is replaced.
pub(super) fn create_folder(path: &Path, files: &[(String, Zeroizing<Vec<u8>>)]) -> Result<(), KeyError> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(KeyError::Exists { path: path.into() });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io_error(path)(io::ErrorKind::InvalidInput.into()));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let temporary = parent.join(format!(".{name}{TEMPORARY}{}", hex::encode(random_array::<8>()?)));
    let made = fill_folder(&temporary, files)
        .and_then(|()| rename_folder(&temporary, path))
        .and_then(|()| sync_folder(parent));
    if made.is_err() {
        // Best effort: keys in it were never used.
        drop(fs::remove_dir_all(&temporary));
    }
    made
}

fn fill_folder(folder: &Path, files: &[(String, Zeroizing<Vec<u8>>)]) -> Result<(), KeyError> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(io_error(folder))?;
    for (name, bytes) in files {
        write_new(&folder.join(name), bytes)?;
    }
    sync_folder(folder)
}

/// rename(2) replaces an empty folder and nothing else, so of two creators one wins and one is refused.
fn rename_folder(from: &Path, to: &Path) -> Result<(), KeyError> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            KeyError::Exists {
                path: PathBuf::from(to),
            }
        }
        _ => io_error(to)(error),
    })
}
