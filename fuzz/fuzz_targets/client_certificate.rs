//! cargo-fuzz target of `stockade_crypto::fuzz_client_certificate`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_crypto::fuzz_client_certificate(data));
