//! How likely a model that was made without the answers would agree as often with the marks.
//!
//! # Citation
//! The null is measured, not assumed: Lukas et al. (SoK, S&P 2022) and Liu et al. (USENIX Security 2024) show that unrelated models agree more often than one in K - 1. The number of agreements of
//! an unrelated model is beta-binomial (Skellam 1948): models differ in how prone they are (Williams 1975), and a plain binomial would count each mark as if it were a model of its own. The correction for
//! several accused is Bonferroni's (Dunn 1961) and not Holm's, which needs the probabilities of all suspects tried, and nobody hands those over.

use serde::Serialize;

use super::{claim::Registered, tail};

/// Independent models that a verdict needs.
pub const LEAST_NULL_MODELS: usize = 8;

/// How one model answers a claim's marks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Agreement {
    /// Marks on which it gives the marked label.
    pub marked: usize,
    /// Marks on which it gives the label that the claimant's model gave itself.
    pub honest: usize,
}

/// What the marks say of one suspect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Marks of the claim.
    pub marks: usize,
    /// Those that count, without near copies.
    pub counted: usize,
    /// How the suspect answers them.
    pub suspect: Agreement,
    /// How each independent model answers them.
    pub null: Vec<Agreement>,
    /// The probability that a model made as the independent ones agrees as often.
    pub p: f64,
    /// The same, for the number of suspects and claims tried.
    pub p_corrected: f64,
}

/// Why nothing can be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JudgeError {
    /// Too few independent models.
    #[error(
        "{given} independent models are too few: a null is measured on at least {LEAST_NULL_MODELS}\nhint: train more, on other data or seeds, as the suspect is said to have been made"
    )]
    TooFewNullModels {
        /// How many there are.
        given: usize,
    },
    /// A model did not answer each mark once.
    #[error("{given} answers were given to {marks} marks")]
    Answers {
        /// How many there are.
        given: usize,
        /// How many there should be.
        marks: usize,
    },
}

/// Judges a suspect by its labels for the marks of `claim` and those of each independent model. `tried` is how many pairs of suspect and claim were tried in all.
///
/// # Guarantee
/// For a suspect that is exchangeable with the independent models, with rates of agreement that vary as a beta distribution, `p_corrected` is at most alpha with probability at most alpha, as far as
/// [`null_rate`] does not underrate how models differ. It counts each independent model as one observation, however many marks it answered, so p is never smaller than so many models can carry.
pub fn judge(
    claim: &Registered<'_>,
    suspect: &[usize],
    null: &[Vec<usize>],
    tried: u32,
) -> Result<Judgement, JudgeError> {
    if null.len() < LEAST_NULL_MODELS {
        return Err(JudgeError::TooFewNullModels { given: null.len() });
    }
    let counted = claim.marks().len();
    let suspect = agreement(claim, suspect)?;
    let null = null
        .iter()
        .map(|answers| agreement(claim, answers))
        .collect::<Result<Vec<_>, _>>()?;
    let rates: Vec<f64> = null
        .iter()
        .map(|model| model.marked as f64 / counted.max(1) as f64)
        .collect();
    let (a, b) = null_rate(&rates);
    let p = tail::upper(counted, suspect.marked, a, b);
    Ok(Judgement {
        marks: claim.count(),
        counted,
        suspect,
        null,
        p,
        p_corrected: f64::min(p * f64::from(tried.max(1)), 1.0),
    })
}

fn agreement(claim: &Registered<'_>, answers: &[usize]) -> Result<Agreement, JudgeError> {
    let marks = claim.marks();
    if answers.len() != marks.len() {
        return Err(JudgeError::Answers {
            given: answers.len(),
            marks: marks.len(),
        });
    }
    let pairs = || marks.iter().zip(answers);
    Ok(Agreement {
        marked: pairs().filter(|(mark, answer)| mark.marked == **answer).count(),
        honest: pairs().filter(|(mark, answer)| mark.honest == **answer).count(),
    })
}

/// The beta distribution of an unrelated model's rate of agreement, given those of the independent models.
///
/// The mean is theirs with half an agreeing and half a disagreeing model added (Jeffreys' prior: Brown, Cai and DasGupta 2001). The weight is the number of models plus one, the posterior's when each is
/// one observation, or less where the models differ more than that allows (the method of moments, floored at the prior's own weight).
fn null_rate(rates: &[f64]) -> (f64, f64) {
    let models = rates.len() as f64;
    let sum: f64 = rates.iter().sum();
    let mean = (0.5 + sum) / (models + 1.0);
    let centre = sum / models;
    let variance = rates.iter().map(|rate| (rate - centre).powi(2)).sum::<f64>() / (models - 1.0);
    let seen = if variance > 0.0 {
        mean * (1.0 - mean) / variance - 1.0
    } else {
        f64::INFINITY
    };
    let weight = seen.clamp(1.0, models + 1.0);
    (mean * weight, (1.0 - mean) * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_differ_weigh_less() {
        assert_eq!(null_rate(&[0.0; 8]), (0.5, 8.5));
        let (a, b) = null_rate(&[1.0; 8]);
        assert!((a - 8.5).abs() < 1e-12 && (b - 0.5).abs() < 1e-12);
        let (a, b) = null_rate(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!((a, b), (0.5, 0.5));
        let (a, b) = null_rate(&[0.2, 0.6, 0.3, 0.5, 0.7, 0.1, 0.4, 0.4, 0.2, 0.6, 0.3, 0.5]);
        assert!(a + b < 7.0, "{a} {b}");
    }

    #[test]
    fn the_more_independent_models_the_smaller_p_can_be() {
        let p = |models: usize| {
            let (a, b) = null_rate(&vec![0.0; models]);
            tail::upper(40, 24, a, b)
        };
        assert!(p(8) < 1e-3 && p(8) > 1e-5, "{}", p(8));
        assert!(p(20) < 1e-6, "{}", p(20));
    }
}
