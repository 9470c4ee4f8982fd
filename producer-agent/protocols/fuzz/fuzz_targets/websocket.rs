//! `cargo +nightly fuzz run websocket`: any segments behind an upgrade, of which `harness.rs` says what must hold; and valid sessions, of which `talks.rs` requires every message.

#![no_main]

#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../../tests/shared/chat.rs"]
mod chat;
#[path = "../checks.rs"]
mod checks;
#[path = "../flights.rs"]
mod flights;
#[path = "../harness.rs"]
mod harness;
#[path = "../talks.rs"]
mod talks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run_behind_upgrade(input);
    talks::run(input);
});
