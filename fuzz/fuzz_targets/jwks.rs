//! cargo-fuzz target of `stockade_access::fuzz_jwks`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_access::fuzz_jwks(data));
