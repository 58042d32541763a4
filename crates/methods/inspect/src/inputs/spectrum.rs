//! How a waveform's energy is spread over frequencies.
//!
//! Voice commands on a carrier that people do not hear enter a model through the microphone's nonlinearity (Zhang et al., *DolphinAttack*, ACM
//! CCS 2017, arXiv:1708.09537); where the recording is sampled fast enough, the carrier is still in it.
//!
//! # Limits
//! A recording at 48,000 samples a second or less holds no carrier above 24 kHz: a converter filters it out before, and what the microphone
//! demodulated stays. Nothing is found there.

/// Samples in a frame, half of which the next one shares.
const FRAME: usize = 512;
/// Parts of a row, one after the other, that are looked at apart.
const SEGMENTS: usize = 4;
/// Bands in each, of equal width on the mel scale.
const BANDS: usize = 24;
/// People hear up to here.
const AUDIBLE: f64 = 20_000.0;

/// Energy as a fraction of the loudest sample's, below which a band is silent.
const SILENCE: f32 = 1e-10;

/// Numbers that [`Spectrum::bands`] gives.
pub(super) const FEATURES: usize = SEGMENTS * BANDS;

/// Mean energy at each frequency, for each part of a row.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    rate: f64,
    segments: Vec<Vec<f32>>,
}

impl Spectrum {
    /// By the averaged periodogram of Welch (1967), of a row shorter than a frame too.
    pub(super) fn of(row: &[f32], rate: u32) -> Self {
        let transform = Transform::new();
        let segments = (0..SEGMENTS)
            .map(|segment| {
                let (from, to) = (
                    row.len() * segment / SEGMENTS,
                    row.len() * (segment + 1) / SEGMENTS,
                );
                transform.mean_energy(row.get(from..to).unwrap_or_default())
            })
            .collect();
        Self {
            rate: f64::from(rate),
            segments,
        }
    }

    /// The logarithm of the energy in each band of each part; `loudest` is the largest value that a sample can have.
    pub(super) fn bands(&self, loudest: f32) -> Vec<f32> {
        let silence = (loudest * loudest * SILENCE).max(f32::MIN_POSITIVE);
        let mut features = Vec::with_capacity(FEATURES);
        for segment in &self.segments {
            let mut bands = [0.0_f32; BANDS];
            for (bin, energy) in segment.iter().enumerate() {
                if let Some(band) = bands.get_mut(self.band(bin)) {
                    *band += energy;
                }
            }
            features.extend(bands.map(|energy| (energy + silence).ln()));
        }
        features
    }

    /// The share of the energy that people do not hear; 0 of silence.
    pub(super) fn ultrasonic(&self) -> f32 {
        let (mut above, mut all) = (0.0_f32, f32::MIN_POSITIVE);
        for segment in &self.segments {
            for (bin, energy) in segment.iter().enumerate() {
                all += energy;
                if self.hertz(bin) > AUDIBLE {
                    above += energy;
                }
            }
        }
        above / all
    }

    fn hertz(&self, bin: usize) -> f64 {
        bin as f64 * self.rate / FRAME as f64
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of the bands"
    )]
    fn band(&self, bin: usize) -> usize {
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        let share = mel(self.hertz(bin)) / mel(self.rate / 2.0);
        ((share * BANDS as f64) as usize).min(BANDS - 1)
    }
}

type Complex = (f32, f32);

/// The fast Fourier transform of Cooley and Tukey (1965), of one frame.
struct Transform {
    turns: Vec<Complex>,
    window: Vec<f32>,
}

impl Transform {
    #[expect(clippy::cast_possible_truncation, reason = "single precision is enough")]
    fn new() -> Self {
        let angle = |place: usize| std::f64::consts::TAU * place as f64 / FRAME as f64;
        let turn = |place| (angle(place).cos() as f32, -angle(place).sin() as f32);
        Self {
            turns: (0..FRAME / 2).map(turn).collect(),
            window: (0..FRAME)
                .map(|place| (0.5 - 0.5 * angle(place).cos()) as f32)
                .collect(),
        }
    }

    /// The mean over frames. The last one ends where the samples end, so that no edge is heard; fewer samples than a frame are followed by silence.
    fn mean_energy(&self, samples: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0_f32; FRAME / 2 + 1];
        let last = samples.len().saturating_sub(FRAME);
        let frames = last.div_ceil(FRAME / 2) + 1;
        for frame in 0..frames {
            let frame = samples.iter().skip((frame * FRAME / 2).min(last));
            let frame = frame.chain(std::iter::repeat(&0.0)).zip(&self.window);
            let windowed: Vec<Complex> = frame.map(|(sample, weight)| (sample * weight, 0.0)).collect();
            for (sum, (real, imaginary)) in sums.iter_mut().zip(self.apply(&windowed)) {
                *sum += real * real + imaginary * imaginary;
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= frames as f32);
        sums
    }

    fn apply(&self, values: &[Complex]) -> Vec<Complex> {
        if values.len() < 2 {
            return values.to_vec();
        }
        let part = |from| -> Vec<Complex> { values.iter().skip(from).step_by(2).copied().collect() };
        let (even, odd) = (self.apply(&part(0)), self.apply(&part(1)));
        let turns = self.turns.iter().step_by(FRAME / values.len());
        let turned = odd
            .iter()
            .zip(turns)
            .map(|((x, y), (cos, sin))| (x * cos - y * sin, x * sin + y * cos));
        let turned: Vec<Complex> = turned.collect();
        let sums = even.iter().zip(&turned).map(|(a, b)| (a.0 + b.0, a.1 + b.1));
        let differences = even.iter().zip(&turned).map(|(a, b)| (a.0 - b.0, a.1 - b.1));
        sums.chain(differences).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "single precision is meant")]
    fn tone(hertz: f64, rate: u32, samples: u32) -> Vec<f32> {
        let angle = |place: u32| std::f64::consts::TAU * hertz * f64::from(place) / f64::from(rate);
        (0..samples).map(|place| angle(place).sin() as f32).collect()
    }

    #[test]
    fn the_transform_is_that_of_the_definition() {
        let mut values = vec![(0.0, 0.0); FRAME];
        values[3] = (1.0, 0.0);
        let made = Transform::new().apply(&values);
        for (bin, value) in made.iter().enumerate() {
            let angle = -std::f64::consts::TAU * 3.0 * bin as f64 / FRAME as f64;
            assert!((f64::from(value.0) - angle.cos()).abs() < 1e-5, "{bin}");
            assert!((f64::from(value.1) - angle.sin()).abs() < 1e-5, "{bin}");
        }
    }

    #[test]
    fn energy_is_where_the_tone_is() {
        let share = |hertz| Spectrum::of(&tone(hertz, 96_000, 9_600), 96_000).ultrasonic();
        assert!(share(1_000.0) < 1e-6 && share(18_000.0) < 1e-4);
        assert!(share(25_000.0) > 0.999 && share(40_000.0) > 0.999);
        assert_eq!(Spectrum::of(&[0.0; 4_000], 96_000).ultrasonic(), 0.0);
        let (low, high) = (
            Spectrum::of(&tone(300.0, 8_000, 4_000), 8_000).bands(1.0),
            Spectrum::of(&tone(3_000.0, 8_000, 4_000), 8_000).bands(1.0),
        );
        assert_eq!((low.len(), high.len()), (FEATURES, FEATURES));
        let loudest = |bands: &[f32]| (0..BANDS).max_by(|a, b| bands[*a].total_cmp(&bands[*b])).unwrap();
        assert!(loudest(&low) < loudest(&high));
    }

    #[test]
    fn short_and_extreme_rows_are_no_panic() {
        for row in [&[][..], &[1.0], &[f32::MAX; 3], &[0.5; 513]] {
            assert_eq!(Spectrum::of(row, 1).bands(1.0).len(), FEATURES);
        }
    }
}
