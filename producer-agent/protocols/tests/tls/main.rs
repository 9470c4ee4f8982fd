//! What handshakes of OpenSSL say of their encryption, through the public interface: as both ends themselves report it.

// What fails here says so by panicking.
#![allow(clippy::unwrap_used)]

mod capture;
mod facts;
#[path = "../../fuzz/handshakes.rs"]
mod handshakes;
mod openssl_peers;
mod plaintext;
mod wire;
