//! One file per command; each turns arguments into calls of the crates below and prints one result.

use std::time::Duration;

use crate::{
    cli::{Cli, Command},
    failure::{Exit, Failing as _, Failure},
    output::Output,
};

pub(crate) mod access;
pub(crate) mod backup;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod model;
pub(crate) mod serve;
pub(crate) mod up;
pub(crate) mod watch;

/// How long threads that still work may keep the process after the command is done.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    // It gives up what it must not have before it has threads.
    if matches!(cli.command, Command::Worker) {
        return crate::worker::run();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .exit(Exit::Failed)?;
    let done = runtime.block_on(dispatch(cli, output));
    // A model that runs for ever holds a thread for ever; what had to be waited for was.
    runtime.shutdown_timeout(LAST_THREADS);
    done
}

async fn dispatch(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(arguments) => init::run(&global, &arguments, output).await,
        Command::Up(arguments) => Box::pin(up::run(&global, arguments, output)).await,
        Command::Serve(arguments) => Box::pin(serve::run(&global, arguments, output)).await,
        Command::Model(verb) => model::run(&global, verb, output).await,
        Command::Access(verb) => access::run(&global, verb, output).await,
        Command::Watch(verb) => watch::run(&global, verb, output).await,
        Command::Log(verb) => log::run(&global, verb, output).await,
        Command::Keys(verb) => keys::run(&global, verb, output).await,
        Command::Backup(verb) => backup::run(&global, verb, output).await,
        Command::Config(verb) => config::run(&global, &verb, output).await,
        Command::Doctor(arguments) => doctor::run(&global, &arguments, output).await,
        Command::Completions(arguments) => Ok(completions::run(&arguments)),
        Command::Manpages(arguments) => completions::manpages(&arguments, output),
        // Begun and ended before there was a runtime.
        Command::Worker => Ok(Exit::Fine),
        Command::Openapi => {
            output.text(&stockade_serve::openapi_json())?;
            Ok(Exit::Fine)
        }
    }
}
