//! `cargo +nightly fuzz run http2`: frames of HTTP/2 in any order, whole and cut, of which `frames.rs` says what must hold.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    frames::run(input);
});
