//! `cargo xtask up`: from a clean checkout to a protected model that answers.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::checkout::{Checkout, words};
use crate::{Failure, say};

/// What `stockade up` gets unless the caller says otherwise.
const DEFAULTS: [(&str, &str); 2] = [("--dir", "stockade-demo"), ("--listen", "127.0.0.1:8443")];

/// Builds the binary and becomes `stockade up`, so that signals reach it.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let mut build = checkout.cargo(&["build", "--release", "--locked", "-p", "stockade"]);
    say!("{}", words(&build));
    if !build.status().map_err(Failure::of("cargo build"))?.success() {
        return Err(Failure::new("the build failed"));
    }
    say!("built in {:.0} s", start.elapsed().as_secs_f64());
    let mut command = Command::new(checkout.target()?.join("release").join("stockade"));
    command
        .current_dir(checkout.root())
        .arg("up")
        .args(defaults(arguments))
        .args(arguments);
    say!("{}", words(&command));
    // `exec` returns only when it fails.
    Err(Failure::of("cannot start stockade")(command.exec()))
}

fn defaults(arguments: &[String]) -> Vec<&'static str> {
    let given = |flag: &str| {
        arguments.iter().any(|argument| {
            argument
                .strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    DEFAULTS
        .iter()
        .filter(|(flag, _)| !given(flag))
        .flat_map(|(flag, value)| [*flag, *value])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_says_wins() {
        let given = |arguments: &[&str]| {
            defaults(
                &arguments
                    .iter()
                    .map(|argument| (*argument).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            given(&[]),
            ["--dir", "stockade-demo", "--listen", "127.0.0.1:8443"]
        );
        assert_eq!(given(&["--dir", "x"]), ["--listen", "127.0.0.1:8443"]);
        assert_eq!(
            given(&["--listen=127.0.0.1:0", "--directory"]),
            ["--dir", "stockade-demo"]
        );
    }
}
