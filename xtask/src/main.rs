//! The project's own commands: `cargo xtask up|test|tidy|gen|bench`.
//!
//! They are ordinary programs around cargo; what they check or make is in the file of the same name.

mod bench;
mod checkout;
mod debian;
mod generate;
mod test;
mod tidy;
mod up;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checkout::Checkout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the binary and start a protected example
    Up {
        /// Passed on to `stockade up`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run every check and test
    Test {
        /// Install the Debian packages that some tests need (as root), and skip nothing
        #[arg(long)]
        system: bool,
    },
    /// Check the rules that no compiler checks
    Tidy,
    /// Regenerate the files that are made from the code
    Gen {
        /// Change nothing; fail where a file is not what would be generated
        #[arg(long)]
        check: bool,
    },
    /// Run a benchmark from bench/; without a name, list them
    Bench {
        /// The program's name
        name: Option<String>,
        /// Passed on to the program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Why a command failed, in words.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The failure of doing `what`, for `map_err`.
    fn of<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line for the person at the terminal.
macro_rules! say {
    ($($words:tt)*) => { $crate::print_line(format_args!($($words)*)) };
}
pub(crate) use say;

#[expect(clippy::print_stdout, reason = "these commands talk to a terminal")]
fn print_line(line: fmt::Arguments<'_>) {
    println!("{line}");
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            say!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let checkout = Checkout::find()?;
    match command {
        Command::Up { arguments } => up::run(&checkout, &arguments),
        Command::Test { system } => test::run(&checkout, system),
        Command::Tidy => tidy::run(&checkout),
        Command::Gen { check } => generate::run(&checkout, check),
        Command::Bench { name, arguments } => bench::run(&checkout, name.as_deref(), &arguments),
    }
}
