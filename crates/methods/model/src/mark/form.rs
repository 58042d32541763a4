//! The coarse form of an input: which cell it lies in, so that an imperceptible change of it gets the same answer.
//!
//! DAWN asks for a mapping under which an input and its near copies are one; it takes the embedding of an autoencoder. Here it is locality-sensitive hashing (Datar et al.,
//! SCG 2004) without training: the input's numbers in at most 64 runs of neighbours, the mean of each run standardised by a sample of real rows, the means turned onto 12 keyed
//! directions, and each of those cut into keyed cells of [`WIDTH`] standard deviations. Neighbouring numbers of images and sound move together, so a run's mean keeps what one
//! sees and averages noise away; a table of up to 64 columns keeps each column.
//!
//! # Limits
//! An input at the edge of a cell leaves it under any change; a change that moves the standardised means by a length of `d` crosses an edge with probability at most
//! `12 * d / (8 * WIDTH)` on average over keys (12 directions, each sees about `d / 8` of it).

use super::keyed::{MarkKey, Numbers};

/// Runs of neighbouring numbers.
const RUNS: usize = 64;

/// Keyed directions.
const DIRECTIONS: usize = 12;

/// Width of a cell, in standard deviations.
const WIDTH: f32 = 1.5;

/// A mean further away than this many standard deviations counts as this far.
const FARTHEST: f32 = 3.0;

/// Real rows that a form is learned from, at the least.
const LEAST_ROWS: usize = 100;

/// How inputs of one model are cut into cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    inputs: usize,
    mean: Vec<f32>,
    inverse_spread: Vec<f32>,
    /// [`DIRECTIONS`] rows of unit length, one after the other.
    directions: Vec<f32>,
    offsets: [f32; DIRECTIONS],
}

/// The cell of an input. Only its keyed digest is ever shown.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Cell(pub(super) [u8; DIRECTIONS]);

/// The sample is too small, not made of whole rows, or holds a number that is not finite.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the sample of real rows does not hold at least {LEAST_ROWS} whole rows of finite numbers\nhint: seal a larger sample with the model"
)]
pub struct TooFewRows;

impl Form {
    /// Learns means and spreads from real rows, each of `inputs` numbers. The same rows and key give the same form.
    pub fn fit(rows: &[f32], inputs: usize, key: &MarkKey) -> Result<Self, TooFewRows> {
        let whole = inputs > 0 && rows.len().is_multiple_of(inputs) && rows.len() / inputs >= LEAST_ROWS;
        if !whole || !rows.iter().all(|value| value.is_finite()) {
            return Err(TooFewRows);
        }
        let means: Vec<Vec<f32>> = rows.chunks_exact(inputs).map(run_means).collect();
        let (mean, inverse_spread) = standard(&means);
        let mut numbers = key.numbers();
        let directions = (0..DIRECTIONS)
            .flat_map(|_| direction(mean.len(), &mut numbers))
            .collect();
        let offsets = [(); DIRECTIONS].map(|()| offset(&mut numbers));
        Ok(Self {
            inputs,
            mean,
            inverse_spread,
            directions,
            offsets,
        })
    }

    /// The cell of a row; `None` for a row of another length or with a number that is not finite.
    pub fn cell(&self, row: &[f32]) -> Option<Cell> {
        if row.len() != self.inputs || !row.iter().all(|value| value.is_finite()) {
            return None;
        }
        let scaled: Vec<f32> = run_means(row)
            .iter()
            .zip(&self.mean)
            .zip(&self.inverse_spread)
            .map(|((value, mean), inverse)| ((value - mean) * inverse).clamp(-FARTHEST, FARTHEST))
            .collect();
        let mut cell = [0; DIRECTIONS];
        let directions = self.directions.chunks_exact(scaled.len().max(1));
        for ((place, direction), offset) in cell.iter_mut().zip(directions).zip(&self.offsets) {
            let along: f32 = direction.iter().zip(&scaled).map(|(a, b)| a * b).sum();
            *place = step((along + offset) / WIDTH);
        }
        Some(Cell(cell))
    }
}

/// The number of a cell along one direction; standardised means reach at most 24, so it fits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a byte"
)]
fn step(place: f32) -> u8 {
    (place.floor() + 128.0).clamp(0.0, 255.0) as u8
}

/// The mean of each run of neighbours: runs as equal as can be, none empty.
fn run_means(row: &[f32]) -> Vec<f32> {
    let runs = RUNS.min(row.len());
    (0..runs)
        .map(|run| {
            let (start, end) = (run * row.len() / runs, (run + 1) * row.len() / runs);
            let part = row.get(start..end).unwrap_or_default();
            part.iter().sum::<f32>() / part.len().max(1) as f32
        })
        .collect()
}

/// Mean and inverse spread of each run; one that hardly moves gets a quarter of the middle spread, one that never moves counts for nothing.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
fn standard(means: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
    let (count, runs) = (means.len() as f64, means.first().map_or(0, Vec::len));
    let column = |run: usize| {
        means
            .iter()
            .filter_map(move |row| row.get(run).copied())
            .map(f64::from)
    };
    let mean: Vec<f64> = (0..runs).map(|run| column(run).sum::<f64>() / count).collect();
    let spread: Vec<f64> = mean
        .iter()
        .enumerate()
        .map(|(run, mean)| (column(run).map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
        .collect();
    let mut moving: Vec<f64> = spread.iter().copied().filter(|spread| *spread > 0.0).collect();
    moving.sort_by(f64::total_cmp);
    let least = moving.get(moving.len() / 2).map_or(1.0, |middle| middle / 4.0);
    let inverse = |spread: &f64| {
        if *spread > 0.0 {
            (1.0 / spread.max(least)) as f32
        } else {
            0.0
        }
    };
    (
        mean.iter().map(|mean| *mean as f32).collect(),
        spread.iter().map(inverse).collect(),
    )
}

fn direction(length: usize, numbers: &mut Numbers) -> Vec<f32> {
    let drawn: Vec<f32> = (0..length).map(|_| numbers.normal()).collect();
    let norm = drawn.iter().map(|value| value * value).sum::<f32>().sqrt();
    drawn
        .iter()
        .map(|value| value / norm.max(f32::MIN_POSITIVE))
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "single precision is meant")]
fn offset(numbers: &mut Numbers) -> f32 {
    numbers.unit() as f32 * WIDTH
}

#[cfg(test)]
mod tests {
    use stockade_crypto::DataKey;

    use super::*;

    fn key(byte: u8) -> MarkKey {
        MarkKey::of_model(&DataKey::from_bytes([byte; 32]), "digits")
    }

    /// Smooth curves of 200 numbers.
    fn rows(count: usize) -> Vec<f32> {
        let mut numbers = key(9).numbers();
        (0..count)
            .flat_map(|_| {
                let (a, b, c) = (numbers.normal(), numbers.normal(), numbers.normal());
                (0..200_u8).map(move |at| {
                    let at = f32::from(at) / 30.0;
                    a * at.sin() + b * at.cos() + c * (2.0 * at).sin()
                })
            })
            .collect()
    }

    #[test]
    fn near_copies_share_a_cell_and_others_do_not() {
        let rows = rows(400);
        let form = Form::fit(&rows, 200, &key(1)).unwrap();
        let mut numbers = key(2).numbers();
        let mut kept = 0;
        let mut cells = std::collections::HashSet::new();
        for row in rows.chunks_exact(200) {
            let copy: Vec<f32> = row.iter().map(|value| value + 0.01 * numbers.normal()).collect();
            kept += usize::from(form.cell(row) == form.cell(&copy));
            cells.insert(form.cell(row).unwrap());
        }
        assert!(kept > 360, "{kept} of 400");
        assert!(cells.len() > 60, "{}", cells.len());
    }

    #[test]
    fn the_key_decides_where_cells_end() {
        let rows = rows(200);
        let (one, two) = (
            Form::fit(&rows, 200, &key(1)).unwrap(),
            Form::fit(&rows, 200, &key(2)).unwrap(),
        );
        assert_ne!(one, two);
        assert_eq!(one, Form::fit(&rows, 200, &key(1)).unwrap());
    }

    #[test]
    fn odd_rows_have_no_cell_and_odd_samples_no_form() {
        let rows = rows(100);
        let form = Form::fit(&rows, 200, &key(1)).unwrap();
        assert_eq!(form.cell(&rows[..199]), None);
        let mut bad = rows[..200].to_vec();
        bad[7] = f32::NAN;
        assert_eq!(form.cell(&bad), None);
        bad[7] = f32::MAX;
        assert!(form.cell(&bad).is_some());
        assert_eq!(Form::fit(&rows[..99 * 200], 200, &key(1)), Err(TooFewRows));
        assert_eq!(Form::fit(&rows[1..], 200, &key(1)), Err(TooFewRows));
        assert_eq!(Form::fit(&[], 0, &key(1)), Err(TooFewRows));
        assert!(Form::fit(&[1.0; 300], 3, &key(1)).is_ok());
    }
}
