//! What is normal for a model: a reference sample of real rows with the model's answers, reduced to what the detectors need.
//!
//! The rows are split by a keyed order. One half is the bank that distances are measured to; the other sets, per class of
//! answer, the threshold that one row in twenty exceeds, with the tolerance limit that follows from its size. Both halves
//! should be rows on which the model was *not* trained, since a model is surer of rows that it has seen.

use super::{
    DETECTORS, DIMENSIONS, Features, Hit, LEVELS, Tolerances, dependence::Tree, near_duplicates::Likeness,
    tolerances::DOUBT,
};
use crate::{
    features::Projection,
    nearest::{Bank, NEIGHBOURS},
    numbers::{Keyed, squared_distance, upper_bound},
};

/// The share of real rows beyond the threshold of each level.
const RARE: [f64; LEVELS] = [0.05, 0.01];
/// The share of real rows that look like copies of each other.
const ALIKE: f64 = 0.01;
/// Never call a copy what is farther than this part of the way to real rows.
const FARTHEST_COPY: f32 = 0.5;
/// A class with fewer rows than this in either half is judged by all rows.
const FEWEST: usize = 20;
/// Fewer rows than this say too little.
const FEWEST_ROWS: usize = 200;
/// Most rows of a class in the bank, so that a query's cost is bounded.
const MOST_IN_BANK: usize = 512;
/// Most rows compared pair by pair when copies are calibrated.
const MOST_COMPARED: usize = 1500;
/// How often honest steps may fall on a line, or intervals repeat, before anything is known.
const STEP_TOLERANCE: f64 = 0.05;

/// A reference sample cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// Too few rows.
    #[error("a reference sample needs at least {FEWEST_ROWS} rows, and has {rows}")]
    TooFew {
        /// How many there are.
        rows: usize,
    },
    /// Inputs and answers are not as many, or not whole rows.
    #[error("the reference sample's inputs and answers are not as many rows")]
    Uneven,
    /// A number is NaN or infinite.
    #[error("the reference sample holds a number that is not finite")]
    NotFinite,
}

/// What is normal for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub(super) projection: Projection,
    pub(super) tree: Tree,
    /// One entry per class of answer; a class with few rows has a copy of what holds for all.
    pub(super) normals: Vec<Normal>,
    pub(super) likeness: Likeness,
    pub(super) near_copies: [f64; LEVELS],
}

/// What is normal among real rows that get one answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Normal {
    pub(super) bank: Bank,
    /// What real rows seldom exceed, per measure and level.
    pub(super) thresholds: [[f32; LEVELS]; MEASURES],
    /// How often they may exceed it after all.
    pub(super) tolerance: [f64; LEVELS],
}

/// What is measured of every query; larger is odder.
pub(super) const MEASURES: usize = 5;

impl Reference {
    /// Reduces real rows of `inputs` numbers each, and the model's answers of `classes` scores each.
    pub fn fit(
        rows: &[f32],
        answers: &[f32],
        inputs: usize,
        classes: usize,
        secret: &[u8; 32],
    ) -> Result<Self, ReferenceError> {
        let count = rows.len().checked_div(inputs).unwrap_or_default();
        if classes == 0 || count * inputs != rows.len() || count * classes != answers.len() {
            return Err(ReferenceError::Uneven);
        }
        if count < FEWEST_ROWS {
            return Err(ReferenceError::TooFew { rows: count });
        }
        if !rows.iter().chain(answers).all(|value| value.is_finite()) {
            return Err(ReferenceError::NotFinite);
        }
        // Whatever is learnt is learnt from the first half, so that the second is as new to it as a client's rows.
        let mut order = Keyed::new(secret, "inspect/queries/halves").order(count);
        let later = order.split_off(count / 2);
        let row = |index: &usize| rows.chunks_exact(inputs).nth(*index);
        let learnt: Vec<f32> = order.iter().filter_map(row).flatten().copied().collect();
        let projection = Projection::fit(&learnt, inputs, secret);
        let tree = Tree::fit(&learnt, inputs);
        let see = |index: &usize| {
            let row = row(index)?;
            Some(Seen {
                features: projection.features(row)?,
                surprise: tree.surprise(row),
                reading: Reading::of(answers.chunks_exact(classes).nth(*index)?)?,
            })
        };
        let bank: Vec<Seen> = order.iter().filter_map(see).collect();
        let calibration: Vec<Seen> = later.iter().filter_map(see).collect();
        let all = Normal::of(&bank, &calibration);
        let normals: Vec<Normal> = (0..classes.max(2))
            .map(|class| {
                let of_class = |half: &[Seen]| -> Vec<Seen> {
                    half.iter()
                        .filter(|seen| seen.reading.class == class)
                        .copied()
                        .collect()
                };
                let (bank, calibration) = (of_class(&bank), of_class(&calibration));
                if bank.len() < FEWEST || calibration.len() < FEWEST {
                    return all.clone();
                }
                Normal::of(&bank, &calibration)
            })
            .collect();
        let (likeness, near_copies) = alike(&calibration, &normals);
        Ok(Self {
            projection,
            tree,
            normals,
            likeness,
            near_copies,
        })
    }

    /// Numbers in a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.projection.inputs()
    }

    /// Classes of answers.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.normals.len()
    }

    /// What the detectors see of `row`; `None` for a row of another length or with a number that is not finite.
    #[must_use]
    pub fn features(&self, row: &[f32]) -> Option<Features> {
        self.projection.features(row)
    }

    /// How often each detector may hit a client whose rows are like those of the sample.
    #[must_use]
    pub fn tolerances(&self) -> Tolerances {
        Tolerances {
            classes: self
                .normals
                .iter()
                .map(|normal| -> [[f64; LEVELS]; DETECTORS] {
                    let rare = normal.tolerance;
                    let step = [STEP_TOLERANCE, 1.0];
                    [self.near_copies, rare, rare, rare, rare, rare, step, step]
                })
                .collect(),
        }
    }
}

/// A row of the sample, reduced.
#[derive(Clone, Copy, Debug)]
struct Seen {
    features: Features,
    surprise: f32,
    reading: Reading,
}

/// What the detectors take from an answer: its class, and how far that class is before the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) class: usize,
    pub(super) margin: f32,
}

impl Reading {
    /// `None` for no scores or one that is not a number. A single score is the probability of class 1.
    pub(super) fn of(answer: &[f32]) -> Option<Self> {
        if answer.iter().any(|score| score.is_nan()) {
            return None;
        }
        if let [score] = answer {
            return Some(Self {
                class: usize::from(*score >= 0.5),
                margin: (2.0 * score - 1.0).abs(),
            });
        }
        let (class, first) = answer
            .iter()
            .copied()
            .enumerate()
            .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
        let others = answer.iter().enumerate().filter(|(index, _)| *index != class);
        let second = others.map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
        let margin = first - second;
        (!margin.is_nan()).then_some(Self { class, margin })
    }
}

impl Normal {
    fn of(bank: &[Seen], calibration: &[Seen]) -> Self {
        let points = bank.iter().take(MOST_IN_BANK).map(|seen| seen.features.point);
        let bank = Bank::new(points);
        let mut normal = Self {
            thresholds: Default::default(),
            tolerance: RARE.map(|share| {
                upper_bound(
                    rank(calibration.len(), share) as u64,
                    calibration.len() as u64,
                    DOUBT,
                )
            }),
            bank,
        };
        let measured: Vec<[f32; MEASURES]> = calibration
            .iter()
            .map(|seen| normal.measure(&seen.features, seen.surprise, seen.reading))
            .collect();
        for (measure, thresholds) in normal.thresholds.iter_mut().enumerate() {
            let mut values: Vec<f32> = measured
                .iter()
                .filter_map(|row| row.get(measure).copied())
                .collect();
            values.sort_by(|a, b| b.total_cmp(a));
            *thresholds = RARE.map(|share| {
                let place = rank(values.len(), share);
                values.get(place).copied().unwrap_or(f32::INFINITY)
            });
        }
        normal
    }

    /// Distance, residual, surprise, blend and lack of margin.
    pub(super) fn measure(&self, features: &Features, surprise: f32, reading: Reading) -> [f32; MEASURES] {
        let distance = self.bank.distance(&features.point);
        [
            distance,
            features.residual,
            surprise,
            features.blend,
            -reading.margin,
        ]
    }

    /// Which measures are beyond their thresholds.
    pub(super) fn judge(&self, measures: [f32; MEASURES]) -> [Hit; MEASURES] {
        let mut hits = [Hit::default(); MEASURES];
        for ((hit, measure), thresholds) in hits.iter_mut().zip(measures).zip(self.thresholds) {
            *hit = thresholds.map(|threshold| measure > threshold);
        }
        hits
    }
}

/// How many of `count` rows are beyond the threshold.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a length"
)]
fn rank(count: usize, share: f64) -> usize {
    (count as f64 * share) as usize
}

/// How near two real rows are to each other, in parts of their distance to the bank.
fn alike(calibration: &[Seen], normals: &[Normal]) -> (Likeness, [f64; LEVELS]) {
    let rows: Vec<(&Seen, f32)> = calibration
        .iter()
        .take(MOST_COMPARED)
        .filter_map(|seen| {
            Some((
                seen,
                normals
                    .get(seen.reading.class)?
                    .bank
                    .distance(&seen.features.point),
            ))
        })
        .filter(|(_, distance)| distance.is_finite())
        .collect();
    let mut ratios: Vec<f32> = rows
        .iter()
        .enumerate()
        .map(|(index, (seen, distance))| {
            let others = rows.iter().enumerate().filter(|(other, _)| *other != index);
            let nearest = others
                .map(|(_, (other, _))| squared_distance(&seen.features.point, &other.features.point))
                .filter(|squared| *squared > 0.0)
                .fold(f32::INFINITY, f32::min);
            if *distance > 0.0 {
                nearest.sqrt() / distance
            } else {
                f32::INFINITY
            }
        })
        .collect();
    ratios.sort_by(f32::total_cmp);
    let ratio = ratios
        .get(rank(ratios.len(), ALIKE))
        .copied()
        .unwrap_or_default()
        .min(FARTHEST_COPY);
    let mut distances: Vec<f32> = rows.iter().map(|(_, distance)| *distance).collect();
    distances.sort_by(f32::total_cmp);
    let typical = distances.get(distances.len() / 2).copied().unwrap_or_default();
    let likeness = Likeness {
        ratio,
        radius: ratio * typical,
    };
    let tolerances = likeness.ratios().map(|ratio| {
        let alike = ratios.iter().filter(|other| **other < ratio).count();
        upper_bound(alike as u64, rows.len() as u64, DOUBT)
    });
    (likeness, tolerances)
}

const _: () = assert!(FEWEST > NEIGHBOURS && DIMENSIONS > 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_cannot_be_used_are_refused() {
        let secret = [1; 32];
        let fit = |rows: &[f32], answers: &[f32], inputs, classes| {
            Reference::fit(rows, answers, inputs, classes, &secret).map(|_| ())
        };
        assert_eq!(fit(&[], &[], 4, 2), Err(ReferenceError::TooFew { rows: 0 }));
        assert_eq!(fit(&[], &[], 0, 0), Err(ReferenceError::Uneven));
        assert_eq!(fit(&[0.0; 5], &[0.0; 2], 4, 2), Err(ReferenceError::Uneven));
        assert_eq!(
            fit(&[f32::NAN; 400], &[0.0; 400], 2, 2),
            Err(ReferenceError::NotFinite)
        );
        assert_eq!(fit(&[0.0; 400], &[0.0; 400], 2, 2), Ok(()));
    }

    #[test]
    fn readings() {
        assert_eq!(
            Reading::of(&[0.2, 0.7, 0.1]),
            Some(Reading {
                class: 1,
                margin: 0.7 - 0.2
            })
        );
        assert_eq!(
            Reading::of(&[0.25]),
            Some(Reading {
                class: 0,
                margin: 0.5
            })
        );
        assert_eq!(Reading::of(&[]), None);
        assert_eq!(Reading::of(&[0.2, f32::NAN]), None);
        assert_eq!(Reading::of(&[f32::INFINITY, f32::INFINITY]), None);
    }
}
