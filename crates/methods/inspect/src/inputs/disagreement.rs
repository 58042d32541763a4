//! Whether the model says the same of squeezed copies as of the input.
//!
//! The score is the greatest L1 distance between the model's probabilities for the input and for a copy: natural inputs keep their class
//! when squeezed, adversarial ones often lose it. With scores that are no probabilities the test still holds what it promises, and sees less.
//!
//! # Citation
//! Xu, Evans and Qi, *Feature squeezing*, NDSS 2018, arXiv:1704.01155, section V (joint detection by the greatest distance).
//!
//! # Guarantee
//! An honest row, exchangeable with the sample's, is called adversarial with probability at most alpha.
//!
//! # Cost
//! The model runs on one more row for each squeezer.
//!
//! # Limits
//! - An attacker who knows the squeezers attacks the input and its copies together and is not seen (He et al., WOOT 2017,
//!   arXiv:1706.04701; Carlini and Wagner, AISec 2017, arXiv:1705.07263).
//! - A confident attack (large perturbations, CW with high confidence) moves the copies too.
//! - A model that is unsure, or whose answers were coarsened before they got here, disagrees with itself on honest inputs: the
//!   threshold rises and little is seen.

use super::{
    conformal::{Alpha, CalibrationError, Threshold},
    squeeze::Squeezers,
};

/// Squeezers, and how far answers to their copies may be from the answer to the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    pub(super) squeezers: Squeezers,
    pub(super) classes: usize,
    pub(super) threshold: Threshold,
}

/// What the answers to one input and its copies say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// As near as those of honest rows.
    Agrees {
        /// The greatest distance.
        distance: f32,
    },
    /// Farther apart than those of honest rows.
    Disagrees {
        /// The greatest distance.
        distance: f32,
        /// The place of the squeezer whose copy it was, from 0.
        squeezer: usize,
    },
}

impl Disagreement {
    pub(super) fn calibrate(
        squeezers: Squeezers,
        answers: &[f32],
        classes: usize,
        alpha: Alpha,
    ) -> Result<Self, CalibrationError> {
        let block = classes
            .checked_mul(squeezers.count() + 1)
            .filter(|block| *block > 0 && answers.len().is_multiple_of(*block))
            .ok_or(CalibrationError::Uneven)?;
        let scores = answers.chunks_exact(block).enumerate().map(|(row, answers)| {
            let distances = squeezers.distances(answers, classes);
            let (_, distance) = distances
                .and_then(|distances| greatest(&distances))
                .ok_or(CalibrationError::NotFinite { row })?;
            Ok(distance)
        });
        let scores = scores.collect::<Result<_, _>>()?;
        Ok(Self {
            squeezers,
            classes,
            threshold: Threshold::of(scores, alpha)?,
        })
    }

    /// What hands out the copies.
    #[must_use]
    pub fn squeezers(&self) -> &Squeezers {
        &self.squeezers
    }

    /// Scores in one answer.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The greatest distance that agrees, and how it was set.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// Judges the model's answers to an input and then to each of its copies, one after the other; `None` for another number of scores, or one
    /// that is not finite, which a caller refuses.
    #[must_use]
    pub fn judge(&self, answers: &[f32]) -> Option<Verdict> {
        let distances = self.squeezers.distances(answers, self.classes)?;
        let (squeezer, distance) = greatest(&distances)?;
        Some(if self.threshold.refuses(distance) {
            Verdict::Disagrees { distance, squeezer }
        } else {
            Verdict::Agrees { distance }
        })
    }
}

/// L1 distances between the first of `copies + 1` answers and each of the others.
pub(super) fn distances(answers: &[f32], classes: usize, copies: usize) -> Option<Vec<f32>> {
    let expected = classes.checked_mul(copies + 1)?;
    if classes == 0 || answers.len() != expected || !answers.iter().all(|score| score.is_finite()) {
        return None;
    }
    let (first, rest) = answers.split_at_checked(classes)?;
    let distance = |answer: &[f32]| answer.iter().zip(first).map(|(a, b)| (a - b).abs()).sum();
    Some(rest.chunks_exact(classes).map(distance).collect())
}

fn greatest(distances: &[f32]) -> Option<(usize, f32)> {
    let places = distances.iter().copied().enumerate();
    places.reduce(|best, other| if other.1 > best.1 { other } else { best })
}
