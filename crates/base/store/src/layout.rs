//! Where everything lies: [`StateDir`] names each file of a project folder and checks its VERSION.
//!
//! Everything secret or personal lies under `.stockade` (0700). VERSION is written last when a folder is made and read
//! first when it is opened, so a half-made or half-restored folder never opens. Version 1 is the first, so there is
//! no older one to migrate yet; a newer one is refused. The projection has a version of its own and is rebuilt from the log.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::files::{read_bounded, sync_folder, write_durable};

/// The layout that this program writes.
pub const STATE_VERSION: u32 = 1;

const VERSION_MAX_BYTES: u64 = 32;

/// A project folder, by the names of its parts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateDir {
    project: PathBuf,
    state: PathBuf,
}

/// Why a folder's VERSION was refused.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// There is no state here.
    #[error("`{}` holds no Stockade state\nhint: run `stockade init --dir {}`", .project.display(), .project.display())]
    Missing {
        /// The project folder.
        project: PathBuf,
    },
    /// A later release wrote the folder.
    #[error(
        "the state folder has version {found}, this program knows {STATE_VERSION}\nhint: use the release that wrote it, or a later one"
    )]
    Newer {
        /// What VERSION says.
        found: u32,
    },
    /// VERSION is not a number that any release wrote.
    #[error("`{}` is not a version number of a release\nhint: restore the folder from a backup", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
    },
    /// The file could not be read.
    #[error("`{}` could not be read", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The state folder could not be made.
#[derive(Debug, thiserror::Error)]
#[error("`{}` could not be made", .path.display())]
pub struct CreateError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StateDir {
    /// The project folder `dir`, whether or not it exists.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let project = dir.into();
        let state = project.join(".stockade");
        Self { project, state }
    }

    /// Makes the folder (0700) and its VERSION; what exists stays as it is.
    pub fn create(&self) -> Result<(), CreateError> {
        self.create_folders()?;
        if self.version_file().exists() {
            return Ok(());
        }
        self.write_version()
    }

    pub(crate) fn create_folders(&self) -> Result<(), CreateError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| CreateError { path, source }
        };
        fs::create_dir_all(&self.project).map_err(error(&self.project))?;
        for folder in [
            self.state.clone(),
            self.origins(),
            self.vault(),
            self.blobs(),
            self.subjects(),
        ] {
            private_folder(&folder).map_err(error(&folder))?;
        }
        sync_folder(&self.state).map_err(error(&self.state))?;
        sync_folder(&self.project).map_err(error(&self.project))
    }

    pub(crate) fn write_version(&self) -> Result<(), CreateError> {
        let path = self.version_file();
        write_durable(&path, format!("{STATE_VERSION}\n").as_bytes())
            .map_err(|source| CreateError { path, source })
    }

    /// Whether this program can work on the folder.
    pub fn check_version(&self) -> Result<(), VersionError> {
        let file = self.version_file();
        let bytes = match read_bounded(&file, VERSION_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VersionError::Missing {
                    project: self.project.clone(),
                });
            }
            Err(source) => return Err(VersionError::Io { file, source }),
        };
        let found = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse::<u32>().ok());
        match found {
            Some(STATE_VERSION) => Ok(()),
            Some(found) if found > STATE_VERSION => Err(VersionError::Newer { found }),
            Some(_) | None => Err(VersionError::Unreadable { file }),
        }
    }

    /// The user id that owns the state folder: the only one the control socket answers.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fs::metadata(&self.state)?.uid())
    }

    /// The project folder itself.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// `.stockade`.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The file key provider's folder.
    pub fn keys(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The origin now written, in C2SP tlog-tiles layout.
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// Durable entries that no checkpoint covers yet.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }

    /// The private head: the log's high-water mark.
    pub fn head(&self) -> PathBuf {
        self.state.join("head.json")
    }

    /// The public halves of the log's keys, as verifier keys.
    pub fn verifier_keys(&self) -> PathBuf {
        self.state.join("log.vkey")
    }

    /// Former origins, one folder each.
    pub fn origins(&self) -> PathBuf {
        self.state.join("origins")
    }

    /// The SQLite projection.
    pub fn records_db(&self) -> PathBuf {
        self.state.join("records.db")
    }

    /// Sealed artifacts, and nothing else.
    pub fn vault(&self) -> PathBuf {
        self.state.join("vault")
    }

    /// Other blobs.
    pub fn blobs(&self) -> PathBuf {
        self.state.join("blobs")
    }

    /// Keys of personal fields, one file per subject.
    pub fn subjects(&self) -> PathBuf {
        self.state.join("subjects")
    }

    /// The keeper's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.state.join("control.sock")
    }

    /// The keeper's lock.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The layout's version.
    pub fn version_file(&self) -> PathBuf {
        self.state.join("VERSION")
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, StateDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path().join("project"));
        (temp, dir)
    }

    #[test]
    fn a_new_folder_is_private_and_current() {
        let (_temp, dir) = folder();
        dir.create().unwrap();
        dir.create().unwrap();
        dir.check_version().unwrap();
        for path in [
            dir.state().to_owned(),
            dir.vault(),
            dir.blobs(),
            dir.subjects(),
            dir.origins(),
        ] {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700,
                "{path:?}"
            );
        }
        assert_eq!(fs::read_to_string(dir.version_file()).unwrap(), "1\n");
    }

    #[test]
    fn other_versions_are_refused_by_reason() {
        let (_temp, dir) = folder();
        assert!(matches!(dir.check_version(), Err(VersionError::Missing { .. })));
        dir.create().unwrap();
        let check = |text: &str| {
            fs::write(dir.version_file(), text).unwrap();
            dir.check_version().unwrap_err()
        };
        assert!(matches!(check("2\n"), VersionError::Newer { found: 2 }));
        for text in ["0\n", "one\n", "", "-1", "1\n1\n", "\u{0661}"] {
            assert!(matches!(check(text), VersionError::Unreadable { .. }), "{text:?}");
        }
        assert!(matches!(check(&"1".repeat(40)), VersionError::Io { .. }));
    }
}
