//! The sample system: a small web shop of nine plain programs that know nothing of Headwater.
//!
//! In: a folder for temporary files, a rate and a seed. Out: real traffic over loopback TCP, all of it from inside one
//! cgroup, and a list of the edges that a service map of that cgroup must show ([`expected_map`]).
//! [`Shop`] starts, watches and stops the programs. What it promises: it touches nothing that it did not start, no
//! program outlives it, and no connection inside the cgroup exists beyond those of the expected map, but for those by which a fault is set.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its programs speak to people in a terminal")]

pub mod cache;
pub mod database;
pub mod events;
pub mod fault;
pub mod http;
pub mod load;
pub mod payment;
pub mod plan;
pub mod report;
pub mod service;
pub mod tls;

mod expected;
mod parts;
mod programs;
mod shop;

pub use expected::{ExpectedEdge, expected_map};
pub use fault::{Fault, Service};
pub use load::LoadOptions;
pub use report::Total;
pub use shop::{DIR_PREFIX, Shop, ShopOptions};
