//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! After rust-analyzer's tidy: each rule is a function from what it reads to the problems that it found.

mod controls;
mod dependencies;
mod floors;
mod fuzzing;
mod guides;
mod sources;

use std::process::ExitCode;

use crate::checkout::{Checkout, output};
use crate::{Failure, say};

/// What is wrong, and where: one line each.
type Problems = Vec<String>;

pub(crate) fn run(checkout: &Checkout) -> Result<ExitCode, Failure> {
    let files = checkout.files()?;
    let mut problems = floors::check(&checkout.metadata()?);
    problems.extend(sources::check(checkout, &files)?);
    problems.extend(controls::check(checkout)?);
    problems.extend(guides::check(checkout, &files)?);
    problems.extend(fuzzing::check(checkout, &files)?);
    problems.extend(check_dependencies(checkout)?);
    for problem in &problems {
        say!("tidy: {problem}");
    }
    sources::report(checkout, &files)?;
    say!("tidy: {} problems", problems.len());
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check_dependencies(checkout: &Checkout) -> Result<Problems, Failure> {
    let mut tree = checkout.cargo(&[
        "tree",
        "--locked",
        "--workspace",
        "--target",
        "all",
        "-e",
        "normal,build",
    ]);
    let tree = output(tree.args(["--prefix", "depth", "-f", "{p}"]))?;
    dependencies::check(&checkout.read("deny.toml")?, &tree)
}
