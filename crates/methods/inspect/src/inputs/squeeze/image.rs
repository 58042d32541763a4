//! Smoothing of images: median, Gaussian and non-local means, each colour apart.
//!
//! # Citation
//! Median and non-local means as squeezers: Xu, Evans and Qi 2018, section II; the latter is Buades, Coll and Morel, *A non-local algorithm for
//! image denoising*, CVPR 2005. At the border an image goes on as its mirror image, its outermost pixels twice.

use super::super::form::{ChannelOrder, Form};

/// Farthest pixel that a Gaussian looks at.
pub(super) const FARTHEST: usize = 12;
/// Widest standard deviation.
const WIDEST_SIGMA: f32 = 8.0;
/// Widest neighbourhood.
const WIDEST_PATCH: u8 = 9;

/// Whether non-local means can be made of these.
pub(in crate::inputs) fn is_search(search: u8, patch: u8, strength: f32) -> bool {
    let odd = |side: u8| !side.is_multiple_of(2);
    odd(search)
        && odd(patch)
        && (3..=super::WIDEST_SEARCH).contains(&search)
        && (1..=WIDEST_PATCH).contains(&patch)
        && strength > 0.0
        && strength <= 1.0
}

/// Weights of a Gaussian, from the farthest pixel on one side to that on the other.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::inputs) struct Blur {
    pub(in crate::inputs) sigma: f32,
    weights: Vec<f32>,
}

impl Blur {
    /// `None` unless `sigma` is above 0 and at most 8. Pixels farther than three sigma, or than 12, have no weight.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most `FARTHEST`"
    )]
    pub(in crate::inputs) fn new(sigma: f32) -> Option<Self> {
        if !(sigma > 0.0 && sigma <= WIDEST_SIGMA) {
            return None;
        }
        let farthest = ((3.0 * sigma).ceil() as usize).clamp(1, FARTHEST);
        let weight = |place: usize| {
            let away = place.abs_diff(farthest) as f32 / sigma;
            (-0.5 * away * away).exp()
        };
        let weights: Vec<f32> = (0..=2 * farthest).map(weight).collect();
        let sum: f32 = weights.iter().sum();
        Some(Self {
            sigma,
            weights: weights.iter().map(|weight| weight / sum).collect(),
        })
    }
}

/// One colour of an image.
pub(super) struct Plane {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

/// Smooths each colour of `row`.
pub(super) fn planes(row: &[f32], form: Form, smooth: impl Fn(&Plane) -> Vec<f32>) -> Vec<f32> {
    let Form::Image {
        channels,
        height,
        width,
        order,
    } = form
    else {
        return row.to_vec();
    };
    let plane = |values| Plane {
        values,
        height,
        width,
    };
    match order {
        ChannelOrder::First => row
            .chunks_exact((height * width).max(1))
            .flat_map(|values| smooth(&plane(values.to_vec())))
            .collect(),
        ChannelOrder::Last => {
            let mut out = vec![0.0; row.len()];
            for channel in 0..channels {
                let values = row.iter().skip(channel).step_by(channels).copied().collect();
                let places = out.iter_mut().skip(channel).step_by(channels);
                places
                    .zip(smooth(&plane(values)))
                    .for_each(|(place, value)| *place = value);
            }
            out
        }
    }
}

impl Plane {
    /// The value so far down and right of a pixel, in the mirror where it is outside.
    fn at(&self, y: usize, x: usize, down: isize, right: isize) -> f32 {
        let place = mirror(y, down, self.height) * self.width + mirror(x, right, self.width);
        self.values.get(place).copied().unwrap_or_default()
    }

    fn map(&self, new: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let pixels = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x)));
        pixels.map(|(y, x)| new(y, x)).collect()
    }

    /// The upper one of the two in the middle where the window has an even side, which reaches farther up and left than down and right.
    pub(super) fn median(&self, window: usize) -> Vec<f32> {
        self.map(|y, x| {
            let steps = || offsets(window, window / 2);
            let mut around: Vec<f32> = steps()
                .flat_map(|down| steps().map(move |right| self.at(y, x, down, right)))
                .collect();
            let middle = around.len() / 2;
            *around.select_nth_unstable_by(middle, f32::total_cmp).1
        })
    }

    pub(super) fn blur(&self, blur: &Blur) -> Vec<f32> {
        let side = blur.weights.len();
        let steps = || offsets(side, side / 2).zip(&blur.weights);
        let down = self.map(|y, x| {
            steps()
                .map(|(down, weight)| weight * self.at(y, x, down, 0))
                .sum()
        });
        let half = Self {
            values: down,
            height: self.height,
            width: self.width,
        };
        half.map(|y, x| {
            steps()
                .map(|(right, weight)| weight * half.at(y, x, 0, right))
                .sum()
        })
    }

    /// `strength` is in units of values. The pixel itself weighs as much as its likest neighbour.
    pub(super) fn non_local_means(&self, search: usize, patch: usize, strength: f32) -> Vec<f32> {
        let area = (patch * patch) as f32;
        let fade = (strength * strength * area).max(f32::MIN_POSITIVE).recip();
        self.map(|y, x| {
            let (mut sum, mut weights, mut likest) = (0.0, 0.0, 0.0_f32);
            for down in offsets(search, search / 2) {
                for right in offsets(search, search / 2) {
                    if (down, right) == (0, 0) {
                        continue;
                    }
                    let weight = (-self.unlike(y, x, down, right, patch) * fade).exp();
                    sum += weight * self.at(y, x, down, right);
                    weights += weight;
                    likest = likest.max(weight);
                }
            }
            let own = likest.max(f32::MIN_POSITIVE);
            (sum + own * self.at(y, x, 0, 0)) / (weights + own)
        })
    }

    /// The squared distance between the neighbourhoods of a pixel and of the one so far down and right.
    fn unlike(&self, y: usize, x: usize, down: isize, right: isize, patch: usize) -> f32 {
        let steps = || offsets(patch, patch / 2);
        let pairs = steps().flat_map(|dy| steps().map(move |dx| (dy, dx)));
        pairs
            .map(|(dy, dx)| self.at(y, x, dy, dx) - self.at(y, x, down + dy, right + dx))
            .map(|difference| difference * difference)
            .sum()
    }
}

/// `count` steps, of which so many are before 0.
#[expect(clippy::cast_possible_wrap, reason = "a few dozen")]
fn offsets(count: usize, before: usize) -> impl Iterator<Item = isize> {
    (0..count).map(move |step| step as isize - before as isize)
}

/// A place of `0..length` after a step that may lead outside: ... 1 0 | 0 1 2 | 2 1 ...
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lengths are at most `MOST_INPUTS`, and the remainder is not negative"
)]
pub(super) fn mirror(from: usize, step: isize, length: usize) -> usize {
    let round = 2 * length.max(1) as isize;
    let place = (from as isize + step).rem_euclid(round);
    place.min(round - 1 - place) as usize
}
