//! `cargo +nightly fuzz run redis`: any segments, in any order, of which `harness.rs` says what must hold; and valid commands, of which
//! `commands.rs` requires every exchange.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../commands.rs"]
mod commands;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    commands::run(input);
});
