//! What the detectors see of an input: its place along the principal directions of real rows, and what they leave over.
//!
//! An input of any shape is one row of numbers. It is standardised by the reference sample, projected on the sample's first
//! principal directions (found by subspace iteration: Halko, Martinsson and Tropp 2011, algorithm 4.4) and turned by a secret rotation,
//! which changes no distance and hides the axes from an attacker who has the public data too.
//!
//! # Cost
//! One pass over the input for each direction: 784 inputs are 25,000 multiplications.

use crate::numbers::{Keyed, dot, quantile};

/// Directions kept; fewer when the input has fewer than twice as many numbers, the rest is 0.
pub const DIMENSIONS: usize = 32;

/// Deviations beyond this many standard deviations count as this many, so that one absurd number bounds what it can do.
const FARTHEST: f32 = 20.0;

/// Rounds of subspace iteration.
const ROUNDS: usize = 8;

/// One input, as the detectors see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features {
    /// Place along the rotated principal directions.
    pub point: [f32; DIMENSIONS],
    /// Length of what the directions leave over.
    pub residual: f32,
    /// How near the values are to the middle of their ranges, over the input's standardised length: mixtures of real rows
    /// (Zhang et al., *mixup*, ICLR 2018) are both nearer and shorter than real rows.
    pub blend: f32,
}

/// From inputs to features.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projection {
    pub(crate) mean: Vec<f32>,
    pub(crate) inverse_spread: Vec<f32>,
    /// The middle of each column's range, and the inverse of half of it.
    pub(crate) middle: Vec<f32>,
    pub(crate) inverse_range: Vec<f32>,
    /// `DIMENSIONS` rows, one after the other, each as long as an input.
    pub(crate) directions: Vec<f32>,
}

impl Projection {
    /// Learns from real rows, each of `inputs` finite numbers.
    pub(crate) fn fit(rows: &[f32], inputs: usize, secret: &[u8; 32]) -> Self {
        let (mean, inverse_spread) = standard(rows, inputs);
        let (middle, inverse_range) = (0..inputs).map(|index| range(rows, inputs, index)).unzip();
        let mut projection = Self {
            mean,
            inverse_spread,
            middle,
            inverse_range,
            directions: Vec::new(),
        };
        let standardised: Vec<f32> = rows
            .chunks_exact(inputs)
            .flat_map(|row| projection.standardise(row))
            .collect();
        let rank = DIMENSIONS.min((inputs / 2).max(1));
        let principal = principal_directions(&standardised, inputs, rank, secret);
        projection.directions = rotate(&principal, inputs, rank, secret);
        projection
    }

    pub(crate) fn inputs(&self) -> usize {
        self.mean.len()
    }

    /// `None` for a row of another length or with a number that is not finite.
    pub(crate) fn features(&self, row: &[f32]) -> Option<Features> {
        if row.len() != self.inputs() || !row.iter().all(|value| value.is_finite()) {
            return None;
        }
        let standardised = self.standardise(row);
        let mut point = [0.0; DIMENSIONS];
        for (place, direction) in point.iter_mut().zip(self.directions.chunks_exact(row.len())) {
            *place = dot(direction, &standardised);
        }
        let length = dot(&standardised, &standardised);
        let left = length - dot(&point, &point);
        Some(Features {
            point,
            residual: left.max(0.0).sqrt(),
            blend: self.middling(row) / length.sqrt().max(f32::MIN_POSITIVE),
        })
    }

    /// The mean of 1 in the middle of a column's range to 0 at its ends and beyond.
    fn middling(&self, row: &[f32]) -> f32 {
        let columns = row.iter().zip(&self.middle).zip(&self.inverse_range);
        let sum: f32 = columns
            .filter(|(_, inverse)| **inverse > 0.0)
            .map(|((value, middle), inverse)| (1.0 - ((value - middle) * inverse).abs()).max(0.0))
            .sum();
        sum / row.len().max(1) as f32
    }

    fn standardise(&self, row: &[f32]) -> Vec<f32> {
        row.iter()
            .zip(&self.mean)
            .zip(&self.inverse_spread)
            .map(|((value, mean), inverse)| ((value - mean) * inverse).clamp(-FARTHEST, FARTHEST))
            .collect()
    }
}

/// Mean and inverse standard deviation of each column; a column that hardly moves gets a quarter of the typical spread.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
fn standard(rows: &[f32], inputs: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (rows.len() / inputs) as f64;
    let mut sums = vec![(0.0_f64, 0.0_f64); inputs];
    for row in rows.chunks_exact(inputs) {
        for ((sum, squares), value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
            *squares += f64::from(*value) * f64::from(*value);
        }
    }
    let variances: Vec<f64> = sums
        .iter()
        .map(|(sum, squares)| (squares / count - (sum / count).powi(2)).max(0.0))
        .collect();
    let typical = (variances.iter().sum::<f64>() / inputs as f64).sqrt();
    let least = if typical > 0.0 { typical / 4.0 } else { 1.0 };
    (
        sums.iter().map(|(sum, _)| (sum / count) as f32).collect(),
        variances
            .iter()
            .map(|variance| (1.0 / variance.sqrt().max(least)) as f32)
            .collect(),
    )
}

/// The middle of a column's range without its outermost hundredths, and the inverse of half of it; 0 for a column that does not move.
fn range(rows: &[f32], inputs: usize, index: usize) -> (f32, f32) {
    let mut values: Vec<f32> = rows.iter().skip(index).step_by(inputs).copied().collect();
    values.sort_by(f32::total_cmp);
    let (mut low, mut high) = (quantile(&values, 0.01), quantile(&values, 0.99));
    if high <= low {
        (low, high) = (quantile(&values, 0.0), quantile(&values, 1.0));
    }
    let half = (high - low) / 2.0;
    (low + half, if half > 0.0 { half.recip() } else { 0.0 })
}

/// Orthonormal rows that span the directions of most variance.
pub(crate) fn principal_directions(rows: &[f32], inputs: usize, rank: usize, secret: &[u8; 32]) -> Vec<f32> {
    let mut keyed = Keyed::new(secret, "inspect/queries/start");
    let mut basis: Vec<f32> = (0..rank * inputs).map(|_| keyed.normal()).collect();
    orthonormalise(&mut basis, inputs);
    for _ in 0..ROUNDS {
        let mut next = vec![0.0_f32; basis.len()];
        for row in rows.chunks_exact(inputs) {
            for (direction, sum) in basis.chunks_exact(inputs).zip(next.chunks_exact_mut(inputs)) {
                let weight = dot(direction, row);
                sum.iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += weight * value);
            }
        }
        basis = next;
        orthonormalise(&mut basis, inputs);
    }
    basis
}

/// `DIMENSIONS` rows: a random rotation of `rank` orthonormal rows, then rows of 0.
fn rotate(basis: &[f32], inputs: usize, rank: usize, secret: &[u8; 32]) -> Vec<f32> {
    let mut keyed = Keyed::new(secret, "inspect/queries/rotation");
    let mut rotation: Vec<f32> = (0..rank * rank).map(|_| keyed.normal()).collect();
    orthonormalise(&mut rotation, rank);
    let mut turned = vec![0.0_f32; DIMENSIONS * inputs];
    for (weights, out) in rotation.chunks_exact(rank).zip(turned.chunks_exact_mut(inputs)) {
        for (weight, direction) in weights.iter().zip(basis.chunks_exact(inputs)) {
            out.iter_mut()
                .zip(direction)
                .for_each(|(out, value)| *out += weight * value);
        }
    }
    turned
}

/// Gram-Schmidt, twice for accuracy; a row that depends on those before it becomes 0.
fn orthonormalise(rows: &mut [f32], length: usize) {
    let count = rows.len() / length.max(1);
    for index in 0..count {
        let (before, rest) = rows.split_at_mut(index * length);
        let Some(row) = rest.get_mut(..length) else {
            return;
        };
        let first = dot(row, row);
        for _ in 0..2 {
            for other in before.chunks_exact(length) {
                let share = dot(row, other);
                row.iter_mut()
                    .zip(other)
                    .for_each(|(value, other)| *value -= share * other);
            }
        }
        let left = dot(row, row);
        let inverse = if left > first * 1e-9 && left > 0.0 {
            left.sqrt().recip()
        } else {
            0.0
        };
        row.iter_mut().for_each(|value| *value *= inverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [5; 32];

    /// Rows on a plane of 2 dimensions within 16, of very different spread per column.
    fn plane(count: usize) -> Vec<f32> {
        let mut keyed = Keyed::new(&SECRET, "test");
        (0..count)
            .flat_map(|_| {
                let (a, b) = (keyed.normal(), keyed.normal());
                (0..16_u8)
                    .map(move |column| (1.0 + f32::from(column)) * (a * f32::from(column % 3) + b) + 100.0)
            })
            .collect()
    }

    #[test]
    fn a_plane_is_found_and_what_leaves_it_is_left_over() {
        let rows = plane(400);
        let projection = Projection::fit(&rows, 16, &SECRET);
        let mut on = rows[..16].to_vec();
        let at = projection.features(&on).unwrap();
        assert!(at.residual < 0.05, "{at:?}");
        on[3] += 20.0;
        on[4] -= 20.0;
        assert!(projection.features(&on).unwrap().residual > 1.0);
    }

    #[test]
    fn the_rotation_keeps_distances_and_hides_axes() {
        let rows = plane(200);
        let (one, two) = (
            Projection::fit(&rows, 16, &SECRET),
            Projection::fit(&rows, 16, &[6; 32]),
        );
        let apart = |projection: &Projection| {
            let (a, b) = (
                projection.features(&rows[..16]).unwrap(),
                projection.features(&rows[16..32]).unwrap(),
            );
            crate::numbers::squared_distance(&a.point, &b.point).sqrt()
        };
        assert!((apart(&one) - apart(&two)).abs() < 0.02 * apart(&one));
        assert_ne!(
            one.features(&rows[..16]).unwrap().point,
            two.features(&rows[..16]).unwrap().point
        );
    }

    #[test]
    fn what_cannot_be_read_is_none_and_what_does_not_move_is_no_panic() {
        let projection = Projection::fit(&[1.0; 8], 2, &SECRET);
        assert!(projection.features(&[1.0]).is_none());
        assert!(projection.features(&[]).is_none());
        assert!(projection.features(&[f32::NAN, 1.0]).is_none());
        assert!(projection.features(&[f32::INFINITY, 1.0]).is_none());
        assert!(
            projection
                .features(&[f32::MAX, f32::MIN])
                .unwrap()
                .point
                .iter()
                .all(|place| place.is_finite())
        );
    }
}
