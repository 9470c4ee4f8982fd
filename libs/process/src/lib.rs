//! Child processes, and what waiting for other programs needs.
//!
//! In: a [`Launch`], which says what to run, where its output goes and how it is ended. Out: a [`Child`] that never outlives this
//! process, however this one ends; a [`Kept`] child is also started again when it dies. Beside them: a [`Port`] that is held for
//! a program which cannot choose one and tell it, a [`Cgroup`] to be in, a [`User`] to run as, a
//! [`Scratch`] folder to work in, the end of a log ([`tail`]), and [`wait_for`], which asks
//! until there is an answer.
//!
//! Promises: a signal never goes to a process that took over a child's pid; errors name the program and quote the end of its log;
//! every wait has a deadline. Bounds: one thread for all children, which lasts as long as this process; the restarts of a [`Kept`]
//! child. All of it blocks.
#![deny(missing_docs)]

mod cgroup;
mod child;
mod error;
mod kept;
mod launch;
mod log;
mod port;
mod program;
mod reach;
mod scratch;
mod spawner;
mod usage;
mod user;
mod wait;

pub use cgroup::Cgroup;
pub use child::Child;
pub use error::ProcessError;
pub use kept::{Kept, RESTARTS_MAX, RESTARTS_WITHIN, Seen};
pub use launch::Launch;
pub use log::{end_of, tail};
pub use port::Port;
pub use program::{program, program_folder};
pub use reach::Reach;
pub use scratch::{LOCK, Scratch};
pub use usage::{anonymous_bytes, cpu_time, rss_bytes};
pub use user::User;
pub use wait::wait_for;
