use std::io;

/// Why the probes could not be loaded, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "loading the probes needs root, or the capabilities BPF and PERFMON: run as root, and in a container add these two (now user {0}, without one of them or both)"
    )]
    NotPermitted(u32),
    #[error(
        "the agent runs in a process namespace of its own, where it could tell neither its own connections nor whose the others are: give it the machine's (hostPID: true in Kubernetes, --pid host with Docker)"
    )]
    OwnProcesses,
    #[error(
        "the kernel's types cannot be read from {path}: {source}; Headwater needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf { path: String, source: io::Error },
    #[error("the kernel's BTF {0}; this kernel is not supported, please report it with `uname -r`")]
    Btf(String),
    #[error("the kernel has no tracepoint {0}")]
    NoTracepoint(&'static str),
    #[error(
        "the kernel has none of the two hooks: its functions cannot be traced ({0}), and it is older than 6.3, which has tracepoints; use a kernel with CONFIG_FUNCTION_TRACER or Linux 6.13 or later"
    )]
    NoHook(String),
    #[error("tcp_sendmsg or tcp_recvmsg of this kernel has arguments that the probes do not know")]
    OtherFunctions,
    #[error("the kernel refused the probe {name}: {message}")]
    Refused { name: &'static str, message: String },
    #[error("the probes' object cannot be loaded: {0}")]
    Object(String),
    #[error(
        "the cgroup {path} cannot be used as a filter: {source}; give the path of a directory in the cgroup2 mount"
    )]
    Cgroup { path: String, source: io::Error },
    #[error("reading {what} from the kernel failed: {source}")]
    Read { what: &'static str, source: io::Error },
}
