//! Signatures: Ed25519 (RFC 8032), ECDSA on the NIST curves (FIPS 186-5), ML-DSA-44 (FIPS 204, pure, empty context).
//!
//! A [`VerifyingKey`] has one encoding: 32 bytes (Ed25519), the uncompressed point (ECDSA) or 1,312 bytes
//! (ML-DSA-44). ECDSA signatures are ASN.1 DER; the others have one fixed length.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ParsedPublicKey, PqdsaKeyPair,
        VerificationAlgorithm,
    },
};

use crate::{
    secret::SecretBytes,
    spki::{self, NotAPublicKey},
};

/// The algorithms that Stockade signs with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureAlgorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521Sha512,
    /// ML-DSA-44 (FIPS 204), secure against quantum computers.
    MlDsa44,
}

impl SignatureAlgorithm {
    /// The algorithm's name in messages and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::EcdsaP521Sha512 => "ecdsa-p521-sha512",
            Self::MlDsa44 => "ml-dsa-44",
        }
    }

    fn public_key_len(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::EcdsaP256Sha256 => 65,
            Self::EcdsaP384Sha384 => 97,
            Self::EcdsaP521Sha512 => 133,
            Self::MlDsa44 => 1312,
        }
    }

    fn is_ecdsa(self) -> bool {
        match self {
            Self::EcdsaP256Sha256 | Self::EcdsaP384Sha384 | Self::EcdsaP521Sha512 => true,
            Self::Ed25519 | Self::MlDsa44 => false,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &signature::ED25519,
            Self::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Self::EcdsaP521Sha512 => &signature::ECDSA_P521_SHA512_ASN1,
            Self::MlDsa44 => &signature::ML_DSA_44,
        }
    }

    fn signer(self) -> Signer {
        match self {
            Self::Ed25519 => Signer::Ed25519,
            Self::EcdsaP256Sha256 => Signer::Ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::EcdsaP384Sha384 => Signer::Ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::EcdsaP521Sha512 => Signer::Ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            Self::MlDsa44 => Signer::MlDsa44,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

enum Signer {
    Ed25519,
    Ecdsa(&'static EcdsaSigningAlgorithm),
    MlDsa44,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    MlDsa44(PqdsaKeyPair),
}

/// A private signing key. Clones share it.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    public: VerifyingKey,
}

impl SigningKey {
    /// A fresh key.
    pub fn generate(algorithm: SignatureAlgorithm) -> Result<Self, SigningError> {
        let pair = match algorithm.signer() {
            Signer::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| SigningError)?),
            Signer::Ecdsa(curve) => Pair::Ecdsa(EcdsaKeyPair::generate(curve).map_err(|_| SigningError)?),
            Signer::MlDsa44 => Pair::MlDsa44(
                PqdsaKeyPair::generate(&signature::ML_DSA_44_SIGNING).map_err(|_| SigningError)?,
            ),
        };
        Self::from_pair(algorithm, pair).map_err(|_| SigningError)
    }

    /// Reads an unencrypted PKCS #8 key (RFC 5958; RFC 9881 for ML-DSA) of exactly this algorithm.
    pub fn from_pkcs8(algorithm: SignatureAlgorithm, pkcs8: &SecretBytes) -> Result<Self, BadKey> {
        let bad = |_| BadKey { algorithm };
        let pair = match algorithm.signer() {
            Signer::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.expose()).map_err(bad)?),
            Signer::Ecdsa(curve) => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(curve, pkcs8.expose()).map_err(bad)?)
            }
            Signer::MlDsa44 => Pair::MlDsa44(
                PqdsaKeyPair::from_pkcs8(&signature::ML_DSA_44_SIGNING, pkcs8.expose()).map_err(bad)?,
            ),
        };
        Self::from_pair(algorithm, pair)
    }

    /// Reads the 32-byte private key of RFC 8032 §5.1.5.
    pub fn from_seed(seed: &SecretBytes) -> Result<Self, BadKey> {
        let algorithm = SignatureAlgorithm::Ed25519;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| BadKey { algorithm })?;
        Self::from_pair(algorithm, Pair::Ed25519(pair))
    }

    fn from_pair(algorithm: SignatureAlgorithm, pair: Pair) -> Result<Self, BadKey> {
        let public = match &pair {
            Pair::Ed25519(pair) => VerifyingKey::new(algorithm, pair.public_key().as_ref()),
            Pair::Ecdsa(pair) => VerifyingKey::new(algorithm, pair.public_key().as_ref()),
            Pair::MlDsa44(pair) => VerifyingKey::new(algorithm, pair.public_key().as_ref()),
        }?;
        Ok(Self {
            pair: Arc::new(pair),
            public,
        })
    }

    /// The key as PKCS #8, to be wrapped at once; version 1, which every reader takes.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, SigningError> {
        let document = match &*self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1(),
            Pair::MlDsa44(pair) => pair.to_pkcs8v1(),
        };
        Ok(SecretBytes::new(
            document.map_err(|_| SigningError)?.as_ref().to_vec(),
        ))
    }

    /// Which algorithm the key is for.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.public.algorithm
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public.clone()
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        match &*self.pair {
            Pair::Ed25519(pair) => Ok(pair
                .try_sign(message)
                .map_err(|_| SigningError)?
                .as_ref()
                .to_vec()),
            Pair::Ecdsa(pair) => {
                let made = pair
                    .sign(&SystemRandom::new(), message)
                    .map_err(|_| SigningError)?;
                Ok(made.as_ref().to_vec())
            }
            Pair::MlDsa44(pair) => {
                let mut made = vec![0; pair.algorithm().signature_len()];
                let len = pair.sign(message, &mut made).map_err(|_| SigningError)?;
                made.truncate(len);
                Ok(made)
            }
        }
    }

    pub(crate) fn public(&self) -> &VerifyingKey {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("private", &"****")
            .finish()
    }
}

/// A public key that signatures are checked with.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: SignatureAlgorithm,
    bytes: Arc<[u8]>,
    parsed: Arc<ParsedPublicKey>,
}

impl VerifyingKey {
    /// Reads a public key in the algorithm's one encoding.
    pub fn new(algorithm: SignatureAlgorithm, bytes: &[u8]) -> Result<Self, BadKey> {
        // AWS-LC would also take compressed and hybrid points and SubjectPublicKeyInfo; one key has one name here.
        let uncompressed = !algorithm.is_ecdsa() || bytes.first() == Some(&4);
        if bytes.len() != algorithm.public_key_len() || !uncompressed {
            return Err(BadKey { algorithm });
        }
        let parsed =
            ParsedPublicKey::new(algorithm.verification(), bytes).map_err(|_| BadKey { algorithm })?;
        Ok(Self {
            algorithm,
            bytes: bytes.into(),
            parsed: Arc::new(parsed),
        })
    }

    /// The key's one encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which algorithm the key is for.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Checks that `signature` was made over `message` with this key's private half.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.parsed
            .verify_sig(message, signature)
            .map_err(|_| BadSignature)
    }

    /// The key as a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn to_spki_der(&self) -> Result<Vec<u8>, BadKey> {
        let der = self.parsed.as_der().map_err(|_| BadKey {
            algorithm: self.algorithm,
        })?;
        Ok(der.as_ref().to_vec())
    }

    /// The key as PEM, as OpenSSL prints it.
    pub fn to_spki_pem(&self) -> Result<String, BadKey> {
        Ok(spki::to_pem(&self.to_spki_der()?))
    }

    /// Reads one PEM block `PUBLIC KEY` of any algorithm of [`SignatureAlgorithm`].
    pub fn from_spki_pem(text: &str) -> Result<Self, NotAPublicKey> {
        let (algorithm, key) = spki::parse(&spki::from_pem(text)?)?;
        Self::new(algorithm, &key).map_err(|_| NotAPublicKey)
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.bytes == other.bytes
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifyingKey({} {})",
            self.algorithm,
            hex::encode(&*self.bytes)
        )
    }
}

/// The key could not be made or could not sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key could not be made or could not sign")]
pub struct SigningError;

/// The bytes are no key of the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes are not a valid {algorithm} key")]
pub struct BadKey {
    algorithm: SignatureAlgorithm,
}

/// The signature was not made over this message with this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not match the message and the key")]
pub struct BadSignature;

#[cfg(test)]
mod tests;
