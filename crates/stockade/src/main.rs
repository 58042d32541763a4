//! Stockade, one binary: parse the arguments, run one command, end with its exit code.

use std::process::ExitCode;

use clap::Parser as _;

mod cli;
mod clock;
mod commands;
mod config;
mod example;
mod failure;
mod logging;
mod models;
mod output;
mod private_files;
mod project;
mod reload;
mod worker;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    logging::start(cli.global.verbose, cli.global.quiet);
    let output = output::Output::new(cli.global.format);
    match commands::run(cli, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => output.fail(&failure).into(),
    }
}
