//! Odd conversations, and what the probes and the observer make of them: real sockets, real probes that are limited to the cgroup of the
//! program that plays, no Kafka. One program, so that it is linked once.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]
#![allow(clippy::unwrap_used)]

mod ends;
mod places;
mod requests;
mod seen;
mod threads;
