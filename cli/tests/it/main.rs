//! The `headwater` command as a user starts it: wrong arguments, a replay, and everything up with the sample system.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]
#![allow(clippy::unwrap_used)]

mod backtest;
mod command;
mod diff;
mod docs;
mod export;
mod incident;
mod logs;
mod map;
mod replay;
mod running;
mod strangers;
mod up_demo;
mod windows;
