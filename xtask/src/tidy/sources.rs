//! Rules on files: their names, their first line, and words that have no place in them.

use std::collections::BTreeMap;

use crate::checkout::Checkout;
use crate::{Failure, say};

use super::Problems;

/// Names that say nothing.
const VAGUE: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "misc", "core", "types",
];

/// Words for work that was left, in source. In pieces, so that this file does not name them.
const LEFT: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("un", "implemented!("),
];

/// Places that only one machine or one network has.
const PRIVATE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("crates", ".io/api"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npm", "js.org"),
    concat!("proxy.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
];

/// Files that tools write; only their names are checked.
const WRITTEN_BY_TOOLS: &[&str] = &["Cargo.lock", "LICENSE"];

/// The most bytes of a file that is read as text here; larger ones are data.
const TEXT_BYTES: u64 = 1 << 20;

pub(super) fn check(checkout: &Checkout, files: &[String]) -> Result<Problems, Failure> {
    let mut problems = Problems::new();
    for path in files {
        problems.extend(
            vague_name(path).map(|word| format!("{path}: `{word}` says nothing; name what is in it")),
        );
        let Some(text) = text(checkout, path)? else {
            continue;
        };
        if path.ends_with(".rs") && !text.starts_with("//!") {
            problems.push(format!("{path}: starts without `//!`: what is it?"));
        }
        if !WRITTEN_BY_TOOLS.iter().any(|name| path.ends_with(name)) {
            problems.extend(words(path, &text));
        }
    }
    Ok(problems)
}

/// Lines of Rust per crate, tests apart, and the longest files: told, not judged.
pub(super) fn report(checkout: &Checkout, files: &[String]) -> Result<(), Failure> {
    let mut crates: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut lengths = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = checkout.read(path)?;
        let tests = tests_start(path, &text);
        let total = text.lines().count();
        let folder = path
            .split_once("/src/")
            .or_else(|| path.split_once("/tests/"))
            .map_or(path.as_str(), |(folder, _)| folder);
        let count = crates.entry(folder).or_default();
        count.0 += tests;
        count.1 += total - tests;
        lengths.push((tests, path));
    }
    say!("lines of Rust (and of tests):");
    for (folder, (code, tests)) in &crates {
        say!("  {code:>6} ({tests:>6})  {folder}");
    }
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let longest = lengths.iter().take_while(|(lines, _)| *lines > 400);
    for (lines, path) in longest {
        say!("  over 400 lines: {path} ({lines})");
    }
    Ok(())
}

/// The line on which a file's tests begin.
fn tests_start(path: &str, text: &str) -> usize {
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return 0;
    }
    text.lines()
        .position(|line| line == "#[cfg(test)]")
        .unwrap_or_else(|| text.lines().count())
}

fn vague_name(path: &str) -> Option<&'static str> {
    // Rust's own names for folders are no choice of ours.
    let code = path.ends_with(".rs") || path.ends_with(".toml");
    let mut names = path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or_default());
    names.find_map(|name| VAGUE.iter().copied().find(|vague| code && name == *vague))
}

fn words(path: &str, text: &str) -> Problems {
    let mut problems = Problems::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in LEFT.iter().filter(|word| has_word(line, word)) {
            problems.push(format!(
                "{path}:{number}: `{word}`: finish it or say in ARCHITECTURE.md why not"
            ));
        }
        for word in PRIVATE.iter().filter(|word| line.contains(*word)) {
            problems.push(format!("{path}:{number}: `{word}` exists on one machine only"));
        }
    }
    problems
}

/// Whether `word` stands in `line` and not inside a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, found)| {
        let letter = |char: Option<char>| char.is_some_and(|char| char.is_alphanumeric() || char == '_');
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + found.len()..).and_then(|text| text.chars().next());
        !letter(before) && (word.ends_with('(') || !letter(after))
    })
}

fn text(checkout: &Checkout, path: &str) -> Result<Option<String>, Failure> {
    let full = checkout.root().join(path);
    let size = std::fs::metadata(&full).map_err(Failure::of(path))?.len();
    if size > TEXT_BYTES {
        return Ok(None);
    }
    Ok(String::from_utf8(std::fs::read(&full).map_err(Failure::of(path))?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vague_names_are_found_in_files_and_folders() {
        assert_eq!(vague_name("crates/base/crypto/src/util.rs"), Some("util"));
        assert_eq!(vague_name("crates/common/src/lib.rs"), Some("common"));
        assert_eq!(vague_name("crates/base/store/src/keeper.rs"), None);
        assert_eq!(vague_name("docs/types.md"), None);
    }

    #[test]
    fn words_are_found_whole() {
        let left = LEFT[0];
        assert_eq!(
            words("f", &format!("fine\n// {left}: later\nMASTO{left}S")).len(),
            1
        );
        assert_eq!(words("f", &format!("cd {}main", PRIVATE[0])).len(), 1);
        assert!(words("f", "net/worker, a rooted tree, crates and pages").is_empty());
    }

    #[test]
    fn tests_are_counted_apart() {
        assert_eq!(tests_start("src/a.rs", "a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
        assert_eq!(tests_start("src/a.rs", "a\nb\n"), 2);
        assert_eq!(tests_start("x/tests/a.rs", "a\nb\n"), 0);
    }
}
