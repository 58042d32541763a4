//! A claim: marks of one bearer, opened, with the proof that each was in the log in time.
//!
//! The file is JSON with the format `stockade-mark-claim/1`; its numbers travel as base64 of their little-endian bytes, since a commitment needs every bit. A mark's proof is a C2SP tlog-proof whose
//! `extra` line holds the log's entry. [`Claim::registered`] is the only way on: what was not registered is never judged.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use stockade_evidence::{
    Actor, Checkpoint, Event, LogProof, LogProofError, LogVerifier, MalformedProof, NoteError, Record,
    open_checkpoint,
};

use super::marker::{COMMITMENT, NUMBER, Opening, Whose};

/// The largest claim file.
pub const MAX_CLAIM_BYTES: usize = 64 << 20;

/// More marks than any verdict needs.
const MAX_MARKS: usize = 4096;
const MAX_CLASSES: usize = 1 << 20;
const FORMAT: &str = "stockade-mark-claim/1";

/// A claim that nobody has checked yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    format: String,
    whose: Whose,
    marks: Vec<ClaimedMark>,
}

/// One mark of a claim.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedMark {
    /// What opens its commitment.
    pub opening: Opening,
    /// The text of a C2SP tlog-proof whose extra data is the log's entry.
    pub proof: String,
}

/// The bytes are no claim.
#[derive(Debug, thiserror::Error)]
pub enum BadClaim {
    /// The file is over the limit.
    #[error("the claim has {bytes} bytes, over the limit of {MAX_CLAIM_BYTES}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// It is not the JSON of a claim.
    #[error("the claim is not a `{FORMAT}` object: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It has another format.
    #[error("the claim's format is not `{FORMAT}`")]
    Format,
    /// It has no marks, or too many.
    #[error("a claim holds 1 to {MAX_MARKS} marks, this one {found}")]
    Marks {
        /// How many it has.
        found: usize,
    },
    /// A label is no class, or both labels are one; or the input is empty, not finite or of another length than the first.
    #[error("mark {number} of the claim has labels or an input that no answer has")]
    Mark {
        /// Counted from 0.
        number: usize,
    },
}

/// The claim's marks were not all in the log in time.
#[derive(Debug, thiserror::Error)]
pub enum NotRegistered {
    /// The checkpoint is not one of the claimant's log.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The marks are not the bearer's first ones without a gap, so they may have been chosen to fit the suspect.
    #[error("the claim's marks are not all of the bearer's first: number {expected} is missing")]
    Gap {
        /// The number that should come.
        expected: u64,
    },
    /// The text of a proof is no proof, or has no entry.
    #[error("the proof of mark {number} cannot be read")]
    Proof {
        /// Which mark.
        number: u64,
        /// Why; nothing when the entry is missing.
        source: Option<MalformedProof>,
    },
    /// The entry is not in the log under a checkpoint of its keys.
    #[error("mark {number} is not in the log")]
    NotInLog {
        /// Which mark.
        number: u64,
        /// Why.
        source: LogProofError,
    },
    /// The proof leads to another checkpoint than the one that was held.
    #[error(
        "the proof of mark {number} leads to another checkpoint than the one that was held before the dispute"
    )]
    OtherCheckpoint {
        /// Which mark.
        number: u64,
    },
    /// The entry is not the record of this mark.
    #[error("the log's entry for mark {number} does not commit to it")]
    OtherMark {
        /// Which mark.
        number: u64,
    },
}

impl Claim {
    /// A claim of these marks.
    pub fn new(whose: Whose, marks: Vec<ClaimedMark>) -> Result<Self, BadClaim> {
        let claim = Self {
            format: FORMAT.to_owned(),
            whose,
            marks,
        };
        claim.check()?;
        Ok(claim)
    }

    /// Reads a claim file. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadClaim> {
        if bytes.len() > MAX_CLAIM_BYTES {
            return Err(BadClaim::TooLarge { bytes: bytes.len() });
        }
        let claim: Self = serde_json::from_slice(bytes)?;
        claim.check()?;
        Ok(claim)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, BadClaim> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Whose marks these are said to be.
    pub fn whose(&self) -> &Whose {
        &self.whose
    }

    fn check(&self) -> Result<(), BadClaim> {
        if self.format != FORMAT {
            return Err(BadClaim::Format);
        }
        let found = self.marks.len();
        if found == 0 || found > MAX_MARKS {
            return Err(BadClaim::Marks { found });
        }
        let length = self.marks.first().map_or(0, |mark| mark.opening.input.len());
        let classes = self.whose.classes;
        for (number, ClaimedMark { opening, .. }) in self.marks.iter().enumerate() {
            let labels =
                opening.honest < classes && opening.marked < classes && opening.honest != opening.marked;
            let input = length > 0
                && opening.input.len() == length
                && opening.input.iter().all(|value| value.is_finite());
            if !labels || !input || classes > MAX_CLASSES {
                return Err(BadClaim::Mark { number });
            }
        }
        Ok(())
    }

    /// Checks that every mark was in the log when `checkpoint` was held: a checkpoint of the claimant's log that somebody else had before the suspect existed.
    ///
    /// # Guarantee
    /// The marks are numbers 0 to n - 1 of this bearer for this model, each committed to by an `answer.marked` record below the checkpoint. So inputs and labels were fixed before it, and the
    /// claimant did not leave out those that do not fit.
    ///
    /// # Limits
    /// How far n goes is the claimant's choice, and time is what the holder of the checkpoint says.
    pub fn registered(
        &self,
        checkpoint: &str,
        verifiers: &[LogVerifier],
    ) -> Result<Registered<'_>, NotRegistered> {
        let held = open_checkpoint(checkpoint, verifiers)?.checkpoint;
        let mut marks: Vec<&ClaimedMark> = self.marks.iter().collect();
        marks.sort_by_key(|mark| mark.opening.number);
        for (expected, mark) in (0..).zip(&marks) {
            if mark.opening.number != expected {
                return Err(NotRegistered::Gap { expected });
            }
            self.is_in_log(mark, &held, verifiers)?;
        }
        let openings: Vec<&Opening> = marks.into_iter().map(|mark| &mark.opening).collect();
        Ok(Registered {
            whose: &self.whose,
            count: openings.len(),
            apart: without_near_copies(&openings),
        })
    }

    fn is_in_log(
        &self,
        mark: &ClaimedMark,
        held: &Checkpoint,
        verifiers: &[LogVerifier],
    ) -> Result<(), NotRegistered> {
        let number = mark.opening.number;
        let proof = LogProof::parse(&mark.proof).map_err(|source| NotRegistered::Proof {
            number,
            source: Some(source),
        })?;
        let entry = proof
            .extra
            .as_deref()
            .ok_or(NotRegistered::Proof { number, source: None })?;
        let opened = proof
            .verify(entry, verifiers)
            .map_err(|source| NotRegistered::NotInLog { number, source })?;
        if opened.checkpoint != *held {
            return Err(NotRegistered::OtherCheckpoint { number });
        }
        if self.is_record_of(&mark.opening, entry) {
            Ok(())
        } else {
            Err(NotRegistered::OtherMark { number })
        }
    }

    fn is_record_of(&self, opening: &Opening, entry: &[u8]) -> bool {
        let Ok(record) = Record::from_leaf(entry) else {
            return false;
        };
        let Actor::Principal { id } = &record.actor else {
            return false;
        };
        let commitment = opening.commitment(&self.whose).to_string();
        record.event == Event::AnswerMarked
            && *id == self.whose.bearer
            && record.details.get(COMMITMENT).and_then(|value| value.as_str()) == Some(&commitment)
            && record.details.get(NUMBER).and_then(serde_json::Value::as_u64) == Some(opening.number)
    }
}

/// A claim whose marks were registered in time.
#[derive(Clone, Debug)]
pub struct Registered<'a> {
    whose: &'a Whose,
    count: usize,
    apart: Vec<&'a Opening>,
}

impl<'a> Registered<'a> {
    /// Whose marks these are.
    pub fn whose(&self) -> &'a Whose {
        self.whose
    }

    /// How many marks the claim holds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The marks that count: near copies of an earlier one are left out, since a model that agrees on one agrees on them all.
    pub fn marks(&self) -> &[&'a Opening] {
        &self.apart
    }
}

/// Inputs nearer than this share of the longer one's length are near copies.
const NEAR: f64 = 0.2;

fn without_near_copies<'a>(openings: &[&'a Opening]) -> Vec<&'a Opening> {
    let squares = |input: &[f32]| input.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let near = |one: &Opening, other: &Opening| {
        let apart: f64 = one
            .input
            .iter()
            .zip(&other.input)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum();
        apart <= NEAR * NEAR * squares(&one.input).max(squares(&other.input))
    };
    let mut kept: Vec<&Opening> = Vec::new();
    for opening in openings {
        if !kept.iter().any(|earlier| near(opening, earlier)) {
            kept.push(opening);
        }
    }
    kept
}

pub(super) mod base64_floats {
    //! `Vec<f32>` as base64 of its little-endian bytes.
    use serde::{Deserializer, Serializer, de::Error};

    use super::{Deserialize, Engine, STANDARD};

    pub(in super::super) fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        let bytes = STANDARD
            .decode(String::deserialize(from)?)
            .map_err(|_| D::Error::custom("not base64"))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if rest.is_empty() {
            Ok(numbers.iter().copied().map(f32::from_le_bytes).collect())
        } else {
            Err(D::Error::custom("not whole numbers of four bytes"))
        }
    }
}

pub(super) mod base64_nonce {
    //! 32 bytes as base64.
    use serde::{Deserializer, Serializer, de::Error};

    use super::{Deserialize, Engine, STANDARD};

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        STANDARD
            .decode(String::deserialize(from)?)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("not 32 bytes in base64"))
    }
}

/// Fuzz entry: must not panic. Whatever reads as a claim or as answers, writes and reads as the same, and no claim stands without a log.
pub fn fuzz_mark_claim(data: &[u8]) {
    if let Ok(claim) = Claim::parse(data) {
        let again = claim.to_json().map(|bytes| Claim::parse(&bytes));
        assert!(matches!(again, Ok(Ok(again)) if again == claim));
        assert!(claim.registered("", &[]).is_err());
    }
    // Whether it is an answers file does not matter.
    drop(super::suspect::AnswersFile::parse(data));
}
