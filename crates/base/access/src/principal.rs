//! Who acts: a person or a workload, its roles, and the environment it belongs to.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest id and role name, in bytes.
const NAME_MAX: usize = 64;

/// `[a-z0-9][a-z0-9._-]{0,63}`: safe in file names, headers, records and policies.
fn is_name(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= NAME_MAX
        && text.bytes().next().is_some_and(lower)
        && text.bytes().all(|b| lower(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// The id of a principal. It appears in records forever, so an opaque one is advised for a person.
// INVARIANT: a name in the sense of `is_name`; parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct PrincipalId(String);

/// The text is not a principal id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a principal id is 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit\n\
     hint: use an opaque id such as `p-7f3a` and keep the name in the display name"
)]
pub struct InvalidPrincipalId;

impl PrincipalId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalId {
    type Err = InvalidPrincipalId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_name(text)
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidPrincipalId)
    }
}

impl TryFrom<String> for PrincipalId {
    type Error = InvalidPrincipalId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PrincipalId> for String {
    fn from(id: PrincipalId) -> Self {
        id.0
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named set of permissions. `admin`, `operator`, `client` and `auditor` come with default policies; any other
/// name means what the policies say, and nothing where they are silent.
// INVARIANT: a name in the sense of `is_name`; parsing is the only door.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Role(String);

/// The text is not a role name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a role is 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit")]
pub struct InvalidRole;

impl Role {
    /// The roles that the default policies know.
    pub const BUILT_IN: [&'static str; 4] = ["admin", "auditor", "client", "operator"];

    /// Everything.
    pub fn admin() -> Self {
        Self("admin".to_owned())
    }

    /// Runs the gateway and its models; reads the log; gives no access.
    pub fn operator() -> Self {
        Self("operator".to_owned())
    }

    /// Asks models of its own environment.
    pub fn client() -> Self {
        Self("client".to_owned())
    }

    /// Reads and exports evidence.
    pub fn auditor() -> Self {
        Self("auditor".to_owned())
    }

    /// The role's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_name(text).then(|| Self(text.to_owned())).ok_or(InvalidRole)
    }
}

impl TryFrom<String> for Role {
    type Error = InvalidRole;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a human being or a program acts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A program.
    Workload,
}

impl PrincipalKind {
    /// The name in rows and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Workload => "workload",
        }
    }
}

/// Where a principal or a model belongs. In policies a model is `in` its environment.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Being built.
    Dev,
    /// Being tried out.
    Test,
    /// In use.
    Prod,
}

/// The text names no environment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an environment is `dev`, `test` or `prod`")]
pub struct UnknownEnvironment;

impl Environment {
    /// Every environment.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Test, Self::Prod];

    /// The name in rows, configuration and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Prod => "prod",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|environment| environment.as_str() == text)
            .ok_or(UnknownEnvironment)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody or something that may be allowed to act.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Its id.
    pub id: PrincipalId,
    /// A person or a workload.
    pub kind: PrincipalKind,
    /// What it may be.
    pub roles: BTreeSet<Role>,
    /// Where it belongs.
    pub environment: Environment,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_plain_names() {
        for good in ["a", "0", "digits-client", "p-7f3a", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(good.parse::<PrincipalId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            ".a",
            "_a",
            "A",
            "a b",
            "a/b",
            "é",
            "a\n",
            "a\0",
            "..",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<PrincipalId>().is_err(), "{bad:?}");
            assert!(bad.parse::<Role>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rows_cannot_smuggle_a_bad_id() {
        assert!(serde_json::from_str::<PrincipalId>("\"../x\"").is_err());
        assert!(serde_json::from_str::<Role>("\"Admin\"").is_err());
    }

    #[test]
    fn built_in_roles_are_the_named_ones() {
        let named = [Role::admin(), Role::auditor(), Role::client(), Role::operator()];
        assert_eq!(named.each_ref().map(Role::as_str), Role::BUILT_IN);
    }

    proptest! {
        #[test]
        fn every_accepted_text_is_safe_as_a_file_name(text in ".{0,70}") {
            if let Ok(id) = text.parse::<PrincipalId>() {
                prop_assert!(!id.as_str().contains(['/', '\\', '\0', ' ']) && id.as_str() != "..");
            }
        }
    }
}
