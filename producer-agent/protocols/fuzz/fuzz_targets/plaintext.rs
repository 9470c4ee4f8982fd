//! `cargo +nightly fuzz run plaintext`: what goes over the wire under TLS and what a library's calls moved, in any order, of which `libraries.rs` says what must hold; and
//! the same behind a request on a record that holds it, so that exchanges get their places.

#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../libraries.rs"]
mod libraries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    libraries::run(input);
    libraries::run(&[libraries::ASKED, input].concat());
});
