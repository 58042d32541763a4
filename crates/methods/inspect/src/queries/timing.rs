//! Regularity and sweeps: queries at equal intervals, and queries along a line.
//!
//! A grid scan or a one-feature sweep moves along one direction, and so does a line search of an evasion walk: two steps in a row are then parallel in any
//! linear projection. Equal intervals betray a script where clients are people; where clients are machines they say nothing, so
//! [`Tolerances::without`](super::Tolerances::without) turns that detector off for their class.
//!
//! # Citation
//! Steps rather than points as the thing to compare: Park et al., *Mind the gap: detecting black-box adversarial attacks in the making through
//! query update analysis* (GWAD), 2025.
//!
//! # Limits
//! A sweep in shuffled order over several features at once is not along a line.

use super::DIMENSIONS;

/// Squared cosine from which two steps are along one line.
const PARALLEL: f32 = 0.98;
/// Intervals within this part of each other are equal.
const EQUAL: f64 = 0.02;

/// The last query of one principal, and the step and interval that led to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trail {
    /// Seconds.
    pub(super) at: f64,
    pub(super) interval: f64,
    pub(super) point: [f32; DIMENSIONS],
    pub(super) step: [f32; DIMENSIONS],
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            at: f64::NAN,
            interval: f64::NAN,
            point: [f32::NAN; DIMENSIONS],
            step: [f32::NAN; DIMENSIONS],
        }
    }
}

impl Trail {
    /// Whether this query comes as long after the last as that one did; `None` without two intervals.
    pub(super) fn pace(&mut self, at: f64) -> Option<bool> {
        let interval = at - std::mem::replace(&mut self.at, at);
        let before = std::mem::replace(&mut self.interval, interval);
        let longer = interval.max(before);
        (interval >= 0.0 && before >= 0.0 && longer > 0.0)
            .then(|| (interval - before).abs() <= EQUAL * longer)
    }

    /// Whether this query lies on the line of the last two; `None` without two steps.
    pub(super) fn sweep(&mut self, point: &[f32; DIMENSIONS]) -> Option<bool> {
        let last = std::mem::replace(&mut self.point, *point);
        let mut step = *point;
        step.iter_mut().zip(last).for_each(|(to, from)| *to -= from);
        let before = std::mem::replace(&mut self.step, step);
        let (mut product, mut squared, mut squared_before) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (a, b) in step.iter().zip(before) {
            product += a * b;
            squared += a * a;
            squared_before += b * b;
        }
        let lengths = squared * squared_before;
        (lengths.is_finite() && lengths > 0.0).then_some(product * product >= PARALLEL * lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Keyed;

    #[test]
    fn equal_intervals_are_hits_and_random_ones_hardly_ever() {
        let mut trail = Trail::default();
        let regular: Vec<_> = (0..10)
            .map(|second| trail.pace(f64::from(second) * 3.0))
            .collect();
        assert_eq!(regular[..2], [None, None]);
        assert!(regular[2..].iter().all(|hit| *hit == Some(true)));

        let (mut keyed, mut at, mut trail) = (Keyed::new(&[1; 32], "test"), 0.0, Trail::default());
        let hits = (0..10_000).filter(|_| {
            at -= keyed.unit().max(1e-9).ln();
            trail.pace(at) == Some(true)
        });
        assert!(hits.count() < 300);
    }

    #[test]
    fn lines_are_hits_in_any_direction_and_walks_are_not() {
        let mut keyed = Keyed::new(&[2; 32], "test");
        let mut draw = || -> [f32; DIMENSIONS] { std::array::from_fn(|_| keyed.normal()) };
        let (start, direction) = (draw(), draw());
        let mut trail = Trail::default();
        let line: Vec<_> = [0.0, 1.0, 3.0, 2.0, 9.0]
            .map(|way| trail.sweep(&std::array::from_fn(|axis| start[axis] + way * direction[axis])))
            .into();
        assert_eq!(line, [None, None, Some(true), Some(true), Some(true)]);
        assert!((0..1_000).all(|_| trail.sweep(&draw()) != Some(true)));
    }

    #[test]
    fn absurd_times_and_places_do_not_panic() {
        let mut trail = Trail::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0, 0.0, -5.0] {
            trail.pace(value);
        }
        for value in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 0.0, 0.0, 0.0] {
            trail.sweep(&[value; DIMENSIONS]);
        }
    }
}
