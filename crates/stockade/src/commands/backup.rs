//! `stockade backup`: of a live folder, into a folder, and back.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use stockade_access::{Action, Resource};
use stockade_crypto::Passphrase;
use stockade_evidence::LogVerifier;
use stockade_store::{
    BackupError, BackupReport, RestoreKeys, RestoreOptions, StateDir, restore_backup, verify_backup,
};

use super::log::read_text;
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
    /// Check every byte of a backup, and that the project in `--dir`, or whoever has `--key`, made it
    Verify {
        /// The backup's folder
        from: PathBuf,
        /// Verifier keys, as `log key` prints them, where the project is not at hand
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
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
        /// Take the anchor over, too: only when the project that was backed up is gone
        #[arg(long)]
        take_anchor: bool,
        /// Projects or later backups whose erasures are to be repeated; repeat for several
        #[arg(long, value_name = "FOLDER")]
        erasures_from: Vec<PathBuf>,
    },
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Create { into, with_keys } => create(global, &into, with_keys, output).await,
        Verb::Verify { from, key } => verify(global, &from, key.as_deref(), output),
        Verb::Restore {
            from,
            keys,
            key_folder,
            take_anchor,
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
            let options = RestoreOptions {
                config: config::load(&from.join("project"), &[])?.root.evidence,
                take_anchor,
                actor: stockade_evidence::Actor::Operator {
                    uid: rustix::process::geteuid().as_raw(),
                },
                erasures_from,
            };
            restore(global, &from, keys, options, output).await
        }
    }
}

async fn restore(
    global: &Global,
    from: &Path,
    keys: RestoreKeys,
    options: RestoreOptions,
    output: &Output,
) -> Result<Exit, Failure> {
    let left = options.config.anchor.clone().filter(|_| !options.take_anchor);
    let restored = Box::pin(restore_backup(from, StateDir::new(&global.dir), keys, options))
        .await
        .map_err(|error| failed(&error))?;
    let value = json!({
        "backup": restored.backup, "origin": restored.origin, "erased": restored.erased, "anchor_left": left,
    });
    output.result(&value, || {
        let anchor = left.map_or_else(String::new, |anchor| {
            format!(
                "\nits anchor `{}` stays with the project that was backed up: name another one in `{}` before you use this one",
                anchor.display(),
                global.dir.join(config::FILE).display()
            )
        });
        format!(
            "restored into {}; its log goes on as {}{anchor}",
            global.dir.display(),
            restored.origin
        )
    })?;
    Ok(Exit::Fine)
}

async fn create(
    global: &Global,
    into: &Path,
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

/// A verified backup as it is printed.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    report: BackupReport,
    signature: &'static str,
}

fn verify(global: &Global, from: &Path, key: Option<&Path>, output: &Output) -> Result<Exit, Failure> {
    let trusted = match key {
        Some(file) => {
            let verifiers = LogVerifier::from_vkeys(&read_text(file)?).exit(Exit::Usage)?;
            verifiers.into_iter().map(|verifier| verifier.ed25519).collect()
        }
        None if project::exists(&global.dir)? => Project::find(global, &[])?.log_trust()?.ed25519(),
        None => {
            return Err(
                Failure::new(Exit::Usage, "without a key nothing says who made the backup").hint(
                    "name the project with `--dir`, or the keys that `stockade log key` printed there with `--key`",
                ),
            );
        }
    };
    let report = verify_backup(from, &trusted).map_err(|error| failed(&error))?;
    let verified = Verified {
        report,
        signature: "valid",
    };
    output.result(&verified, || {
        let BackupReport { files, bytes, .. } = verified.report;
        let signer = key.map_or("this project", |_| "the keys given");
        format!("intact: {files} files, {bytes} bytes, signed by {signer}")
    })?;
    Ok(Exit::Fine)
}

fn passphrase(file: &Path) -> Result<Passphrase, Failure> {
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
