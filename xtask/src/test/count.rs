//! How many passed, failed and were skipped, read from what the runners report.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitStatus;

/// The result of a step or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Count {
    pub(super) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    pub(super) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    /// A run that ended badly has a failure, whatever it counted.
    pub(super) fn unless_failed(self, status: ExitStatus) -> Self {
        if status.success() || self.failed > 0 {
            self
        } else {
            Self { failed: 1, ..self }
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// From the head of a JUnit report: `<testsuites name=".." tests="35" failures="0" errors="0" ..>`.
pub(super) fn in_junit(report: &str) -> Option<Count> {
    let head = report.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |name: &str| {
        let value = head.split_once(&format!("{name}=\""))?.1;
        value.split_once('"')?.0.parse::<usize>().ok()
    };
    let failed = number("failures")? + number("errors")?;
    Some(Count {
        passed: number("tests")?.checked_sub(failed)?,
        failed,
        skipped: 0,
    })
}

/// From cargo's own runner: `test result: ok. 5 passed; 0 failed; 1 ignored; ..`, one line for each program.
pub(super) fn in_cargo_output(text: &str) -> Count {
    let mut count = Count::default();
    for line in text.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |word: &str| {
            let before = line.split_once(word).map(|(before, _)| before.trim_end());
            before
                .and_then(|before| before.rsplit(' ').next())
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        count += Count {
            passed: number(" passed"),
            failed: number(" failed"),
            skipped: number(" ignored"),
        };
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_counted() {
        let report = r#"<?xml version="1.0"?><testsuites name="nextest-run" tests="35" failures="2" errors="1" uuid="x" time="0.2">"#;
        assert_eq!(
            in_junit(report),
            Some(Count {
                passed: 32,
                failed: 3,
                skipped: 0
            })
        );
        assert_eq!(in_junit("<testsuites name=\"x\">"), None);
    }

    #[test]
    fn programs_of_cargos_runner_are_added() {
        let text = "running 2 tests\ntest result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(
            in_cargo_output(text),
            Count {
                passed: 7,
                failed: 3,
                skipped: 1
            }
        );
    }
}
