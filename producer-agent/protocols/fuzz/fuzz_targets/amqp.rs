//! `cargo +nightly fuzz run amqp`: any segments, in any order, of which `harness.rs` says what must hold; and valid sessions, of which
//! `channels.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../channels.rs"]
mod channels;
#[path = "../checks.rs"]
mod checks;
#[path = "../flights.rs"]
mod flights;
#[path = "../../tests/shared/frames.rs"]
mod frames;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    channels::run(input);
});
