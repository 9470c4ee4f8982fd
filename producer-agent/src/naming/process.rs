//! What `/proc` says of a process, where the probes could not: only if it is still the same process afterwards.

use std::fs;

use headwater_workload::program::Process;

/// USER_HZ is 100 on every machine that this runs on.
const NS_PER_TICK: u64 = 10_000_000;

/// What names a program.
pub struct Found {
    executable: Vec<u8>,
    arguments: Vec<u8>,
    environment: Vec<u8>,
}

impl Found {
    pub fn as_process(&self) -> Process<'_> {
        Process {
            executable: &self.executable,
            arguments: &self.arguments,
            environment: &self.environment,
            first_thread: b"",
        }
    }
}

/// The words of a process that began at this time. The environment of another user's process takes the right to trace it, and so
/// does its executable; without that its arguments have to do.
pub fn read(pid: u32, started_ns: u64) -> Option<Found> {
    let executable = fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .and_then(|path| Some(path.file_name()?.as_encoded_bytes().to_vec()))
        .unwrap_or_default();
    let found = Found {
        executable,
        arguments: fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(),
        environment: fs::read(format!("/proc/{pid}/environ")).unwrap_or_default(),
    };
    is_still_there(pid, started_ns).then_some(found)
}

/// The environment alone.
pub fn environment(pid: u32, started_ns: u64) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    is_still_there(pid, started_ns).then_some(environment)
}

/// The text of the process's cgroups.
pub fn cgroups(pid: u32, started_ns: u64) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    is_still_there(pid, started_ns).then_some(text)
}

/// Whether the id still belongs to the process that the probes saw, and not to a later one. Looked at last: an id that belongs to the
/// process now has belonged to it all along.
fn is_still_there(pid: u32, started_ns: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    started_ticks(&stat) == Some(started_ns / NS_PER_TICK)
}

/// The process's start since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)), counted behind the name, which may hold anything.
fn started_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let started_ns = started_ticks(&stat).unwrap() * NS_PER_TICK;
        assert!(read(std::process::id(), started_ns + 3).is_some());
        assert!(read(std::process::id(), started_ns + NS_PER_TICK).is_none());
        assert!(cgroups(u32::MAX, started_ns).is_none());
        assert_eq!(started_ticks("7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 2 3 0 0 20 0 1 0 1234 99"), Some(1234));
    }
}
