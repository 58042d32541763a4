//! cargo-fuzz target of `stockade_artifact::fuzz_manifest`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_artifact::fuzz_manifest(data));
