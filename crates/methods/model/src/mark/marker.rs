//! Which answers are marked and how, and what is registered of them.

use serde::{Deserialize, Serialize};
use stockade_evidence::{Actor, Control, Digest, Event, Record, RecordId, Subject, SubjectKind, Timestamp};

use super::{
    form::Form,
    keyed::{Bearer, MarkKey, unit, words},
};

/// The largest share of answers that may be wrong on purpose.
const LARGEST_SHARE: f64 = 0.1;

/// The share of answers that are marked, which is what the mark costs: so many honest answers are wrong.
// INVARIANT: above 0 and at most `LARGEST_SHARE`; `new` is the only door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

/// The share is not above 0 and at most 0.1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a share of {value} marked answers is not above 0 and at most {LARGEST_SHARE}\nhint: 0.005 is usual")]
pub struct InvalidShare {
    value: f64,
}

impl Share {
    /// DAWN's usual share, one answer in 200.
    pub const USUAL: Self = Self(0.005);

    /// A share above 0 and at most 0.1.
    pub fn new(value: f64) -> Result<Self, InvalidShare> {
        if value > 0.0 && value <= LARGEST_SHARE {
            Ok(Self(value))
        } else {
            Err(InvalidShare { value })
        }
    }

    /// The share itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Marks the answers of one model.
#[derive(Debug)]
pub struct Marker {
    key: MarkKey,
    form: Form,
    share: Share,
}

/// What becomes of one answer: the model's own label and the one that is given instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The model's own label: the first greatest score.
    pub honest: usize,
    /// The label that is given.
    pub marked: usize,
}

impl Mark {
    /// Lets the two scores change places. Every value stays, so a distribution stays one, and the marked label is its first greatest score.
    pub fn apply(self, scores: &mut [f32]) {
        if self.honest < scores.len() && self.marked < scores.len() {
            scores.swap(self.honest, self.marked);
        }
    }
}

impl Marker {
    /// Marks this share of answers, under the key that `form` was learned with.
    pub fn new(key: MarkKey, form: Form, share: Share) -> Self {
        Self { key, form, share }
    }

    /// The bearer with this name. Its marks are others than those of every other bearer.
    pub fn bearer(&self, name: &str) -> Bearer {
        self.key.bearer(name)
    }

    /// Whether the answer `scores` to `row` is marked for this bearer, and how. The same cell gets the same decision every time.
    ///
    /// Never marked are answers whose greatest score is shared (the model has no label of its own) or that hold a number that is not finite, and inputs without a cell.
    pub fn mark(&self, bearer: &Bearer, row: &[f32], scores: &[f32]) -> Option<Mark> {
        let honest = only_greatest(scores)?;
        let [chance, first, second, _] = words(&bearer.draw("answer", &self.form.cell(row)?.0));
        if unit(chance) >= self.share.0 {
            return None;
        }
        let marked = other(first, second, honest, scores.len())?;
        Some(Mark { honest, marked })
    }

    /// What is kept of a marked answer: `number` counts this bearer's marks from 0, without a gap.
    pub fn register(&self, bearer: &Bearer, number: u64, row: &[f32], mark: Mark) -> Opening {
        let input: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        Opening {
            number,
            honest: mark.honest,
            marked: mark.marked,
            nonce: bearer.draw("nonce", &[&number.to_be_bytes(), input.as_slice()].concat()),
            input: row.to_vec(),
        }
    }
}

/// The index of the greatest score, where there is one greatest of at least two, all finite.
fn only_greatest(scores: &[f32]) -> Option<usize> {
    if scores.len() < 2 || !scores.iter().all(|score| score.is_finite()) {
        return None;
    }
    let (index, greatest) = scores
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (index, score)| {
            if *score > best.1 { (index, *score) } else { best }
        });
    let shared = scores.iter().filter(|score| **score == greatest).count() > 1;
    (!shared).then_some(index)
}

/// A label other than `honest`, each as likely; where two near copies have different labels of their own, they still mostly get the same one.
fn other(first: u64, second: u64, honest: usize, classes: usize) -> Option<usize> {
    let classes = u64::try_from(classes).ok()?;
    let honest = u64::try_from(honest).ok()?;
    let drawn = first % classes;
    let label = if drawn == honest {
        let rest = second % (classes - 1);
        rest + u64::from(rest >= honest)
    } else {
        drawn
    };
    usize::try_from(label).ok()
}

/// Whose marks: part of every commitment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// The model's name.
    pub model: String,
    /// The bearer's name: a principal's opaque id.
    pub bearer: String,
    /// How many classes the model has.
    pub classes: usize,
}

/// What opens one commitment. It holds the input, so it is sealed until there is a dispute.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Which of the bearer's marks, counted from 0.
    pub number: u64,
    /// The model's own label.
    pub honest: usize,
    /// The label that was given.
    pub marked: usize,
    /// What hides the rest in the commitment.
    #[serde(with = "super::claim::base64_nonce")]
    pub nonce: [u8; 32],
    /// What was asked.
    #[serde(with = "super::claim::base64_floats")]
    pub input: Vec<f32>,
}

impl Opening {
    /// The commitment: SHA-256 over the nonce and everything else, each part with its length.
    ///
    /// # Guarantee
    /// It binds (SHA-256 resists collisions), and without the nonce, which is pseudorandom under the bearer's key, it says nothing about the input.
    pub fn commitment(&self, whose: &Whose) -> Digest {
        let mut text = b"stockade/mark/commitment/1\0".to_vec();
        text.extend_from_slice(&self.nonce);
        for part in [whose.model.as_bytes(), whose.bearer.as_bytes()] {
            text.extend_from_slice(&long(part.len()));
            text.extend_from_slice(part);
        }
        text.extend_from_slice(&self.number.to_be_bytes());
        for number in [whose.classes, self.honest, self.marked, self.input.len()] {
            text.extend_from_slice(&long(number));
        }
        text.extend(self.input.iter().flat_map(|value| value.to_le_bytes()));
        Digest::sha256(&text)
    }

    /// What the log keeps: that this bearer's mark of this number was made, and the commitment to it.
    pub fn record(&self, whose: &Whose, time: Timestamp, id: RecordId) -> Record {
        let bearer = Actor::Principal {
            id: whose.bearer.clone(),
        };
        Record::new(time, id, Event::AnswerMarked, bearer)
            .about(Subject::new(SubjectKind::Artifact, whose.model.clone()))
            .under(Control::Watermarking)
            .with(COMMITMENT, self.commitment(whose).to_string())
            .with(NUMBER, self.number)
    }
}

/// The details of the record.
pub(super) const COMMITMENT: &str = "commitment";
pub(super) const NUMBER: &str = "number";

fn long(number: usize) -> [u8; 8] {
    u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use stockade_crypto::DataKey;

    use super::*;

    const CLASSES: usize = 10;

    fn marker(share: f64) -> Marker {
        let key = MarkKey::of_model(&DataKey::from_bytes([3; 32]), "digits");
        let sample: Vec<f32> = (0..200).flat_map(row).collect();
        let form = Form::fit(&sample, 24, &key).unwrap();
        Marker::new(key, form, Share::new(share).unwrap())
    }

    /// Unrelated rows (SplitMix64).
    fn row(seed: u32) -> Vec<f32> {
        let mut state = u64::from(seed) << 32;
        (0..24)
            .map(|_| {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                f32::from(u16::try_from(word >> 48).unwrap()) / 65536.0
            })
            .collect()
    }

    fn scores(top: usize) -> Vec<f32> {
        let mut scores = vec![0.04; CLASSES];
        scores[top] = 0.64;
        scores
    }

    fn marks(marker: &Marker, name: &str, count: u32) -> Vec<(u32, Mark)> {
        let bearer = marker.bearer(name);
        (0..count)
            .filter_map(|seed| Some((seed, marker.mark(&bearer, &row(seed), &scores(3))?)))
            .collect()
    }

    #[test]
    fn the_share_is_what_was_asked_and_labels_are_spread() {
        let marked = marks(&marker(0.05), "one", 20_000);
        assert!((800..1200).contains(&marked.len()), "{}", marked.len());
        let mut counts = [0; CLASSES];
        for (_, mark) in &marked {
            assert_eq!(mark.honest, 3);
            counts[mark.marked] += 1;
        }
        assert_eq!(counts[3], 0);
        let others = counts.iter().enumerate().filter(|(label, _)| *label != 3);
        assert!(
            others.clone().all(|(_, count)| (60..180).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_bearers_differ() {
        let marker = marker(0.05);
        let (one, again, two) = (
            marks(&marker, "one", 4000),
            marks(&marker, "one", 4000),
            marks(&marker, "two", 4000),
        );
        assert_eq!(one, again);
        let both = one
            .iter()
            .filter(|(seed, _)| two.iter().any(|(other, _)| other == seed))
            .count();
        assert!(both < one.len() / 5, "{both} of {}", one.len());
    }

    #[test]
    fn a_marked_answer_keeps_its_values_and_turns_its_label() {
        let marker = marker(0.1);
        for (seed, mark) in marks(&marker, "one", 500) {
            let before: Vec<f32> = (0..CLASSES)
                .map(|label| if label == 3 { 0.5 } else { label as f32 / 100.0 })
                .collect();
            let mut after = before.clone();
            marker
                .mark(&marker.bearer("one"), &row(seed), &before)
                .unwrap()
                .apply(&mut after);
            assert_eq!(only_greatest(&after), Some(mark.marked));
            let sorted = |mut values: Vec<f32>| {
                values.sort_by(f32::total_cmp);
                values
            };
            assert_eq!(sorted(before), sorted(after));
        }
    }

    #[test]
    fn an_answer_without_a_label_of_its_own_is_left_alone() {
        for odd in [
            &[0.5_f32, 0.5][..],
            &[1.0],
            &[],
            &[f32::NAN, 0.1],
            &[f32::INFINITY, 0.1],
        ] {
            assert_eq!(only_greatest(odd), None, "{odd:?}");
        }
        assert_eq!(other(0, 0, 0, 2), Some(1));
        assert_eq!(other(1, 0, 1, 2), Some(0));
    }

    #[test]
    fn shares_are_small() {
        for wrong in [0.0, -0.1, 0.11, f64::NAN, f64::INFINITY] {
            assert!(Share::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Share::new(0.005), Ok(Share::USUAL));
    }

    #[test]
    fn a_commitment_binds_every_part() {
        let marker = marker(0.1);
        let mark = Mark { honest: 3, marked: 7 };
        let opening = marker.register(&marker.bearer("one"), 5, &row(1), mark);
        let whose = Whose {
            model: "digits".into(),
            bearer: "one".into(),
            classes: CLASSES,
        };
        let commitment = opening.commitment(&whose);
        let changed = |change: &dyn Fn(&mut Opening, &mut Whose)| {
            let (mut opening, mut whose) = (opening.clone(), whose.clone());
            change(&mut opening, &mut whose);
            opening.commitment(&whose)
        };
        for other in [
            changed(&|opening, _| opening.number = 6),
            changed(&|opening, _| opening.honest = 2),
            changed(&|opening, _| opening.marked = 8),
            changed(&|opening, _| opening.nonce[31] ^= 1),
            changed(&|opening, _| opening.input[0] += 1.0),
            changed(&|_, whose| whose.classes = 11),
            changed(&|_, whose| whose.bearer = "two".into()),
            changed(&|_, whose| {
                whose.model = "digitso".into();
                whose.bearer = "ne".into();
            }),
        ] {
            assert_ne!(other, commitment);
        }
        assert_ne!(
            marker.register(&marker.bearer("two"), 5, &row(1), mark).nonce,
            opening.nonce
        );
    }
}
