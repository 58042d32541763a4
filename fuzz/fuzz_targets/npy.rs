//! cargo-fuzz target of `stockade_dataset::npy::fuzz_npy`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_dataset::npy::fuzz_npy(data));
