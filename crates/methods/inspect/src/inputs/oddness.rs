//! How odd a row is beside real rows.
//!
//! The larger of the distance to the third nearest real row along the principal directions, and of what those directions leave over, each in
//! parts of what is typical. A waveform is judged by the energy in its bands, and by the share above 20 kHz.
//!
//! # Citation
//! The distance: Sun et al., *Out-of-distribution detection with deep nearest neighbors*, ICML 2022. What the directions leave over: Hendrycks
//! and Gimpel, *Early methods for detecting adversarial images*, 2016, arXiv:1608.00530.
//!
//! # Cost
//! One pass over the row for each of 32 directions, 512 distances between 32 numbers; for audio, a Fourier transform in frames.

use std::borrow::Cow;

use super::{form::Form, sample::Sample, spectrum::Spectrum};
use crate::{features::Projection, nearest::Bank};

/// Most real rows that distances are measured to.
pub(super) const MOST_IN_BANK: usize = 512;
/// Most rows that the directions are learnt from.
const MOST_LEARNT: usize = 4096;
/// What is typical is at least this, in standard deviations.
const LEAST_SCALE: f32 = 1e-3;
/// A share of ultrasonic energy that is nothing yet.
const QUIET: f32 = 0.01;
/// Distance, what is left over, ultrasonic energy.
pub(super) const PARTS: usize = 3;

/// What rows are measured against.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Oddness {
    pub(super) form: Form,
    /// The largest value of a sample of a waveform.
    pub(super) loudest: f32,
    pub(super) projection: Projection,
    pub(super) bank: Bank,
    /// What is typical of each part of the score.
    pub(super) scales: [f32; PARTS],
}

impl Oddness {
    /// Learns from the learnt half.
    pub(super) fn fit(sample: &Sample, secret: &[u8; 32]) -> Self {
        let numbers = sample.learnt_numbers().iter();
        let loudest = numbers.fold(0.0_f32, |most, value| most.max(value.abs()));
        let learnt: Vec<(Cow<'_, [f32]>, f32)> = sample
            .learnt()
            .take(MOST_LEARNT)
            .map(|row| see(row, sample.form, loudest))
            .collect();
        let width = learnt.first().map_or(sample.inputs, |(row, _)| row.len());
        let rows: Vec<f32> = learnt.iter().flat_map(|(row, _)| row.iter()).copied().collect();
        let projection = Projection::fit(&rows, width, secret);
        let features: Vec<_> = learnt
            .iter()
            .filter_map(|(row, _)| projection.features(row))
            .collect();
        let bank = Bank::new(features.iter().take(MOST_IN_BANK).map(|seen| seen.point));
        let scales = [
            median(features.iter().map(|seen| bank.distance(&seen.point)).collect()).max(LEAST_SCALE),
            median(features.iter().map(|seen| seen.residual).collect()).max(LEAST_SCALE),
            learnt.iter().fold(QUIET, |most, (_, share)| most.max(*share)),
        ];
        Self {
            form: sample.form,
            loudest,
            projection,
            bank,
            scales,
        }
    }

    /// Larger is odder; infinite for a row of another length or with a number that is not finite.
    pub(super) fn of(&self, row: &[f32]) -> f32 {
        let (seen, ultrasonic) = see(row, self.form, self.loudest);
        let Some(features) = self.projection.features(&seen) else {
            return f32::INFINITY;
        };
        let parts = [self.bank.distance(&features.point), features.residual, ultrasonic];
        let shares = parts.iter().zip(self.scales).map(|(part, scale)| part / scale);
        shares.fold(0.0, f32::max)
    }
}

/// What is looked at of a row, and its share of ultrasonic energy.
fn see(row: &[f32], form: Form, loudest: f32) -> (Cow<'_, [f32]>, f32) {
    match form {
        Form::Table { .. } | Form::Image { .. } => (Cow::Borrowed(row), 0.0),
        Form::Audio { rate, .. } => {
            let spectrum = Spectrum::of(row, rate);
            (Cow::Owned(spectrum.bands(loudest)), spectrum.ultrasonic())
        }
    }
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
