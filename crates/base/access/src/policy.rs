//! Cedar policies: read, validated strictly against one schema, and asked.
//!
//! The rules (Cutler et al., "Cedar", OOPSLA 2024, section 3): nothing is allowed that no policy permits, and a
//! `forbid` overrides every `permit`. One rule is stricter here: a policy whose evaluation fails refuses the request,
//! where Cedar would skip it.

mod entities;
mod parse;

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::{Authorizer, Decision, Response, Schema};
use serde::Serialize;
use stockade_evidence::Digest;

pub use self::parse::PolicyError;
use crate::{Action, Principal, Resource, Role};

const SCHEMA: &str = include_str!("stockade.cedarschema");

const DEFAULT_POLICIES: &[(&str, &str)] = &[
    ("admin.cedar", include_str!("policies/admin.cedar")),
    ("auditor.cedar", include_str!("policies/auditor.cedar")),
    ("client.cedar", include_str!("policies/client.cedar")),
    ("operator.cedar", include_str!("policies/operator.cedar")),
];

/// The policies that `init` writes: file name and text.
pub const fn default_policies() -> &'static [(&'static str, &'static str)] {
    DEFAULT_POLICIES
}

/// Whether somebody may do something, and what decided.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Authorization {
    /// Whether it may pass.
    pub allowed: bool,
    /// The policies that decided, as `FILE#ID` (or `FILE#N`, the N-th of its file, where it has no `@id`). Empty
    /// where no policy permits.
    pub policies: Vec<String>,
    /// What went wrong while deciding. Any error refuses.
    pub errors: Vec<String>,
}

impl Authorization {
    fn failed(error: String) -> Self {
        Self {
            allowed: false,
            policies: Vec::new(),
            errors: vec![error],
        }
    }
}

/// One sentence for `access check`.
impl std::fmt::Display for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let policies = self.policies.join("`, `");
        match (self.allowed, self.errors.is_empty(), self.policies.is_empty()) {
            (true, ..) => write!(f, "allowed by `{policies}`"),
            (false, false, _) => write!(
                f,
                "refused: a policy failed to evaluate: {}",
                self.errors.join("; ")
            ),
            (false, true, true) => f.write_str("refused: no policy permits it"),
            (false, true, false) => write!(f, "refused: forbidden by `{policies}`"),
        }
    }
}

/// Validated policies.
// INVARIANT: every policy passed strict validation against `schema`; `parse` is the only door.
#[derive(Clone)]
pub struct PolicySet(Arc<Inner>);

struct Inner {
    policies: cedar_policy::PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    digest: Digest,
}

impl PolicySet {
    /// Reads policy files (name and text). One error refuses them all.
    pub fn parse(files: &[(String, String)]) -> Result<Self, PolicyError> {
        let (policies, schema) = parse::parse(files, SCHEMA)?;
        let digest = digest(files);
        Ok(Self(Arc::new(Inner {
            policies,
            schema,
            authorizer: Authorizer::new(),
            digest,
        })))
    }

    /// The policies of [`default_policies`].
    pub fn defaults() -> Result<Self, PolicyError> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self::parse(&DEFAULT_POLICIES.iter().map(owned).collect::<Vec<_>>())
    }

    /// The roles that mean something: those that a policy names, and the built-in ones.
    pub fn roles(&self) -> BTreeSet<String> {
        let named = self
            .0
            .policies
            .policies()
            .flat_map(cedar_policy::Policy::entity_literals)
            .filter(|entity| entity.type_name().basename() == "Role")
            .map(|entity| entity.id().unescaped().to_owned());
        Role::BUILT_IN
            .map(str::to_owned)
            .into_iter()
            .chain(named)
            .collect()
    }

    /// What these policies are, whatever the order of their files.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Asks the policies whether `who` may do `action` to `what`. This evaluates; [`crate::Access::authorize`]
    /// remembers.
    pub fn authorize(&self, who: &Principal, action: Action, what: &Resource) -> Authorization {
        let asked = entities::build(who, action, what, &self.0.schema);
        let (request, entities) = match asked {
            Ok(asked) => asked,
            Err(error) => return Authorization::failed(error.to_string()),
        };
        judge(
            &self
                .0
                .authorizer
                .is_authorized(&request, &self.0.policies, &entities),
        )
    }
}

impl std::fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySet")
            .field("digest", &self.0.digest)
            .field("policies", &self.0.policies.num_of_policies())
            .finish_non_exhaustive()
    }
}

fn judge(response: &Response) -> Authorization {
    let diagnostics = response.diagnostics();
    let mut policies: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
    let mut errors: Vec<String> = diagnostics.errors().map(ToString::to_string).collect();
    policies.sort();
    errors.sort();
    let allowed = match response.decision() {
        Decision::Allow => errors.is_empty(),
        Decision::Deny => false,
    };
    Authorization {
        allowed,
        policies,
        errors,
    }
}

/// SHA-256 over the files sorted by name, each part preceded by its length.
fn digest(files: &[(String, String)]) -> Digest {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let mut bytes = Vec::new();
    for part in sorted.into_iter().flat_map(|(name, text)| [name, text]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Digest::sha256(&bytes)
}

#[cfg(test)]
mod tests;
