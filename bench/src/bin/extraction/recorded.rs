//! Rows and answers as `streams.py` wrote them.

use std::{error::Error, fs, path::Path};

use serde::Deserialize;

/// Rows of inputs and answers.
pub(crate) struct Rows {
    pub(crate) inputs: usize,
    pub(crate) classes: usize,
    rows: Vec<f32>,
    answers: Vec<f32>,
}

impl Rows {
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let words: Vec<[u8; 4]> = bytes.as_chunks::<4>().0.to_vec();
        let [count, inputs, classes] = [0, 1, 2].map(|at| u32::from_le_bytes(words[at]) as usize);
        if words.len() != 3 + count * (inputs + classes) {
            return Err(format!("{} is cut", path.display()).into());
        }
        let floats: Vec<f32> = words[3..].iter().map(|word| f32::from_le_bytes(*word)).collect();
        let (rows, answers) = floats.split_at(count * inputs);
        Ok(Self {
            inputs,
            classes,
            rows: rows.to_vec(),
            answers: answers.to_vec(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() / self.inputs
    }

    pub(crate) fn all(&self) -> (&[f32], &[f32]) {
        (&self.rows, &self.answers)
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.rows[index * self.inputs..][..self.inputs]
    }

    pub(crate) fn answer(&self, index: usize) -> &[f32] {
        &self.answers[index * self.classes..][..self.classes]
    }

    pub(crate) fn label(&self, index: usize) -> usize {
        let answer = self.answer(index);
        (0..answer.len())
            .max_by(|a, b| answer[*a].total_cmp(&answer[*b]))
            .unwrap_or(0)
    }
}

/// What a clone of one attack run was worth after so many answers.
#[derive(Deserialize)]
pub(crate) struct Curve {
    checkpoints: Vec<usize>,
    fidelity: Vec<f64>,
    /// Evasion walks begun; 0 for extraction.
    pub(crate) walks: usize,
    /// The query at which the first walk had found its adversarial input.
    pub(crate) broken_at: Option<usize>,
}

impl Curve {
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    /// Fidelity of a clone trained on `answered` answers, linear between checkpoints.
    pub(crate) fn at(&self, answered: usize, classes: usize) -> f64 {
        let (mut before, mut worth) = (0, 1.0 / classes as f64);
        for (point, fidelity) in self.checkpoints.iter().zip(&self.fidelity) {
            if answered <= *point {
                let way = (answered - before) as f64 / (point - before) as f64;
                return worth + way * (fidelity - worth);
            }
            (before, worth) = (*point, *fidelity);
        }
        worth
    }

    /// Fidelity of the clone that nobody stopped.
    pub(crate) fn undefended(&self) -> f64 {
        self.fidelity.last().copied().unwrap_or_default()
    }
}
