//! cargo-fuzz target of `stockade_inspect::queries::fuzz_query_watch`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_inspect::queries::fuzz_query_watch(data));
