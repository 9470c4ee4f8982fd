//! PostgreSQL of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

mod capture;
mod properties;
mod sessions;
mod wire;
