//! cargo-fuzz target of `stockade_model::mark::fuzz_mark_claim`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_model::mark::fuzz_mark_claim(data));
