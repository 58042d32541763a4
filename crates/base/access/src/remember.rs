//! Decisions already made under one set of policies.
//!
//! A decision depends on the principal (with its roles), the action, the resource and the policies alone, so it may
//! be remembered until the policies change. The memory is bounded: when it is full it is emptied.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::{Action, Authorization, PolicySet, Principal, Resource};

/// Most decisions kept.
const DECISIONS_MAX: usize = 8192;

#[derive(Debug)]
pub(crate) struct Decisions {
    policies: PolicySet,
    made: RwLock<Made>,
}

#[derive(Debug, Default)]
struct Made {
    count: usize,
    by_principal: HashMap<Principal, HashMap<Action, HashMap<Resource, Authorization>>>,
}

impl Made {
    fn get(&self, who: &Principal, action: Action, what: &Resource) -> Option<&Authorization> {
        self.by_principal.get(who)?.get(&action)?.get(what)
    }

    fn insert(&mut self, who: &Principal, action: Action, what: &Resource, decision: Authorization) {
        if self.count >= DECISIONS_MAX {
            *self = Self::default();
        }
        let actions = self.by_principal.entry(who.clone()).or_default();
        if actions
            .entry(action)
            .or_default()
            .insert(what.clone(), decision)
            .is_none()
        {
            self.count += 1;
        }
    }
}

impl Decisions {
    pub(crate) fn new(policies: PolicySet) -> Self {
        Self {
            policies,
            made: RwLock::default(),
        }
    }

    pub(crate) const fn policies(&self) -> &PolicySet {
        &self.policies
    }

    pub(crate) fn authorize(&self, who: &Principal, action: Action, what: &Resource) -> Authorization {
        // A panic elsewhere leaves at worst a missing entry, so a poisoned lock is still good.
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = made.get(who, action, what) {
            return decision.clone();
        }
        drop(made);
        let decision = self.policies.authorize(who, action, what);
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        made.insert(who, action, what, decision.clone());
        decision
    }
}
