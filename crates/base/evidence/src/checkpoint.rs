//! Checkpoints (C2SP tlog-checkpoint): what a log's key holders sign, with two signatures each.
//!
//! The first line is Ed25519 over the text (signed-note), which everyone verifies. The second is an ML-DSA-44
//! cosignature by the log itself (tlog-cosignature, "ML-DSA-44 signed message"), which holds when Ed25519 is broken.
// INVARIANT: a checkpoint has one spelling; `open_checkpoint` takes no other.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use stockade_crypto::{LogKeys, SigningError, VerifyingKey};

use crate::{
    Hash, Timestamp,
    note::{
        BadVerifierKey, InvalidKeyName, MalformedNote, SignatureLine, SignatureType, VerifierKey, check_name,
        decode_base64, key_id, parse_decimal, parse_note,
    },
};

/// The head of a log's tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which log, and the name of its keys.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root over all of them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: three lines (tlog-checkpoint, "Note text").
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text that is signed. Extension lines are refused: the ML-DSA-44 signature does not cover them.
    pub fn parse(body: &str) -> Result<Self, MalformedCheckpoint> {
        let mut lines = body.split('\n');
        let parts = (
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
        );
        let (Some(origin), Some(size), Some(root), Some(""), None) = parts else {
            return Err(MalformedCheckpoint);
        };
        check_name(origin).map_err(|_| MalformedCheckpoint)?;
        let size = parse_decimal(size).ok_or(MalformedCheckpoint)?;
        let root = decode_base64(root)
            .and_then(|root| root.try_into().ok())
            .ok_or(MalformedCheckpoint)?;
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }

    /// tlog-cosignature, "ML-DSA-44 signed message": `cosigned_message` of a whole tree, signed by the log itself.
    fn cosigned_message(&self, seconds: u64) -> Vec<u8> {
        let name = self.origin.as_bytes();
        // `check_name` has bounded the name to what one length byte can say.
        let length = [u8::try_from(name.len()).unwrap_or(u8::MAX)];
        let mut message = b"subtree/v1\n\0".to_vec();
        for part in [
            length.as_slice(),
            name,
            &seconds.to_be_bytes(),
            &length,
            name,
            &0_u64.to_be_bytes(),
            &self.size.to_be_bytes(),
            &self.root,
        ] {
            message.extend_from_slice(part);
        }
        message
    }
}

/// The text is not the three lines of a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a checkpoint is three lines: origin, size and the root in base64")]
pub struct MalformedCheckpoint;

/// Why a checkpoint could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The origin cannot name a key.
    #[error(transparent)]
    Origin(#[from] InvalidKeyName),
    /// The clock is before 1970.
    #[error("the clock says {now}, before 1970")]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// A key is not of the algorithm that its place asks for, or signing failed.
    #[error("the log's {kind} key cannot sign")]
    Key {
        /// `ed25519` or `ml-dsa-44`.
        kind: &'static str,
        /// Why.
        source: Option<SigningError>,
    },
}

const ED25519: &str = "ed25519";
const ML_DSA_44: &str = "ml-dsa-44";

/// Signs a checkpoint with both keys of the log, as of `now`.
pub fn sign_checkpoint(checkpoint: &Checkpoint, keys: &LogKeys, now: Timestamp) -> Result<String, SignError> {
    let name = &checkpoint.origin;
    check_name(name)?;
    let wrong_key = |kind| SignError::Key { kind, source: None };
    let verifier = |key: VerifyingKey, wanted, kind| {
        VerifierKey::new(name, key)
            .filter(|key| key.signature_type == wanted)
            .ok_or_else(|| wrong_key(kind))
    };
    let ed25519 = verifier(keys.ed25519.verifying_key(), SignatureType::Ed25519, ED25519)?;
    let ml_dsa_44 = verifier(
        keys.ml_dsa_44.verifying_key(),
        SignatureType::MlDsa44Cosignature,
        ML_DSA_44,
    )?;

    let failed = |kind| {
        move |source| SignError::Key {
            kind,
            source: Some(source),
        }
    };
    let body = checkpoint.body();
    let signature = keys.ed25519.sign(body.as_bytes()).map_err(failed(ED25519))?;
    let first = SignatureLine {
        name,
        key_id: ed25519.id(),
        signature,
    };

    let seconds = u64::try_from(now.unix_seconds()).map_err(|_| SignError::Clock { now })?;
    let cosignature = keys
        .ml_dsa_44
        .sign(&checkpoint.cosigned_message(seconds))
        .map_err(failed(ML_DSA_44))?;
    // tlog-cosignature, "Format": `timestamped_signature` is the time, then the signature.
    let signature = [seconds.to_be_bytes().as_slice(), &cosignature].concat();
    let second = SignatureLine {
        name,
        key_id: ml_dsa_44.id(),
        signature,
    };
    Ok(format!("{body}\n{}{}", first.to_text(), second.to_text()))
}

/// The public keys of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogVerifier {
    /// The name the keys sign under: the origin.
    pub name: String,
    /// The Ed25519 key.
    pub ed25519: VerifyingKey,
    /// The ML-DSA-44 key.
    pub ml_dsa_44: VerifyingKey,
}

/// Why text is not the verifier keys of logs.
#[derive(Debug, thiserror::Error)]
pub enum BadVerifierKeys {
    /// A line is no verifier key.
    #[error("line {line}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: BadVerifierKey,
    },
    /// The lines are not pairs of Ed25519 and ML-DSA-44.
    #[error("verifier keys come in pairs: the Ed25519 key and the ML-DSA-44 key of one name, one a line")]
    NotPairs,
}

impl LogVerifier {
    /// The keys as signed-note verifier keys, Ed25519 first.
    pub fn to_vkeys(&self) -> [String; 2] {
        let line = |key: &VerifyingKey, signature_type| {
            VerifierKey {
                name: self.name.clone(),
                signature_type,
                key: key.clone(),
            }
            .to_text()
        };
        [
            line(&self.ed25519, SignatureType::Ed25519),
            line(&self.ml_dsa_44, SignatureType::MlDsa44Cosignature),
        ]
    }

    /// Reads verifier keys, one a line, in pairs as [`LogVerifier::to_vkeys`] gives them. At least one pair.
    pub fn from_vkeys(text: &str) -> Result<Vec<Self>, BadVerifierKeys> {
        let keys: Vec<VerifierKey> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                VerifierKey::parse(line.trim()).map_err(|source| BadVerifierKeys::Line {
                    line: index + 1,
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        let pair = |pair: &[VerifierKey]| match pair {
            [first, second]
                if first.signature_type == SignatureType::Ed25519
                    && second.signature_type == SignatureType::MlDsa44Cosignature
                    && first.name == second.name =>
            {
                Ok(Self {
                    name: first.name.clone(),
                    ed25519: first.key.clone(),
                    ml_dsa_44: second.key.clone(),
                })
            }
            _ => Err(BadVerifierKeys::NotPairs),
        };
        if keys.is_empty() {
            return Err(BadVerifierKeys::NotPairs);
        }
        keys.chunks(2).map(pair).collect()
    }

    /// Whether these are the signature lines of this pair of keys.
    pub fn made(&self, lines: &[SignatureStatus]) -> bool {
        let ids = self.ids().map(hex::encode);
        lines.iter().map(|line| &line.key_id).eq(&ids)
    }

    fn ids(&self) -> [[u8; 4]; 2] {
        [
            key_id(&self.name, SignatureType::Ed25519, self.ed25519.as_bytes()),
            key_id(
                &self.name,
                SignatureType::MlDsa44Cosignature,
                self.ml_dsa_44.as_bytes(),
            ),
        ]
    }
}

/// One signature line of a checkpoint, and whether it verifies.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SignatureStatus {
    /// The name of the key.
    pub name: String,
    /// The key's id, 8 hexadecimal digits.
    pub key_id: String,
    /// `ed25519` or `ml-dsa-44`, or `unknown` for a key that is not the log's.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the signature is the key's over this checkpoint.
    pub valid: bool,
}

/// A checkpoint whose signatures both verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenedCheckpoint {
    /// The head of the tree.
    pub checkpoint: Checkpoint,
    /// Both signatures.
    pub signatures: Vec<SignatureStatus>,
    /// When the log signed, by its own clock.
    pub cosigned_at: Timestamp,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteError {
    /// It is no signed note.
    #[error(transparent)]
    Malformed(#[from] MalformedNote),
    /// Its text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] MalformedCheckpoint),
    /// It has another number of signature lines than two.
    #[error("a checkpoint has two signature lines, this one {found}")]
    SignatureCount {
        /// How many it has.
        found: usize,
    },
    /// No trusted log has the keys of the signature lines, in this order and under the origin's name.
    #[error("the signature lines are not by a known log's Ed25519 and ML-DSA-44 keys")]
    UnknownKeys,
    /// A signature is wrong.
    #[error("the {kind} signature is invalid")]
    InvalidSignature {
        /// `ed25519` or `ml-dsa-44`.
        kind: &'static str,
    },
    /// The cosignature's time is no time.
    #[error("the cosignature's time is out of range")]
    Time,
}

/// Opens a checkpoint that one of `verifiers` signed: both signatures, by known keys, valid, and nothing else.
pub fn open_checkpoint(text: &str, verifiers: &[LogVerifier]) -> Result<OpenedCheckpoint, NoteError> {
    let (signatures, opened) = inspect_checkpoint(text, verifiers);
    let (checkpoint, cosigned_at) = opened?;
    Ok(OpenedCheckpoint {
        checkpoint,
        signatures,
        cosigned_at,
    })
}

/// Like [`open_checkpoint`], and also says of each signature of a refused checkpoint whether it is valid.
pub(crate) fn inspect_checkpoint(
    text: &str,
    verifiers: &[LogVerifier],
) -> (Vec<SignatureStatus>, Result<(Checkpoint, Timestamp), NoteError>) {
    let note = match parse_note(text) {
        Ok(note) => note,
        Err(error) => return (Vec::new(), Err(error.into())),
    };
    let unknown = note
        .signatures
        .iter()
        .map(|line| status(line, "unknown", false))
        .collect();
    let checkpoint = match Checkpoint::parse(note.text) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return (unknown, Err(error.into())),
    };
    let [first, second] = note.signatures.as_slice() else {
        return (
            unknown,
            Err(NoteError::SignatureCount {
                found: note.signatures.len(),
            }),
        );
    };
    let signed_by = |verifier: &&LogVerifier| {
        [first.name, second.name, &checkpoint.origin] == [verifier.name.as_str(); 3]
            && [first.key_id, second.key_id] == verifier.ids()
    };
    let Some(verifier) = verifiers.iter().find(signed_by) else {
        return (unknown, Err(NoteError::UnknownKeys));
    };
    let ed25519 = verifier
        .ed25519
        .verify(note.text.as_bytes(), &first.signature)
        .is_ok();
    let cosigned = verify_cosignature(&checkpoint, verifier, &second.signature);
    let signatures = vec![
        status(first, ED25519, ed25519),
        status(second, ML_DSA_44, cosigned.is_ok()),
    ];
    let opened = if ed25519 {
        cosigned
    } else {
        Err(NoteError::InvalidSignature { kind: ED25519 })
    };
    (signatures, opened.map(|time| (checkpoint, time)))
}

fn status(line: &SignatureLine<'_>, kind: &'static str, valid: bool) -> SignatureStatus {
    SignatureStatus {
        name: line.name.to_owned(),
        key_id: hex::encode(line.key_id),
        kind,
        valid,
    }
}

fn verify_cosignature(
    checkpoint: &Checkpoint,
    verifier: &LogVerifier,
    timestamped: &[u8],
) -> Result<Timestamp, NoteError> {
    let invalid = NoteError::InvalidSignature { kind: ML_DSA_44 };
    let (seconds, signature) = timestamped.split_first_chunk::<8>().ok_or(invalid.clone())?;
    let seconds = u64::from_be_bytes(*seconds);
    verifier
        .ml_dsa_44
        .verify(&checkpoint.cosigned_message(seconds), signature)
        .map_err(|_| invalid)?;
    let ms = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000));
    ms.map(Timestamp::from_unix_ms).ok_or(NoteError::Time)
}

/// Fuzz entry: must not panic. Whatever reads as a checkpoint, writes the same text.
pub fn fuzz_checkpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(note) = parse_note(text) {
        let lines: String = note.signatures.iter().map(SignatureLine::to_text).collect();
        assert_eq!(format!("{}\n{lines}", note.text), text);
        if let Ok(checkpoint) = Checkpoint::parse(note.text) {
            assert_eq!(checkpoint.body(), note.text);
        }
    }
    if let Ok(verifiers) = LogVerifier::from_vkeys(text) {
        assert!(open_checkpoint(text, &verifiers).is_err());
    }
}

#[cfg(test)]
pub(crate) mod tests;
