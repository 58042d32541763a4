//! From a presented key to an identity, in the same work whether the key is known or not; and from an identity that
//! somebody else vouches for to the principal that it is bound to.

use std::collections::HashMap;

use stockade_crypto::constant_time_eq;
use stockade_evidence::Timestamp;

use crate::{
    ApiKey, ExternalIdentity, KeyPrefix, MalformedKey, Principal, PrincipalId,
    rows::{BadRow, KeyRow, PrincipalRow},
};

/// Who a request comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The principal that proved itself.
    pub principal: Principal,
    /// What decided who it is.
    pub proof: Proof,
    /// Whether its client certificate said the same.
    pub certificate: bool,
}

/// What a principal proved itself with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// An API key, by its public part.
    ApiKey(KeyPrefix),
    /// A token of a configured issuer.
    Token,
    /// A client certificate, and nothing else.
    Certificate,
}

impl Identity {
    /// The way, as records name it.
    pub const fn identified_by(&self) -> &'static str {
        match (&self.proof, self.certificate) {
            (Proof::ApiKey(_), false) => "api_key",
            (Proof::ApiKey(_), true) => "mtls+api_key",
            (Proof::Token, false) => "jwt",
            (Proof::Token, true) => "mtls+jwt",
            (Proof::Certificate, _) => "mtls",
        }
    }

    /// The public part of the key, where a key was used.
    pub fn key_prefix(&self) -> Option<&str> {
        match &self.proof {
            Proof::ApiKey(prefix) => Some(prefix.as_str()),
            Proof::Token | Proof::Certificate => None,
        }
    }
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
    /// No principal is bound to this identity.
    #[error("no principal is bound to this identity\nhint: `stockade access principal bind`")]
    NotEnrolled,
    /// The principal is disabled.
    #[error("the principal is disabled\nhint: `stockade access principal enable`")]
    Disabled,
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
            Self::NotEnrolled => "unknown_identity",
            Self::Disabled => "disabled_principal",
            Self::Stale => "keys_unreadable",
        }
    }
}

/// Principals and keys at one moment.
// INVARIANT: every key's principal exists.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    principals: HashMap<PrincipalId, Enrolled>,
    keys: HashMap<KeyPrefix, KeyRow>,
    /// `None` where two principals hold it, which no change allows: it is nobody's.
    identities: HashMap<ExternalIdentity, Option<PrincipalId>>,
}

#[derive(Debug)]
struct Enrolled {
    principal: Principal,
    disabled: bool,
}

impl Directory {
    /// From principals with their readable identities, and from row ids and values of keys.
    pub(crate) fn new(
        principals: Vec<(Principal, PrincipalRow, Vec<ExternalIdentity>)>,
        keys: impl IntoIterator<Item = (String, serde_json::Value)>,
    ) -> Result<Self, BadRow> {
        let mut directory = Self::default();
        for (principal, row, identities) in principals {
            for identity in identities {
                let holder = Some(principal.id.clone());
                directory
                    .identities
                    .entry(identity)
                    .and_modify(|other| *other = other.take().filter(|other| Some(other) == holder.as_ref()))
                    .or_insert(holder);
            }
            let enrolled = Enrolled {
                disabled: row.disabled.is_some(),
                principal,
            };
            directory
                .principals
                .insert(enrolled.principal.id.clone(), enrolled);
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
        self.principals.get(id).map(|enrolled| &enrolled.principal)
    }

    /// The principal that an identity is bound to.
    pub(crate) fn bound(&self, identity: &ExternalIdentity) -> Result<Principal, AuthenticationError> {
        let holder = self.identities.get(identity).and_then(Option::as_ref);
        self.active(holder.ok_or(AuthenticationError::NotEnrolled)?)
            .ok_or(AuthenticationError::NotEnrolled)?
    }

    /// The principal with this id, unless it is disabled.
    fn active(&self, id: &PrincipalId) -> Option<Result<Principal, AuthenticationError>> {
        let enrolled = self.principals.get(id)?;
        Some(if enrolled.disabled {
            Err(AuthenticationError::Disabled)
        } else {
            Ok(enrolled.principal.clone())
        })
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
            .active(&row.principal)
            .ok_or(AuthenticationError::Unknown)??;
        Ok(Identity {
            principal,
            proof: Proof::ApiKey(key.prefix().clone()),
            certificate: false,
        })
    }
}
