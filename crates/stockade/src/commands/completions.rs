//! `stockade completions` and the man pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{
    cli::Cli,
    failure::{Exit, Failing as _, Failure},
    output::Output,
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManpageArguments {
    /// An existing folder
    folder: PathBuf,
}

/// Prints the completion script.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "stockade",
        &mut std::io::stdout(),
    );
    Exit::Fine
}

/// Writes one page per command.
pub(crate) fn manpages(arguments: &ManpageArguments, output: &Output) -> Result<Exit, Failure> {
    clap_mangen::generate_to(Cli::command(), &arguments.folder)
        .exit_hint(Exit::Failed, "the folder must exist and be writable")?;
    let folder = arguments.folder.display().to_string();
    output.result(&serde_json::json!({ "folder": folder }), || {
        format!("man pages are in {folder}")
    })?;
    Ok(Exit::Fine)
}
