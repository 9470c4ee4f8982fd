//! PostgreSQL of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "../shared/calls.rs"]
mod calls;
mod capture;
#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../fuzz/messages.rs"]
mod messages;
mod properties;
mod sessions;
mod wire;
