//! `cargo +nightly fuzz run memcached`: any segments, in any order, of which `harness.rs` says what must hold; and valid commands, of which
//! `cache.rs` requires every exchange.

#![no_main]

#[path = "../cache.rs"]
mod cache;
#[path = "../../tests/shared/calls.rs"]
mod calls;
#[path = "../checks.rs"]
mod checks;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    cache::run(input);
});
