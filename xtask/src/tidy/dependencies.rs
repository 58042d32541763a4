//! The bans of deny.toml, checked on cargo's own tree: a second TLS or crypto stack must not slip in.
//!
//! `cargo deny` checks the same and more (licences, advisories); this needs nothing installed. The tree is used and
//! not Cargo.lock, since the lock file also lists optional packages that are never built.

use std::collections::{BTreeMap, BTreeSet};

use crate::Failure;

use super::Problems;

pub(super) fn check(deny: &str, tree: &str) -> Result<Problems, Failure> {
    let deny: toml::Table = deny.parse().map_err(Failure::of("deny.toml"))?;
    let users = users(tree);
    let bans = deny
        .get("bans")
        .and_then(|bans| bans.get("deny"))
        .and_then(toml::Value::as_array);
    let bans = bans.ok_or_else(|| Failure::new("deny.toml has no list [bans] deny"))?;
    let mut problems = Problems::new();
    for ban in bans {
        let banned = ban.get("crate").and_then(toml::Value::as_str);
        let banned = banned.ok_or_else(|| Failure::new("deny.toml: a ban names no crate"))?;
        let wrappers = ban
            .get("wrappers")
            .and_then(toml::Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let allowed: BTreeSet<&str> = wrappers.iter().filter_map(toml::Value::as_str).collect();
        let found = users.get(banned).into_iter().flatten();
        problems.extend(found.filter(|user| !allowed.contains(*user)).map(|user| {
            format!(
                "{user} uses {banned}, which deny.toml allows to {}",
                if allowed.is_empty() {
                    "nobody".to_owned()
                } else {
                    format!("{allowed:?}")
                }
            )
        }));
    }
    Ok(problems)
}

/// Who uses each crate, from `cargo tree --prefix depth -f {p}`: `2sha2 v0.10.9`.
fn users(tree: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut above: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let name = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let depth = line
            .strip_suffix(name)
            .and_then(|depth| depth.parse::<usize>().ok());
        let (Some(depth), Some(name)) = (depth, name.split(' ').next()) else {
            continue;
        };
        above.truncate(depth);
        if let Some(user) = above.last() {
            users.entry(name).or_default().insert(user);
        }
        above.push(name);
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0stockade v0.1.0 (/here)\n1sqlx v0.9.0\n2sha2 v0.10.9\n1rustls v0.23.0\n2ring v0.17.0\n\n0other v1.0.0\n1sqlx v0.9.0 (*)\n";

    #[test]
    fn a_banned_crate_is_found_under_whoever_uses_it() {
        let deny = "[bans]\ndeny = [{ crate = \"ring\" }, { crate = \"sha2\", wrappers = [\"sqlx\"] }, { crate = \"openssl\" }]";
        assert_eq!(
            check(deny, TREE).unwrap(),
            ["rustls uses ring, which deny.toml allows to nobody"]
        );
    }

    #[test]
    fn a_wrapper_is_an_exception_for_one() {
        let deny = "[bans]\ndeny = [{ crate = \"sha2\", wrappers = [\"argon2\"] }]";
        assert_eq!(
            check(deny, TREE).unwrap(),
            ["sqlx uses sha2, which deny.toml allows to {\"argon2\"}"]
        );
        assert!(check("[bans]", TREE).is_err());
    }
}
