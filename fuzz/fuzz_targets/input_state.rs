//! cargo-fuzz target of `stockade_inspect::inputs::fuzz_input_state`; a stable test of that crate calls the same function.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stockade_inspect::inputs::fuzz_input_state(data));
