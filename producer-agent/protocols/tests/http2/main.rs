//! HTTP/2 of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "../shared/calls.rs"]
mod calls;
mod capture;
mod cases;
#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../fuzz/frames.rs"]
mod frames;
mod grpc;
mod named;
mod nginx;
mod oracle;
mod session;
mod upgrade;
mod wire;
