//! Who runs a command: a principal that proves itself with its key, else the owner of the state folder.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use stockade_crypto::{RandomnessUnavailable, SecretBytes};
use stockade_evidence::{Actor, Decision, Event, Subject, SubjectKind, Timestamp};
use stockade_store::{AppendError, Handle};

use crate::{
    Access, Action, AuthenticationError, Authorization, Identity, PrincipalId, Resource, change::record,
};

/// More than a key and a line break; a longer file is not a key.
const KEY_FILE_MAX: u64 = 256;

/// What a command line says about who runs it.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// `--as NAME`.
    pub name: Option<&'a str>,
    /// `--key-file F`.
    pub key_file: Option<&'a Path>,
    /// The user id of the process.
    pub uid: u32,
    /// The user id that owns the state folder.
    pub folder_owner: u32,
}

/// Who runs a command, verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acting {
    /// The owner of the state folder, who can read every file in it and so may do everything.
    Operator {
        /// The user id.
        uid: u32,
    },
    /// A principal that presented its key.
    Principal(Identity),
}

/// Why nobody may run the command.
#[derive(Debug, thiserror::Error)]
pub enum ActingError {
    /// Only one of the two options was given.
    #[error("`--as` and `--key-file` go together")]
    HalfAClaim,
    /// The user does not own the folder.
    #[error(
        "user {uid} does not own the state folder, so it must name a principal\n\
         hint: `--as NAME --key-file FILE`"
    )]
    NotTheOwner {
        /// The user id of the process.
        uid: u32,
    },
    /// The key file could not be read.
    #[error("the key file `{}` could not be read", file.display())]
    KeyFile {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read the key file.
    #[error("the key file `{}` can be read by others\nhint: `chmod 600 {}`, and rotate the key", file.display(), file.display())]
    KeyFileOpen {
        /// The file.
        file: PathBuf,
    },
    /// The key was not accepted.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// The key is another principal's.
    #[error("the key in `--key-file` is not a key of the principal in `--as`")]
    OtherPrincipal,
}

/// The policies do not permit a command.
#[derive(Debug, thiserror::Error)]
pub enum Forbidden {
    /// It was refused and recorded.
    #[error("`{action}` on `{resource}` is {authorization}")]
    Refused {
        /// What was asked.
        action: Action,
        /// On what.
        resource: Resource,
        /// What decided.
        authorization: Authorization,
    },
    /// It was refused, and the refusal could not be recorded.
    #[error("the command was refused, and the refusal could not be recorded")]
    Record(#[from] AppendError),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

impl Acting {
    /// Verifies who runs a command.
    pub fn resolve(access: &Access, claim: Claim<'_>, now: Timestamp) -> Result<Self, ActingError> {
        match (claim.name, claim.key_file) {
            (None, None) if claim.uid == claim.folder_owner => Ok(Self::Operator { uid: claim.uid }),
            (None, None) => Err(ActingError::NotTheOwner { uid: claim.uid }),
            (Some(name), Some(file)) => {
                let key = read_key_file(file)?;
                let text = std::str::from_utf8(key.expose()).unwrap_or_default().trim_end();
                let identity = access.authenticate(text, now)?;
                let named = name
                    .parse::<PrincipalId>()
                    .is_ok_and(|id| id == identity.principal.id);
                named
                    .then_some(Self::Principal(identity))
                    .ok_or(ActingError::OtherPrincipal)
            }
            (Some(_), None) | (None, Some(_)) => Err(ActingError::HalfAClaim),
        }
    }

    /// The actor in records.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Operator { uid } => Actor::Operator { uid: *uid },
            Self::Principal(identity) => Actor::Principal {
                id: identity.principal.id.to_string(),
            },
        }
    }

    /// Whether it may do `action` to `what`. The owner of the folder may, by owning it.
    pub fn authorize(&self, access: &Access, action: Action, what: &Resource) -> Authorization {
        match self {
            Self::Operator { uid } => Authorization {
                allowed: true,
                policies: vec![format!("operator:{uid}")],
                errors: Vec::new(),
            },
            Self::Principal(identity) => access.authorize(&identity.principal, action, what),
        }
    }

    /// Goes on only where [`Self::authorize`] allows it; a refusal is recorded as `access.refused`.
    pub async fn require(
        &self,
        access: &Access,
        handle: &Handle,
        action: Action,
        what: &Resource,
        now: Timestamp,
    ) -> Result<Authorization, Forbidden> {
        let authorization = self.authorize(access, action, what);
        if authorization.allowed {
            return Ok(authorization);
        }
        let refused = Decision::Refused {
            code: "forbidden".to_owned(),
            policies: authorization.policies.clone(),
        };
        let record = record(Event::AccessRefused, &self.actor(), now)?
            .about(subject(what))
            .deciding(refused)
            .with("action", action.name());
        handle.append(record).await?;
        Err(Forbidden::Refused {
            action,
            resource: what.clone(),
            authorization,
        })
    }
}

fn subject(what: &Resource) -> Subject {
    match what {
        Resource::Server => Subject::new(SubjectKind::Server, "server"),
        Resource::Model { name, .. } => Subject::new(SubjectKind::Artifact, name),
        Resource::Log => Subject::new(SubjectKind::Log, "log"),
        Resource::Access => Subject::new(SubjectKind::Principal, "access"),
        Resource::Backup => Subject::new(SubjectKind::Backup, "backup"),
    }
}

fn read_key_file(path: &Path) -> Result<SecretBytes, ActingError> {
    let failed = |source| ActingError::KeyFile {
        file: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(ActingError::KeyFileOpen {
            file: path.to_owned(),
        });
    }
    let mut bytes = Vec::with_capacity(256);
    file.take(KEY_FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(SecretBytes::new(bytes))
}
