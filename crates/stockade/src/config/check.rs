//! What types cannot say about `stockade.toml`: whether its roles, names and places mean something. `config check` and
//! the server's start ask the same questions.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use rustix::fs::{Access, access};
use stockade_access::PolicySet;

use super::Root;
use crate::failure::{Exit, Failing as _, Failure};

/// The key under `output` that stands for every other role.
const DEFAULT_ROLE: &str = "default";

/// Refuses what would silently not do what it says.
pub(crate) fn check(project: &Path, root: &Root, policies: &PolicySet) -> Result<(), Failure> {
    let known = policies.roles();
    for (name, model) in &root.model {
        for role in model.output.keys().filter(|role| *role != DEFAULT_ROLE) {
            self::role(role, &known, &format!("`model.{name}.output.{role}`"))?;
        }
    }
    root.hosts.iter().try_for_each(|host| self::host(host))?;
    root.gateway().check_upstreams().exit(Exit::Usage)?;
    let identity = root.identity.check(root.dangerous_plaintext);
    identity.exit(Exit::Usage)?;
    root.evidence
        .anchor
        .as_deref()
        .map_or(Ok(()), |anchor| self::anchor(anchor, project))
}

/// Refuses a role that no policy knows; `place` says who names it.
pub(crate) fn role(role: &str, known: &BTreeSet<String>, place: &str) -> Result<(), Failure> {
    if known.contains(role) {
        return Ok(());
    }
    let like = known
        .iter()
        .map(|other| (distance(role, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map_or_else(String::new, |(_, like)| format!("did you mean `{like}`? "));
    let all = known.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>();
    Err(
        Failure::new(Exit::Usage, format!("{place}: no policy knows the role `{role}`")).hint(format!(
            "{like}roles are those that policies name: {}",
            all.join(", ")
        )),
    )
}

/// Refuses what no certificate can be made out to.
fn host(host: &str) -> Result<(), Failure> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // RFC 1123 section 2.1: labels of letters, digits and hyphens.
    if host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(label)) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format!("`hosts` names `{host}`, which is neither a host name nor an address"),
    )
    .hint("write names and addresses without scheme, port and path, such as `models.example`"))
}

/// Refuses an anchor that cannot be written, or that would be put back together with the state it watches.
fn anchor(anchor: &Path, project: &Path) -> Result<(), Failure> {
    let refused = |problem: &str, cure: &str| {
        Err(Failure::new(
            Exit::Usage,
            format!("`evidence.anchor` is `{}`, {problem}", anchor.display()),
        )
        .hint(cure))
    };
    let folder = anchor.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let Ok(folder) = folder
        .canonicalize()
        .and_then(|folder| Ok((folder.metadata()?, folder)))
    else {
        return refused(
            "whose folder does not exist",
            "create the folder, on another disk",
        );
    };
    let (metadata, folder) = folder;
    if !metadata.is_dir() || anchor.is_dir() {
        return refused("which is not a file in a folder", "name a file");
    }
    if project
        .canonicalize()
        .is_ok_and(|project| folder.starts_with(project))
    {
        return refused(
            "which lies in the project's own folder",
            "name a file on another disk: an anchor shows when the whole folder was put back",
        );
    }
    if access(&folder, Access::WRITE_OK).is_err() {
        return refused(
            "whose folder this user may not write",
            "give this user the right to write there",
        );
    }
    Ok(())
}

/// Levenshtein's distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            (diagonal, *cell) = (above, left);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refusal(root: &Root, project: &Path) -> String {
        check(project, root, &PolicySet::defaults().unwrap())
            .map_or_else(|failure| failure.to_string(), |()| "fine".to_owned())
    }

    fn root(text: &str) -> Root {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_misspelt_role_is_refused_with_the_right_one() {
        let text = |role| {
            format!(
                "[model.m]\nsource = \"vault:m@1\"\nenvironment = \"prod\"\noutput.{role} = {{ top_k = 1 }}"
            )
        };
        let project = Path::new(".");
        let refused = refusal(&root(&text("clint")), project);
        assert!(
            refused.contains("`model.m.output.clint`") && refused.contains("did you mean `client`?"),
            "{refused}"
        );
        for role in ["client", "default"] {
            assert_eq!(refusal(&root(&text(role)), project), "fine");
        }
        assert!(!refusal(&root(&text("zebra")), project).contains("did you mean"));
        assert_eq!((distance("kitten", "sitting"), distance("", "ab")), (3, 2));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (host, is_fine) in [
            ("models.example", true),
            ("::1", true),
            ("10.0.0.1", true),
            ("https://a", false),
            ("a:8443", false),
            ("", false),
        ] {
            let refused = refusal(&root(&format!("hosts = [\"{host}\"]")), Path::new("."));
            assert_eq!(refused == "fine", is_fine, "{host}: {refused}");
        }
    }

    #[test]
    fn an_anchor_lies_outside_in_a_folder_that_exists() {
        let (project, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |path: std::path::PathBuf| {
            refusal(
                &root(&format!("[evidence]\nanchor = \"{}\"", path.display())),
                project.path(),
            )
        };
        assert_eq!(at(outside.path().join("anchor")), "fine");
        assert!(at(outside.path().join("none/anchor")).contains("does not exist"));
        assert!(at(project.path().join("anchor")).contains("own folder"));
        assert!(at(outside.path().to_owned()).contains("not a file"));
    }
}
