//! `stockade backup`: of a live folder, into a folder, and back.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use stockade_access::{Action, Resource};
use stockade_crypto::Passphrase;
use stockade_store::{BackupError, RestoreKeys, RestoreOptions, StateDir, restore_backup, verify_backup};

use crate::{
    cli::Global,
    config,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    private_files,
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Copy the project, consistently, while it runs
    #[command(after_help = "Example:\n  stockade backup create /backups/monday --with-keys passphrase.txt")]
    Create {
        /// A new folder
        into: PathBuf,
        /// Put the keys in too, encrypted under the passphrase in this file (at least 12 characters)
        #[arg(long, value_name = "FILE")]
        with_keys: Option<PathBuf>,
    },
    /// Check every byte of a backup, and its signature where the project's keys are at hand
    Verify {
        /// The backup's folder
        from: PathBuf,
    },
    /// Restore a backup into `--dir`, which must be absent or empty; the log goes on under a new origin
    #[command(
        after_help = "Example:\n  stockade backup restore /backups/monday --dir prod2 --keys passphrase.txt"
    )]
    Restore {
        /// The backup's folder
        from: PathBuf,
        /// The passphrase of the keys in the backup
        #[arg(
            long,
            value_name = "FILE",
            conflicts_with = "key_folder",
            required_unless_present = "key_folder"
        )]
        keys: Option<PathBuf>,
        /// A `.stockade/keys` folder kept elsewhere
        #[arg(long, value_name = "FOLDER")]
        key_folder: Option<PathBuf>,
        /// Projects or later backups whose erasures are to be repeated; repeat for several
        #[arg(long, value_name = "FOLDER")]
        erasures_from: Vec<PathBuf>,
    },
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Create { into, with_keys } => create(global, &into, with_keys, output).await,
        Verb::Verify { from } => {
            let key = if project::exists(&global.dir) {
                Some(
                    Project::find(global, &[])?
                        .keys()?
                        .log_keys()
                        .exit(Exit::Failed)?
                        .ed25519
                        .verifying_key(),
                )
            } else {
                None
            };
            let report = verify_backup(&from, key.as_ref()).map_err(|error| failed(&error))?;
            let signed = if key.is_some() {
                "signed by this project"
            } else {
                "signature not checked: no project here"
            };
            output.result(&report, || {
                format!("intact: {} files, {} bytes, {signed}", report.files, report.bytes)
            })?;
            Ok(Exit::Fine)
        }
        Verb::Restore {
            from,
            keys,
            key_folder,
            erasures_from,
        } => {
            let keys = match (keys, key_folder) {
                (Some(file), _) => RestoreKeys::Sealed(passphrase(&file)?),
                (None, Some(folder)) => RestoreKeys::Folder(folder),
                (None, None) => {
                    return Err(Failure::new(
                        Exit::Usage,
                        "a backup without its keys opens nothing",
                    ));
                }
            };
            let evidence = config::load(&from.join("project"), &[])?.root.evidence;
            let actor = stockade_evidence::Actor::Operator {
                uid: rustix::process::geteuid().as_raw(),
            };
            let options = RestoreOptions {
                config: evidence,
                actor,
                erasures_from,
            };
            let restored = Box::pin(restore_backup(&from, StateDir::new(&global.dir), keys, options))
                .await
                .map_err(|error| failed(&error))?;
            let value =
                json!({ "backup": restored.backup, "origin": restored.origin, "erased": restored.erased });
            output.result(&value, || {
                format!(
                    "restored into {}; its log goes on as {}",
                    global.dir.display(),
                    restored.origin
                )
            })?;
            Ok(Exit::Fine)
        }
    }
}

async fn create(
    global: &Global,
    into: &std::path::Path,
    with_keys: Option<PathBuf>,
    output: &Output,
) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let passphrase = with_keys.as_deref().map(passphrase).transpose()?;
    let handle = project.handle().await?;
    let made = async {
        let actor = project
            .actor(global, &handle, Action::BackupCreate, &Resource::Backup)
            .await?;
        handle
            .backup(into, passphrase.as_ref(), actor)
            .await
            .map_err(|error| failed(&error))
    }
    .await;
    handle.close().await.exit(Exit::Failed)?;
    let report = made?;
    output.result(&report, || {
        let keys = if report.with_keys {
            "with its keys, encrypted"
        } else {
            "without keys: keep `.stockade/keys` elsewhere"
        };
        format!(
            "{} files, {} bytes in {}, {keys}",
            report.files,
            report.bytes,
            into.display()
        )
    })?;
    Ok(Exit::Fine)
}

fn passphrase(file: &std::path::Path) -> Result<Passphrase, Failure> {
    Passphrase::new(private_files::read_secret(file)?).exit(Exit::Usage)
}

fn failed(error: &BackupError) -> Failure {
    let exit = match error {
        error if error.is_integrity_broken() => Exit::Broken,
        BackupError::NotEmpty { .. }
        | BackupError::Inside { .. }
        | BackupError::NotABackup { .. }
        | BackupError::NoKeys => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::from_error(exit, error)
}
