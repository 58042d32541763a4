//! Releasing plaintext: staged beside its target (0600, folders 0700), moved there in one step after every file was
//! verified and the opening recorded. Until then nothing lies at the target; on any failure the stage is removed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use stockade_crypto::random_array;
use stockade_evidence::{Actor, Timestamp};

use crate::{ArtifactRef, OpenArtifactError, OpenedArtifact, Vault, Version};

/// Why plaintext was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is something at the target.
    #[error("`{}` exists and is not an empty folder\nhint: an artifact of several files needs a new folder", target.display())]
    Exists {
        /// The target.
        target: PathBuf,
    },
    /// The target has no name of its own, such as `..`.
    #[error("`{}` does not name a file or folder", target.display())]
    NoName {
        /// The target.
        target: PathBuf,
    },
    /// Writing failed.
    #[error("the plaintext could not be written")]
    Io(#[from] io::Error),
}

impl ReleaseError {
    pub(crate) const fn writing(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Verified plaintext beside its target. Dropped, it is removed.
#[derive(Debug)]
struct Stage {
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Vault {
    /// Writes an artifact's plaintext: one file to `out` (or into it, where it is a folder), several into the new folder
    /// `out`. The opening is recorded before anything lies there.
    pub async fn open_to(
        &self,
        actor: &Actor,
        reference: &ArtifactRef,
        out: &Path,
        now: Timestamp,
    ) -> Result<Version, OpenArtifactError> {
        match self.stage(reference, out).await {
            Ok((opened, stage)) => {
                self.record_opened(&opened, actor, "release", now).await?;
                blocking(move || Ok(stage.publish().map_err(ReleaseError::Io)?)).await?;
                let manifest = opened.manifest();
                Ok(Version {
                    artifact: manifest.artifact().clone(),
                    version: manifest.version(),
                    id: opened.id(),
                    size: manifest.size(),
                })
            }
            Err(error) => Err(self.refused(error, actor, now).await),
        }
    }

    async fn stage(
        &self,
        reference: &ArtifactRef,
        out: &Path,
    ) -> Result<(OpenedArtifact, Stage), OpenArtifactError> {
        let opened = self.open(reference).await?;
        let out = out.to_owned();
        blocking(move || {
            let stage = Stage::write(&opened, &out)?;
            Ok((opened, stage))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenArtifactError> + Send + 'static,
) -> Result<T, OpenArtifactError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| OpenArtifactError::Cancelled)?
}

impl Stage {
    fn write(opened: &OpenedArtifact, out: &Path) -> Result<Self, OpenArtifactError> {
        match opened.files() {
            [file] => {
                let name = Path::new(file.entry().path.as_str()).file_name();
                let target = name
                    .filter(|_| out.is_dir())
                    .map_or_else(|| out.to_owned(), |name| out.join(name));
                let stage = Self::beside(&target)?;
                let mut written = create(&stage.path).map_err(ReleaseError::Io)?;
                file.copy_to(|part| written.write_all(part))?;
                written.sync_all().map_err(ReleaseError::Io)?;
                Ok(stage)
            }
            files => {
                let empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
                if fs::symlink_metadata(out).is_ok() && !empty() {
                    return Err(ReleaseError::Exists {
                        target: out.to_owned(),
                    }
                    .into());
                }
                let stage = Self::beside(out)?;
                folders().create(&stage.path).map_err(ReleaseError::Io)?;
                for file in files {
                    let path = stage.path.join(file.entry().path.as_str());
                    let parent = path.parent().unwrap_or(&stage.path);
                    folders()
                        .recursive(true)
                        .create(parent)
                        .map_err(ReleaseError::Io)?;
                    let mut written = create(&path).map_err(ReleaseError::Io)?;
                    file.copy_to(|part| written.write_all(part))?;
                    written.sync_all().map_err(ReleaseError::Io)?;
                }
                Ok(stage)
            }
        }
    }

    fn beside(target: &Path) -> Result<Self, OpenArtifactError> {
        let no_name = || ReleaseError::NoName {
            target: target.to_owned(),
        };
        let name = target
            .file_name()
            .ok_or_else(no_name)?
            .to_string_lossy()
            .into_owned();
        let random = u64::from_be_bytes(random_array()?);
        let path = target.with_file_name(format!(".{name}.{random:016x}.part"));
        Ok(Self {
            path,
            target: target.to_owned(),
            published: false,
        })
    }

    fn publish(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.published = true;
        let parent = self
            .target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.published {
            // Either it is a file, or a folder, or was never made.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn folders() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
