//! Extraction and evasion seen from the model's side: detectors over the stream of queries and answers.
//!
//! Start at [`Watch::observe`]. Every query becomes a few yes-or-no *hits*, one for each [`Detector`]; a hit is rare for honest
//! clients ([`Tolerances`] says how rare, per class of answer), and a sequential test ([`sequential`]) turns hits into an alarm whose
//! false-alarm rate holds however long one watches. What is normal comes from a [`Reference`], made once from real rows of the
//! model's domain and sealed with it.
//!
//! | detector | looks at | catches |
//! |---|---|---|
//! | [`Detector::NearCopy`] | a perturbed copy of an earlier query of anybody | walks (HopSkipJump, Square, Boundary, ZOO), Jacobian augmentation |
//! | [`Detector::Drift`] | distance to real rows of the same answer | foreign pools (Knockoff, Copycat), random inputs |
//! | [`Detector::OffManifold`] | what the principal directions of real rows leave over | noise, gradients' signs, foreign pools |
//! | [`Detector::Dependence`] | which values occur together in real rows | rows made of parts of real ones, gradients' signs, noise |
//! | [`Detector::Blend`] | values in the middle, and little spread | mixtures of real rows (mixup) |
//! | [`Detector::Margin`] | how sure the model is, among answers of the same class | walks along the boundary |
//! | [`Detector::Sweep`] | steps along a line | grid scans, one-feature sweeps, line searches |
//! | [`Detector::Pace`] | equal intervals | scripts among people; off where clients are machines |
//!
//! Tolerances that follow from the sample alone suffice for all detectors but the near copies: how often real rows look like each other grows with
//! the number of queries that are remembered, so survey honest clients ([`Survey`]) before acting on that one.
//!
//! # Limits
//! - An attacker who queries with real, fresh rows of the domain is an honest client to every detector here; only a budget
//!   ([`information`]) and a watermark answer that.
//! - An attacker whose odd queries are rarer than the tolerance (slow, or thin among filler, or over very many accounts with
//!   little from each) is not seen.
//! - An adaptive attacker who sees rejections can steer around the near-copy index (OARS; Feng et al., CCS 2023): answer an alarm late or quietly.

mod dependence;
pub mod information;
mod near_duplicates;
mod reference;
pub mod sequential;
mod state;
mod timing;
mod tolerances;
mod watch;

pub use crate::features::{DIMENSIONS, Features};

pub use self::{
    near_duplicates::{IndexSize, Likeness},
    reference::{Reference, ReferenceError},
    state::{StateError, fuzz_query_watch},
    tolerances::{Survey, Tolerances},
    watch::{Alarm, ClientClass, Limits, Query, Scope, Suspect, Verdict, Watch},
};

/// Number of detectors.
const DETECTORS: usize = 8;

/// What a hit is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detector {
    /// A perturbed copy of an earlier query.
    NearCopy,
    /// Far from real rows of the same answer.
    Drift,
    /// Energy outside the principal directions of real rows.
    OffManifold,
    /// Values that do not occur together in real rows.
    Dependence,
    /// Values in the middle of their ranges, as means of several real rows have them.
    Blend,
    /// The model is unusually unsure.
    Margin,
    /// A step along the line of the step before.
    Sweep,
    /// As long after the query before as that one was after its own.
    Pace,
}

impl Detector {
    /// Every detector, in the order of [`Hits`].
    pub const ALL: [Self; DETECTORS] = [
        Self::NearCopy,
        Self::Drift,
        Self::OffManifold,
        Self::Dependence,
        Self::Blend,
        Self::Margin,
        Self::Sweep,
        Self::Pace,
    ];

    /// The name in records and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NearCopy => "near_copy",
            Self::Drift => "drift",
            Self::OffManifold => "off_manifold",
            Self::Dependence => "dependence",
            Self::Blend => "blend",
            Self::Margin => "margin",
            Self::Sweep => "sweep",
            Self::Pace => "pace",
        }
    }
}

/// Levels of a hit.
pub const LEVELS: usize = 2;

/// Whether one look was a hit: at the first level beyond what one real row in twenty is, at the second one in a hundred.
pub type Hit = [bool; LEVELS];

/// What each detector made of one query: `None` where it could not look.
pub type Hits = [Option<Hit>; DETECTORS];
