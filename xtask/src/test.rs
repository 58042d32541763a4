//! `cargo xtask test`: every check and test in one go, and an honest last line.
//!
//! All steps run, whatever fails before. A test that cannot run on this machine appends a line to the file that
//! `STOCKADE_SKIPPED` names (`stockade_conformance::skip`); those are listed by name. With `--system` nothing may be
//! skipped, and such a test fails instead.

mod count;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::checkout::{Checkout, words};
use crate::{Failure, debian, generate, say, tidy};

use self::count::{Count, in_cargo_output, in_junit};

pub(crate) fn run(checkout: &Checkout, system: bool) -> Result<ExitCode, Failure> {
    if system {
        debian::install(checkout)?;
    }
    let run = Run::new(checkout, system)?;
    let mut count = Count::default();
    count += step("tidy", || passed(tidy::run(checkout)));
    count += step("format", || run.check(&["fmt", "--all", "--check"]));
    let lint = [
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    count += step("lints", || run.check(&lint));
    count += step("tests", || run.tests());
    count += step("documented examples", || {
        run.cargo_test(&["test", "--release", "--doc", "--workspace", "--locked"])
    });
    count += step("generated files", || passed(generate::run(checkout, true)));
    let skipped = run.skipped();
    count.skipped += skipped.len();
    for line in skipped {
        say!("{line}");
    }
    say!("{count}");
    Ok(if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one step and says how long it took; what cannot even start counts as one failure.
fn step(name: &str, work: impl FnOnce() -> Result<Count, Failure>) -> Count {
    say!("=== {name}");
    let start = Instant::now();
    let count = work().unwrap_or_else(|failure| {
        say!("error: {failure}");
        Count::FAILED
    });
    say!("=== {name}: {count} in {:.0} s", start.elapsed().as_secs_f64());
    count
}

fn passed(code: Result<ExitCode, Failure>) -> Result<Count, Failure> {
    code.map(|code| {
        if code == ExitCode::SUCCESS {
            Count::PASSED
        } else {
            Count::FAILED
        }
    })
}

/// What all steps share.
struct Run<'c> {
    checkout: &'c Checkout,
    system: bool,
    skipped: PathBuf,
}

impl<'c> Run<'c> {
    fn new(checkout: &'c Checkout, system: bool) -> Result<Self, Failure> {
        let target = checkout.target()?;
        std::fs::create_dir_all(&target).map_err(Failure::of(target.display()))?;
        let skipped = target.join("skipped.txt");
        std::fs::write(&skipped, "").map_err(Failure::of(skipped.display()))?;
        Ok(Self {
            checkout,
            system,
            skipped,
        })
    }

    /// A command that only succeeds or fails.
    fn check(&self, arguments: &[&str]) -> Result<Count, Failure> {
        let mut command = self.checkout.cargo(arguments);
        say!("{}", words(&command));
        let status = command.status().map_err(Failure::of("cargo"))?;
        Ok(if status.success() {
            Count::PASSED
        } else {
            Count::FAILED
        })
    }

    /// All tests, by nextest where it is there.
    fn tests(&self) -> Result<Count, Failure> {
        let nextest = self
            .checkout
            .cargo(&["nextest", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if nextest.is_ok_and(|status| status.success()) {
            return self.nextest();
        }
        say!("cargo-nextest is not installed; cargo's own runner takes longer");
        self.cargo_test(&[
            "test",
            "--release",
            "--workspace",
            "--all-targets",
            "--locked",
            "--no-fail-fast",
        ])
    }

    fn nextest(&self) -> Result<Count, Failure> {
        // nextest keeps its reports in the checkout, wherever cargo builds.
        let report = self.checkout.root().join("target/nextest/whole/junit.xml");
        // A report of an earlier run must not be taken for this one's.
        if report.exists() {
            std::fs::remove_file(&report).map_err(Failure::of(report.display()))?;
        }
        let mut command = self
            .checkout
            .cargo(&["nextest", "run", "--release", "--workspace", "--locked"]);
        command.args(["--no-fail-fast", "--profile", "whole"]);
        let status = self
            .with_environment(&mut command)
            .status()
            .map_err(Failure::of("cargo nextest"))?;
        let report = std::fs::read_to_string(&report).map_err(Failure::of("the run left no report"))?;
        let count = in_junit(&report).ok_or_else(|| Failure::new("the run's report has no counts"))?;
        Ok(count.unless_failed(status))
    }

    /// Cargo's own runner; its output is read for the counts and passed on.
    fn cargo_test(&self, arguments: &[&str]) -> Result<Count, Failure> {
        let mut command = self.checkout.cargo(arguments);
        let child = self.with_environment(&mut command).stdout(Stdio::piped()).spawn();
        let output = child
            .and_then(std::process::Child::wait_with_output)
            .map_err(Failure::of("cargo test"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        say!("{text}");
        Ok(in_cargo_output(&text).unless_failed(output.status))
    }

    fn with_environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        say!("{}", words(command));
        command.env("STOCKADE_SKIPPED", &self.skipped);
        if self.system {
            command.env("STOCKADE_SYSTEM", "1");
        }
        let data = self.checkout.root().join("../shared/data");
        if std::env::var_os("STOCKADE_TEST_DATA").is_none() && data.is_dir() {
            command.env("STOCKADE_TEST_DATA", data);
        }
        command
    }

    /// The lines that tests left, each once.
    fn skipped(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.skipped).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}
