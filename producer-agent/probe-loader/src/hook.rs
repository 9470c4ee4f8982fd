//! The two hooks that see the calls of sockets, and which of them this kernel takes.
//!
//! In: the choice of the settings, the kernel's types. Out: programs that are attached, and which hook it is. A hook is attached whole or
//! not at all, so both directions of a connection are always seen in the same way.

use aya::programs::{BtfTracePoint, FEntry, FExit, ProgramError, ProgramInfo};
use aya::{Btf, Ebpf};

use crate::btf::KernelTypes;
use crate::{LoadError, chain, message, program, refused};

/// How the calls of sockets are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// The ends of `tcp_sendmsg` and `tcp_recvmsg`, whose message names the exact buffer. Needs a kernel with function tracing.
    Fexit,
    /// `sock_send_length` and `sock_recv_length` (Linux 6.3 and later); the buffer is the one that the system call names.
    Tracepoint,
}

impl Hook {
    /// As settings, heartbeats and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Fexit => "fexit",
            Hook::Tracepoint => "tracepoint",
        }
    }
}

/// Program in the object, and what it is attached to.
type Attachment = (&'static str, &'static str);

const TRACEPOINTS: [Attachment; 2] = [("on_send", "sock_send_length"), ("on_receive", "sock_recv_length")];

/// Programs for what `tcp_recvmsg` was given in the course of time.
const RECEIVE: [(&str, &[&str]); 3] = [
    ("on_tcp_receive", &["sk", "msg", "len", "flags"]),
    ("on_tcp_receive_of_five", &["sk", "msg", "len", "flags", "addr_len"]),
    ("on_tcp_receive_of_six", &["sk", "msg", "len", "nonblock", "flags", "addr_len"]),
];

/// The same of what moves datagrams. Older kernels give one argument more to what receives them than 6.18 does.
const DATAGRAMS: [(&str, &str, &[&str]); 6] = [
    ("on_udp_send", "udp_sendmsg", &["sk", "msg", "len"]),
    ("on_udp_send_over_ipv6", "udpv6_sendmsg", &["sk", "msg", "len"]),
    ("on_udp_receive", "udp_recvmsg", &["sk", "msg", "len", "flags"]),
    ("on_udp_receive_over_ipv6", "udpv6_recvmsg", &["sk", "msg", "len", "flags"]),
    ("on_udp_receive_of_five", "udp_recvmsg", &["sk", "msg", "len", "flags", "addr_len"]),
    ("on_udp_receive_over_ipv6_of_five", "udpv6_recvmsg", &["sk", "msg", "len", "flags", "addr_len"]),
];
/// Of those, each function once.
const DATAGRAM_FUNCTIONS: usize = 4;

/// The functions of this kernel that move bytes.
pub struct Functions {
    /// Both directions; none if the kernel's have other arguments than the programs know.
    calls: Option<[Attachment; 2]>,
    /// What moves pages past them. If the kernel refuses one of these, it shows as a gap in the positions.
    pages: Vec<Attachment>,
    /// What moves datagrams. If the kernel refuses one of these, nothing is seen of DNS over UDP.
    datagrams: Vec<Attachment>,
    /// What moves bytes on streams of Unix sockets, and what lets go of these. If the kernel refuses one of these, nothing is seen of them.
    unix: Vec<Attachment>,
    sees_unix: bool,
}

/// Of a Unix socket that is let go of.
const UNIX_RELEASE: Attachment = ("on_unix_release", "unix_release");

impl Functions {
    /// `sees_unix`: streams of Unix sockets are seen, too.
    pub fn of_kernel(types: &KernelTypes, sees_unix: bool) -> Functions {
        let has =
            |function: &str, arguments: &[&str]| types.arguments(function).is_some_and(|names| names == arguments);
        let send = has("tcp_sendmsg", &["sk", "msg", "size"]).then_some(("on_tcp_send", "tcp_sendmsg"));
        let receive = RECEIVE.iter().find(|(_, arguments)| has("tcp_recvmsg", arguments));
        let receive = receive.map(|(name, _)| (*name, "tcp_recvmsg"));
        let mut pages = Vec::new();
        // Before 6.5.
        if has("tcp_sendpage", &["sk", "page", "offset", "size", "flags"]) {
            pages.push(("on_tcp_send_page", "tcp_sendpage"));
        }
        if has("tcp_splice_read", &["sock", "ppos", "pipe", "len", "flags"]) {
            pages.push(("on_tcp_splice", "tcp_splice_read"));
        }
        let datagrams = DATAGRAMS.iter().filter(|(_, function, arguments)| has(function, arguments));
        let datagrams = datagrams.map(|(name, function, _)| (*name, *function)).collect();
        let calls = send.zip(receive).map(|(send, receive)| [send, receive]);
        let mut unix = Vec::new();
        let is_known = has("unix_stream_sendmsg", &["sock", "msg", "len"])
            && has("unix_stream_recvmsg", &["sock", "msg", "size", "flags"])
            && has("unix_release", &["sock"]);
        if sees_unix && is_known {
            unix.extend([("on_unix_send", "unix_stream_sendmsg"), ("on_unix_receive", "unix_stream_recvmsg")]);
        }
        Functions { calls, pages, datagrams, unix, sees_unix }
    }
}

/// Attaches the hook that is asked for, or the best that the kernel takes. Returns it, and why it is not the best one.
pub fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    functions: &Functions,
    asked: Option<Hook>,
) -> Result<(Hook, Option<String>), LoadError> {
    let because = match asked {
        Some(Hook::Tracepoint) => "the settings ask for it".to_owned(),
        _ => match attach_functions(ebpf, btf, functions) {
            Ok(()) => return Ok((Hook::Fexit, None)),
            Err(error) if asked.is_some() => return Err(error),
            Err(error) => error.to_string(),
        },
    };
    for (name, tracepoint) in TRACEPOINTS {
        attach_tracepoint(ebpf, btf, name, tracepoint).map_err(|error| match error {
            LoadError::NoTracepoint(_) if asked.is_none() => LoadError::NoHook(because.clone()),
            error => error,
        })?;
    }
    Ok((Hook::Tracepoint, Some(because)))
}

/// Attaches a program to a tracepoint.
pub fn attach_tracepoint(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &'static str,
    tracepoint: &'static str,
) -> Result<(), LoadError> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    program.load(tracepoint, btf).map_err(|error| refused(name, tracepoint, error))?;
    program.attach().map_err(|error| refused(name, tracepoint, error))?;
    verified(name, program.info());
    Ok(())
}

/// Leaves nothing attached if it fails.
fn attach_functions(ebpf: &mut Ebpf, btf: &Btf, functions: &Functions) -> Result<(), LoadError> {
    let calls = functions.calls.ok_or(LoadError::OtherFunctions)?;
    for (name, function) in calls {
        if let Err(error) = attach_function(ebpf, btf, name, function) {
            for (name, _) in calls {
                let program: &mut FExit = program(ebpf, name)?;
                // One that was not loaded has nothing to give back.
                let _ = program.unload();
            }
            return Err(refused_function(name, &error));
        }
    }
    for (name, function) in &functions.pages {
        if let Err(error) = attach_function(ebpf, btf, name, function) {
            let error = refused_function(name, &error);
            tracing::warn!(%error, function, "what this function moves is seen late, when the socket is used again");
        }
    }
    if functions.datagrams.len() < DATAGRAM_FUNCTIONS {
        let known: Vec<&str> = functions.datagrams.iter().map(|(_, function)| *function).collect();
        tracing::warn!(?known, "of DNS over UDP is not all seen: the kernel's functions have other arguments");
    }
    for (name, function) in &functions.datagrams {
        if let Err(error) = attach_function(ebpf, btf, name, function) {
            let error = refused_function(name, &error);
            tracing::warn!(%error, function, "of DNS over UDP is not seen what this function moves");
        }
    }
    if functions.sees_unix && functions.unix.is_empty() {
        tracing::warn!("of Unix sockets nothing is seen: the kernel's functions have other arguments");
    }
    for (name, function) in &functions.unix {
        if let Err(error) = attach_function(ebpf, btf, name, function) {
            let error = refused_function(name, &error);
            tracing::warn!(%error, function, "of Unix sockets is not seen what this function moves");
        }
    }
    if !functions.unix.is_empty()
        && let Err(error) = attach_entry(ebpf, btf, UNIX_RELEASE)
    {
        let error = refused_function(UNIX_RELEASE.0, &error);
        tracing::warn!(%error, "the end of a Unix socket is seen by a read of its peer alone");
    }
    Ok(())
}

fn attach_entry(ebpf: &mut Ebpf, btf: &Btf, (name, function): Attachment) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut FEntry = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    verified(name, program.info());
    Ok(())
}

fn attach_function(ebpf: &mut Ebpf, btf: &Btf, name: &str, function: &str) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut FExit = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    verified(name, program.info());
    Ok(())
}

/// A kernel looks at a million instructions of a program at most, and older ones need more of them.
fn verified(name: &str, info: Result<ProgramInfo, ProgramError>) {
    let instructions = info.ok().and_then(|info| info.verified_instruction_count());
    tracing::debug!(name, instructions, "the kernel has verified a probe");
}

/// Not called a lack of rights, also where the kernel does: the tracepoints of the sockets' states were attached before.
fn refused_function(name: &'static str, error: &ProgramError) -> LoadError {
    LoadError::Refused { name, message: message(&chain(error)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_functions_of_the_running_kernel_are_known() {
        let types = KernelTypes::parse(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
        let functions = Functions::of_kernel(&types, true);
        assert_eq!(functions.unix.len(), 2, "{:?}", types.arguments("unix_stream_recvmsg"));
        assert_eq!(functions.datagrams.len(), DATAGRAM_FUNCTIONS, "{:?}", types.arguments("udp_recvmsg"));
        assert!(functions.calls.is_some(), "{:?}", types.arguments("tcp_recvmsg"));
    }
}
