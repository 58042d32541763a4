//! Small private files, written so that they survive a crash: temporary name, fsync, rename, fsync of the folder.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The ending of a file that is not complete yet; such files are removed when the folder is next opened.
pub(crate) const PART_SUFFIX: &str = ".part";

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is larger than it can be",
        ));
    }
    Ok(bytes)
}

/// Replaces `path` (0600): afterwards it holds the old bytes or all of the new ones, whatever happens.
pub(crate) fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = part_name(path)?;
    let written = create_private(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, path)).inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })?;
    sync_folder(parent(path)?)
}

/// A new file, readable by its owner alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A fresh temporary name beside `path`.
pub(crate) fn part_name(path: &Path) -> io::Result<PathBuf> {
    let random: [u8; 8] = stockade_crypto::random_array().map_err(io::Error::other)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}{PART_SUFFIX}", hex::encode(random)));
    Ok(path.with_file_name(name))
}

pub(crate) fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Every file below `folder`, as paths relative to it, sorted. Links are refused: none of ours is one.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        for entry in fs::read_dir(folder.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            } else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "`{}` is neither a file nor a folder",
                        folder.join(&path).display()
                    ),
                ));
            }
        }
    }
    found.sort();
    Ok(found)
}
