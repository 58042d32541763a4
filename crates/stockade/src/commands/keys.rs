//! `stockade keys`: the long-lived keys of the folder.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use stockade_crypto::{KeyFolder, Passphrase};
use stockade_evidence::{Event, Record, RecordId, Subject, SubjectKind};
use stockade_store::{Handle, Keeper, log::LogTrust};

use super::init;
use crate::{
    cli::Global,
    clock,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    private_files,
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Rotate one key; the server must be stopped
    #[command(after_help = "What each key protects, and what is lost with it: docs/keys.md")]
    Rotate {
        /// Which key
        #[arg(value_enum)]
        key: Key,
    },
    /// Set the recovery passphrase, which can bring back a lost root key
    SetRecovery {
        /// A file whose first line is the passphrase (at least 12 characters); without it the terminal is asked
        #[arg(long, value_name = "FILE")]
        recovery_file: Option<PathBuf>,
    },
    /// Make a new keyring (log keys, certificate authority) where `keyring.json` is lost and the root keys are there
    Rebuild,
    /// Bring a lost root key back from the recovery passphrase
    Recover {
        /// A file whose first line is the passphrase
        #[arg(long, value_name = "FILE")]
        recovery_file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Key {
    /// Wraps every data key and every other key; everything is rewrapped
    Root,
    /// Signs the log's checkpoints
    Log,
    /// Signs the gateway's certificates; clients must trust the new one
    Ca,
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Rotate { key } => rotate(global, key, output).await,
        Verb::SetRecovery { recovery_file } => {
            let project = Project::find(global, &[])?;
            project.owner()?;
            let passphrase = match recovery_file {
                Some(file) => passphrase(&file)?,
                None => Passphrase::new(init::ask("run this on a terminal")?).exit(Exit::Usage)?,
            };
            project.keys()?.set_recovery(&passphrase).exit(Exit::Failed)?;
            output.result(&json!({ "recovery": true }), || {
                "the recovery passphrase is set; keep it elsewhere".to_owned()
            })?;
            Ok(Exit::Fine)
        }
        Verb::Rebuild => {
            let project = Project::find(global, &[])?;
            project.owner()?;
            KeyFolder::rebuild(&project.state.keys(), clock::now().unix_seconds()).exit(Exit::Failed)?;
            LogTrust::set_aside(&project.state.verifier_keys()).exit(Exit::Failed)?;
            output.result(&json!({ "rebuilt": true }), || {
                "the keyring is new: run `stockade log recover`, and give clients the new ca.pem".to_owned()
            })?;
            Ok(Exit::Fine)
        }
        Verb::Recover { recovery_file } => {
            let project = Project::find(global, &[])?;
            project.owner()?;
            KeyFolder::recover(&project.state.keys(), &passphrase(&recovery_file)?).exit(Exit::Failed)?;
            output.result(&json!({ "recovered": true }), || {
                "the root key is back".to_owned()
            })?;
            Ok(Exit::Fine)
        }
    }
}

fn passphrase(file: &std::path::Path) -> Result<Passphrase, Failure> {
    Passphrase::new(private_files::read_secret(file)?).exit(Exit::Usage)
}

/// Rotates one key under the keeper's lock, and records it. New wrappings come before old keys go.
async fn rotate(global: &Global, key: Key, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let keeper = project.keeper().await?;
    let rotated = async {
        let handle = Handle::Local(keeper.clone());
        let actor = project.owner()?;
        let name = rotate_owned(&project, &keeper, &handle, key).await?;
        let id = RecordId::new(stockade_crypto::random_array().exit(Exit::Failed)?);
        let record = Record::new(keeper.now(), id, Event::KeysRotated, actor)
            .about(Subject::new(SubjectKind::Key, name));
        keeper.append(record).await.exit(Exit::Failed)?;
        Ok(name)
    }
    .await;
    keeper.close().await.exit(Exit::Failed)?;
    let name: &str = rotated?;
    output.result(&json!({ "rotated": name }), || format!("the {name} key is new"))?;
    Ok(Exit::Fine)
}

async fn rotate_owned(
    project: &Project,
    keeper: &Keeper,
    handle: &Handle,
    key: Key,
) -> Result<&'static str, Failure> {
    let keys = keeper.keys();
    match key {
        Key::Root => {
            let old = keys.roots().exit(Exit::Failed)?;
            keys.rotate_root().exit(Exit::Failed)?;
            let rewrapped = project.vault(handle)?.rewrap_all().await.exit(Exit::Failed)?;
            keeper.rewrap_subjects().await.exit(Exit::Failed)?;
            let unused: Vec<&str> = old
                .iter()
                .filter(|root| !rewrapped.roots.contains(*root))
                .map(String::as_str)
                .collect();
            keys.retire_roots(&unused).exit(Exit::Failed)?;
            Ok("root")
        }
        Key::Log => {
            keeper.rotate_log_key().await.exit(Exit::Failed)?;
            Ok("log")
        }
        Key::Ca => {
            let authority = keys
                .rotate_certificate_authority(keeper.now().unix_seconds())
                .exit(Exit::Failed)?;
            project::write_ca_certificate(project.path(), &authority)?;
            Ok("ca")
        }
    }
}
