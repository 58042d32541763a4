//! CONTROLS.md cannot lie: 50 rows, and a row that claims something names a module, an attack test and events that
//! exist.

use std::fs;

use crate::Failure;
use crate::checkout::Checkout;

use super::Problems;

const TABLE: &str = "CONTROLS.md";
/// Where the names of controls and events are defined.
const WORDS: &str = "crates/base/evidence/src/event.rs";
const COUNT: usize = 50;

pub(super) fn check(checkout: &Checkout) -> Result<Problems, Failure> {
    let table = checkout.read(TABLE)?;
    let rows: Vec<Row<'_>> = table.lines().filter_map(Row::parse).collect();
    let words = checkout.read(WORDS)?;
    let mut problems = Problems::new();
    if rows.len() != COUNT {
        problems.push(format!("{TABLE}: has {} rows, not {COUNT}", rows.len()));
    }
    for (number, row) in (1..).zip(&rows) {
        let found = row.problems(
            number,
            &words,
            |path| fs::read_to_string(checkout.root().join(path)).ok(),
            |path| checkout.exists(path),
        );
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{TABLE}: {number}: {problem}")),
        );
    }
    Ok(problems)
}

/// No., control, state, module, attacks it must stop, evidence, attack test, peer benchmark, citation.
struct Row<'t> {
    number: &'t str,
    cells: [&'t str; 8],
}

impl<'t> Row<'t> {
    /// A line of the table that begins with a number.
    fn parse(line: &'t str) -> Option<Self> {
        let line = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (number, cells) = cells.split_first()?;
        number.parse::<u8>().ok()?;
        Some(Self {
            number,
            cells: cells.try_into().ok()?,
        })
    }

    fn problems(
        &self,
        number: usize,
        words: &str,
        read: impl Fn(&str) -> Option<String>,
        exists: impl Fn(&str) -> bool,
    ) -> Problems {
        let [
            control,
            state,
            module,
            attacks,
            evidence,
            test,
            benchmark,
            citation,
        ] = self.cells;
        let mut problems = Problems::new();
        if self.number.parse() != Ok(number) {
            problems.push(format!("is numbered {}", self.number));
        }
        let defined = quoted(control).any(|name| words.contains(&format!("= {number}, \"{name}\";")));
        if !defined {
            problems.push(format!("`{control}` does not hold its name in {WORDS}"));
        }
        if attacks.is_empty() || citation.is_empty() {
            problems.push("names no attack or no citation".to_owned());
        }
        match state {
            "not yet" => {
                let claims = [module, evidence, test, benchmark]
                    .into_iter()
                    .filter(|cell| *cell != "-")
                    .count();
                problems.extend((claims > 0).then(|| "is not yet there and claims more than `-`".to_owned()));
            }
            "works" | "partly" => {
                problems.extend(paths(module, "a module", &exists));
                problems.extend(
                    quoted(evidence)
                        .filter(|event| !words.contains(&format!("= \"{event}\",")))
                        .map(|event| format!("there is no event `{event}`")),
                );
                problems.extend(tests(test, &read));
                if quoted(evidence).next().is_none() {
                    problems.push("names no event".to_owned());
                }
            }
            other => problems.push(format!(
                "has the state `{other}`, which is none of works, partly, not yet"
            )),
        }
        problems
    }
}

fn paths(cell: &str, what: &str, exists: impl Fn(&str) -> bool) -> Problems {
    let mut problems: Problems = quoted(cell)
        .filter(|path| !exists(path))
        .map(|path| format!("`{path}` does not exist"))
        .collect();
    if quoted(cell).next().is_none() {
        problems.push(format!("names no {}", what.trim_start_matches("a ")));
    }
    problems
}

/// Each `` `path::name` `` is a test function of that file.
fn tests(cell: &str, read: impl Fn(&str) -> Option<String>) -> Problems {
    let mut problems = Problems::new();
    for test in quoted(cell) {
        let found = test
            .split_once("::")
            .is_some_and(|(path, name)| read(path).is_some_and(|text| has_test(&text, name)));
        if !found {
            problems.push(format!("there is no test `{test}`"));
        }
    }
    if quoted(cell).next().is_none() {
        problems.push("names no attack test".to_owned());
    }
    problems
}

/// Whether a function of that name follows a test attribute.
fn has_test(text: &str, name: &str) -> bool {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.contains("fn ") {
            let function = line.split_once("fn ").map(|(_, rest)| rest);
            if marked
                && function
                    .and_then(|rest| rest.strip_prefix(name))
                    .is_some_and(|rest| rest.starts_with('('))
            {
                return true;
            }
            marked = false;
        }
    }
    false
}

/// The texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests_of_rows {
    use super::*;

    const WORDS: &str = "    RateLimits = 1, \"rate_limits\";\n    Refused = \"request.refused\", API, 2;";
    const TEST: &str = "#[tokio::test]\nasync fn flood_is_cut() {}\nfn helper() {}\n";

    fn check(line: &str) -> Problems {
        let row = Row::parse(line).expect("a row");
        row.problems(
            1,
            WORDS,
            |path| (path == "t.rs").then(|| TEST.to_owned()),
            |path| path == "m.rs",
        )
    }

    #[test]
    fn an_honest_row_passes() {
        assert_eq!(
            check(
                "| 1 | Limits (`rate_limits`) | works | `m.rs` | flood | `request.refused` | `t.rs::flood_is_cut` | - | x |"
            ),
            Problems::new()
        );
        assert_eq!(
            check("| 1 | Limits (`rate_limits`) | not yet | - | flood | - | - | - | x |"),
            Problems::new()
        );
    }

    #[test]
    fn each_lie_is_found() {
        for line in [
            "| 2 | Limits (`rate_limits`) | not yet | - | flood | - | - | - | x |",
            "| 1 | Limits (`rate`) | not yet | - | flood | - | - | - | x |",
            "| 1 | Limits (`rate_limits`) | done | - | flood | - | - | - | x |",
            "| 1 | Limits (`rate_limits`) | not yet | - |  | - | - | - | x |",
            "| 1 | Limits (`rate_limits`) | not yet | `m.rs` | flood | - | - | - | x |",
            "| 1 | Limits (`rate_limits`) | works | `n.rs` | flood | `request.refused` | `t.rs::flood_is_cut` | - | x |",
            "| 1 | Limits (`rate_limits`) | works | `m.rs` | flood | `request.lost` | `t.rs::flood_is_cut` | - | x |",
            "| 1 | Limits (`rate_limits`) | works | `m.rs` | flood | - | `t.rs::flood_is_cut` | - | x |",
            "| 1 | Limits (`rate_limits`) | works | `m.rs` | flood | `request.refused` | - | - | x |",
            "| 1 | Limits (`rate_limits`) | partly | `m.rs` | flood | `request.refused` | `t.rs::helper` | - | x |",
            "| 1 | Limits (`rate_limits`) | partly | `m.rs` | flood | `request.refused` | `t.rs::flood` | - | x |",
        ] {
            assert_eq!(check(line).len(), 1, "{line}: {:?}", check(line));
        }
    }

    #[test]
    fn other_lines_are_no_rows() {
        assert!(Row::parse("| No. | control |").is_none());
        assert!(Row::parse("|---|---|").is_none());
        assert!(Row::parse("text").is_none());
    }
}
