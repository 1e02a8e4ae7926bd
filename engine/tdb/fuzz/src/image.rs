//! libFuzzer's way in; `run` says how to start it.
#![no_main]

mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));
