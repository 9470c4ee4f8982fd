//! `cargo +nightly fuzz run mysql`: packets of MySQL in any order, whole and cut, of which `packets.rs` says what must hold.

#![no_main]

#[path = "../packets.rs"]
mod packets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    packets::run(input);
});
