//! cargo-fuzz target of `stockade_store::log::fuzz_journal`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_store::log::fuzz_journal(data));
