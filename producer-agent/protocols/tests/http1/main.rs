//! HTTP/1.1 of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

mod capture;
#[path = "../../fuzz/checks.rs"]
mod checks;
mod closing;
mod framing;
mod order;
mod plan;
mod properties;
mod random;
mod streams;
mod syntax;
mod wire;
