//! `cargo +nightly fuzz run tls`: any segments, in any order, of which `harness.rs` says what must hold, the first of which begins like a hello; and valid
//! handshakes, of which `handshakes.rs` requires every fact.

#![no_main]

#[path = "../checks.rs"]
mod checks;
#[path = "../handshakes.rs"]
mod handshakes;
#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::run(input);
    // The same behind the head of a ClientHello, so that it gets to the parser of TLS.
    let hello = [&[0, 0, 0, 11, 0, 0, 0][..], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], input].concat();
    harness::run(&hello);
    handshakes::run(input);
});
