//! `cargo +nightly fuzz run kafka`: any segments, in any order, of which `harness.rs` says what must hold; and valid requests, of which
//! `broker.rs` requires every exchange.

#![no_main]

#[path = "../broker.rs"]
mod broker;
#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    broker::run(input);
});
