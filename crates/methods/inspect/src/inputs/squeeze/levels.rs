//! Values rounded to a few levels: bit depth of pixels and samples, a grid or quantile bins of columns.
//!
//! # Citation
//! Bit depth: Xu, Evans and Qi 2018, section II. Of waveforms: Hussain et al., *WaveGuard*, USENIX Security 2021, arXiv:2103.03344.
//! Quantile bins of columns as the tabular counterpart are ours.

use super::Sample;
use crate::numbers::quantile;

/// Most steps of a column.
pub(super) const MOST: u16 = 4096;

/// Levels of all numbers, or of each column.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::inputs) enum Levels {
    /// So many equal steps from the smallest to the largest value.
    // INVARIANT: at least one step; finite.
    Equal { range: Vec<[f32; 2]>, steps: u16 },
    /// The levels of each column, in order.
    // INVARIANT: no column without levels; finite.
    Chosen { columns: Vec<Vec<f32>> },
}

impl Levels {
    /// `None` for no steps, or more than 32,767.
    pub(in crate::inputs) fn equal(range: &[[f32; 2]], steps: u16) -> Option<Self> {
        (1..1 << 15).contains(&steps).then(|| Self::Equal {
            range: range.to_vec(),
            steps,
        })
    }

    /// The middle of each of `bins` equally full bins; a column with no more values than bins keeps its values.
    pub(super) fn quantiles(sample: &Sample, bins: u16) -> Self {
        let columns = (0..sample.inputs).map(|column| {
            let numbers = sample.learnt_numbers().iter();
            let mut values: Vec<f32> = numbers.skip(column).step_by(sample.inputs).copied().collect();
            values.sort_by(f32::total_cmp);
            let mut distinct = values.clone();
            distinct.dedup();
            if distinct.len() <= usize::from(bins) {
                return distinct;
            }
            let middle = |bin| quantile(&values, (f64::from(bin) + 0.5) / f64::from(bins));
            let mut levels: Vec<f32> = (0..bins).map(middle).collect();
            levels.dedup();
            levels
        });
        Self::Chosen {
            columns: columns.collect(),
        }
    }

    pub(super) fn apply(&self, row: &[f32]) -> Vec<f32> {
        match self {
            Self::Equal { range, steps } => {
                let steps = f32::from(*steps);
                let round = |(value, [low, high]): (&f32, &[f32; 2])| {
                    let span = high - low;
                    if span > 0.0 {
                        low + ((value - low) / span * steps).round_ties_even() / steps * span
                    } else {
                        *low
                    }
                };
                row.iter().zip(range.iter().cycle()).map(round).collect()
            }
            Self::Chosen { columns } => {
                let pairs = row.iter().zip(columns);
                pairs.map(|(value, levels)| nearest(levels, *value)).collect()
            }
        }
    }
}

/// The lower one of two that are equally near.
fn nearest(levels: &[f32], value: f32) -> f32 {
    let above = levels.partition_point(|level| *level < value);
    let below = above.checked_sub(1).and_then(|place| levels.get(place));
    match (below, levels.get(above)) {
        (Some(below), Some(above)) if value - below <= above - value => *below,
        (_, Some(above)) => *above,
        (Some(below), None) => *below,
        (None, None) => value,
    }
}
