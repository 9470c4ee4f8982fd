//! `cargo +nightly fuzz run mqtt`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `control.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../control.rs"]
mod control;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    control::run(input);
});
