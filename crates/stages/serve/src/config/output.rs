//! What a role may see of an answer.

use std::{collections::BTreeSet, fmt::Write as _, num::NonZeroU32};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a role may see of one model's answers. The default is everything.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputPolicy {
    /// Only an output `label`: for each row the class with the greatest score.
    pub labels_only: bool,
    /// In each row of scores keep the k greatest and set the others to 0; a tie goes to the lower class.
    pub top_k: Option<NonZeroU32>,
    /// Round scores to this many decimals, half to even.
    pub decimals: Option<Decimals>,
    /// Outputs that do not exist for this role.
    pub hidden: BTreeSet<String>,
}

/// A number of decimals.
// INVARIANT: at most 15, what binary64 holds; `try_from` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "u8", try_from = "u8")]
pub struct Decimals(#[schemars(range(max = 15))] u8);

/// More decimals than binary64 holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`decimals` must be at most 15")]
pub struct InvalidDecimals;

impl Decimals {
    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Decimals {
    type Error = InvalidDecimals;

    fn try_from(count: u8) -> Result<Self, Self::Error> {
        (count <= 15).then_some(Self(count)).ok_or(InvalidDecimals)
    }
}

impl From<Decimals> for u8 {
    fn from(value: Decimals) -> Self {
        value.0
    }
}

impl OutputPolicy {
    /// The policy that grants only what both grant: each part is the more restrictive one.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            labels_only: self.labels_only || other.labels_only,
            top_k: least(self.top_k, other.top_k),
            decimals: least(self.decimals, other.decimals),
            hidden: self.hidden.union(&other.hidden).cloned().collect(),
        }
    }

    /// Whether the whole answer may be seen.
    pub fn is_full(&self) -> bool {
        *self == Self::default()
    }

    /// A short stable text for records, such as `top_k=3,decimals=2`.
    pub fn name(&self) -> String {
        let mut parts = Vec::new();
        if self.labels_only {
            parts.push("labels_only".to_owned());
        }
        if let Some(k) = self.top_k {
            parts.push(format!("top_k={k}"));
        }
        if let Some(decimals) = self.decimals {
            parts.push(format!("decimals={}", decimals.get()));
        }
        if !self.hidden.is_empty() {
            let mut part = String::from("hidden=");
            let _ = write!(part, "{}", self.hidden.len());
            parts.push(part);
        }
        if parts.is_empty() {
            "full".to_owned()
        } else {
            parts.join(",")
        }
    }
}

fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> impl Strategy<Value = OutputPolicy> {
        let hidden = prop::collection::btree_set("[a-c]", 0..3);
        (
            any::<bool>(),
            prop::option::of(1_u32..20),
            prop::option::of(0_u8..=15),
            hidden,
        )
            .prop_map(|(labels_only, k, decimals, hidden)| OutputPolicy {
                labels_only,
                top_k: k.and_then(NonZeroU32::new),
                decimals: decimals.map(|count| Decimals::try_from(count).unwrap()),
                hidden,
            })
    }

    proptest! {
        #[test]
        fn combining_never_grants_more(a in policy(), b in policy()) {
            let both = a.and(&b);
            prop_assert_eq!(&both, &b.and(&a));
            prop_assert_eq!(&both.and(&a), &both);
            prop_assert_eq!(both.labels_only, a.labels_only || b.labels_only);
            prop_assert!(both.hidden.is_superset(&a.hidden));
            if let Some(k) = a.top_k { prop_assert!(both.top_k.unwrap() <= k); }
            if let Some(decimals) = a.decimals { prop_assert!(both.decimals.unwrap() <= decimals); }
        }

        #[test]
        fn the_whole_answer_is_the_neutral_policy(a in policy()) {
            prop_assert_eq!(a.and(&OutputPolicy::default()), a);
        }
    }

    #[test]
    fn names_say_what_is_cut() {
        assert_eq!(OutputPolicy::default().name(), "full");
        let cut = OutputPolicy {
            top_k: NonZeroU32::new(3),
            decimals: Decimals::try_from(2).ok(),
            hidden: ["features".to_owned()].into(),
            ..OutputPolicy::default()
        };
        assert_eq!(cut.name(), "top_k=3,decimals=2,hidden=1");
    }
}
