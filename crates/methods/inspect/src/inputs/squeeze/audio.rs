//! Squeezers of waveforms: low-pass, resampling down and up, median.
//!
//! # Citation
//! Hussain et al., *WaveGuard: understanding and mitigating audio adversarial examples*, USENIX Security 2021, arXiv:2103.03344 (resampling,
//! filtering, quantising, and comparing what the model says). Filters are windowed sincs (Blackman 1958; Duchon's Lanczos window 1979).
//! At its ends a waveform goes on as its mirror image.

use super::image::mirror;

/// Weights of a low-pass filter.
pub(super) const TAPS: usize = 129;
/// Lobes of a sinc on each side.
const LOBES: f64 = 6.0;
/// A waveform is sampled at no less than this part of its rate.
pub(super) const STEEPEST: u64 = 16;
/// Operations that resampling takes for each sample, down and up.
pub(super) const RESAMPLED: u64 = 2 * (2 * 6 + 1) * 8;

/// A filter's weights, the middle one for the sample itself.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::inputs) struct Kernel {
    /// Of the sampling rate.
    pub(in crate::inputs) cutoff: f64,
    weights: Vec<f32>,
}

impl Kernel {
    /// Keeps frequencies below `cutoff`, a part of the sampling rate; `None` unless that lies between 0 and a half.
    #[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
    pub(in crate::inputs) fn low_pass(cutoff: f64) -> Option<Self> {
        if !(cutoff > 0.0 && cutoff < 0.5) {
            return None;
        }
        let middle = (TAPS / 2) as f64;
        let weight = |place: usize| {
            let turn = std::f64::consts::TAU * place as f64 / (TAPS - 1) as f64;
            let window = 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos();
            2.0 * cutoff * sinc(2.0 * cutoff * (place as f64 - middle)) * window
        };
        let weights: Vec<f64> = (0..TAPS).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        Some(Self {
            cutoff,
            weights: weights.iter().map(|weight| (weight / sum) as f32).collect(),
        })
    }

    pub(super) fn apply(&self, row: &[f32]) -> Vec<f32> {
        let half = TAPS / 2;
        (0..row.len())
            .map(|place| {
                let weights = self.weights.iter().enumerate();
                weights
                    .map(|(tap, weight)| weight * at(row, place, tap, half))
                    .sum()
            })
            .collect()
    }
}

/// Samples at `to` in a second instead of `from`, and back, to the same length.
pub(super) fn resample(row: &[f32], from: u32, to: u32) -> Vec<f32> {
    let step = f64::from(from) / f64::from(to.max(1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a length"
    )]
    let fewer = (row.len() as f64 / step).ceil() as usize;
    let down = interpolate(row, fewer.max(1), step, step);
    interpolate(&down, row.len(), step.recip(), 1.0)
}

/// `count` samples, each `step` after the one before, through a sinc whose lobes are `lobe` wide.
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths are at most `MOST_INPUTS`; single precision is enough"
)]
fn interpolate(row: &[f32], count: usize, step: f64, lobe: f64) -> Vec<f32> {
    (0..count)
        .map(|place| {
            let centre = place as f64 * step;
            let reach = LOBES * lobe;
            let (first, last) = (
                (centre - reach).ceil() as isize,
                (centre + reach).floor() as isize,
            );
            let (mut sum, mut weights) = (0.0, 0.0);
            for source in first..=last {
                let away = (source as f64 - centre) / lobe;
                let weight = sinc(away) * sinc(away / LOBES);
                let value = row.get(mirror(0, source, row.len())).copied().unwrap_or_default();
                sum += weight * f64::from(value);
                weights += weight;
            }
            (sum / weights) as f32
        })
        .collect()
}

/// The upper one of the two in the middle of a window of even length, which reaches farther back than ahead.
pub(super) fn median(row: &[f32], window: usize) -> Vec<f32> {
    (0..row.len())
        .map(|place| {
            let mut around: Vec<f32> = (0..window).map(|tap| at(row, place, tap, window / 2)).collect();
            *around.select_nth_unstable_by(window / 2, f32::total_cmp).1
        })
        .collect()
}

/// The sample `tap - before` after `place`, in the mirror where it is outside.
#[expect(clippy::cast_possible_wrap, reason = "a few dozen")]
fn at(row: &[f32], place: usize, tap: usize, before: usize) -> f32 {
    let place = mirror(place, tap as isize - before as isize, row.len());
    row.get(place).copied().unwrap_or_default()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 {
        return 1.0;
    }
    let angle = std::f64::consts::PI * x;
    angle.sin() / angle
}
