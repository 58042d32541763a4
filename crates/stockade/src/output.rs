//! Results go to standard output, in the asked format; everything else goes to standard error.

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::Format,
    failure::{Exit, Failure},
};

/// Where a command prints its one result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

/// One finding for SARIF: a stable rule, a sentence, a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SarifFinding {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) file: String,
}

impl Output {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints `text` for people or `value` for scripts. A command without findings prints JSON for SARIF.
    pub(crate) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let line = match self.format {
            Format::Table => text(),
            Format::Json | Format::Sarif => to_json(value)?,
        };
        print(&line)
    }

    /// Prints a document as it is, in every format.
    #[expect(clippy::unused_self, reason = "printing goes through the one place for it")]
    pub(crate) fn text(&self, document: &str) -> Result<(), Failure> {
        print(document)
    }

    /// The same for a command that looks for problems.
    pub(crate) fn findings(
        &self,
        value: &impl Serialize,
        findings: &[SarifFinding],
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&text()),
            Format::Json => print(&to_json(value)?),
            Format::Sarif => print(&to_json(&sarif(findings))?),
        }
    }

    /// Prints a failure: the cause and cure on standard error, and JSON on standard output where JSON was asked.
    pub(crate) fn fail(&self, failure: &Failure) -> Exit {
        if self.format != Format::Table {
            // The failure itself is what is being reported; a closed pipe adds nothing.
            let _ = print(&failure.to_json().to_string());
        }
        let mut stderr = std::io::stderr().lock();
        let _ = match &failure.report {
            Some(report) => {
                let mut text = String::new();
                let handler = miette::GraphicalReportHandler::new();
                match handler.render_report(&mut text, report.as_ref()) {
                    Ok(()) => writeln!(stderr, "{failure}\n{text}"),
                    Err(_) => writeln!(stderr, "{failure}"),
                }
            }
            None => writeln!(stderr, "{failure}"),
        };
        failure.exit
    }
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::from_error(Exit::Failed, &error))
}

fn print(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", line.trim_end_matches('\n')).and_then(|()| stdout.flush());
    match written {
        // A reader that went away, such as `head`, has what it wanted.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// SARIF 2.1.0 (OASIS), the parts that every reader understands.
fn sarif(findings: &[SarifFinding]) -> Value {
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.rule,
                "level": "error",
                "message": { "text": finding.message },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": finding.file } } }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "stockade", "version": env!("CARGO_PKG_VERSION") } },
            "results": results,
        }],
    })
}

/// Lines up columns for people.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|name| name.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}
