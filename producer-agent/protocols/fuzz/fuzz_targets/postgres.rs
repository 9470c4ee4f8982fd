//! `cargo +nightly fuzz run postgres`: messages of PostgreSQL in any order, whole and cut, of which `messages.rs` says what must hold.

#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../messages.rs"]
mod messages;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    messages::run(input);
});
