//! What a guide shows is run: every document with a `console` block is in the list of conformance/tests/docs.rs.

use crate::Failure;
use crate::checkout::Checkout;

use super::Problems;

const LIST: &str = "conformance/tests/docs.rs";

pub(super) fn check(checkout: &Checkout, files: &[String]) -> Result<Problems, Failure> {
    let list = if checkout.exists(LIST) {
        checkout.read(LIST)?
    } else {
        String::new()
    };
    let mut problems = Problems::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        let shows = checkout
            .read(path)?
            .lines()
            .any(|line| line.trim_start().starts_with("```console"));
        if shows && !list.contains(&format!("\"{path}\"")) {
            problems.push(format!("{path}: shows commands that {LIST} does not run"));
        }
    }
    Ok(problems)
}
