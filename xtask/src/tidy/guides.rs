//! What a guide shows is run: crates/stockade/tests/docs.rs runs the `console` blocks of each page in docs/, and of
//! other pages that it names.

use crate::Failure;
use crate::checkout::Checkout;

use super::Problems;

const RUNNER: &str = "crates/stockade/tests/docs.rs";

pub(super) fn check(checkout: &Checkout, files: &[String]) -> Result<Problems, Failure> {
    let runner = checkout.read(RUNNER)?;
    let mut problems = Problems::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        let shows = checkout
            .read(path)?
            .lines()
            .any(|line| line.starts_with("```console"));
        if shows && !is_run(path, &runner) {
            problems.push(format!("{path}: shows commands that {RUNNER} does not run"));
        }
    }
    Ok(problems)
}

fn is_run(path: &str, runner: &str) -> bool {
    let in_docs = path.strip_prefix("docs/").is_some_and(|page| !page.contains('/'));
    (in_docs && runner.contains("\"docs\"")) || runner.contains(&format!("\"{path}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_run_from_docs_or_by_name() {
        let runner = "read_dir(root.join(\"docs\")); run_page(\"README.md\")";
        assert!(is_run("docs/guide.md", runner) && is_run("README.md", runner));
        assert!(
            !is_run("docs/more/guide.md", runner)
                && !is_run("SECURITY.md", runner)
                && !is_run("docs/guide.md", "")
        );
    }
}
