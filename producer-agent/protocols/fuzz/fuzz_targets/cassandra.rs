//! `cargo +nightly fuzz run cassandra`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `statements.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../../tests/shared/envelopes.rs"]
mod envelopes;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;
#[path = "../statements.rs"]
mod statements;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    statements::run(input);
});
