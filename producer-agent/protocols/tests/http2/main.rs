//! HTTP/2 of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

mod capture;
mod cases;
mod grpc;
mod oracle;
mod session;
mod wire;
