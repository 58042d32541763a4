//! Sealed files: Tink's streaming AEAD AES256_GCM_HKDF_1MB, byte for byte
//! (<https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming>).
//!
//! A file is a header and segments. Each segment authenticates its number and whether it is the last, so a
//! changed, cut, reordered, repeated or foreign segment does not open. The associated data is part of the key
//! derivation: a file opens only under the name it was sealed for.

mod layout;
mod open;
mod read_at;
mod seal;

pub use self::{
    layout::{fuzz_stream_header, sealed_len},
    open::{OpenError, OpenReader},
    read_at::ReadAt,
    seal::SealWriter,
};

#[cfg(test)]
mod tests;
