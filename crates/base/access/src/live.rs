//! The live view that the gateway asks: principals and keys as the rows say, and the policies in force.
//!
//! Rows and policies are each swapped whole, so a request sees one state or the next, never a mixture. When the rows
//! cannot be read again after a change, no key is accepted until they can.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use stockade_evidence::Timestamp;

use crate::{
    Action, AuthenticationError, Authorization, Identity, PolicySet, Principal, PrincipalId, Resource,
    authenticate::Directory, remember::Decisions,
};

/// Who is who, and who may do what, now.
#[derive(Debug)]
pub struct Access {
    directory: ArcSwap<Directory>,
    decisions: ArcSwap<Decisions>,
    /// The rows could not be read after they changed.
    stale: AtomicBool,
    /// The latest time seen: going back from it revives no expired key.
    latest: AtomicI64,
}

impl Access {
    /// Who presented this key. `now` is the keeper's clock; a step back does not revive an expired key.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<Identity, AuthenticationError> {
        if self.stale.load(Ordering::Acquire) {
            return Err(AuthenticationError::Stale);
        }
        let latest = self
            .latest
            .fetch_max(now.unix_ms(), Ordering::AcqRel)
            .max(now.unix_ms());
        self.directory
            .load()
            .authenticate(presented, Timestamp::from_unix_ms(latest))
    }

    /// Whether `who` may do `action` to `what`, and which policies decided.
    pub fn authorize(&self, who: &Principal, action: Action, what: &Resource) -> Authorization {
        self.decisions.load().authorize(who, action, what)
    }

    /// The principal with this id.
    pub fn principal(&self, id: &PrincipalId) -> Option<Principal> {
        self.directory.load().principal(id).cloned()
    }

    /// The policies in force.
    pub fn policies(&self) -> PolicySet {
        self.decisions.load().policies().clone()
    }

    /// Puts other policies in force. No decision made under the old ones is remembered.
    pub fn replace_policies(&self, policies: PolicySet) {
        self.decisions.store(Decisions::new(policies).into());
    }
}
