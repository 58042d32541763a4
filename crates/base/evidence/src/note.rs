//! C2SP signed-note: text, an empty line, signature lines; and verifier keys, one a line.
//!
//! Reading is stricter than the specification asks: one spelling per note, a bounded size, nothing behind it.

use base64::{Engine, engine::general_purpose::STANDARD};
use stockade_crypto::{BadKey, SignatureAlgorithm, VerifyingKey, sha256};

/// The largest note that is read, in bytes.
pub(crate) const MAX_NOTE: usize = 16 * 1024;

/// The longest key name: what fits behind the one length byte of a cosigned message.
const MAX_NAME: usize = 255;

/// What a signature line is made with (signed-note, "Signature types").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureType {
    /// Ed25519 over the text of the note.
    Ed25519,
    /// A timestamped ML-DSA-44 cosignature (tlog-cosignature).
    MlDsa44Cosignature,
}

impl SignatureType {
    const fn identifier(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::MlDsa44Cosignature => 0x06,
        }
    }

    const fn of(algorithm: SignatureAlgorithm) -> Option<Self> {
        match algorithm {
            SignatureAlgorithm::Ed25519 => Some(Self::Ed25519),
            SignatureAlgorithm::MlDsa44 => Some(Self::MlDsa44Cosignature),
            SignatureAlgorithm::EcdsaP256Sha256
            | SignatureAlgorithm::EcdsaP384Sha384
            | SignatureAlgorithm::EcdsaP521Sha512 => None,
        }
    }

    const fn algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
            Self::MlDsa44Cosignature => SignatureAlgorithm::MlDsa44,
        }
    }
}

/// The name is empty, longer than 255 bytes, or holds a space, a control character or a plus sign.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a log's name has 1 to 255 bytes and no space, control character or `+`")]
pub struct InvalidKeyName;

/// Whether a key may be called `name` (signed-note, "Format").
pub(crate) fn check_name(name: &str) -> Result<(), InvalidKeyName> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > MAX_NAME || name.contains(forbidden) {
        return Err(InvalidKeyName);
    }
    Ok(())
}

/// signed-note, "Signatures": `SHA-256(key name || 0x0A || signature type || public key)[:4]`.
pub(crate) fn key_id(name: &str, signature_type: SignatureType, public_key: &[u8]) -> [u8; 4] {
    let input = [name.as_bytes(), b"\n", &[signature_type.identifier()], public_key].concat();
    let [a, b, c, d, ..] = sha256(&input);
    [a, b, c, d]
}

/// One signature line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SignatureLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) key_id: [u8; 4],
    pub(crate) signature: Vec<u8>,
}

impl SignatureLine<'_> {
    pub(crate) fn to_text(&self) -> String {
        let blob = [self.key_id.as_slice(), &self.signature].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(blob))
    }
}

/// A note taken apart; nothing is verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Note<'a> {
    /// With its final newline.
    pub(crate) text: &'a str,
    pub(crate) signatures: Vec<SignatureLine<'a>>,
}

/// Why bytes are no signed note, in the one spelling that is accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedNote {
    /// It is over the limit.
    #[error("the note is larger than {MAX_NOTE} bytes")]
    TooLarge,
    /// It has control characters other than newline.
    #[error("the note has control characters")]
    ControlCharacter,
    /// The text and an empty line do not come before the signatures, or the last line does not end.
    #[error("the note has no signature lines behind an empty line, or does not end with a newline")]
    NoSignatures,
    /// A line behind the text is not `— NAME BASE64`, in canonical base64.
    #[error("signature line {line} is malformed")]
    SignatureLine {
        /// Counted from 1.
        line: usize,
    },
}

/// Takes a note apart.
pub(crate) fn parse_note(note: &str) -> Result<Note<'_>, MalformedNote> {
    if note.len() > MAX_NOTE {
        return Err(MalformedNote::TooLarge);
    }
    if note.contains(|c: char| c.is_control() && c != '\n') {
        return Err(MalformedNote::ControlCharacter);
    }
    let split = note.rfind("\n\n").ok_or(MalformedNote::NoSignatures)?;
    let (text, signatures) = note
        .split_at_checked(split + 1)
        .ok_or(MalformedNote::NoSignatures)?;
    let lines = signatures
        .strip_prefix('\n')
        .and_then(|lines| lines.strip_suffix('\n'));
    let signatures = lines
        .ok_or(MalformedNote::NoSignatures)?
        .split('\n')
        .enumerate()
        .map(|(index, line)| parse_line(line).ok_or(MalformedNote::SignatureLine { line: index + 1 }))
        .collect::<Result<_, _>>()?;
    Ok(Note { text, signatures })
}

fn parse_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, blob) = line.strip_prefix("— ")?.split_once(' ')?;
    check_name(name).ok()?;
    let blob = decode_base64(blob)?;
    let (key_id, signature) = blob.split_first_chunk::<4>()?;
    Some(SignatureLine {
        name,
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

/// Decodes base64 (RFC 4648 section 4) in its one canonical spelling.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .ok()
        .filter(|bytes| STANDARD.encode(bytes) == text)
}

/// A decimal number without sign or leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == text)
}

/// A public key with the name it signs under (signed-note, "Verifier keys").
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VerifierKey {
    pub(crate) name: String,
    pub(crate) signature_type: SignatureType,
    pub(crate) key: VerifyingKey,
}

impl VerifierKey {
    /// A key for signature lines; `None` if its algorithm makes none.
    pub(crate) fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        let signature_type = SignatureType::of(key.algorithm())?;
        Some(Self {
            name: name.to_owned(),
            signature_type,
            key,
        })
    }

    pub(crate) fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.signature_type, self.key.as_bytes())
    }

    /// `NAME+HASH+BASE64`, without a newline.
    pub(crate) fn to_text(&self) -> String {
        let material = [&[self.signature_type.identifier()], self.key.as_bytes()].concat();
        format!(
            "{}+{}+{}",
            self.name,
            hex::encode(self.id()),
            STANDARD.encode(material)
        )
    }

    pub(crate) fn parse(line: &str) -> Result<Self, BadVerifierKey> {
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(hash), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadVerifierKey::Malformed);
        };
        check_name(name).map_err(|_| BadVerifierKey::Malformed)?;
        let material = decode_base64(material).ok_or(BadVerifierKey::Malformed)?;
        let (identifier, bytes) = material.split_first().ok_or(BadVerifierKey::Malformed)?;
        let signature_type = [SignatureType::Ed25519, SignatureType::MlDsa44Cosignature]
            .into_iter()
            .find(|candidate| candidate.identifier() == *identifier)
            .ok_or(BadVerifierKey::UnknownType {
                identifier: *identifier,
            })?;
        let key = VerifyingKey::new(signature_type.algorithm(), bytes).map_err(BadVerifierKey::Key)?;
        let key = Self {
            name: name.to_owned(),
            signature_type,
            key,
        };
        if hash == hex::encode(key.id()) {
            Ok(key)
        } else {
            Err(BadVerifierKey::WrongHash)
        }
    }
}

/// Why a line is no verifier key.
#[derive(Debug, thiserror::Error)]
pub enum BadVerifierKey {
    /// It is not `NAME+HASH+KEY`.
    #[error("a verifier key is NAME+HASH+KEY, with a hash of 8 hexadecimal digits and a key in base64")]
    Malformed,
    /// It is for signatures of another type.
    #[error("signature type {identifier:#04x} is neither Ed25519 (0x01) nor an ML-DSA-44 cosignature (0x06)")]
    UnknownType {
        /// The first byte of the key.
        identifier: u8,
    },
    /// The key is not one of its algorithm.
    #[error(transparent)]
    Key(BadKey),
    /// The hash is another key's.
    #[error("the verifier key's hash is not that of its name and key")]
    WrongHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of Go's golang.org/x/mod/sumdb/note.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn verifies_the_example_of_go() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!(key.to_text(), VKEY);
        let note = parse_note(NOTE).unwrap();
        let [line] = note.signatures.as_slice() else {
            panic!("one signature")
        };
        assert_eq!((line.name, line.key_id), ("PeterNeumann", key.id()));
        assert_eq!(key.key.verify(note.text.as_bytes(), &line.signature), Ok(()));
        assert!(
            key.key
                .verify(&note.text.as_bytes()[1..], &line.signature)
                .is_err()
        );
        assert_eq!(format!("{}\n{}", note.text, line.to_text()), NOTE);
    }

    #[test]
    fn refuses_other_spellings_of_notes() {
        let check = |from: &str, to: &str, expected: MalformedNote| {
            let changed = NOTE.replacen(from, to, 1);
            assert_ne!(changed, NOTE);
            assert_eq!(parse_note(&changed), Err(expected), "{from:?} to {to:?}");
        };
        let line = MalformedNote::SignatureLine { line: 1 };
        check("JnAM=\n", "JnAN=\n", line.clone());
        check("JnAM=\n", "JnAM\n", line.clone());
        check("JnAM=\n", "JnAM= \n", line.clone());
        check("JnAM=\n", "JnAM=\n \n", MalformedNote::SignatureLine { line: 2 });
        check("JnAM=\n", "JnAM=", MalformedNote::NoSignatures);
        check("JnAM=\n", "JnAM=\n\n", MalformedNote::NoSignatures);
        check("JnAM=\n", "JnAM=\nmore", MalformedNote::NoSignatures);
        check("— ", "- ", line.clone());
        check("— ", "—  ", line.clone());
        check("— PeterNeumann", "— Peter+Neumann", line.clone());
        check("— PeterNeumann", "— Peter\u{a0}Neumann", line);
        check("is.\n\n", "is.\n", MalformedNote::NoSignatures);
        check("answer", "ans\rwer", MalformedNote::ControlCharacter);
        check("answer", "ans\u{85}wer", MalformedNote::ControlCharacter);
        check("answer", &"x".repeat(MAX_NOTE), MalformedNote::TooLarge);
    }

    #[test]
    fn refuses_other_spellings_of_keys() {
        for (from, to) in [
            ("c74f20a3", "c74f20a4"),
            ("c74f20a3", "C74F20A3"),
            ("PeterNeumann", "Peter"),
            ("PeterNeumann", ""),
            ("+ARpc", "+Appc"),
            ("+ARpc", "+BRpc"),
            ("TW", "TX="),
            ("+ARpc", "ARpc"),
        ] {
            let changed = VKEY.replacen(from, to, 1);
            assert_ne!(changed, VKEY);
            assert!(VerifierKey::parse(&changed).is_err(), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1e3",
            "18446744073709551616",
            "٣",
        ] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
    }
}
