//! What an input must look like, before the model sees it.
//!
//! Rules of single numbers come first ([`Declared`], or learnt); then a score of how far the row is from real rows as a whole.
//!
//! # Guarantee
//! An honest row, exchangeable with the sample's, is refused with probability at most alpha, by learnt rules and score together: a
//! development row that breaks a learnt rule counts as infinitely odd. A declared rule is never broken by the sample.
//!
//! # Limits
//! Small perturbations of real rows are inside: of adversarial examples only coarse ones are seen (Carlini and Wagner, *Adversarial
//! examples are not easily detected*, AISec 2017, arXiv:1705.07263). The order of colours, units and meaning of columns are not known to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    columns::{Columns, Declared},
    conformal::{Alpha, CalibrationError, Threshold},
    oddness::Oddness,
    sample::Sample,
};

/// How an envelope is made.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvelopeSpec {
    /// How often an honest row may be refused.
    #[schemars(with = "f64")]
    pub false_refusals: Alpha,
    /// How far beyond the learnt range a number may lie, in parts of that range.
    pub tolerance: f32,
    /// What is known and need not be learnt.
    pub declared: Declared,
}

impl EnvelopeSpec {
    /// Everything is learnt; a tenth of the range is tolerated.
    #[must_use]
    pub fn new(false_refusals: Alpha) -> Self {
        Self {
            false_refusals,
            tolerance: 0.1,
            declared: Declared::default(),
        }
    }
}

impl Default for EnvelopeSpec {
    fn default() -> Self {
        Self::new(Alpha::ONE_IN_HUNDRED)
    }
}

/// An envelope cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// The tolerance is not a share.
    #[error("a range's tolerance is a number from 0 to 10")]
    Tolerance,
    /// A declared rule names a column that is not there, a range the wrong way round, or does not fit the form.
    #[error("a declared rule does not fit the form of inputs")]
    Declared,
    /// A row of the sample breaks a declared rule.
    #[error("a real row of the sample breaks a declared rule: {0}")]
    Contradicted(Refusal),
    /// Learnt rules alone refuse more real rows than may be refused.
    #[error(
        "learnt rules refuse more real rows than `{alpha}`\nhint: give a larger sample, declare the columns, or raise the tolerance"
    )]
    TooTight {
        /// The rate asked for.
        alpha: f64,
    },
    /// The threshold cannot be set.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

/// Why an input is refused; for the log, not for the client.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Not as many numbers as the model's inputs have.
    #[error("the input has {got} numbers, not {expected}")]
    Length {
        /// Numbers of a row of the sample.
        expected: usize,
        /// Numbers of this one.
        got: usize,
    },
    /// NaN or infinite.
    #[error("number {column} is not finite")]
    NotFinite {
        /// Its place, from 0.
        column: usize,
    },
    /// Outside the range, or not the constant.
    #[error("number {column} is out of range")]
    OutOfRange {
        /// Its place, from 0.
        column: usize,
    },
    /// A fraction where whole numbers belong.
    #[error("number {column} is not whole")]
    NotWhole {
        /// Its place, from 0.
        column: usize,
    },
    /// Not exactly one 1 among zeros.
    #[error("the one-hot group from number {first} on does not have exactly one 1")]
    NotOneHot {
        /// The first column of the group, from 0.
        first: usize,
    },
    /// Too far from real rows as a whole.
    #[error("the input is {score} times as odd as an input may be")]
    OutOfDistribution {
        /// The score in parts of the threshold, above 1.
        score: f32,
    },
}

/// What an input must look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub(super) inputs: usize,
    pub(super) columns: Columns,
    pub(super) oddness: Oddness,
    pub(super) threshold: Threshold,
}

impl Envelope {
    /// Learns from one half of the sample and sets the threshold by the other.
    pub fn fit(sample: &Sample, spec: &EnvelopeSpec, secret: &[u8; 32]) -> Result<Self, EnvelopeError> {
        let columns = Columns::fit(sample, spec.tolerance, &spec.declared)?;
        let declared = columns.declared(sample.form, &spec.declared);
        sample
            .learnt()
            .chain(sample.development())
            .try_for_each(|row| declared.check(row))
            .map_err(EnvelopeError::Contradicted)?;
        let oddness = Oddness::fit(sample, secret);
        let scores = sample.development().map(|row| match columns.check(row) {
            Ok(()) => oddness.of(row),
            Err(_) => f32::INFINITY,
        });
        let threshold = Threshold::of(scores.collect(), spec.false_refusals)?;
        if threshold.value().is_infinite() {
            return Err(EnvelopeError::TooTight {
                alpha: spec.false_refusals.get(),
            });
        }
        Ok(Self {
            inputs: sample.inputs,
            columns,
            oddness,
            threshold,
        })
    }

    /// Whether the model may see `row`; if so, how odd it is in parts of the threshold, at most 1.
    pub fn check(&self, row: &[f32]) -> Result<f32, Refusal> {
        if row.len() != self.inputs {
            return Err(Refusal::Length {
                expected: self.inputs,
                got: row.len(),
            });
        }
        if let Some(column) = row.iter().position(|value| !value.is_finite()) {
            return Err(Refusal::NotFinite { column });
        }
        self.columns.check(row)?;
        let score = self.oddness.of(row);
        let share = score / self.threshold.value().max(f32::MIN_POSITIVE);
        if self.threshold.refuses(score) {
            Err(Refusal::OutOfDistribution { score: share })
        } else {
            Ok(share)
        }
    }

    /// Numbers in a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The threshold of the score, and how it was set.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }
}
