//! What the operations that change principals and keys share: their errors, and the start of a record.

use stockade_crypto::{RandomnessUnavailable, random_array};
use stockade_evidence::{Actor, Control, Event, Record, RecordId, Timestamp};
use stockade_store::{Commit, CommitError, Handle, PersonalError, ReadError};

use crate::{KeyPrefix, PrincipalId, rows::BadRow};

/// How often a change is tried again when a row changed in between.
pub(crate) const ATTEMPTS: usize = 8;
/// Most external identities of one principal.
pub(crate) const IDENTITIES_MAX: usize = 16;

/// Why principals or keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The id is taken.
    #[error("the principal `{id}` exists already")]
    PrincipalExists {
        /// The id.
        id: PrincipalId,
    },
    /// There is no such principal.
    #[error("there is no principal `{id}`\nhint: `stockade access principal create` enrols one")]
    NoPrincipal {
        /// The id.
        id: PrincipalId,
    },
    /// The identity is bound to a principal already.
    #[error(
        "the identity is bound to the principal `{id}` already\nhint: `stockade access principal unbind` takes it away"
    )]
    IdentityTaken {
        /// The principal.
        id: PrincipalId,
    },
    /// The identity is not bound to the principal.
    #[error(
        "the identity is not bound to the principal `{id}`\nhint: `stockade access principal list --format json` shows them"
    )]
    NotBound {
        /// The principal.
        id: PrincipalId,
    },
    /// The principal has as many identities as one may have.
    #[error("a principal may have {IDENTITIES_MAX} external identities at most")]
    TooManyIdentities,
    /// There is no such key.
    #[error("there is no API key `{prefix}`\nhint: `stockade access key list` shows the prefixes")]
    NoKey {
        /// The key's public part.
        prefix: KeyPrefix,
    },
    /// The key was revoked or has expired, so there is nothing to rotate.
    #[error(
        "the API key `{prefix}` is revoked or has expired\nhint: create a new one: `stockade access key create`"
    )]
    KeyEnded {
        /// The key's public part.
        prefix: KeyPrefix,
    },
    /// The key has a successor already.
    #[error("the API key `{prefix}` was rotated already\nhint: rotate its successor `{successor}`")]
    KeyReplaced {
        /// The key's public part.
        prefix: KeyPrefix,
        /// The public part of the key in its place.
        successor: KeyPrefix,
    },
    /// The expiry is not in the future.
    #[error("the key would expire at {expires}, which is not in the future")]
    ExpiryPast {
        /// The time asked for.
        expires: Timestamp,
    },
    /// The grace period is too long.
    #[error("a rotated key may live on for 30 days at most")]
    GraceTooLong,
    /// A display name or an e-mail address is too long or has control characters.
    #[error("the {field} is empty, longer than 256 bytes, or has control characters")]
    PersonalText {
        /// Which.
        field: &'static str,
    },
    /// Others kept changing the same rows.
    #[error("the principals and keys kept changing meanwhile\nhint: try again")]
    Contended,
    /// The change was not recorded, so it did not happen.
    #[error("the change was not recorded, so it did not happen")]
    Commit(#[source] CommitError),
    /// The rows could not be read.
    #[error("the principals and keys could not be read")]
    Read(#[from] ReadError),
    /// A row is not what its kind holds.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// A personal field could not be sealed or opened.
    #[error("the personal fields could not be sealed or opened")]
    Personal(#[from] PersonalError),
    /// A row could not be written as JSON.
    #[error("the row could not be written")]
    Json(#[from] serde_json::Error),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

impl ChangeError {
    /// Whether something impossible was asked for, rather than that it could not be done.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::PrincipalExists { .. }
            | Self::NoPrincipal { .. }
            | Self::IdentityTaken { .. }
            | Self::NotBound { .. }
            | Self::TooManyIdentities
            | Self::NoKey { .. }
            | Self::KeyEnded { .. }
            | Self::KeyReplaced { .. }
            | Self::ExpiryPast { .. }
            | Self::GraceTooLong
            | Self::PersonalText { .. } => true,
            Self::Contended
            | Self::Commit(_)
            | Self::Read(_)
            | Self::Row(_)
            | Self::Personal(_)
            | Self::Json(_)
            | Self::Randomness(_) => false,
        }
    }
}

/// A record under control 29, with a fresh id.
pub(crate) fn record(event: Event, actor: &Actor, now: Timestamp) -> Result<Record, RandomnessUnavailable> {
    let id = RecordId::new(random_array()?);
    Ok(Record::new(now, id, event, actor.clone()).under(Control::AccessControl))
}

/// Whether it was committed; `false` when a row had changed meanwhile.
pub(crate) async fn committed(handle: &Handle, commit: Commit) -> Result<bool, ChangeError> {
    match handle.commit(commit).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(ChangeError::Commit(error)),
    }
}
