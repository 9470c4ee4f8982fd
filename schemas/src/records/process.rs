use serde::{Deserialize, Serialize};

/// What happened to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProcessKind {
    /// It has begun another program.
    Exec,
    /// Its last thread has ended.
    Exit,
    /// The same, since the kernel killed it for want of memory.
    OomKill,
    /// It listens on a TCP socket from now on.
    Listen,
    /// Nobody listens there any more.
    ListenEnd,
    /// It was found to listen on a TCP socket; when it began was not seen.
    Listening,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Something that happened to a process as a whole. See `avro/process.avsc` for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process<'a> {
    /// What happened.
    pub kind: ProcessKind,
    /// When it happened, in microseconds since the epoch.
    pub observed_at_us: i64,
    /// Host on which the process runs.
    pub node: &'a str,
    /// The cluster of the process's workload; empty outside of one, or where it has no name.
    pub cluster: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub namespace: &'a str,
    /// Of Kubernetes, such as `Deployment`; else `container`, `unit` or `program`; `unknown` if nobody has named it.
    pub workload_kind: &'a str,
    /// Name of the process's workload.
    pub workload: &'a str,
    /// Of Kubernetes; empty outside of it.
    pub pod: &'a str,
    /// The container within the pod, or by itself; empty outside of one.
    pub container: &'a str,
    /// The process's id, as the node counts them.
    pub pid: i32,
    /// File name of the executable; at an end under kernels before 6.16, the name of the first thread.
    pub executable_name: &'a str,
    /// When the process was made, in nanoseconds since the node's start.
    pub process_start_ns: i64,
    /// How long it had lived, in microseconds.
    pub lived_us: i64,
    /// What it said at its end.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// IP address that is listened on.
    #[serde(borrow)]
    pub local_address: Option<&'a str>,
    /// Port that is listened on.
    pub local_port: Option<i32>,
}

record!(Process<'_>, "Process", "process");

impl Process<'_> {
    /// The Kafka key, which names the process: all records of one process are in one partition, in order.
    pub fn key(&self) -> String {
        format!("{} {} {}", self.node, self.pid, self.process_start_ns)
    }
}
