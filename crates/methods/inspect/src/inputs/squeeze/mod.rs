//! Squeezed copies of an input: the same thing with less room for what people do not see.
//!
//! A [`SqueezerSpec`] is data; [`Squeezers`] are made of some and of a sample, and hand out copies. Numbers beyond the range of the sample
//! are clipped to it first, so that no copy holds a number that is not finite.
//!
//! # Citation
//! Xu, Evans and Qi, *Feature squeezing: detecting adversarial examples in deep neural networks*, NDSS 2018, arXiv:1704.01155 (bit depth, median,
//! non-local means). Each file names what it adds.
//!
//! # Cost
//! At most 2^28 multiplications or comparisons a copy, as [`Squeezers::fit`] estimates before it accepts a spec; at most 8 copies.
//!
//! # Limits
//! A squeezer alone protects nothing: it makes copies. He et al. (WOOT 2017) find adversarial examples that survive it.

mod audio;
mod image;
mod levels;
mod principal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    conformal::{Alpha, CalibrationError},
    disagreement::{self, Disagreement},
    form::Form,
    sample::Sample,
};
pub(super) use {
    audio::Kernel,
    image::{Blur, is_search},
    levels::Levels,
    principal::Directions,
};

/// Most copies of a row.
pub(super) const MOST_SQUEEZERS: usize = 8;
/// Most operations for one copy.
const MOST_OPERATIONS: u64 = 1 << 28;
/// Widest window of a median filter.
const WIDEST: u8 = 9;
/// Widest search of non-local means.
const WIDEST_SEARCH: u8 = 21;

/// One way to squeeze an input.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SqueezerSpec {
    /// Images and audio: values rounded to 2^bits between the smallest and the largest of the sample.
    BitDepth {
        /// 1 to 15.
        bits: u8,
    },
    /// Images and audio: each value becomes the median of those around it.
    Median {
        /// 2 to 9; of an image, its side.
        window: u8,
    },
    /// Images: each pixel becomes a weighted mean of those around it.
    Gaussian {
        /// Standard deviation in pixels, above 0 and at most 8.
        sigma: f32,
    },
    /// Images: each pixel becomes the mean of those around it whose neighbourhoods look alike.
    NonLocalMeans {
        /// Side of the square that is searched, odd, 3 to 21.
        search: u8,
        /// Side of a neighbourhood, odd, 1 to 9.
        patch: u8,
        /// How unlike they may be, in parts of the range of values, above 0 and at most 1.
        strength: f32,
    },
    /// Images and tables: what the sample's first principal directions keep of the input.
    Principal {
        /// How many directions, 1 to 256, fewer than numbers in a row.
        directions: u16,
    },
    /// Audio: frequencies above are removed.
    LowPass {
        /// Above 0, below half of the sampling rate.
        hertz: f64,
    },
    /// Audio: sampled anew at a lower rate, and back.
    Resample {
        /// Samples in a second in between; at most the sampling rate, at least a 16th of it.
        rate: u32,
    },
    /// Tables: each column rounded to equal steps between its smallest and largest value in the sample.
    Grid {
        /// 1 to 4096.
        steps: u16,
    },
    /// Tables: each column rounded to the middle of one of the equally full bins that the sample fills.
    Quantiles {
        /// 1 to 4096.
        bins: u16,
    },
}

/// Squeezers cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SqueezeError {
    /// None, or too many.
    #[error("1 to {MOST_SQUEEZERS} squeezers can be used together, not {count}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// The squeezer is for another kind of input, or a number of it is out of its bounds.
    #[error("squeezer {place} is out of bounds, or not for inputs of this form: {spec:?}")]
    Unfit {
        /// Its place, from 0.
        place: usize,
        /// What it is.
        spec: SqueezerSpec,
    },
    /// A copy would take too long.
    #[error(
        "squeezer {place} takes {operations} operations a row, more than {MOST_OPERATIONS}\nhint: narrow its window"
    )]
    Costly {
        /// Its place, from 0.
        place: usize,
        /// What it takes.
        operations: u64,
    },
}

/// Squeezers of one model's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Squeezers {
    pub(super) form: Form,
    pub(super) inputs: usize,
    /// Smallest and largest value: of all numbers, or of each column of a table.
    pub(super) range: Vec<[f32; 2]>,
    // INVARIANT: 1 to `MOST_SQUEEZERS`.
    pub(super) each: Vec<Squeezer>,
}

/// What a spec becomes once the sample is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Squeezer {
    Levels(Levels),
    Median { window: u8 },
    Blur(Blur),
    NonLocalMeans { search: u8, patch: u8, strength: f32 },
    Directions(Directions),
    LowPass(Kernel),
    Resample { rate: u32 },
}

impl Squeezers {
    /// Learns what the specs need from one half of the sample.
    pub fn fit(specs: &[SqueezerSpec], sample: &Sample, secret: &[u8; 32]) -> Result<Self, SqueezeError> {
        if !(1..=MOST_SQUEEZERS).contains(&specs.len()) {
            return Err(SqueezeError::Count { count: specs.len() });
        }
        let range = ranges(sample);
        let each = specs.iter().enumerate().map(|(place, spec)| {
            let operations = spec.operations(sample.form, sample.inputs);
            if operations > MOST_OPERATIONS {
                return Err(SqueezeError::Costly { place, operations });
            }
            let squeezer = Squeezer::fit(*spec, sample, &range, secret);
            squeezer.ok_or(SqueezeError::Unfit { place, spec: *spec })
        });
        Ok(Self {
            form: sample.form,
            inputs: sample.inputs,
            each: each.collect::<Result<_, _>>()?,
            range,
        })
    }

    /// Copies of a row.
    #[must_use]
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// Numbers in a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The copies of `row`, one after the other, for one batch; `None` for a row of another length or with a number that is not finite.
    #[must_use]
    pub fn squeeze(&self, row: &[f32]) -> Option<Vec<f32>> {
        if row.len() != self.inputs || !row.iter().all(|value| value.is_finite()) {
            return None;
        }
        let clipped = self.clip(row);
        let copies = self
            .each
            .iter()
            .map(|squeezer| self.clip(&squeezer.apply(&clipped, self.form, &self.range)));
        Some(copies.flatten().collect())
    }

    /// Puts each number back into the sample's range; one that is no number, at its lower end.
    fn clip(&self, row: &[f32]) -> Vec<f32> {
        let ranges = self.range.iter().cycle();
        let pairs = row.iter().zip(ranges);
        pairs
            .map(|(value, [low, high])| value.max(*low).min(*high))
            .collect()
    }

    /// How far the model's answer to each copy is from its answer to the input, as the sum of absolute differences of scores.
    ///
    /// `answers` are `classes` scores to the input, then to each copy. `None` for another number of scores, or one that is not finite.
    #[must_use]
    pub fn distances(&self, answers: &[f32], classes: usize) -> Option<Vec<f32>> {
        disagreement::distances(answers, classes, self.count())
    }

    /// Sets the threshold by the model's answers to [`Sample::development`] and its copies: for each row in turn what [`Self::distances`] takes.
    pub fn calibrate(
        self,
        answers: &[f32],
        classes: usize,
        alpha: Alpha,
    ) -> Result<Disagreement, CalibrationError> {
        Disagreement::calibrate(self, answers, classes, alpha)
    }
}

impl SqueezerSpec {
    /// An estimate for one copy.
    fn operations(self, form: Form, inputs: usize) -> u64 {
        let inputs = inputs as u64;
        let each = match self {
            Self::BitDepth { .. } | Self::Grid { .. } | Self::Quantiles { .. } => 16,
            Self::Median { window } => match form {
                Form::Image { .. } => 4 * u64::from(window).pow(2),
                Form::Audio { .. } | Form::Table { .. } => 4 * u64::from(window),
            },
            Self::Gaussian { .. } => 2 * (2 * image::FARTHEST + 1) as u64,
            Self::NonLocalMeans { search, patch, .. } => u64::from(search).pow(2) * u64::from(patch).pow(2),
            Self::Principal { directions } => 2 * u64::from(directions),
            Self::LowPass { .. } => audio::TAPS as u64,
            Self::Resample { .. } => audio::RESAMPLED,
        };
        inputs.saturating_mul(each)
    }
}

impl Squeezer {
    /// `None` where the spec does not fit the form, or is out of bounds.
    fn fit(spec: SqueezerSpec, sample: &Sample, range: &[[f32; 2]], secret: &[u8; 32]) -> Option<Self> {
        use {Form::Audio, Form::Image, Form::Table};
        Some(match (spec, sample.form) {
            (SqueezerSpec::BitDepth { bits }, Image { .. } | Audio { .. }) if (1..=15).contains(&bits) => {
                Self::Levels(Levels::equal(range, (1 << bits) - 1)?)
            }
            (SqueezerSpec::Median { window }, Image { .. } | Audio { .. }) if is_median(window) => {
                Self::Median { window }
            }
            (SqueezerSpec::Gaussian { sigma }, Image { .. }) => Self::Blur(Blur::new(sigma)?),
            (
                SqueezerSpec::NonLocalMeans {
                    search,
                    patch,
                    strength,
                },
                Image { .. },
            ) if is_search(search, patch, strength) => Self::NonLocalMeans {
                search,
                patch,
                strength,
            },
            (SqueezerSpec::Principal { directions }, Image { .. } | Table { .. }) => {
                Self::Directions(Directions::fit(sample, usize::from(directions), secret)?)
            }
            (SqueezerSpec::LowPass { hertz }, Audio { rate, .. }) => {
                Self::LowPass(Kernel::low_pass(hertz / f64::from(rate))?)
            }
            (SqueezerSpec::Resample { rate: to }, Audio { rate, .. }) => Self::resample(rate, to)?,
            (SqueezerSpec::Grid { steps }, Table { .. }) if (1..=levels::MOST).contains(&steps) => {
                Self::Levels(Levels::equal(range, steps)?)
            }
            (SqueezerSpec::Quantiles { bins }, Table { .. }) if (1..=levels::MOST).contains(&bins) => {
                Self::Levels(Levels::quantiles(sample, bins))
            }
            (_, Table { .. } | Image { .. } | Audio { .. }) => return None,
        })
    }

    /// `None` unless `to` lies between a 16th of `from` and all of it.
    pub(super) fn resample(from: u32, to: u32) -> Option<Self> {
        (to <= from && u64::from(to) * audio::STEEPEST >= u64::from(from))
            .then_some(Self::Resample { rate: to })
    }

    fn apply(&self, row: &[f32], form: Form, range: &[[f32; 2]]) -> Vec<f32> {
        match self {
            Self::Levels(levels) => levels.apply(row),
            Self::Median { window } => match form {
                Form::Image { .. } => image::planes(row, form, |plane| plane.median(usize::from(*window))),
                Form::Audio { .. } | Form::Table { .. } => audio::median(row, usize::from(*window)),
            },
            Self::Blur(blur) => image::planes(row, form, |plane| plane.blur(blur)),
            Self::NonLocalMeans {
                search,
                patch,
                strength,
            } => {
                let span = range.first().map_or(0.0, |[low, high]| high - low);
                let (search, patch) = (usize::from(*search), usize::from(*patch));
                image::planes(row, form, |plane| {
                    plane.non_local_means(search, patch, strength * span)
                })
            }
            Self::Directions(directions) => directions.apply(row),
            Self::LowPass(kernel) => kernel.apply(row),
            Self::Resample { rate: to } => match form {
                Form::Audio { rate, .. } => audio::resample(row, rate, *to),
                Form::Table { .. } | Form::Image { .. } => row.to_vec(),
            },
        }
    }
}

/// Whether a median filter can be made of it.
pub(super) fn is_median(window: u8) -> bool {
    (2..=WIDEST).contains(&window)
}

/// Of each column of a table, or of all numbers.
fn ranges(sample: &Sample) -> Vec<[f32; 2]> {
    let width = match sample.form {
        Form::Table { columns } => columns,
        Form::Image { .. } | Form::Audio { .. } => 1,
    };
    let mut ranges = vec![[f32::INFINITY, f32::NEG_INFINITY]; width];
    for chunk in sample.learnt_numbers().chunks(width) {
        for (value, [low, high]) in chunk.iter().zip(&mut ranges) {
            (*low, *high) = (low.min(*value), high.max(*value));
        }
    }
    ranges
}

#[cfg(test)]
mod tests;
