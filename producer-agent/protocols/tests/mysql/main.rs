//! MySQL of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "../shared/calls.rs"]
mod calls;
mod capture;
#[path = "../../fuzz/packets.rs"]
mod packets;
mod properties;
mod sessions;
mod wire;
