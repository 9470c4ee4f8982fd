//! What handshakes of OpenSSL say of their encryption, through the public interface: as both ends themselves report it.

// What fails here says so by panicking.
#![allow(clippy::unwrap_used)]

mod any;
mod capture;
#[path = "../../fuzz/checks.rs"]
mod checks;
mod facts;
#[path = "../../fuzz/handshakes.rs"]
mod handshakes;
#[path = "../../fuzz/libraries.rs"]
mod libraries;
mod openssl_peers;
mod plaintext;
mod wire;
