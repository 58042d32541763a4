//! A crate uses only floors below it; on one floor only the edges listed here; stages never use each other.

use serde_json::Value;

use super::Problems;

/// The floors, lowest first: where a crate's folder says it lives.
const FLOORS: &[&str] = &[
    "/crates/base/",
    "/crates/methods/",
    "/crates/stages/",
    "/crates/oversight/",
    "/crates/stockade/",
];

/// The edges within a floor that the table of ARCHITECTURE.md allows.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("stockade-evidence", "stockade-crypto"),
    ("stockade-store", "stockade-crypto"),
    ("stockade-store", "stockade-evidence"),
    ("stockade-access", "stockade-crypto"),
    ("stockade-access", "stockade-evidence"),
    ("stockade-access", "stockade-store"),
    ("stockade-inspect", "stockade-model"),
    ("stockade-redteam", "stockade-model"),
];

/// What a method may use of the base: words, and keys where the table says so; never places or permissions.
const METHODS_MAY_USE: &[&str] = &["stockade-evidence", "stockade-crypto"];

pub(super) fn check(metadata: &Value) -> Problems {
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let floor_of = |name: &str| {
        packages
            .iter()
            .find(|package| text(package, "name") == name)
            .and_then(floor)
    };
    let mut problems = Problems::new();
    for package in packages {
        let name = text(package, "name");
        for dependency in package
            .get("dependencies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let used = text(dependency, "name");
            if dependency.get("path").is_none() || used == name {
                continue;
            }
            if let Some(problem) = edge((name, floor(package)), (used, floor_of(used))) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// Packages outside the floors (xtask, conformance) may use everything, and nothing on a floor may use them.
fn edge((name, from): (&str, Option<usize>), (used, to): (&str, Option<usize>)) -> Option<String> {
    let from = from?;
    let Some(to) = to else {
        return Some(format!("{name} uses {used}, which is no part of the product"));
    };
    if to > from {
        return Some(format!("{name} uses {used}, which is on a higher floor"));
    }
    if to == from && !NEIGHBOURS.contains(&(name, used)) {
        return Some(format!(
            "{name} uses {used}, its neighbour, which the table of floors does not allow"
        ));
    }
    let method = FLOORS.get(from).is_some_and(|floor| floor.contains("methods"));
    if method && to < from && !METHODS_MAY_USE.contains(&used) {
        return Some(format!("{name} uses {used}, but methods are pure"));
    }
    None
}

fn floor(package: &Value) -> Option<usize> {
    let manifest = text(package, "manifest_path");
    FLOORS.iter().position(|folder| manifest.contains(folder))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(folder: &str, name: &str, uses: &[&str]) -> Value {
        let uses: Vec<Value> = uses
            .iter()
            .map(|used| json!({"name": used, "path": "here"}))
            .collect();
        json!({"name": name, "manifest_path": format!("/r/{folder}/x/Cargo.toml"), "dependencies": uses})
    }

    #[test]
    fn edges_go_down() {
        let house = json!({"packages": [
            package("crates/base", "stockade-crypto", &[]),
            package("crates/base", "stockade-evidence", &["stockade-crypto"]),
            package("crates/base", "stockade-store", &["stockade-crypto", "stockade-evidence"]),
            package("crates/methods", "stockade-model", &["stockade-evidence"]),
            package("crates/stages", "stockade-serve", &["stockade-model", "stockade-store"]),
            package("crates/stages", "stockade-artifact", &[]),
            package("crates/stockade", "stockade", &["stockade-serve", "stockade-artifact"]),
            package("conformance", "stockade-conformance", &["stockade"]),
        ]});
        assert_eq!(check(&house), Problems::new());
    }

    #[test]
    fn other_edges_are_problems() {
        for (folder, name, used) in [
            ("crates/base", "stockade-crypto", "stockade-evidence"),
            ("crates/base", "stockade-evidence", "stockade-model"),
            ("crates/methods", "stockade-protocol", "stockade-model"),
            ("crates/methods", "stockade-protocol", "stockade-store"),
            ("crates/stages", "stockade-artifact", "stockade-serve"),
            ("crates/stages", "stockade-artifact", "stockade-conformance"),
        ] {
            let house = json!({"packages": [
                package("crates/base", "stockade-evidence", &[]),
                package("crates/base", "stockade-store", &[]),
                package("crates/methods", "stockade-model", &[]),
                package("crates/stages", "stockade-serve", &[]),
                package("conformance", "stockade-conformance", &[]),
                package(folder, name, &[used]),
            ]});
            assert_eq!(check(&house).len(), 1, "{name} -> {used}");
        }
    }
}
