//! Whose a socket is: the name of the workload on this side of a connection.
//!
//! In: the process that the probes saw at the socket. Out: a name and where it comes from. The most lasting thing wins: the
//! container, then the systemd unit, then the program. Kubernetes names come through a source that stands beside these.
//! Bounded: `PROCESSES_MAX` names are remembered; past that the memory is emptied and filled anew.

mod cgroup;

use std::fs;
use std::rc::Rc;

use headwater_probe_loader::types::SocketRecord;
use rustc_hash::FxHashMap;

const PROCESSES_MAX: usize = 16 * 1024;

/// USER_HZ is 100 on every machine that this runs on.
const NS_PER_TICK: u64 = 10_000_000;

/// The kernel cuts a program's name here.
const COMM_CHARS_MAX: usize = 15;

/// A named workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub name: String,
    /// `container`, `unit`, `program` or `unknown`.
    pub kind: &'static str,
}

/// Names workloads, and remembers the names of processes.
#[derive(Default)]
pub struct Workloads {
    /// By pid, start and name of the program: a process that became another program by exec(2) has another name.
    known: FxHashMap<(u32, u64, [u8; 16]), Rc<Workload>>,
}

impl Workloads {
    /// The workload that owns a socket.
    pub fn of(&mut self, socket: &SocketRecord) -> Rc<Workload> {
        if socket.pid == 0 {
            return Rc::new(Workload { name: "unknown".into(), kind: "unknown" });
        }
        let key = (socket.pid, socket.process_started_ns, socket.program);
        if let Some(workload) = self.known.get(&key) {
            return Rc::clone(workload);
        }
        if self.known.len() >= PROCESSES_MAX {
            self.known.clear();
        }
        let workload = Rc::new(name(socket));
        self.known.insert(key, Rc::clone(&workload));
        workload
    }
}

fn name(socket: &SocketRecord) -> Workload {
    let program = program(socket);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", socket.pid)).unwrap_or_default();
    // Looked at last: an id that belongs to the process now has belonged to it all along.
    let place = cgroup::place(&cgroups).filter(|_| is_still_there(socket.pid, socket.process_started_ns));
    match place {
        Some(cgroup::Place::Container(id)) => Workload { name: format!("{program}@{id}"), kind: "container" },
        Some(cgroup::Place::Unit(unit)) => Workload { name: unit, kind: "unit" },
        None => Workload { name: program, kind: "program" },
    }
}

/// Whether the id still belongs to the process that the probes saw, and not to a later one.
fn is_still_there(pid: u32, started_ns: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    started_ticks(&stat) == Some(started_ns / NS_PER_TICK)
}

/// The process's start since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)), counted behind the name, which may hold anything.
fn started_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The program's name as the kernel has it; where that was cut, the file's name if it begins the same.
fn program(socket: &SocketRecord) -> String {
    let end = socket.program.iter().position(|&byte| byte == 0).unwrap_or(socket.program.len());
    let comm = String::from_utf8_lossy(&socket.program[..end]).into_owned();
    if comm.len() < COMM_CHARS_MAX {
        return comm;
    }
    let file = fs::read_link(format!("/proc/{}/exe", socket.pid)).unwrap_or_default();
    match file.file_name().map(|name| name.to_string_lossy()) {
        Some(name) if name.starts_with(&comm) => name.trim_end_matches(" (deleted)").to_owned(),
        _ => comm,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let started_ns = started_ticks(&stat).unwrap() * NS_PER_TICK;
        assert!(is_still_there(std::process::id(), started_ns + 3));
        assert!(!is_still_there(std::process::id(), started_ns + NS_PER_TICK));
        assert!(!is_still_there(u32::MAX, started_ns));
        assert_eq!(started_ticks("7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 2 3 0 0 20 0 1 0 1234 99"), Some(1234));
    }
}
