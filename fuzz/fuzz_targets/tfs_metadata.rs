//! cargo-fuzz target of `stockade_protocol::fuzz_tfs_metadata`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_protocol::fuzz_tfs_metadata(data));
