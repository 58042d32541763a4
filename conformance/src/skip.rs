//! Cases that this machine cannot run: said by name, counted by `cargo xtask test`, and never silent.
//!
//! A case that misses what it needs calls [`skip`] and returns. With `STOCKADE_SYSTEM=1` everything that tests need is
//! promised to be there, so a skip is a failure.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Says that the case `name` cannot run here and why.
///
/// Prints `SKIPPED <name>: <reason>` on stderr, and appends the same to the file that `STOCKADE_SKIPPED` names, from
/// which `cargo xtask test` makes its list.
///
/// # Panics
/// With `STOCKADE_SYSTEM=1`, where nothing may be skipped, and when the file cannot be written.
#[expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "called by tests alone: a panic is how a test fails"
)]
pub fn skip(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {}", reason.replace('\n', " "));
    if std::env::var_os("STOCKADE_SYSTEM").is_some_and(|value| value == "1") {
        panic!("nothing may be skipped with STOCKADE_SYSTEM=1, yet: {line}");
    }
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("STOCKADE_SKIPPED")
        && let Err(error) = append(Path::new(&list), &line)
    {
        panic!("cannot note in {}: {error}", list.display());
    }
}

/// One write in append mode, so that lines of tests that run side by side do not mix.
fn append(list: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(list)?;
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_tests_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("skipped.txt");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || {
                    (0..50).for_each(|n| append(list, &format!("SKIPPED {thread}-{n}: none")).unwrap())
                });
            }
        });
        let text = std::fs::read_to_string(&list).unwrap();
        let lines: std::collections::BTreeSet<&str> = text.lines().collect();
        assert_eq!(lines.len(), 200);
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("SKIPPED ") && line.ends_with(": none"))
        );
    }
}
