//! `cargo +nightly fuzz run http1`: any segments, in any order, of which `harness.rs` says what must hold; and valid traffic, of
//! which `traffic.rs` requires every exchange.

#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../harness.rs"]
mod harness;
#[path = "../traffic.rs"]
mod traffic;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    traffic::run(input);
});
