//! `stockade init`: a project folder with keys, certificate authority, policies, configuration and log.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stockade_crypto::{KeyFolder, KeyProvider, Passphrase};
use stockade_store::StateDir;

use crate::{
    cli::Global,
    clock, config,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    private_files,
    project::{self, Project},
};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  stockade init --dir prod\n  stockade init --dir ci --recovery-file recovery.txt"
)]
pub(crate) struct Arguments {
    /// A file whose first line is the recovery passphrase (at least 12 characters)
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery")]
    recovery_file: Option<PathBuf>,
    /// Set no recovery passphrase: when the root key is lost, everything sealed is lost
    #[arg(long)]
    no_recovery: bool,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    if project::exists(&global.dir)? {
        return Err(Failure::new(
            Exit::Usage,
            format!("`{}` is a Stockade project already", global.dir.display()),
        )
        .hint("use it as it is, or choose another folder with --dir"));
    }
    let recovery = recovery(arguments)?;
    create(&global.dir, recovery.as_ref())?;
    let project = Project::find(global, &[])?;
    let keeper = project.keeper().await?;
    let origin = keeper.origin();
    keeper.close().await.exit(Exit::Failed)?;
    let shown = global.dir.display();
    let value = json!({ "dir": shown.to_string(), "origin": origin, "recovery": recovery.is_some() });
    output.result(&value, || {
        format!(
            "{shown} is a Stockade project now; its log's origin is {origin}\nnext: stockade up --dir {shown}"
        )
    })?;
    Ok(Exit::Fine)
}

/// Writes what a project folder needs. Files that are there already stay as they are.
pub(crate) fn create(dir: &Path, recovery: Option<&Passphrase>) -> Result<KeyProvider, Failure> {
    let state = StateDir::new(dir);
    std::fs::create_dir_all(dir).exit_hint(Exit::Failed, "the project folder must be writable")?;
    write_if_absent(&dir.join(config::FILE), TEMPLATE)?;
    let policies = dir.join(project::POLICIES);
    std::fs::create_dir_all(&policies).exit(Exit::Failed)?;
    for (name, text) in stockade_access::default_policies() {
        write_if_absent(&policies.join(name), text)?;
    }
    private_files::create_folder(state.state())?;
    // VERSION comes last: until then an interrupted `init` can be repeated.
    let keys = match KeyFolder::open(&state.keys()) {
        Ok(keys) => keys,
        Err(_) => {
            KeyFolder::create(&state.keys(), recovery, clock::now().unix_seconds()).exit(Exit::Failed)?
        }
    };
    state.create().exit(Exit::Failed)?;
    Ok(keys)
}

const TEMPLATE: &str = "\
# Stockade's configuration. Every setting has a safe default; `stockade config schema` prints all of them,
# `stockade config show --origin` prints what is in force and who set it.

listen = \"127.0.0.1:8443\"
grpc_listen = \"127.0.0.1:8445\"
admin_listen = \"127.0.0.1:8444\"
";

fn write_if_absent(path: &Path, text: &str) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
        )
    })
}

fn recovery(arguments: &Arguments) -> Result<Option<Passphrase>, Failure> {
    if arguments.no_recovery {
        return Ok(None);
    }
    let text = match &arguments.recovery_file {
        Some(file) => private_files::read_secret(file)?,
        None => ask("choose --no-recovery")?,
    };
    Passphrase::new(text).exit(Exit::Usage).map(Some)
}

/// Asks twice on the terminal; without one there is nobody to ask.
pub(crate) fn ask(otherwise: &str) -> Result<String, Failure> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::new(Exit::Usage, "no terminal to ask for a recovery passphrase")
                .hint(format!("give it with --recovery-file FILE, or {otherwise}")),
        );
    }
    let first =
        rpassword::prompt_password("recovery passphrase (at least 12 characters): ").exit(Exit::Failed)?;
    let second = rpassword::prompt_password("the same again: ").exit(Exit::Failed)?;
    if first == second {
        Ok(first)
    } else {
        Err(Failure::new(Exit::Usage, "the two passphrases differ"))
    }
}
