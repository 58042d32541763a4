//! Everything that touches key material: hashes, secrets, signatures, AEAD stream files, the key provider and the
//! local certificate authority.
//!
//! Start at [`KeyProvider`] (the only way to keys), [`SealWriter`] and [`OpenReader`] (files at rest), and
//! [`SigningKey`] and [`VerifyingKey`] (signatures). AWS-LC computes everything except BLAKE3 and Argon2id.
//! Nothing here reads a clock or the environment; a path, a time and a passphrase come in as arguments.

mod aead;
mod hash;
mod keys;
mod random;
mod secret;
mod sign;
mod spki;
mod stream;
mod x509;

pub use crate::{
    aead::{DataKey, NotAuthentic, SealFailed},
    hash::{Blake3, Sha256, blake3, constant_time_eq, hmac_sha256, sha256},
    keys::{JournalKey, KeyError, KeyFolder, KeyProvider, LogKeys, WrappedKey, fuzz_key_export},
    random::{RandomnessUnavailable, random_array},
    secret::{Passphrase, PassphraseTooShort, SecretBytes},
    sign::{BadKey, BadSignature, SignatureAlgorithm, SigningError, SigningKey, VerifyingKey},
    spki::{NotAPublicKey, fuzz_public_key},
    stream::{OpenError, OpenReader, ReadAt, SealWriter, fuzz_stream_header, sealed_len},
    x509::{
        CertificateAuthority, ClientCertificate, IssueError, ServerCertificate, UnreadableCertificate,
        fuzz_client_certificate,
    },
};
