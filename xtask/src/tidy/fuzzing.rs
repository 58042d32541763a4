//! Each parser of foreign bytes has a fuzz target: `pub fn fuzz_NAME` in a crate, `NAME.rs` among the targets, a
//! `[[bin]]` in their manifest, and a stable test that calls the function.

use std::collections::BTreeSet;

use crate::Failure;
use crate::checkout::Checkout;

use super::Problems;

const MANIFEST: &str = "fuzz/Cargo.toml";
const TARGETS: &str = "fuzz/fuzz_targets/";

pub(super) fn check(checkout: &Checkout, files: &[String]) -> Result<Problems, Failure> {
    let mut functions = BTreeSet::new();
    let mut tests = String::new();
    for path in files
        .iter()
        .filter(|path| path.starts_with("crates/") && path.ends_with(".rs"))
    {
        let text = checkout.read(path)?;
        functions.extend(defined(&text).map(str::to_owned));
        tests.push_str(test_part(path, &text));
    }
    let manifest = checkout.read(MANIFEST)?;
    let mut problems = Problems::new();
    for name in &functions {
        if !files.contains(&format!("{TARGETS}{name}.rs"))
            || !manifest.contains(&format!("name = \"{name}\""))
        {
            problems.push(format!(
                "fuzz_{name} has no target `{name}` in {TARGETS} and {MANIFEST}"
            ));
        }
        if !tests.contains(&format!("fuzz_{name}")) {
            problems.push(format!("fuzz_{name} is called by no stable test"));
        }
    }
    let targets = files
        .iter()
        .filter_map(|path| path.strip_prefix(TARGETS)?.strip_suffix(".rs"));
    let orphans = targets.filter(|target| !functions.contains(*target));
    problems.extend(orphans.map(|target| format!("{TARGETS}{target}.rs calls a function that no crate has")));
    Ok(problems)
}

/// The tests of a file: all of one that holds nothing else, or what follows the attribute.
fn test_part<'t>(path: &str, text: &'t str) -> &'t str {
    if path.contains("/tests/") || path.ends_with("tests.rs") {
        return text;
    }
    text.split_once("#[cfg(test)]")
        .map(|(_, tests)| tests)
        .unwrap_or_default()
}

fn defined(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        line.strip_prefix("pub fn fuzz_")?
            .split_once('(')
            .map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_where_they_are_defined() {
        let text = "/// Fuzz entry: must not panic.\npub fn fuzz_leaf(data: &[u8]) {}\nfn other() { fuzz_tile(b\"\") }\n";
        assert!(test_part("src/a.rs", text).is_empty());
        assert_eq!(test_part("src/a.rs", "code #[cfg(test)] tests"), " tests");
        assert_eq!(test_part("x/tests/a.rs", text), text);
        assert_eq!(defined(text).collect::<Vec<_>>(), ["leaf"]);
    }
}
