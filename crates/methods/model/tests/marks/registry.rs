//! A log in memory: records of marks, a checkpoint that somebody held, proofs.

use std::{collections::BTreeMap, convert::Infallible};

use stockade_crypto::{JournalKey, LogKeys, SignatureAlgorithm, SigningKey};
use stockade_evidence::{
    Checkpoint, LogProof, LogVerifier, RecordId, TileSource, TileWriter, Timestamp, inclusion_proof,
    leaf_hash, sign_checkpoint,
};
use stockade_model::mark::{Claim, ClaimedMark, Opening, Whose};

const ORIGIN: &str = "test.example/log";
const NOW: i64 = 1_795_000_000_000;

pub(crate) struct Registry {
    entries: Vec<Vec<u8>>,
    files: Files,
    keys: LogKeys,
}

struct Files(BTreeMap<String, Vec<u8>>);

impl TileSource for Files {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).cloned())
    }
}

impl Registry {
    /// A log that holds the records of these marks, and one record of something else at each end.
    pub(crate) fn of(whose: &Whose, openings: &[Opening]) -> Self {
        let other = || b"{}".to_vec();
        let record = |opening: &Opening| {
            let id = RecordId::new([u8::try_from(opening.number % 256).unwrap(); 16]);
            let record = opening.record(whose, Timestamp::from_unix_ms(NOW), id);
            record.to_leaf().unwrap()
        };
        let mut entries = vec![other()];
        entries.extend(openings.iter().map(record));
        entries.push(other());
        let mut writer = TileWriter::new();
        entries.iter().for_each(|entry| writer.append(leaf_hash(entry)));
        Self {
            files: Files(writer.take_changed().into_iter().collect()),
            entries,
            keys: keys(),
        }
    }

    fn verifier(&self) -> LogVerifier {
        LogVerifier {
            name: ORIGIN.to_owned(),
            ed25519: self.keys.ed25519.verifying_key(),
            ml_dsa_44: self.keys.ml_dsa_44.verifying_key(),
        }
    }

    /// The checkpoint that somebody held, and whose keys it is under.
    pub(crate) fn held(&self) -> (String, Vec<LogVerifier>) {
        (self.held_at(self.entries.len() as u64), vec![self.verifier()])
    }

    pub(crate) fn held_at(&self, size: u64) -> String {
        let mut writer = TileWriter::new();
        let entries = self.entries.iter().take(usize::try_from(size).unwrap());
        entries.for_each(|entry| writer.append(leaf_hash(entry)));
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: writer.root(),
        };
        sign_checkpoint(&checkpoint, &self.keys, Timestamp::from_unix_ms(NOW)).unwrap()
    }

    pub(crate) fn claim(&self, whose: &Whose, openings: &[Opening]) -> Claim {
        let checkpoint = self.held().0;
        let marks = openings
            .iter()
            .zip(1..)
            .map(|(opening, index)| ClaimedMark {
                opening: opening.clone(),
                proof: LogProof {
                    index,
                    path: inclusion_proof(&self.files, index, self.entries.len() as u64).unwrap(),
                    checkpoint: checkpoint.clone(),
                    extra: self.entries.get(usize::try_from(index).unwrap()).cloned(),
                }
                .to_text(),
            })
            .collect();
        Claim::new(whose.clone(), marks).unwrap()
    }
}

fn keys() -> LogKeys {
    let key = |algorithm| SigningKey::generate(algorithm).unwrap();
    LogKeys {
        ed25519: key(SignatureAlgorithm::Ed25519),
        ml_dsa_44: key(SignatureAlgorithm::MlDsa44),
        journal: JournalKey::generate().unwrap(),
    }
}
