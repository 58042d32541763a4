//! Public keys as SubjectPublicKeyInfo in DER and PEM (RFC 5280 §4.1.2.7, RFC 7468 §13).
//!
//! Each algorithm has one DER prefix, since its key has one length; anything that does not start with one of
//! them is refused, so a key has exactly one encoding.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::sign::{SignatureAlgorithm, VerifyingKey};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// An ML-DSA-44 key in PEM has 1,858 bytes; nothing longer is worth reading.
const PEM_MAX: usize = 8192;

const ALL: [SignatureAlgorithm; 5] = [
    SignatureAlgorithm::Ed25519,
    SignatureAlgorithm::EcdsaP256Sha256,
    SignatureAlgorithm::EcdsaP384Sha384,
    SignatureAlgorithm::EcdsaP521Sha512,
    SignatureAlgorithm::MlDsa44,
];

/// The text is not one PEM block `PUBLIC KEY` of a supported algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the text is not a PEM public key of a supported algorithm\nhint: `openssl pkey -pubout` writes one; Ed25519, ECDSA P-256, P-384, P-521 and ML-DSA-44 are supported"
)]
pub struct NotAPublicKey;

fn prefix(algorithm: SignatureAlgorithm) -> &'static [u8] {
    match algorithm {
        // RFC 8410 §3: id-Ed25519.
        SignatureAlgorithm::Ed25519 => &[
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ],
        // RFC 5480 §2.1.1: id-ecPublicKey with a named curve.
        SignatureAlgorithm::EcdsaP256Sha256 => &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
        SignatureAlgorithm::EcdsaP384Sha384 => &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
            0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
        ],
        SignatureAlgorithm::EcdsaP521Sha512 => &[
            0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
            0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
        ],
        // RFC 9881 §4: id-ml-dsa-44.
        SignatureAlgorithm::MlDsa44 => &[
            0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03,
            0x11, 0x03, 0x82, 0x05, 0x21, 0x00,
        ],
    }
}

/// Which algorithm a SubjectPublicKeyInfo is for, and the key in it.
pub(crate) fn parse(der: &[u8]) -> Result<(SignatureAlgorithm, Vec<u8>), NotAPublicKey> {
    ALL.into_iter()
        .find_map(|algorithm| Some((algorithm, der.strip_prefix(prefix(algorithm))?.to_vec())))
        .ok_or(NotAPublicKey)
}

pub(crate) fn to_pem(der: &[u8]) -> String {
    to_pem_block("PUBLIC KEY", der)
}

/// One PEM block with lines of 64 characters.
pub(crate) fn to_pem_block(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // RFC 7468 §3: lines of 64 characters, which hold 48 bytes.
    for chunk in der.chunks(48) {
        STANDARD.encode_string(chunk, &mut text);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub(crate) fn from_pem(text: &str) -> Result<Vec<u8>, NotAPublicKey> {
    if text.len() > PEM_MAX {
        return Err(NotAPublicKey);
    }
    let inner = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or(NotAPublicKey)?;
    let body: String = inner.lines().map(str::trim).collect();
    STANDARD.decode(body).map_err(|_| NotAPublicKey)
}

/// Fuzz entry: must not panic. Reads `data` as a public key in PEM, and as a raw key of each algorithm.
pub fn fuzz_public_key(data: &[u8]) {
    if let Some(key) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| VerifyingKey::from_spki_pem(text).ok())
    {
        let again = key
            .to_spki_pem()
            .ok()
            .and_then(|text| VerifyingKey::from_spki_pem(&text).ok());
        assert_eq!(again, Some(key));
    }
    for algorithm in ALL {
        if let Ok(key) = VerifyingKey::new(algorithm, data) {
            assert_eq!(key.as_bytes(), data);
        }
    }
}
