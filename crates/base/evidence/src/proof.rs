//! Proofs to hand over (C2SP tlog-proof): one entry's place in a log, with the checkpoint that vouches for it.
//!
//! A proof verifies offline, against nothing but the log's public keys.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Hash, LogVerifier, NoteError, OpenedCheckpoint, ProofError, leaf_hash,
    note::{MAX_NOTE, decode_base64, parse_decimal},
    open_checkpoint,
    tiles::MAX_ENTRY,
    verify_inclusion,
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// An audit path is no longer than the tree is high.
const MAX_PATH: usize = 64;

/// A path, a checkpoint and an entry's worth of extra data, all in base64.
const MAX_TEXT: usize = MAX_NOTE + MAX_ENTRY.div_ceil(3) * 4 + MAX_PATH * 45 + 128;

/// The place of one entry in a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogProof {
    /// Which entry.
    pub index: u64,
    /// Its audit path, leaf to root.
    pub path: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
    /// What the maker added, such as the entry itself. Nothing vouches for it.
    pub extra: Option<Vec<u8>>,
}

/// The text is no tlog-proof, in the one spelling that is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedProof {
    /// It is over the limit.
    #[error("the proof is larger than {MAX_TEXT} bytes")]
    TooLarge,
    /// A line is not what the format wants there.
    #[error("line {line} of the proof is malformed")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// The empty line before the checkpoint is missing.
    #[error("the proof has no checkpoint")]
    NoCheckpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LogProofError {
    /// The checkpoint is not believed.
    #[error("the proof's checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The entry is not at this place of this log.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
}

impl LogProof {
    /// The text of a `.tlog-proof` file.
    pub fn to_text(&self) -> String {
        let extra = self
            .extra
            .as_ref()
            .map(|extra| format!("extra {}\n", STANDARD.encode(extra)));
        let path: String = self
            .path
            .iter()
            .map(|hash| STANDARD.encode(hash) + "\n")
            .collect();
        format!(
            "{HEADER}\n{}index {}\n{path}\n{}",
            extra.unwrap_or_default(),
            self.index,
            self.checkpoint
        )
    }

    /// Reads the text of a `.tlog-proof` file. Nothing is verified.
    pub fn parse(text: &str) -> Result<Self, MalformedProof> {
        if text.len() > MAX_TEXT {
            return Err(MalformedProof::TooLarge);
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(MalformedProof::NoCheckpoint)?;
        let mut lines = head
            .split('\n')
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .peekable();
        lines
            .next_if(|(_, line)| *line == HEADER)
            .ok_or(MalformedProof::Line { line: 1 })?;
        let extra = lines
            .next_if(|(_, line)| line.starts_with("extra "))
            .map(|(line, text)| {
                text.strip_prefix("extra ")
                    .and_then(decode_base64)
                    .ok_or(MalformedProof::Line { line })
            });
        let (line, index) = lines.next().ok_or(MalformedProof::Line { line: 2 })?;
        let index = index
            .strip_prefix("index ")
            .and_then(parse_decimal)
            .ok_or(MalformedProof::Line { line })?;
        let path: Vec<Hash> = lines
            .map(|(line, hash)| {
                decode_base64(hash)
                    .and_then(|hash| hash.try_into().ok())
                    .ok_or(MalformedProof::Line { line })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            index,
            path,
            checkpoint: checkpoint.to_owned(),
            extra: extra.transpose()?,
        })
    }

    /// Verifies that `entry` is in a log of one of `verifiers`, at this index and under this checkpoint.
    pub fn verify(&self, entry: &[u8], verifiers: &[LogVerifier]) -> Result<OpenedCheckpoint, LogProofError> {
        let opened = open_checkpoint(&self.checkpoint, verifiers)?;
        let head = &opened.checkpoint;
        verify_inclusion(&leaf_hash(entry), self.index, head.size, &self.path, &head.root)?;
        Ok(opened)
    }
}

/// Fuzz entry: must not panic. Whatever reads as a proof, writes the same text.
pub fn fuzz_proof(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(proof) = LogProof::parse(text) {
        assert_eq!(proof.to_text(), text);
        assert!(proof.verify(data, &[]).is_err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Checkpoint, Timestamp,
        checkpoint::tests::{log_keys, verifier},
        merkle::reference::Tree,
        sign_checkpoint,
    };

    #[test]
    fn proves_an_entry_offline() {
        let tree = Tree::new(10);
        let keys = log_keys();
        let verifiers = [verifier("a.example/log", &keys)];
        let head = Checkpoint {
            origin: "a.example/log".to_owned(),
            size: 10,
            root: tree.root(10),
        };
        let checkpoint = sign_checkpoint(&head, &keys, Timestamp::from_unix_ms(0)).unwrap();
        for extra in [None, Some(Vec::new()), Some(b"entry 7".to_vec())] {
            let proof = LogProof {
                index: 7,
                path: tree.path(7, 10),
                checkpoint: checkpoint.clone(),
                extra,
            };
            let again = LogProof::parse(&proof.to_text()).unwrap();
            assert_eq!(again, proof);
            assert_eq!(again.verify(b"entry 7", &verifiers).unwrap().checkpoint, head);
            let wrong_root = Err(LogProofError::Inclusion(ProofError::WrongRoot));
            assert_eq!(again.verify(b"entry 6", &verifiers), wrong_root);
            let moved = LogProof {
                index: 6,
                ..again.clone()
            };
            assert_eq!(moved.verify(b"entry 7", &verifiers), wrong_root);
            let unknown = Err(LogProofError::Checkpoint(NoteError::UnknownKeys));
            assert_eq!(again.verify(b"entry 7", &[]), unknown);
        }
    }

    /// The example of tlog-proof, as far as it is spelled out there.
    const EXAMPLE: &str = "c2sp.org/tlog-proof@v1\n\
        index 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
        B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
        EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n\
        RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n\
        AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\
        \n\
        example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n";

    #[test]
    fn reads_the_example_of_the_specification() {
        let proof = LogProof::parse(EXAMPLE).unwrap();
        assert_eq!((proof.index, proof.path.len(), &proof.extra), (73_894, 5, &None));
        assert!(proof.checkpoint.starts_with("example.com/fancylog\n109482\n"));
        assert_eq!(proof.to_text(), EXAMPLE);
    }

    #[test]
    fn refuses_other_spellings() {
        let line = |line| MalformedProof::Line { line };
        for (from, to, expected) in [
            ("proof@v1", "proof@v2", line(1)),
            ("c2sp", " c2sp", line(1)),
            ("index 73894", "index 073894", line(2)),
            ("index 73894", "index  73894", line(2)),
            ("index 73894", "extra ====\nindex 73894", line(2)),
            ("index 73894", "extra\nindex 73894", line(2)),
            ("index 73894", "extra AAAA\nextra AAAA\nindex 73894", line(3)),
            ("index 73894\n", "", line(2)),
            ("dPlQ=", "dPlR=", line(3)),
            ("dPlQ=", "dPlQ= ", line(3)),
            ("5vk=\n\n", "5vk=\n", MalformedProof::NoCheckpoint),
            (
                "index 73894",
                &format!("index 73894\n{}", "A".repeat(MAX_TEXT)),
                MalformedProof::TooLarge,
            ),
        ] {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE);
            assert_eq!(LogProof::parse(&changed), Err(expected), "{from:?}");
        }
        assert_eq!(LogProof::parse(""), Err(MalformedProof::NoCheckpoint));
        assert_eq!(LogProof::parse("c2sp.org/tlog-proof@v1\n\n"), Err(line(2)));
    }
}
