//! `cargo +nightly fuzz run http1`: any segments, in any order. What must hold is in `harness.rs`.

#![no_main]

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
});
