//! `cargo +nightly fuzz run mongodb`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `queries.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../../tests/shared/documents.rs"]
mod documents;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;
#[path = "../queries.rs"]
mod queries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    queries::run(input);
});
