//! Files that only their owner may read.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::failure::{Exit, Failure};

/// The largest secret file: a passphrase or a key, in bytes.
const MAX_SECRET: u64 = 4096;

/// A folder that only its owner may enter.
pub(crate) fn create_folder(path: &Path) -> Result<(), Failure> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(Failure::new(
            Exit::Failed,
            format!("cannot make `{}`: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read, by rename, so that nobody ever sees a part of it.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
        )
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error says what went wrong; a left-over is harmless and replaced next time.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// The first line of a file that holds a secret.
pub(crate) fn read_secret(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", path.display()))
    };
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET).read_to_string(&mut text))
        .map_err(failed)?;
    let line = text.lines().next().unwrap_or_default().trim_end().to_owned();
    if line.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("`{}` is empty", path.display()),
        ));
    }
    Ok(line)
}
