//! `log verify`: the whole log, and every former origin, against the keys.

use std::{fs, path::Path};

use indicatif::ProgressBar;
use serde::Serialize;
use stockade_evidence::{LogVerifier, Verification, verify_log};
use stockade_store::{
    FolderSource,
    log::{Audit, audit},
};

use super::Verify;
use crate::{
    cli::Global,
    failure::{Exit, Failing as _, Failure},
    output::{Output, SarifFinding},
    project::Project,
};

/// The largest text file read here: a checkpoint or verifier keys.
const MAX_TEXT: u64 = 1 << 20;

/// The verdict on the origin now written, and on those before it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    verification: Verification,
    others: Vec<Verification>,
}

impl Report {
    fn all(&self) -> impl Iterator<Item = &Verification> {
        std::iter::once(&self.verification).chain(&self.others)
    }

    fn ok(&self) -> bool {
        self.all().all(|verification| verification.ok)
    }
}

pub(super) fn run(global: &Global, arguments: &Verify, output: &Output) -> Result<Exit, Failure> {
    let since = arguments.since.as_deref().map(read_text).transpose()?;
    let mut report = match (&arguments.log, &arguments.key) {
        (Some(log), Some(key)) => {
            let verifiers = LogVerifier::from_vkeys(&read_text(key)?).exit(Exit::Usage)?;
            let verification = copy(global, log, &verifiers, since.as_deref(), arguments.minimum_index)?;
            Report {
                verification,
                others: Vec::new(),
            }
        }
        _ => own(global, since.as_deref())?,
    };
    report.verification.ok = report.ok();
    let findings: Vec<SarifFinding> = report
        .all()
        .flat_map(|verification| &verification.problems)
        .map(|problem| SarifFinding {
            rule: "log-integrity",
            message: problem.reason.clone(),
            file: problem.file.clone(),
        })
        .collect();
    output.findings(&report, &findings, || describe(&report))?;
    Ok(if report.ok() { Exit::Fine } else { Exit::Broken })
}

fn own(global: &Global, since: Option<&str>) -> Result<Report, Failure> {
    let project = Project::find(global, &[])?;
    let trust = project.log_trust()?;
    let bar = bar(global);
    let progress = |checked| bar.set_position(checked);
    let audited = audit(&project.log_paths(), &trust, since, &progress);
    bar.finish_and_clear();
    let Audit { current, others } = audited.exit(Exit::Failed)?;
    Ok(Report {
        verification: current,
        others,
    })
}

/// A stranger's copy.
fn copy(
    global: &Global,
    folder: &Path,
    verifiers: &[LogVerifier],
    since: Option<&str>,
    minimum_index: u64,
) -> Result<Verification, Failure> {
    if !folder.is_dir() {
        return Err(
            Failure::new(Exit::Usage, format!("`{}` is not a folder", folder.display()))
                .hint("give the folder that holds `checkpoint` and `tile/`"),
        );
    }
    let source = FolderSource::new(folder);
    let listing = source.listing().exit(Exit::Failed)?;
    let bar = bar(global);
    let progress = |checked| bar.set_position(checked);
    let verification = verify_log(
        &source,
        Some(&listing),
        verifiers,
        since,
        minimum_index,
        &progress,
    );
    bar.finish_and_clear();
    Ok(verification)
}

fn bar(global: &Global) -> ProgressBar {
    if global.quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::no_length()
    }
}

fn describe(report: &Report) -> String {
    let mut lines = Vec::new();
    for verification in report.all() {
        let verdict = if verification.problems.is_empty() {
            "intact"
        } else {
            "BROKEN"
        };
        lines.push(format!(
            "{verdict}: {} records of {} checked in {}",
            verification.records_checked, verification.size, verification.origin
        ));
        for signature in &verification.checkpoint_signatures {
            let valid = if signature.valid { "valid" } else { "INVALID" };
            lines.push(format!("  checkpoint signed with {}: {valid}", signature.kind));
        }
        for problem in &verification.problems {
            lines.push(format!("  {}: {}", problem.file, problem.reason));
        }
    }
    lines.join("\n")
}

/// A small text file that the user named.
pub(in crate::commands) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", path.display()))
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_TEXT {
        return Err(Failure::new(
            Exit::Usage,
            format!("`{}` is larger than 1 MiB", path.display()),
        ));
    }
    fs::read_to_string(path).map_err(failed)
}
