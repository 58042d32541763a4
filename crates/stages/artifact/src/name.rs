//! Names: of an artifact, of one of its versions, of a file in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const NAME_MAX: usize = 64;
const PATH_MAX: usize = 1024;

/// The name of an artifact: `[a-z0-9][a-z0-9_-]{0,63}`, so that it is one folder's name and no version number.
// INVARIANT: as above, and not a number; parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct ArtifactName(String);

/// The text is not the name of an artifact.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "an artifact's name is 1 to {NAME_MAX} of `a-z`, `0-9`, `_` and `-`, starting with a letter or a digit"
)]
pub struct InvalidArtifactName;

impl ArtifactName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArtifactName {
    type Err = InvalidArtifactName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = text.len() <= NAME_MAX
            && text.bytes().next().is_some_and(lower)
            && text.bytes().all(|b| lower(b) || matches!(b, b'_' | b'-'));
        fits.then(|| Self(text.to_owned())).ok_or(InvalidArtifactName)
    }
}

impl TryFrom<String> for ArtifactName {
    type Error = InvalidArtifactName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ArtifactName> for String {
    fn from(name: ArtifactName) -> Self {
        name.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `digits` (the latest version) or `digits@3`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ArtifactRef {
    /// Which artifact.
    pub name: ArtifactName,
    /// Which version; `None` is the latest.
    pub version: Option<u64>,
}

/// The text names no artifact or version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{text}` is not `NAME` or `NAME@VERSION`\nhint: a version is a number from 1; `stockade model list` shows them"
)]
pub struct InvalidArtifactRef {
    text: String,
}

impl FromStr for ArtifactRef {
    type Err = InvalidArtifactRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidArtifactRef {
            text: text.chars().take(80).collect(),
        };
        let (name, version) = match text.split_once('@') {
            Some((name, digits)) => (name, Some(parse_version(digits).ok_or_else(invalid)?)),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse().map_err(|_| invalid())?,
            version,
        })
    }
}

/// One spelling per number: no sign, no leading zero.
fn parse_version(digits: &str) -> Option<u64> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    canonical.then(|| digits.parse().ok()).flatten()
}

impl fmt::Display for ArtifactRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// Where a file lies in its artifact: relative, `/` between the parts.
// INVARIANT: joined to a folder it stays in that folder; parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct FilePath(String);

/// The text is not a path of a file in an artifact.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a file's path in an artifact is relative, of at most {PATH_MAX} bytes, with no empty part, `.`, `..`, `\\` or control character"
)]
pub struct InvalidFilePath;

impl FilePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FilePath {
    type Err = InvalidFilePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
        let fits = text.len() <= PATH_MAX
            && text.split('/').all(part)
            && !text.chars().any(|c| c.is_control() || c == '\\');
        fits.then(|| Self(text.to_owned())).ok_or(InvalidFilePath)
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidFilePath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_round_trip() {
        for text in ["digits", "digits@1", "a-b_c@18446744073709551615"] {
            assert_eq!(text.parse::<ArtifactRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_references_are_refused() {
        for text in [
            "",
            "@1",
            "a@",
            "a@0",
            "a@01",
            "a@+1",
            "a@-1",
            "a@1@2",
            "a@18446744073709551616",
            "A",
            "a/b",
            "../a",
            "a.part",
        ] {
            assert!(text.parse::<ArtifactRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn paths_that_leave_the_artifact_are_refused() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0",
            "a\nb",
            &"a/".repeat(600),
        ] {
            assert!(text.parse::<FilePath>().is_err(), "{text:?}");
        }
        assert!("weights/model.onnx".parse::<FilePath>().is_ok());
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_in_its_folder(text in "[a./\\\\é-]{0,12}") {
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert!(Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
