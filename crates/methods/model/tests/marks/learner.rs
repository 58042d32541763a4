//! A model that a thief might train: kernel ridge regression on labels, which learns by heart what it is told and still generalises.

use std::{fs, path::Path};

/// Images of digits with their labels.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) rows: Vec<Vec<f32>>,
    pub(crate) labels: Vec<usize>,
}

/// The 450 test images of the example (UCI digits).
pub(crate) fn images() -> Images {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/digits/expected.json");
    let value: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let list = value["images"].as_array().unwrap();
    let row = |image: &serde_json::Value| serde_json::from_value(image["pixels"].clone()).unwrap();
    let label = |image: &serde_json::Value| usize::try_from(image["label"].as_u64().unwrap()).unwrap();
    Images {
        rows: list.iter().map(row).collect(),
        labels: list.iter().map(label).collect(),
    }
}

impl Images {
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let Self { mut rows, mut labels } = self;
        let rest = Self {
            rows: rows.split_off(at),
            labels: labels.split_off(at),
        };
        (Self { rows, labels }, rest)
    }

    /// The images without each `step`-th, beginning at `start`.
    pub(crate) fn without_each(&self, step: usize, start: usize) -> Self {
        let kept = |index: &usize| index % step != start % step;
        let indices = || (0..self.rows.len()).filter(kept);
        Self {
            rows: indices().map(|index| self.rows[index].clone()).collect(),
            labels: indices().map(|index| self.labels[index]).collect(),
        }
    }

    pub(crate) fn class_means(&self, classes: usize) -> Vec<Vec<f32>> {
        let mean = |class: usize| {
            let of: Vec<&Vec<f32>> = self
                .rows
                .iter()
                .zip(&self.labels)
                .filter(|(_, label)| **label == class)
                .map(|(row, _)| row)
                .collect();
            (0..self.rows[0].len())
                .map(|at| of.iter().map(|row| row[at]).sum::<f32>() / of.len() as f32)
                .collect()
        };
        (0..classes).map(mean).collect()
    }
}

/// A trained model.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    rows: Vec<Vec<f32>>,
    /// For each class, a weight for each row.
    weights: Vec<Vec<f64>>,
    narrowness: f64,
}

const CLASSES: usize = 10;
const RIDGE: f64 = 1e-3;

impl Learner {
    pub(crate) fn fit(rows: &[Vec<f32>], labels: &[usize], narrowness: f64) -> Self {
        let count = rows.len();
        let mut lower = vec![vec![0.0; count]; count];
        for i in 0..count {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
                let like = kernel(&rows[i], &rows[j], narrowness) + if i == j { RIDGE } else { 0.0 };
                lower[i][j] = if i == j {
                    (like - sum).sqrt()
                } else {
                    (like - sum) / lower[j][j]
                };
            }
        }
        let solve = |class: usize| {
            let mut solved = vec![0.0; count];
            for i in 0..count {
                let wanted = if labels[i] == class { 1.0 } else { 0.0 };
                let sum: f64 = (0..i).map(|k| lower[i][k] * solved[k]).sum();
                solved[i] = (wanted - sum) / lower[i][i];
            }
            for i in (0..count).rev() {
                let sum: f64 = (i + 1..count).map(|k| lower[k][i] * solved[k]).sum();
                solved[i] = (solved[i] - sum) / lower[i][i];
            }
            solved
        };
        Self {
            rows: rows.to_vec(),
            weights: (0..CLASSES).map(solve).collect(),
            narrowness,
        }
    }

    pub(crate) fn label(&self, row: &[f32]) -> usize {
        let likes: Vec<f64> = self
            .rows
            .iter()
            .map(|known| kernel(known, row, self.narrowness))
            .collect();
        let score = |class: &usize| -> f64 {
            self.weights[*class]
                .iter()
                .zip(&likes)
                .map(|(weight, like)| weight * like)
                .sum()
        };
        (0..CLASSES).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap()
    }
}

/// Gaussian, on pixels from 0 to 16.
fn kernel(one: &[f32], other: &[f32], narrowness: f64) -> f64 {
    let apart: f32 = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    (-narrowness * f64::from(apart) / 16.0).exp()
}
