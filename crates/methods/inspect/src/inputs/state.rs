//! An [`Envelope`] and a [`Disagreement`] as bytes and back, so that a start needs no calibration.
//!
//! Little-endian, a version in the first eight bytes, and at the end a keyed BLAKE3 digest of all before: who could widen a threshold
//! could switch the control off. Bytes with the right digest are still read as if they were anybody's.

use super::{
    columns::{Column, Columns},
    conformal::{Alpha, Threshold},
    disagreement::Disagreement,
    envelope::Envelope,
    form::{ChannelOrder, Form, MOST_INPUTS},
    oddness::{MOST_IN_BANK, Oddness, PARTS},
    spectrum,
    squeeze::{Blur, Directions, Kernel, Levels, MOST_SQUEEZERS, Squeezer, Squeezers, is_median, is_search},
};
use crate::{
    codec::{Damage, Reader, Writer},
    features::{DIMENSIONS, Projection},
    nearest::Bank,
};

const ENVELOPE: &[u8; 8] = b"SKENVEL\x01";
const DISAGREEMENT: &[u8; 8] = b"SKDISAG\x01";
/// Bytes of the digest.
const DIGEST: usize = 32;
/// Most scores in an answer.
const MOST_CLASSES: usize = 1 << 20;

/// Bytes are not what was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Something else, or of another version.
    #[error("not an input control of this version\nhint: make it anew from the sealed sample")]
    Version,
    /// Cut, changed, or written under another secret.
    #[error(
        "the input control is damaged, or was made under another secret\nhint: make it anew from the sealed sample"
    )]
    Damaged,
}

impl From<Damage> for StateError {
    fn from(_: Damage) -> Self {
        Self::Damaged
    }
}

impl Envelope {
    /// The envelope as bytes: about 144 bytes for each number of a row of an image or a table, and 64 kB.
    #[must_use]
    pub fn to_bytes(&self, secret: &[u8; 32]) -> Vec<u8> {
        let mut out = Writer(ENVELOPE.to_vec());
        out.form(self.oddness.form);
        out.long(self.columns.each.len() as u64);
        for column in &self.columns.each {
            out.floats(&[column.low, column.high]);
            out.word(u32::from(column.whole));
        }
        out.long(self.columns.groups.len() as u64);
        for (first, last) in &self.columns.groups {
            out.long(*first as u64);
            out.long(*last as u64);
        }
        let projection = &self.oddness.projection;
        for list in [
            &projection.mean,
            &projection.inverse_spread,
            &projection.middle,
            &projection.inverse_range,
            &projection.directions,
            &self.oddness.bank.points,
        ] {
            out.list(list);
        }
        out.floats(&self.oddness.scales);
        out.floats(&[self.oddness.loudest]);
        out.threshold(&self.threshold);
        sealed(out, secret)
    }

    /// Reads what [`Envelope::to_bytes`] wrote under the same secret.
    pub fn from_bytes(bytes: &[u8], secret: &[u8; 32]) -> Result<Self, StateError> {
        let mut from = opened(bytes, ENVELOPE, secret)?;
        let (form, inputs) = from.form()?;
        let columns = from.columns(form, inputs)?;
        let seen = match form {
            Form::Table { .. } | Form::Image { .. } => inputs,
            Form::Audio { .. } => spectrum::FEATURES,
        };
        let projection = Projection {
            mean: from.exactly(seen)?,
            inverse_spread: from.exactly(seen)?,
            middle: from.exactly(seen)?,
            inverse_range: from.exactly(seen)?,
            directions: from.exactly(seen * DIMENSIONS)?,
        };
        let points = from.list(MOST_IN_BANK * DIMENSIONS)?;
        if !points.len().is_multiple_of(DIMENSIONS) {
            return Err(StateError::Damaged);
        }
        let mut scales = [0.0; PARTS];
        for scale in &mut scales {
            *scale = from.positive()?;
        }
        let loudest = from.float()?;
        if !(0.0..=f32::MAX).contains(&loudest) {
            return Err(StateError::Damaged);
        }
        let envelope = Self {
            inputs,
            columns,
            oddness: Oddness {
                form,
                loudest,
                projection,
                bank: Bank { points },
                scales,
            },
            threshold: from.threshold()?,
        };
        from.0.is_empty().then_some(envelope).ok_or(StateError::Damaged)
    }
}

impl Disagreement {
    /// The squeezers and the threshold as bytes.
    #[must_use]
    pub fn to_bytes(&self, secret: &[u8; 32]) -> Vec<u8> {
        let mut out = Writer(DISAGREEMENT.to_vec());
        let squeezers = &self.squeezers;
        out.form(squeezers.form);
        out.list(squeezers.range.as_flattened());
        out.long(squeezers.each.len() as u64);
        squeezers.each.iter().for_each(|each| out.squeezer(each));
        out.long(self.classes as u64);
        out.threshold(&self.threshold);
        sealed(out, secret)
    }

    /// Reads what [`Disagreement::to_bytes`] wrote under the same secret.
    pub fn from_bytes(bytes: &[u8], secret: &[u8; 32]) -> Result<Self, StateError> {
        let mut from = opened(bytes, DISAGREEMENT, secret)?;
        let (form, inputs) = from.form()?;
        let range = from.range(form, inputs)?;
        let count = from.length(MOST_SQUEEZERS)?;
        let each = (0..count).map(|_| from.squeezer(form, inputs, &range));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let classes = from.length(MOST_CLASSES)?;
        let threshold = from.threshold()?;
        if count == 0 || classes == 0 || !from.0.is_empty() {
            return Err(StateError::Damaged);
        }
        Ok(Self {
            squeezers: Squeezers {
                form,
                inputs,
                range,
                each,
            },
            classes,
            threshold,
        })
    }
}

fn sealed(out: Writer, secret: &[u8; 32]) -> Vec<u8> {
    let Writer(mut bytes) = out;
    let digest = blake3::keyed_hash(secret, &bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

fn opened<'a>(bytes: &'a [u8], magic: &[u8; 8], secret: &[u8; 32]) -> Result<Reader<'a>, StateError> {
    let inside = bytes.len().checked_sub(DIGEST).ok_or(StateError::Version)?;
    let (inside, digest) = bytes.split_at_checked(inside).ok_or(StateError::Version)?;
    let mut from = Reader(inside);
    if from.take(magic.len()).ok() != Some(magic) {
        return Err(StateError::Version);
    }
    let digest: [u8; DIGEST] = digest.try_into().map_err(|_| StateError::Version)?;
    // `blake3::Hash` compares in constant time.
    if blake3::keyed_hash(secret, inside) != digest {
        return Err(StateError::Damaged);
    }
    Ok(from)
}

impl Writer {
    fn form(&mut self, form: Form) {
        match form {
            Form::Table { columns } => [0, columns, 0, 0, 0],
            Form::Image {
                channels,
                height,
                width,
                order,
            } => {
                let order = match order {
                    ChannelOrder::First => 0,
                    ChannelOrder::Last => 1,
                };
                [1, channels, height, width, order]
            }
            Form::Audio { samples, rate } => [2, samples, rate as usize, 0, 0],
        }
        .into_iter()
        .for_each(|number| self.long(number as u64));
    }

    fn threshold(&mut self, threshold: &Threshold) {
        self.floats(&[threshold.value]);
        self.double(threshold.alpha.get());
        self.long(threshold.rows as u64);
    }

    fn squeezer(&mut self, squeezer: &Squeezer) {
        match squeezer {
            Squeezer::Levels(Levels::Equal { range: _, steps }) => {
                self.word(0);
                self.word(u32::from(*steps));
            }
            Squeezer::Levels(Levels::Chosen { columns }) => {
                self.word(1);
                columns.iter().for_each(|levels| self.list(levels));
            }
            Squeezer::Median { window } => {
                self.word(2);
                self.word(u32::from(*window));
            }
            Squeezer::Blur(blur) => {
                self.word(3);
                self.floats(&[blur.sigma]);
            }
            Squeezer::NonLocalMeans {
                search,
                patch,
                strength,
            } => {
                self.word(4);
                self.word(u32::from(*search));
                self.word(u32::from(*patch));
                self.floats(&[*strength]);
            }
            Squeezer::Directions(directions) => {
                self.word(5);
                self.list(&directions.mean);
                self.list(&directions.rows);
            }
            Squeezer::LowPass(kernel) => {
                self.word(6);
                self.double(kernel.cutoff);
            }
            Squeezer::Resample { rate } => {
                self.word(7);
                self.word(*rate);
            }
        }
    }
}

impl Reader<'_> {
    fn small(&mut self) -> Result<u8, Damage> {
        u8::try_from(self.word()?).map_err(|_| Damage)
    }

    fn positive(&mut self) -> Result<f32, Damage> {
        let value = self.float()?;
        (value > 0.0 && value.is_finite()).then_some(value).ok_or(Damage)
    }

    fn exactly(&mut self, count: usize) -> Result<Vec<f32>, Damage> {
        let list = self.list(count)?;
        (list.len() == count).then_some(list).ok_or(Damage)
    }

    fn form(&mut self) -> Result<(Form, usize), Damage> {
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = self.length(usize::MAX)?;
        }
        let form = match numbers {
            [0, columns, 0, 0, 0] => Form::Table { columns },
            [1, channels, height, width, order @ 0..=1] => Form::Image {
                channels,
                height,
                width,
                order: if order == 0 {
                    ChannelOrder::First
                } else {
                    ChannelOrder::Last
                },
            },
            [2, samples, rate, 0, 0] => Form::Audio {
                samples,
                rate: u32::try_from(rate).map_err(|_| Damage)?,
            },
            _ => return Err(Damage),
        };
        Ok((form, form.inputs().ok_or(Damage)?))
    }

    fn columns(&mut self, form: Form, inputs: usize) -> Result<Columns, Damage> {
        let mut columns = Columns::default();
        let count = self.length(width(form, inputs))?;
        if count != width(form, inputs) {
            return Err(Damage);
        }
        for _ in 0..count {
            let (low, high) = (self.float()?, self.float()?);
            let whole = match self.word()? {
                0 => false,
                1 => true,
                _ => return Err(Damage),
            };
            if !(low.is_finite() && high.is_finite() && low <= high) {
                return Err(Damage);
            }
            columns.each.push(Column { low, high, whole });
        }
        for _ in 0..self.length(inputs)? {
            let (first, last) = (self.length(inputs)?, self.length(inputs)?);
            if first >= last || last >= inputs || count == 1 {
                return Err(Damage);
            }
            columns.groups.push((first, last));
        }
        Ok(columns)
    }

    fn threshold(&mut self) -> Result<Threshold, Damage> {
        let (value, alpha) = (self.float()?, self.double()?);
        let rows = self.length(MOST_INPUTS)?;
        let alpha = Alpha::new(alpha).map_err(|_| Damage)?;
        (value >= 0.0 && value.is_finite())
            .then_some(Threshold { value, alpha, rows })
            .ok_or(Damage)
    }

    fn range(&mut self, form: Form, inputs: usize) -> Result<Vec<[f32; 2]>, Damage> {
        let ends = self.exactly(2 * width(form, inputs))?;
        let ranges = ends.as_chunks::<2>().0.to_vec();
        let ordered = ranges.iter().all(|[low, high]| low <= high);
        ordered.then_some(ranges).ok_or(Damage)
    }

    fn squeezer(&mut self, form: Form, inputs: usize, range: &[[f32; 2]]) -> Result<Squeezer, Damage> {
        let squeezer = match (self.word()?, form) {
            (0, _) => {
                let steps = u16::try_from(self.word()?).map_err(|_| Damage)?;
                Squeezer::Levels(Levels::equal(range, steps).ok_or(Damage)?)
            }
            (1, Form::Table { columns }) => {
                let levels = |_| {
                    let levels = self.list(MOST_INPUTS)?;
                    (!levels.is_empty() && levels.is_sorted())
                        .then_some(levels)
                        .ok_or(Damage)
                };
                Squeezer::Levels(Levels::Chosen {
                    columns: (0..columns).map(levels).collect::<Result<_, _>>()?,
                })
            }
            (2, Form::Image { .. } | Form::Audio { .. }) => {
                let window = self.small()?;
                is_median(window)
                    .then_some(Squeezer::Median { window })
                    .ok_or(Damage)?
            }
            (3, Form::Image { .. }) => Squeezer::Blur(Blur::new(self.float()?).ok_or(Damage)?),
            (4, Form::Image { .. }) => {
                let (search, patch, strength) = (self.small()?, self.small()?, self.float()?);
                is_search(search, patch, strength)
                    .then_some(Squeezer::NonLocalMeans {
                        search,
                        patch,
                        strength,
                    })
                    .ok_or(Damage)?
            }
            (5, Form::Table { .. } | Form::Image { .. }) => {
                let mean = self.exactly(inputs)?;
                let rows = self.list(inputs.saturating_mul(Directions::MOST))?;
                if rows.is_empty() || !rows.len().is_multiple_of(inputs) {
                    return Err(Damage);
                }
                Squeezer::Directions(Directions { mean, rows })
            }
            (6, Form::Audio { .. }) => Squeezer::LowPass(Kernel::low_pass(self.double()?).ok_or(Damage)?),
            (7, Form::Audio { rate: from, .. }) => Squeezer::resample(from, self.word()?).ok_or(Damage)?,
            _ => return Err(Damage),
        };
        Ok(squeezer)
    }
}

/// Rules and ranges: one for each column of a table, or one for all numbers.
fn width(form: Form, inputs: usize) -> usize {
    match form {
        Form::Table { .. } => inputs,
        Form::Image { .. } | Form::Audio { .. } => 1,
    }
}

/// Fuzz entry: must not panic. What is read is written as the same bytes, and judges any row.
pub fn fuzz_input_state(data: &[u8]) {
    let secret = [0; 32];
    // A fuzzer cannot guess a digest, so it is put behind what it wrote.
    let with = |magic: &[u8; 8]| sealed(Writer([magic, data].concat()), &secret);
    let (envelope, disagreement) = (with(ENVELOPE), with(DISAGREEMENT));
    for bytes in [data, &envelope] {
        if let Ok(read) = Envelope::from_bytes(bytes, &secret) {
            assert_eq!(read.to_bytes(&secret), bytes, "written otherwise");
            // The verdict itself is not asked for: it only must be one.
            let _ = read.check(&vec![0.5; read.inputs()]);
        }
    }
    for bytes in [data, &disagreement] {
        if let Ok(read) = Disagreement::from_bytes(bytes, &secret) {
            assert_eq!(read.to_bytes(&secret), bytes, "written otherwise");
            assert!(
                read.squeezers().squeeze(&[]).is_none(),
                "a row of no numbers was taken"
            );
        }
    }
}
