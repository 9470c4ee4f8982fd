//! `cargo +nightly fuzz run dns`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `resolvers.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;
#[path = "../../tests/shared/questions.rs"]
mod questions;
#[path = "../resolvers.rs"]
mod resolvers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    resolvers::run(input);
});
