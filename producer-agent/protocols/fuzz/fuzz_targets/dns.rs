//! `cargo +nightly fuzz run dns`: any segments, in any order, of which `harness.rs` says what must hold; valid sessions, of which
//! `resolvers.rs` requires every exchange; and datagrams, of which `datagrams.rs` says what must hold.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../datagrams.rs"]
mod datagrams;
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
    datagrams::run(input);
});
