//! From policy files to one validated set, or an error that names the file, the line and a cure.

use std::{collections::HashSet, str::FromStr};

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

/// Most bytes of all policy files together.
const TOTAL_MAX: usize = 256 << 10;
/// Most brackets open at one place, and most `if`s in one file.
const NESTING_MAX: usize = 100;
/// Stack of the thread that parses.
const STACK: usize = 64 << 20;
/// Most policies in all files together.
const POLICIES_MAX: usize = 1000;

/// Why policies were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is not Cedar.
    #[error("policy file `{file}`, line {line}: {problem}\nhint: {cure}")]
    Syntax {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// The policy speaks of something that the schema does not have.
    #[error("policy file `{file}`, line {line}: policy `{policy}`: {problem}\nhint: {cure}")]
    Invalid {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The policy's name in records.
        policy: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// Two policies would answer to one name in records.
    #[error(
        "policy file `{file}`: a second policy is named `{policy}`\n\
         hint: give each policy of a file its own `@id(\"...\")`, and each file its own name"
    )]
    Duplicate {
        /// The file's name.
        file: String,
        /// The name that two have.
        policy: String,
    },
    /// A template, which nothing would ever link.
    #[error(
        "policy file `{file}`: templates are not supported\n\
         hint: write `principal in Role::\"...\"` where the template has `?principal`"
    )]
    Template {
        /// The file's name.
        file: String,
    },
    /// There is no policy, so nobody could do anything.
    #[error(
        "there is no policy, so nobody could do anything\nhint: `stockade init` writes the default policies"
    )]
    Empty,
    /// There are more or larger policies than are read.
    #[error("the policies are too many: at most {POLICIES_MAX} policies in {TOTAL_MAX} bytes are read")]
    TooMany,
    /// A condition nests deeper than is read.
    #[error(
        "policy file `{file}`: conditions nest more than {NESTING_MAX} deep\n\
         hint: split the policy, or move policies with many `if`s to a file of their own"
    )]
    Nested {
        /// The file's name.
        file: String,
    },
    /// No thread could be started to read them.
    #[error("no thread could be started to read the policies")]
    Thread(#[source] std::io::Error),
    /// The schema in this program is broken.
    #[error("the policy schema of this program is not valid: {0}")]
    Schema(String),
}

/// Parses on a thread of its own: the parser's recursion follows the text, and needs more stack than a server's
/// thread has.
pub(super) fn parse(files: &[(String, String)], schema: &str) -> Result<(PolicySet, Schema), PolicyError> {
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || parse_here(files, schema));
        parser
            .map_err(PolicyError::Thread)?
            .join()
            .unwrap_or(Err(PolicyError::TooMany))
    })
}

fn parse_here(files: &[(String, String)], schema: &str) -> Result<(PolicySet, Schema), PolicyError> {
    if files
        .iter()
        .map(|(name, text)| name.len().saturating_add(text.len()))
        .sum::<usize>()
        > TOTAL_MAX
    {
        return Err(PolicyError::TooMany);
    }
    let (schema, _warnings) =
        Schema::from_cedarschema_str(schema).map_err(|error| PolicyError::Schema(error.to_string()))?;
    let validator = Validator::new(schema);
    let mut all = PolicySet::new();
    for (file, text) in files {
        let policies = read_file(file, text)?;
        validate(file, text, &policies, &validator)?;
        for policy in policies.policies() {
            let name = policy.id().to_string();
            all.add(policy.clone()).map_err(|_| PolicyError::Duplicate {
                file: file.clone(),
                policy: name,
            })?;
        }
    }
    match all.num_of_policies() {
        0 => Err(PolicyError::Empty),
        1..=POLICIES_MAX => Ok((all, validator.schema().clone())),
        _ => Err(PolicyError::TooMany),
    }
}

/// The policies of one file under their names in records.
fn read_file(file: &str, text: &str) -> Result<PolicySet, PolicyError> {
    if nesting(text) > NESTING_MAX {
        return Err(PolicyError::Nested {
            file: file.to_owned(),
        });
    }
    let parsed = PolicySet::from_str(text).map_err(|error| bad_syntax(file, text, &error))?;
    if parsed.num_of_templates() > 0 {
        return Err(PolicyError::Template {
            file: file.to_owned(),
        });
    }
    let (mut named, mut seen) = (PolicySet::new(), HashSet::new());
    for policy in parsed.policies() {
        let name = match policy.annotation("id") {
            Some(id) => id.to_owned(),
            // Cedar counts the policies of a text from `policy0`.
            None => ordinal(policy.id()),
        };
        let policy_id = format!("{file}#{name}");
        let duplicate = || PolicyError::Duplicate {
            file: file.to_owned(),
            policy: policy_id.clone(),
        };
        if !seen.insert(name) {
            return Err(duplicate());
        }
        named
            .add(policy.new_id(PolicyId::new(&policy_id)))
            .map_err(|_| duplicate())?;
    }
    Ok(named)
}

/// How deep the text can nest at most; brackets in strings and comments count too.
fn nesting(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for b in text.bytes() {
        match b {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest.max(text.matches("if").count())
}

fn ordinal(id: &PolicyId) -> String {
    let text = id.to_string();
    let place = text
        .strip_prefix("policy")
        .and_then(|digits| digits.parse::<usize>().ok());
    place.map_or(text, |place| (place + 1).to_string())
}

/// A warning refuses too: a policy that can never apply, or a name that only looks like another, is a hole.
fn validate(file: &str, text: &str, policies: &PolicySet, validator: &Validator) -> Result<(), PolicyError> {
    let result = validator.validate(policies, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        return Err(invalid(file, text, error.policy_id(), error));
    }
    match result.validation_warnings().next() {
        Some(warning) => Err(invalid(file, text, warning.policy_id(), warning)),
        None => Ok(()),
    }
}

fn invalid(file: &str, text: &str, policy: &PolicyId, error: &dyn Diagnostic) -> PolicyError {
    let message = error.to_string();
    let problem = message
        .strip_prefix(&format!("for policy `{policy}`, "))
        .unwrap_or(&message);
    PolicyError::Invalid {
        file: file.to_owned(),
        line: line_of(text, error),
        policy: policy.to_string(),
        problem: one_line(problem),
        cure: cure(
            error,
            "the names that policies can use are listed in the guide to policies",
        ),
    }
}

fn bad_syntax(file: &str, text: &str, error: &cedar_policy::ParseErrors) -> PolicyError {
    PolicyError::Syntax {
        file: file.to_owned(),
        line: line_of(text, error),
        problem: one_line(&error.to_string()),
        cure: cure(
            error,
            "a policy is `permit (principal, action, resource);`, with conditions before the `;`",
        ),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What Cedar advises, else `otherwise`.
fn cure(error: &dyn Diagnostic, otherwise: &str) -> String {
    error
        .help()
        .map_or_else(|| otherwise.to_owned(), |help| help.to_string())
}

/// The line, from 1, that the error points at.
fn line_of(text: &str, error: &dyn Diagnostic) -> usize {
    let offset = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map_or(0, |label| label.offset());
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}
