//! SHA-256 (FIPS 180-4), BLAKE3 and HMAC-SHA-256 (RFC 2104), and comparison in constant time.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};

use crate::secret::SecretBytes;

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(data);
    hasher.finish()
}

/// SHA-256 of data that arrives in parts.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// A hasher that has seen nothing.
    #[expect(
        clippy::new_without_default,
        reason = "a hasher is made by name, never by accident"
    )]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next part.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all parts in their order.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

/// BLAKE3 of `data`, 32 bytes.
pub fn blake3(data: &[u8]) -> [u8; 32] {
    *::blake3::hash(data).as_bytes()
}

/// BLAKE3 of data that arrives in parts.
#[derive(Clone)]
pub struct Blake3(Box<::blake3::Hasher>);

impl Blake3 {
    /// A hasher that has seen nothing.
    #[expect(
        clippy::new_without_default,
        reason = "a hasher is made by name, never by accident"
    )]
    pub fn new() -> Self {
        Self(Box::new(::blake3::Hasher::new()))
    }

    /// Takes the next part.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all parts in their order.
    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blake3")
    }
}

/// HMAC-SHA-256 of `data` under `key`.
pub fn hmac_sha256(key: &SecretBytes, data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, data).as_ref());
    out
}

/// Whether two byte strings are equal, in time that depends on their lengths alone.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests;
