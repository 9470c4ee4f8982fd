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
    match cgroup::place(&cgroups) {
        Some(cgroup::Place::Container(id)) => Workload { name: format!("{program}@{id}"), kind: "container" },
        Some(cgroup::Place::Unit(unit)) => Workload { name: unit, kind: "unit" },
        None => Workload { name: program, kind: "program" },
    }
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
