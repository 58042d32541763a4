//! The command line: one subcommand per verb, the same global options everywhere.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::{
    commands,
    failure::{Exit, Failure},
    output::Output,
};

/// Security for AI models and the data they learn from.
#[derive(Debug, Parser)]
#[command(
    name = "stockade",
    version,
    about,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 fine; 1 findings or refusal; 2 usage or configuration; 3 failure; 4 integrity broken.\n\
    Start with `stockade up --dir demo`, then follow what it prints."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The project folder; its state lies in DIR/.stockade
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = ".",
        env = "STOCKADE_DIR"
    )]
    pub(crate) dir: PathBuf,
    /// How to print results on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Act as this principal instead of as the folder's owner
    #[arg(long = "as", global = true, value_name = "NAME", requires = "key_file")]
    pub(crate) acting: Option<String>,
    /// A file that holds the principal's API key, and nothing else
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Print more to standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print nothing to standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON object, for scripts
    Json,
    /// SARIF 2.1.0, where a command has findings
    Sarif,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project folder: keys, certificate authority, policies, configuration, log
    Init(commands::init::Arguments),
    /// Start a protected example from nothing, and keep it running
    Up(commands::up::Arguments),
    /// Serve the configured models
    Serve(commands::serve::Arguments),
    /// Seal, list, show and open model versions; judge who trained on marked answers
    #[command(subcommand)]
    Model(commands::model::Verb),
    /// Principals, API keys, and what policy says of them
    #[command(subcommand)]
    Access(commands::access::Verb),
    /// What the watches over queries saw of each client
    #[command(subcommand)]
    Watch(commands::watch::Verb),
    /// The evidence log: verify, export, recover, prune
    #[command(subcommand)]
    Log(commands::log::Verb),
    /// Long-lived keys: rotate, recover, rebuild
    #[command(subcommand)]
    Keys(commands::keys::Verb),
    /// Back up and restore the state folder
    #[command(subcommand)]
    Backup(commands::backup::Verb),
    /// Show and check the configuration
    #[command(subcommand)]
    Config(commands::config::Verb),
    /// Check the state folder, and repair its projection
    Doctor(commands::doctor::Arguments),
    /// Print a completion script for a shell
    Completions(commands::completions::Arguments),
    /// Write man pages into a folder
    #[command(hide = true)]
    Manpages(commands::completions::ManpageArguments),
    /// What `serve` and `up` start: the process that serves
    #[command(hide = true)]
    Worker,
    /// Print the admin API's OpenAPI document
    #[command(hide = true)]
    Openapi,
}

/// Prints clap's own message: help and version are fine, everything else is a usage error, in JSON too where it was asked.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let fine = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !fine && json_was_asked(std::env::args()) {
        let text = error.render().to_string();
        let message = text
            .trim_start_matches("error: ")
            .split("\n\n")
            .next()
            .unwrap_or_default();
        let failure = Failure::new(Exit::Usage, message.trim()).hint("`stockade --help` shows what there is");
        return Output::new(Format::Json).fail(&failure).into();
    }
    // Nothing can be done about a closed terminal.
    let _ = error.print();
    if fine {
        Exit::Fine.into()
    } else {
        Exit::Usage.into()
    }
}

/// Looks for `--format json` where the arguments as a whole could not be understood.
fn json_was_asked(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.collect();
    let machine = |format: &str| matches!(format, "json" | "sarif");
    arguments
        .iter()
        .any(|argument| argument.strip_prefix("--format=").is_some_and(machine))
        || arguments
            .windows(2)
            .any(|pair| matches!(pair, [name, format] if name == "--format" && machine(format)))
}
