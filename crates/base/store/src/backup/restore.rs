//! Restoring a backup into an empty folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use stockade_crypto::{KeyFolder, KeyProvider, Passphrase};
use stockade_evidence::{Actor, Event, Record, Subject, SubjectKind};

use super::{
    BackupError, BackupReport,
    copy::Filling,
    manifest::{Manifest, SEALED_KEYS, check_signature},
};
use crate::{
    commit::Row,
    config::Config,
    disk::Posix,
    files::{read_bounded, sync_folder},
    keeper::{Keeper, UnconfirmedRows, blocking, recover_unversioned, system_record},
    layout::StateDir,
    log::{Anchor, LogTrust},
    personal::{ERASED_KEY, Kid},
    rows::{RowStore as _, SqliteRows},
};

const SEALED_KEYS_MAX_BYTES: u64 = 16 << 20;

/// Where the keys of a restored folder come from.
#[derive(Debug)]
pub enum RestoreKeys {
    /// From the backup, sealed under this passphrase.
    Sealed(Passphrase),
    /// A key folder kept elsewhere; it is copied.
    Folder(PathBuf),
}

/// How a backup is restored.
#[derive(Debug)]
pub struct RestoreOptions {
    /// The configuration of the restored folder.
    pub config: Config,
    /// Whether its anchor is this folder's from now on, and the old one is set aside. Only where the project that was backed
    /// up is gone: two projects at one anchor look like a rollback to both.
    pub take_anchor: bool,
    /// Who restores.
    pub actor: Actor,
    /// Project folders or later backups whose erasures came after this backup: what they erased is erased again.
    pub erasures_from: Vec<PathBuf>,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub backup: BackupReport,
    /// The new log.
    pub origin: String,
    /// Subject keys erased again.
    pub erased: usize,
}

/// Restores `from` into `dir`, which must be absent or empty, checks every byte on the way, and starts a new origin.
///
/// Everything happens in a folder of its own inside, and is put in place when it is whole: a restore that fails leaves `dir`
/// as it was, and one that is interrupted leaves no project. Keys of erased subjects are not copied at all.
pub async fn restore_backup(
    from: &Path,
    dir: StateDir,
    keys: RestoreKeys,
    options: RestoreOptions,
) -> Result<Restored, BackupError> {
    let stage = Stage::new(dir.project())?;
    let mut options = options;
    let anchor = options.config.anchor.take().filter(|_| options.take_anchor);
    match Box::pin(restore_into(from, stage.dir(), keys, options)).await {
        Ok(restored) => {
            stage.put_in_place()?;
            if let Some(anchor) = anchor {
                Anchor::Path(anchor)
                    .set_aside(&Posix, &restored.backup.origin)
                    .map_err(io::Error::other)?;
            }
            Ok(restored)
        }
        Err(error) => {
            stage.discard();
            Err(error)
        }
    }
}

/// A folder in the target, where the project is made.
struct Stage {
    target: PathBuf,
    folder: PathBuf,
    target_is_new: bool,
}

impl Stage {
    fn new(target: &Path) -> Result<Self, BackupError> {
        let target_is_new = !target.exists();
        Filling::new(target)?;
        let folder = target.join(".restore");
        Ok(Self {
            target: target.to_owned(),
            folder,
            target_is_new,
        })
    }

    fn dir(&self) -> StateDir {
        StateDir::new(&self.folder)
    }

    fn put_in_place(&self) -> Result<(), BackupError> {
        let state = self.dir().state().to_owned();
        let others: Vec<PathBuf> = fs::read_dir(&self.folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        // The state makes it a project, so it comes last.
        for path in others.iter().filter(|path| **path != state).chain([&state]) {
            fs::rename(path, self.target.join(path.file_name().unwrap_or_default()))?;
        }
        fs::remove_dir(&self.folder)?;
        Ok(sync_folder(&self.target)?)
    }

    /// Best effort: the error that led here counts.
    fn discard(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        if self.target_is_new {
            let _ = fs::remove_dir(&self.target);
        }
    }
}

async fn restore_into(
    from: &Path,
    dir: StateDir,
    keys: RestoreKeys,
    options: RestoreOptions,
) -> Result<Restored, BackupError> {
    let erased_keys = erasures(&options.erasures_from).await?;
    let (report, provider) = {
        let (from, dir) = (from.to_owned(), dir.clone());
        let erased = erased_keys.iter().map(|(kid, _)| kid.clone()).collect::<Vec<_>>();
        blocking(move || copy_back(&from, &dir, keys, &erased)).await??
    };
    let RestoreOptions { config, actor, .. } = options;
    Box::pin(recover_unversioned(
        dir.clone(),
        provider.clone(),
        config.clone(),
        actor.clone(),
        UnconfirmedRows::Refuse,
    ))
    .await?;
    dir.write_version()?;
    let keeper = Box::pin(Keeper::open(dir, provider, config)).await?;
    let erased = keeper.replay_erasures(erased_keys, keeper.now()).await?;
    let about = Subject {
        digest: Some(report.manifest),
        ..Subject::new(SubjectKind::Backup, "backup")
    };
    let record = system_record(Event::BackupRestored, keeper.now()).map_err(io::Error::other)?;
    let record = Record { actor, ..record }
        .about(about)
        .with("former_origin", report.origin.as_str())
        .with("former_size", report.log_size)
        .with("erased_again", erased);
    keeper.append(record).await?;
    let origin = keeper.origin();
    keeper.close().await?;
    Ok(Restored {
        backup: report,
        origin,
        erased,
    })
}

fn copy_back(
    from: &Path,
    dir: &StateDir,
    keys: RestoreKeys,
    erased: &[Kid],
) -> Result<(BackupReport, KeyProvider), BackupError> {
    let (manifest, bytes) = Manifest::read(from)?;
    let mut project = Filling::new(dir.project())?;
    dir.create_folders()?;
    let provider = place_keys(from, dir, &manifest, keys)?;
    check_signature(from, &bytes, &LogTrust::of_keyring(&provider)?.ed25519())?;
    let state = dir.state().to_owned();
    let mut state = Filling::over(&state);
    for file in &manifest.files {
        if file
            .path
            .strip_prefix("state/subjects/")
            .and_then(Kid::parse)
            .is_some_and(|kid| erased.contains(&kid))
        {
            continue;
        }
        let source = from.join(&file.path);
        let filling = if let Some(name) = file.path.strip_prefix("state/") {
            state.file(name, &source).map(|()| &state)
        } else if let Some(name) = file.path.strip_prefix("project/") {
            project.file(name, &source).map(|()| &project)
        } else {
            continue;
        };
        let filling = filling.map_err(|error| missing_or(error, &file.path))?;
        let same = filling
            .files
            .last()
            .is_some_and(|made| (made.size, made.digest) == (file.size, file.digest));
        if !same {
            return Err(BackupError::Differs {
                file: file.path.clone(),
                what: "was changed",
            });
        }
    }
    state.finish()?;
    project.finish()?;
    Ok((manifest.report(&bytes), provider))
}

fn missing_or(error: io::Error, file: &str) -> BackupError {
    if error.kind() == io::ErrorKind::NotFound {
        return BackupError::Differs {
            file: file.to_owned(),
            what: "is missing",
        };
    }
    error.into()
}

fn place_keys(
    from: &Path,
    dir: &StateDir,
    manifest: &Manifest,
    keys: RestoreKeys,
) -> Result<KeyProvider, BackupError> {
    match keys {
        RestoreKeys::Sealed(passphrase) => {
            if !manifest.files.iter().any(|file| file.path == SEALED_KEYS) {
                return Err(BackupError::NoKeys);
            }
            let sealed = read_bounded(&from.join(SEALED_KEYS), SEALED_KEYS_MAX_BYTES)?;
            Ok(KeyFolder::import_encrypted(&dir.keys(), &sealed, &passphrase)?)
        }
        RestoreKeys::Folder(folder) => {
            // What it opens as elsewhere it opens as here; a folder that others may read is refused before it is copied.
            KeyFolder::open(&folder)?;
            let mut copy = Filling::new(&dir.keys())?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                copy.file(
                    name.to_str()
                        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?,
                    &entry.path(),
                )?;
            }
            copy.finish()?;
            Ok(KeyFolder::open(&dir.keys())?)
        }
    }
}

/// The keys that other folders, or later backups, know as erased.
async fn erasures(folders: &[PathBuf]) -> Result<Vec<(Kid, String)>, BackupError> {
    let mut found = Vec::new();
    for folder in folders {
        let state = StateDir::new(folder).records_db();
        let path = if state.exists() {
            state
        } else {
            folder.join("state/records.db")
        };
        let rows = SqliteRows::open_read_only(&path).await?;
        found.extend(rows.rows(ERASED_KEY).await?.iter().filter_map(erased_key));
        rows.close().await;
    }
    Ok(found)
}

fn erased_key(row: &Row) -> Option<(Kid, String)> {
    Some((
        Kid::parse(&row.id)?,
        row.value.get("subject")?.as_str()?.to_owned(),
    ))
}
