//! The console as a whole: its answers and its page, each against a real Kafka.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]
#![allow(clippy::unwrap_used)]

mod alerting;
mod api;
mod browser;
mod common;
mod otlp;
mod prometheus;
