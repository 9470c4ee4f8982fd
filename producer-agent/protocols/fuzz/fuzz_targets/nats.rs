//! `cargo +nightly fuzz run nats`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `subjects.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    subjects::run(input);
});
