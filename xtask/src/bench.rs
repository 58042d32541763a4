//! `cargo xtask bench NAME`: programs of bench/, a workspace of its own (peers need more dependencies than the product).

use std::process::ExitCode;

use crate::checkout::{Checkout, words};
use crate::{Failure, say};

const MANIFEST: &str = "bench/Cargo.toml";
const PROGRAMS: &str = "bench/src/bin/";

pub(crate) fn run(
    checkout: &Checkout,
    name: Option<&str>,
    arguments: &[String],
) -> Result<ExitCode, Failure> {
    let programs = programs(&checkout.files()?);
    let Some(name) = name else {
        for program in &programs {
            say!("{program}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !programs.iter().any(|program| program == name) {
        return Err(Failure(format!(
            "there is no benchmark `{name}`; there are: {}",
            programs.join(", ")
        )));
    }
    // LTO, as the `bench` profile says, but no debug assertions and no test harness.
    let mut command = checkout.cargo(&[
        "run",
        "--profile",
        "bench",
        "--locked",
        "--manifest-path",
        MANIFEST,
    ]);
    command.args(["--bin", name, "--"]).args(arguments);
    say!("{}", words(&command));
    let status = command.status().map_err(Failure::of("cargo run"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `bench/src/bin/NAME.rs` and `bench/src/bin/NAME/main.rs`.
fn programs(files: &[String]) -> Vec<String> {
    let name = |path: &String| {
        let rest = path.strip_prefix(PROGRAMS)?;
        let name = rest
            .strip_suffix("/main.rs")
            .or_else(|| rest.strip_suffix(".rs"))?;
        (!name.contains('/')).then(|| name.to_owned())
    };
    files.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_files_and_folders() {
        let files = [
            "bench/src/bin/log.rs",
            "bench/src/bin/vault/main.rs",
            "bench/src/bin/vault/peer.rs",
            "bench/src/lib.rs",
        ];
        assert_eq!(programs(&files.map(str::to_owned)), ["log", "vault"]);
    }
}
