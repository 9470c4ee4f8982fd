//! What can go wrong with a child, each with the child's name and the end of its log.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a child, or what it needs, is not there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum ProcessError {
    #[error("start {name} ({program}): {source}")]
    Start { name: String, program: PathBuf, source: io::Error },

    #[error("open the log {path}: {source}")]
    Log { path: PathBuf, source: io::Error },

    #[error("{name} has ended ({status}); the end of its log {log}:\n{tail}")]
    Ended { name: String, status: ExitStatus, log: PathBuf, tail: String },

    #[error("{name} {has_not} after {waited:?}; the end of its log {log}:\n{tail}")]
    Late { name: String, has_not: &'static str, waited: Duration, log: PathBuf, tail: String },

    #[error("{last}\nIt died {times} times in {minutes} minutes and is given up.")]
    GivenUp { last: Box<ProcessError>, times: usize, minutes: u64 },

    #[error("{path} is not there: build it with `cargo build --workspace --bins`, as the running program was built")]
    NoProgram { path: PathBuf },

    #[error(
        "no cgroup2 hierarchy is mounted; mount one with `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroups,

    #[error("make the cgroup {path}: the name is taken; end whoever made it, or choose another name")]
    CgroupTaken { path: PathBuf },

    #[error("the cgroup {path} cannot be removed; still in it: {pids:?}")]
    CgroupInUse { path: PathBuf, pids: Vec<u32> },

    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
}

impl ProcessError {
    /// A closure for `map_err`: says what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ProcessError {
        let doing = doing.into();
        move |source| ProcessError::Io { doing, source }
    }
}
