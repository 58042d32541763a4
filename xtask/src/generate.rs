//! `cargo xtask gen`: files that are made from the code, so that they cannot say something else.
//!
//! `gen --check` changes nothing and fails where a committed file is not what would be made now.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use stockade_protocol::{ErrorCode, grpc::GrpcStatus};

use crate::checkout::{Checkout, words};
use crate::{Failure, say};

/// A file and what it is made by.
struct Generated {
    path: &'static str,
    make: fn(&Binary<'_>) -> Result<String, Failure>,
}

const FILES: &[Generated] = &[
    Generated {
        path: "docs/errors.md",
        make: |_| errors(),
    },
    Generated {
        path: "docs/cli.md",
        make: commands,
    },
    Generated {
        path: "docs/stockade.schema.json",
        make: |binary| binary.run(&["config", "schema"]),
    },
    Generated {
        path: "docs/openapi.json",
        make: |binary| binary.run(&["openapi"]),
    },
];

pub(crate) fn run(checkout: &Checkout, check: bool) -> Result<ExitCode, Failure> {
    let binary = Binary::new(checkout);
    let mut stale = 0;
    for Generated { path, make } in FILES {
        let made = make(&binary)?;
        let file = checkout.root().join(path);
        let same = fs::read_to_string(&file).is_ok_and(|text| text == made);
        match (same, check) {
            (true, _) => {}
            (false, true) => {
                say!("gen: {path} is not what the code says; run `cargo xtask gen`");
                stale += 1;
            }
            (false, false) => {
                fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(Failure::of(path))?;
                fs::write(&file, made).map_err(Failure::of(path))?;
                say!("gen: wrote {path}");
            }
        }
    }
    Ok(if stale == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The table of codes that an error answer carries.
fn errors() -> Result<String, Failure> {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Made by `cargo xtask gen` from `ErrorCode` in crates/methods/protocol. -->\n\n\
         Every answer that is not the one asked for is JSON:\n\n\
         ```json\n{\"error\": \"what is wrong, in words\", \"code\": \"invalid_request\", \"request_id\": \"...\"}\n```\n\n\
         Programs should look at `code`: a code keeps its meaning, the words may change. Operators find the record of a \
         request under its `request_id`,\nwhich is in the header `X-Request-Id` of every answer too.\n\n\
         Over gRPC the same is in trailers: the status below in `grpc-status`, the words in `grpc-message`, the code in \
         `error-code`, and the id in\n`x-request-id`.\n\n\
         | code | status | gRPC | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let (text, status, grpc) = (code.as_str(), code.status(), GrpcStatus::from(*code).number());
        writeln!(
            page,
            "| `{text}` | {status} | {grpc} | {} | {} |",
            code.meaning(),
            code.cure()
        )
        .map_err(Failure::of("docs/errors.md"))?;
    }
    Ok(page)
}

/// The help of every command, in the order in which the binary lists them.
fn commands(binary: &Binary<'_>) -> Result<String, Failure> {
    let mut page = String::from("# Commands\n\n<!-- Made by `cargo xtask gen` from `stockade --help`. -->\n");
    let mut left = vec![Vec::<String>::new()];
    while let Some(path) = left.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = binary.run(&arguments)?;
        let title = std::iter::once("stockade")
            .chain(path.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ");
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(
            page,
            "\n## {title}\n\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        )
        .map_err(Failure::of("docs/cli.md"))?;
        left.extend(
            subcommands(&help)
                .into_iter()
                .rev()
                .map(|name| [path.as_slice(), &[name.to_owned()]].concat()),
        );
    }
    Ok(page)
}

/// The names under `Commands:`, without clap's own `help`.
fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| {
            let name = line.strip_prefix("  ")?;
            name.split(' ').next().filter(|name| !name.is_empty())
        });
    names.filter(|name| *name != "help").collect()
}

/// The product's binary, which knows its own commands and configuration; built when it is first asked.
struct Binary<'c> {
    checkout: &'c Checkout,
    built: OnceCell<PathBuf>,
}

impl<'c> Binary<'c> {
    const fn new(checkout: &'c Checkout) -> Self {
        Self {
            checkout,
            built: OnceCell::new(),
        }
    }

    fn path(&self) -> Result<&Path, Failure> {
        if let Some(path) = self.built.get() {
            return Ok(path);
        }
        // Built as the tests build it: another choice of packages has other features, and builds everything again.
        let mut build = self.checkout.cargo(&[
            "test",
            "--no-run",
            "--quiet",
            "--release",
            "--locked",
            "--workspace",
        ]);
        if !build.status().map_err(Failure::of("cargo build"))?.success() {
            return Err(Failure::new("the binary does not build"));
        }
        let path = self.checkout.target()?.join("release").join("stockade");
        Ok(self.built.get_or_init(|| path))
    }

    /// What the binary prints, on no terminal and without settings of whoever runs this.
    fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(self.path()?);
        command
            .args(arguments)
            .current_dir(self.checkout.root())
            .env_clear();
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(Failure::of(words(&command)))?;
        if !output.status.success() {
            return Err(Failure(format!(
                "`{}` ended with {}",
                words(&command),
                output.status
            )));
        }
        String::from_utf8(output.stdout).map_err(Failure::of(words(&command)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_help() {
        let help = "Security\n\nUsage: stockade <COMMAND>\n\nCommands:\n  init    Make a folder\n          that is new\n  up      \
            Start\n  help    Print this\n\nOptions:\n  -h, --help  Print help\n";
        assert_eq!(subcommands(help), ["init", "up"]);
    }

    #[test]
    fn every_code_is_on_the_page() {
        let page = errors().unwrap();
        for code in ErrorCode::ALL {
            assert!(
                page.contains(&format!("| `{code}` | {} |", code.status())),
                "{code}"
            );
        }
    }
}
