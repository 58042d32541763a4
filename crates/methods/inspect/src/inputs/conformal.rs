//! A threshold that honest rows seldom exceed, whatever the distribution of their scores.
//!
//! # Citation
//! Split conformal prediction: Papadopoulos et al., *Inductive confidence machines for regression*, ECML 2002; as a test of outliers: Bates et al.,
//! *Testing for outliers with conformal p-values*, Annals of Statistics 51 (2023). The long-run bound is the tolerance limit of Wilks (1941).
//!
//! # Guarantee
//! Of n development scores the threshold is the floor((n + 1) alpha)-th largest. A new row, exchangeable with those, exceeds it with
//! probability at most alpha. That is averaged over samples; [`Threshold::long_run`] bounds what one sample's threshold does for ever.

use serde::{Deserialize, Serialize};

use crate::numbers::upper_bound;

/// Probability with which the long-run bound may be too low.
const DOUBT: f64 = 0.01;

/// A false-alarm rate: how often an honest row may be refused.
// INVARIANT: above 0, at most a half; `new` is the only door.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Alpha(f64);

/// Not a false-alarm rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a false-alarm rate lies above 0 and at most at 0.5, not at `{value}`")]
pub struct InvalidAlpha {
    value: f64,
}

impl Alpha {
    /// 0.01.
    pub const ONE_IN_HUNDRED: Self = Self(0.01);

    /// A rate above 0 and at most a half.
    pub fn new(value: f64) -> Result<Self, InvalidAlpha> {
        (value > 0.0 && value <= 0.5)
            .then_some(Self(value))
            .ok_or(InvalidAlpha { value })
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Alpha {
    type Error = InvalidAlpha;

    fn try_from(value: f64) -> Result<Self, InvalidAlpha> {
        Self::new(value)
    }
}

impl From<Alpha> for f64 {
    fn from(alpha: Alpha) -> Self {
        alpha.0
    }
}

/// A threshold cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// The development half is too small for so low a rate.
    #[error(
        "a false-alarm rate of `{alpha}` needs a sample of {needed} rows, half of which set the threshold; it has {rows}\nhint: give a larger sample or a higher rate"
    )]
    TooFew {
        /// The rate asked for.
        alpha: f64,
        /// Rows in both halves.
        rows: usize,
        /// Rows that would do.
        needed: usize,
    },
    /// The answers are not whole rows of scores, as many as were asked for.
    #[error("the answers are not those to the development half and its squeezed copies")]
    Uneven,
    /// An answer has a score that is NaN or infinite.
    #[error("the model's answer to row {row} of the development half is not finite")]
    NotFinite {
        /// The first such row, from 0.
        row: usize,
    },
}

/// What an honest row's score exceeds with probability at most [`Threshold::alpha`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    pub(super) value: f32,
    pub(super) alpha: Alpha,
    pub(super) rows: usize,
}

impl Threshold {
    /// From the scores of development rows; larger is odder, and a score that is not a number is the oddest.
    pub(super) fn of(scores: Vec<f32>, alpha: Alpha) -> Result<Self, CalibrationError> {
        let rows = scores.len();
        let beyond = rank(rows, alpha);
        let mut scores: Vec<f32> = scores.into_iter().map(oddest).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let value = beyond.checked_sub(1).and_then(|place| scores.get(place));
        let value = *value.ok_or(CalibrationError::TooFew {
            alpha: alpha.0,
            rows: 2 * rows,
            needed: 2 * needed(alpha),
        })?;
        Ok(Self { value, alpha, rows })
    }

    /// Whether a row with this score is refused.
    pub(super) fn refuses(&self, score: f32) -> bool {
        oddest(score) > self.value
    }

    /// The score that is not exceeded.
    #[must_use]
    pub fn value(&self) -> f32 {
        self.value
    }

    /// The rate that was asked for.
    #[must_use]
    pub fn alpha(&self) -> Alpha {
        self.alpha
    }

    /// Development rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What the rate is at most in the long run, with confidence 0.99 in this sample.
    #[must_use]
    pub fn long_run(&self) -> f64 {
        let beyond = rank(self.rows, self.alpha).saturating_sub(1);
        upper_bound(beyond as u64, self.rows as u64, DOUBT)
    }
}

fn oddest(score: f32) -> f32 {
    if score.is_nan() { f32::INFINITY } else { score }
}

/// The threshold's place among `rows` scores, counted from the largest, from 1; 0 when there are too few.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a length"
)]
fn rank(rows: usize, alpha: Alpha) -> usize {
    ((rows as f64 + 1.0) * alpha.0) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is for a message only"
)]
fn needed(alpha: Alpha) -> usize {
    alpha.0.recip().ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Keyed;

    fn alpha(value: f64) -> Alpha {
        Alpha::new(value).unwrap()
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for value in [0.0, -0.1, 0.51, f64::NAN, f64::INFINITY] {
            assert!(Alpha::new(value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_definition() {
        let scores = |count: u8| (1..=count).map(f32::from).collect::<Vec<f32>>();
        assert_eq!(Threshold::of(scores(99), alpha(0.05)).unwrap().value(), 95.0);
        assert_eq!(Threshold::of(scores(19), alpha(0.05)).unwrap().value(), 19.0);
        assert_eq!(
            Threshold::of(scores(18), alpha(0.05)),
            Err(CalibrationError::TooFew {
                alpha: 0.05,
                rows: 36,
                needed: 40
            })
        );
        assert!(Threshold::of(vec![], alpha(0.5)).is_err());
    }

    #[test]
    fn what_is_no_number_is_refused_and_raises_the_threshold() {
        let threshold = Threshold::of(vec![1.0; 99], alpha(0.05)).unwrap();
        assert!(threshold.refuses(f32::NAN) && threshold.refuses(f32::INFINITY) && !threshold.refuses(1.0));
        let none = Threshold::of(vec![f32::NAN; 99], alpha(0.05)).unwrap();
        assert_eq!(none.value(), f32::INFINITY);
    }

    /// Honest rows are refused at most as often as promised, over many samples, for smooth scores, few values and heavy tails.
    #[test]
    fn the_rate_holds_over_samples() {
        let mut keyed = Keyed::new(&[9; 32], "conformal");
        type Draw = fn(&mut Keyed) -> f32;
        let draws: [Draw; 3] = [
            |keyed| keyed.normal(),
            |keyed| keyed.normal().round(),
            |keyed| keyed.normal() / keyed.normal(),
        ];
        for draw in draws {
            for (rows, rate) in [(50, 0.05), (200, 0.01), (37, 0.2)] {
                let (samples, trials) = (3_000, 5);
                let mut refused = 0;
                for _ in 0..samples {
                    let scores = (0..rows).map(|_| draw(&mut keyed)).collect();
                    let threshold = Threshold::of(scores, alpha(rate)).unwrap();
                    refused += (0..trials)
                        .filter(|_| threshold.refuses(draw(&mut keyed)))
                        .count();
                }
                let count = f64::from(samples) * f64::from(trials);
                // Trials of one sample share its threshold: allow five times the deviation of independent ones.
                let slack = 5.0 * (rate * (1.0 - rate) / count).sqrt();
                let share = refused as f64 / count;
                assert!(share <= rate + slack, "{share} of {rate}");
            }
        }
    }

    #[test]
    fn the_long_run_bound_is_above_the_rate_and_comes_down_with_rows() {
        let bound = |rows| Threshold::of(vec![0.0; rows], alpha(0.05)).unwrap().long_run();
        assert!(bound(100) > bound(1_000) && bound(1_000) > bound(10_000) && bound(10_000) > 0.05);
        assert!(bound(10_000) < 0.056, "{}", bound(10_000));
    }
}
