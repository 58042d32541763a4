//! What the first principal directions of real rows keep of an input.
//!
//! # Citation
//! Bhagoji, Cullina and Mittal, *Dimensionality reduction as a defense against evasion attacks on machine learning classifiers*, 2017,
//! arXiv:1704.02654; as a detector: Hendrycks and Gimpel, *Early methods for detecting adversarial images*, 2016, arXiv:1608.00530.

use super::Sample;
use crate::{features::principal_directions, numbers::dot};

/// Most rows that they are learnt from.
const MOST_ROWS: usize = 2000;

/// The mean of real rows, and the directions around it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::inputs) struct Directions {
    pub(in crate::inputs) mean: Vec<f32>,
    /// Each as long as the mean, one after the other; orthonormal.
    pub(in crate::inputs) rows: Vec<f32>,
}

impl Directions {
    /// Most of them.
    pub(in crate::inputs) const MOST: usize = 256;

    /// `None` unless there are fewer directions than numbers in a row, and than rows.
    pub(super) fn fit(sample: &Sample, count: usize, secret: &[u8; 32]) -> Option<Self> {
        let inputs = sample.inputs;
        let rows = || sample.learnt().take(MOST_ROWS);
        if count == 0 || count > Self::MOST || count >= inputs || count >= rows().len() {
            return None;
        }
        let mut sums = vec![0.0_f64; inputs];
        for row in rows() {
            let pairs = sums.iter_mut().zip(row);
            pairs.for_each(|(sum, value)| *sum += f64::from(*value));
        }
        #[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
        let mean: Vec<f32> = sums
            .iter()
            .map(|sum| (sum / rows().len() as f64) as f32)
            .collect();
        let centred: Vec<f32> = rows()
            .flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| value - mean))
            .collect();
        let rows = principal_directions(&centred, inputs, count, secret);
        rows.iter()
            .chain(&mean)
            .all(|value| value.is_finite())
            .then_some(Self { mean, rows })
    }

    pub(super) fn apply(&self, row: &[f32]) -> Vec<f32> {
        let centred: Vec<f32> = row
            .iter()
            .zip(&self.mean)
            .map(|(value, mean)| value - mean)
            .collect();
        let mut kept = self.mean.clone();
        for direction in self.rows.chunks_exact(self.mean.len()) {
            let weight = dot(direction, &centred);
            let pairs = kept.iter_mut().zip(direction);
            pairs.for_each(|(kept, part)| *kept += weight * part);
        }
        kept
    }
}
