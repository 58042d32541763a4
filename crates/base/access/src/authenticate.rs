//! From a presented key to an identity, in the same work whether the key is known or not.

use std::collections::HashMap;

use stockade_crypto::constant_time_eq;
use stockade_evidence::Timestamp;

use crate::{
    ApiKey, KeyPrefix, MalformedKey, Principal, PrincipalId,
    rows::{BadRow, KeyRow, PrincipalRow},
};

/// Who a request comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The principal that proved itself.
    pub principal: Principal,
    /// The key it used, by its public part.
    pub key_prefix: String,
}

/// Why a presented key identifies nobody. The reasons are for records; a client learns only that it was refused.
/// `Revoked` and `Expired` are said only to somebody who holds the whole key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthenticationError {
    /// It has not the form of a key.
    #[error(transparent)]
    Malformed(#[from] MalformedKey),
    /// No such key was issued.
    #[error("the API key is not known")]
    Unknown,
    /// The key's time is over.
    #[error("the API key has expired\nhint: ask an administrator to rotate it: `stockade access key rotate`")]
    Expired,
    /// The key was revoked.
    #[error(
        "the API key was revoked\nhint: ask an administrator for a new one: `stockade access key create`"
    )]
    Revoked,
    /// What is known about keys may be out of date, so none is accepted.
    #[error("the API keys cannot be read, so none is accepted")]
    Stale,
}

impl AuthenticationError {
    /// A stable word for records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_key",
            Self::Unknown => "unknown_key",
            Self::Expired => "expired_key",
            Self::Revoked => "revoked_key",
            Self::Stale => "keys_unreadable",
        }
    }
}

/// Principals and keys at one moment.
// INVARIANT: every key's principal exists.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    principals: HashMap<PrincipalId, Principal>,
    keys: HashMap<KeyPrefix, KeyRow>,
}

impl Directory {
    /// From row ids and values.
    pub(crate) fn new(
        principals: impl IntoIterator<Item = (String, serde_json::Value)>,
        keys: impl IntoIterator<Item = (String, serde_json::Value)>,
    ) -> Result<Self, BadRow> {
        let mut directory = Self::default();
        for (id, value) in principals {
            let (principal, _) = PrincipalRow::read(&id, value)?;
            directory.principals.insert(principal.id.clone(), principal);
        }
        for (id, value) in keys {
            let (prefix, row) = KeyRow::read(&id, value)?;
            // A key of nobody opens nothing: it is left out, and so unknown.
            if directory.principals.contains_key(&row.principal) {
                directory.keys.insert(prefix, row);
            }
        }
        Ok(directory)
    }

    pub(crate) fn principal(&self, id: &PrincipalId) -> Option<&Principal> {
        self.principals.get(id)
    }

    pub(crate) fn authenticate(
        &self,
        presented: &str,
        now: Timestamp,
    ) -> Result<Identity, AuthenticationError> {
        let key = ApiKey::parse(presented)?;
        let row = self.keys.get(key.prefix());
        // An unknown prefix is compared too, with a hash that nothing is known to have. Which prefixes exist is no
        // secret; the comparison with a stored hash is in constant time.
        let stored = row.map_or(&[0; 32], |row| row.hash.as_bytes());
        let matches = constant_time_eq(key.hash().as_bytes(), stored);
        let row = row.filter(|_| matches).ok_or(AuthenticationError::Unknown)?;
        if row.revoked.is_some() {
            return Err(AuthenticationError::Revoked);
        }
        if row.expires.is_some_and(|expires| expires <= now) {
            return Err(AuthenticationError::Expired);
        }
        let principal = self
            .principals
            .get(&row.principal)
            .ok_or(AuthenticationError::Unknown)?;
        Ok(Identity {
            principal: principal.clone(),
            key_prefix: key.prefix().to_string(),
        })
    }
}
