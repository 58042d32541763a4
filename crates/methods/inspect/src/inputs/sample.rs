//! Real rows of the model's domain, checked and split in two by a key.
//!
//! What is learnt is learnt from one half, so that the other is as new to it as a client's rows; thresholds come from the other.

use super::form::{Form, MOST_INPUTS};
use crate::numbers::Keyed;

/// Fewer rows than this say too little.
const FEWEST_ROWS: usize = 100;
/// Most rows, and most numbers in all rows together.
const MOST_ROWS: usize = 1 << 16;
const MOST_NUMBERS: usize = 1 << 27;

/// Real rows cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// Too few or too many rows.
    #[error("a sample of inputs needs {FEWEST_ROWS} to {MOST_ROWS} rows, and has {rows}")]
    Rows {
        /// How many there are.
        rows: usize,
    },
    /// A row has no numbers, or too many, or there are too many in all.
    #[error("a row of inputs has 1 to {MOST_INPUTS} numbers, and a sample at most {MOST_NUMBERS}")]
    Size,
    /// The numbers are not whole rows.
    #[error("the sample's numbers are not whole rows of {inputs}")]
    Uneven {
        /// Numbers in a row.
        inputs: usize,
    },
    /// A number is NaN or infinite.
    #[error("row {row} of the sample holds a number that is not finite")]
    NotFinite {
        /// The first such row, from 0.
        row: usize,
    },
}

/// Real rows on which the model was not trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub(super) form: Form,
    // INVARIANT: `form.inputs()`, and both halves are whole rows of it, finite and not empty.
    pub(super) inputs: usize,
    learnt: Vec<f32>,
    development: Vec<f32>,
}

impl Sample {
    /// Splits `rows`, one after the other, in an order that `secret` decides.
    pub fn new(rows: &[f32], form: Form, secret: &[u8; 32]) -> Result<Self, SampleError> {
        let inputs = form.inputs().ok_or(SampleError::Size)?;
        if rows.len() > MOST_NUMBERS {
            return Err(SampleError::Size);
        }
        if !rows.len().is_multiple_of(inputs) {
            return Err(SampleError::Uneven { inputs });
        }
        let count = rows.len() / inputs;
        if !(FEWEST_ROWS..=MOST_ROWS).contains(&count) {
            return Err(SampleError::Rows { rows: count });
        }
        if let Some(place) = rows.iter().position(|value| !value.is_finite()) {
            return Err(SampleError::NotFinite { row: place / inputs });
        }
        let order = Keyed::new(secret, "inspect/inputs/halves").order(count);
        let (first, second) = order.split_at(count / 2);
        let pick = |chosen: &[usize]| -> Vec<f32> {
            chosen
                .iter()
                .flat_map(|row| rows.get(row * inputs..(row + 1) * inputs).unwrap_or_default())
                .copied()
                .collect()
        };
        Ok(Self {
            form,
            inputs,
            learnt: pick(first),
            development: pick(second),
        })
    }

    /// Numbers in a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The rows that thresholds come from, in the order in which [`super::Squeezers::calibrate`] takes their answers.
    pub fn development(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.development.chunks_exact(self.inputs)
    }

    /// The rows that everything else comes from.
    pub(super) fn learnt(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.learnt.chunks_exact(self.inputs)
    }

    pub(super) fn learnt_numbers(&self) -> &[f32] {
        &self.learnt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form::Table { columns: 2 };

    #[test]
    fn samples_that_cannot_be_used_are_refused() {
        let new = |rows: &[f32], form| Sample::new(rows, form, &[1; 32]).map(|_| ());
        assert_eq!(new(&[0.0; 201], FORM), Err(SampleError::Uneven { inputs: 2 }));
        assert_eq!(new(&[0.0; 198], FORM), Err(SampleError::Rows { rows: 99 }));
        assert_eq!(
            new(&[0.0; 200], Form::Table { columns: 0 }),
            Err(SampleError::Size)
        );
        let mut rows = [0.0; 200];
        rows[7] = f32::NAN;
        assert_eq!(new(&rows, FORM), Err(SampleError::NotFinite { row: 3 }));
        assert_eq!(new(&[0.0; 200], FORM), Ok(()));
    }

    #[test]
    fn halves_hold_every_row_once_and_the_key_decides_which() {
        let rows: Vec<f32> = (0..101_u8).flat_map(|row| [f32::from(row), 0.5]).collect();
        let sample = Sample::new(&rows, FORM, &[1; 32]).unwrap();
        assert_eq!((sample.learnt().len(), sample.development().len()), (50, 51));
        let mut seen: Vec<&[f32]> = sample.learnt().chain(sample.development()).collect();
        seen.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert_eq!(seen.concat(), rows);
        assert_ne!(sample, Sample::new(&rows, FORM, &[2; 32]).unwrap());
    }
}
