//! This program, started once more: nothing in its arguments or its environment leads to the state.

use std::{
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
};

use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
};

/// The subcommand.
pub(super) const NAME: &str = "worker";
/// What of the environment a worker gets: how much to log, and where an engine's library finds its own.
const KEPT: [&str; 3] = ["STOCKADE_LOG", "RUST_BACKTRACE", "LD_LIBRARY_PATH"];

/// Starts a worker with one end of a socket as its standard input; answers with the other.
pub(super) fn start(global: &Global) -> Result<(Child, UnixStream), Failure> {
    let (near, far) = UnixStream::pair().exit(Exit::Failed)?;
    let mut command = Command::new(this_program()?);
    command.arg0("stockade").arg(NAME).env_clear();
    command.envs(
        KEPT.iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    for _ in 0..global.verbose {
        command.arg("--verbose");
    }
    if global.quiet {
        command.arg("--quiet");
    }
    command
        .current_dir("/")
        .stdin(OwnedFd::from(far))
        .stdout(Stdio::null())
        // What a terminal sends to its foreground ends the keeper, which then lets the worker finish.
        .process_group(0);
    Ok((command.spawn().exit(Exit::Failed)?, near))
}

/// The very program that runs, whatever lies at its path by now.
#[cfg(target_os = "linux")]
fn this_program() -> Result<std::path::PathBuf, Failure> {
    Ok("/proc/self/exe".into())
}

#[cfg(not(target_os = "linux"))]
fn this_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().exit(Exit::Failed)
}
