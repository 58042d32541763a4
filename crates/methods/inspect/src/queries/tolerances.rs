//! How often each detector may hit an honest client, per class of the model's answer.
//!
//! Per class, because an honest but narrow client asks about a few classes only: what is rare over all answers may be common
//! among its own. A tolerance is the larger of two bounds. One holds by the reference sample alone (the tolerance limit of Wilks 1941,
//! as conformal p-values use it: Bates et al., *Testing for outliers with conformal p-values*, 2023). The other comes from a
//! [`Survey`] of honest streams, kept apart from those on which results are reported (Clopper and Pearson 1934), times a slack for
//! clients who are odder than those surveyed.

use super::{DETECTORS, Detector, Hits, LEVELS};
use crate::numbers::upper_bound;

/// Probability with which a bound may be too low.
pub(super) const DOUBT: f64 = 0.01;

/// Fewer looks than this say nothing about a client's rate.
const FEWEST_LOOKS: u64 = 200;

/// The tolerated frequency of hits, per class of answer and detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerances {
    pub(super) classes: Vec<[[f64; LEVELS]; DETECTORS]>,
}

impl Tolerances {
    /// The tolerance of `detector` at each level among answers of `class`; 1, which is never bet against, for an unknown class.
    #[must_use]
    pub fn of(&self, class: usize, detector: Detector) -> [f64; LEVELS] {
        let [
            near_copy,
            drift,
            off_manifold,
            dependence,
            blend,
            margin,
            sweep,
            pace,
        ] = self
            .classes
            .get(class)
            .copied()
            .unwrap_or([[1.0; LEVELS]; DETECTORS]);
        match detector {
            Detector::NearCopy => near_copy,
            Detector::Drift => drift,
            Detector::OffManifold => off_manifold,
            Detector::Dependence => dependence,
            Detector::Blend => blend,
            Detector::Margin => margin,
            Detector::Sweep => sweep,
            Detector::Pace => pace,
        }
    }

    /// The same, with one detector off.
    #[must_use]
    pub fn without(mut self, detector: Detector) -> Self {
        for class in &mut self.classes {
            let slots = class.iter_mut().zip(Detector::ALL);
            slots
                .filter(|(_, at)| *at == detector)
                .for_each(|(slot, _)| *slot = [1.0; LEVELS]);
        }
        self
    }

    /// Raises each tolerance to what `survey` saw, times `slack`; a class that was looked at less than 200 times stays as it is.
    #[must_use]
    pub fn raised_to(mut self, survey: &Survey, slack: f64) -> Self {
        for (class, counts) in self.classes.iter_mut().zip(&survey.classes) {
            for (tolerance, count) in class.iter_mut().zip(counts) {
                if count.looks < FEWEST_LOOKS {
                    continue;
                }
                for (tolerance, hits) in tolerance.iter_mut().zip(count.hits) {
                    let seen = upper_bound(hits, count.looks, DOUBT);
                    *tolerance = tolerance.max(seen * slack).min(1.0);
                }
            }
        }
        self
    }
}

/// Hits counted on honest streams of one kind of client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    classes: Vec<[Count; DETECTORS]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    hits: [u64; LEVELS],
    looks: u64,
}

impl Survey {
    /// A survey of a model with this many classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self {
            classes: vec![Default::default(); classes],
        }
    }

    /// Counts one query of an honest client.
    pub fn add(&mut self, class: usize, hits: &Hits) {
        for (count, hit) in self.classes.get_mut(class).into_iter().flatten().zip(hits) {
            let Some(hit) = hit else { continue };
            count.looks += 1;
            for (hits, hit) in count.hits.iter_mut().zip(hit) {
                *hits += u64::from(*hit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_raises_what_it_saw_and_nothing_else() {
        let base = Tolerances {
            classes: vec![[[0.05, 0.01]; DETECTORS]; 2],
        };
        let mut survey = Survey::new(2);
        for query in 0..1_000 {
            survey.add(
                0,
                &[
                    Some([query % 5 == 0, false]),
                    None,
                    Some([false; 2]),
                    None,
                    None,
                    None,
                    None,
                    None,
                ],
            );
            survey.add(7, &[Some([true; 2]); DETECTORS]);
        }
        let raised = base.raised_to(&survey, 1.5);
        let [near_copy, nearer] = raised.of(0, Detector::NearCopy);
        assert!(
            (0.3..0.36).contains(&near_copy) && nearer == 0.01,
            "{near_copy} {nearer}"
        );
        assert_eq!(raised.of(0, Detector::Drift), [0.05, 0.01]);
        assert_eq!(raised.of(1, Detector::NearCopy), [0.05, 0.01]);
        assert_eq!(raised.of(9, Detector::NearCopy), [1.0; 2]);
        assert_eq!(raised.without(Detector::Pace).of(0, Detector::Pace), [1.0; 2]);
    }
}
