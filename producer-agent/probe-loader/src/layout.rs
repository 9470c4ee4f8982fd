//! What the probes' globals are set to: where the kernel keeps what they read, and how system calls look on this machine.
//!
//! The names on the left are those of `kernel-probes/src/globals.rs`.

use headwater_probe_types::call::{BUFFER, MESSAGE, NUMBERS, VECTOR, entry};
use headwater_probe_types::direction::{RECEIVE, SEND};

use crate::LoadError;
use crate::btf::KernelTypes;

/// Global, struct, member.
const MEMBERS: &[(&str, &str, &str)] = &[
    ("SKC_FAMILY", "sock_common", "skc_family"),
    ("SKC_STATE", "sock_common", "skc_state"),
    ("SKC_DADDR", "sock_common", "skc_daddr"),
    ("SKC_RCV_SADDR", "sock_common", "skc_rcv_saddr"),
    ("SKC_DPORT", "sock_common", "skc_dport"),
    ("SKC_NUM", "sock_common", "skc_num"),
    ("SKC_V6_DADDR", "sock_common", "skc_v6_daddr"),
    ("SKC_V6_RCV_SADDR", "sock_common", "skc_v6_rcv_saddr"),
    ("SK_CGROUP", "sock", "sk_cgrp_data.cgroup"),
    ("SK_ERR", "sock", "sk_err"),
    ("SKC_FLAGS", "sock_common", "skc_flags"),
    ("SK_PROTOCOL", "sock", "sk_protocol"),
    ("SKC_COOKIE", "sock_common", "skc_cookie"),
    ("SK_TYPE", "sock", "sk_type"),
    ("SK_SHUTDOWN", "sock", "sk_shutdown"),
    ("SK_UNREAD", "sock", "sk_receive_queue.qlen"),
    ("SKC_NET", "sock_common", "skc_net.net"),
    ("NET_INUM", "net", "ns.inum"),
    ("TP_WRITE_SEQ", "tcp_sock", "write_seq"),
    ("TP_COPIED_SEQ", "tcp_sock", "copied_seq"),
    ("TP_SND_UNA", "tcp_sock", "snd_una"),
    ("TP_SND_NXT", "tcp_sock", "snd_nxt"),
    ("TP_RCV_NXT", "tcp_sock", "rcv_nxt"),
    ("TP_BYTES_ACKED", "tcp_sock", "bytes_acked"),
    ("TP_BYTES_RECEIVED", "tcp_sock", "bytes_received"),
    ("TP_BYTES_SENT", "tcp_sock", "bytes_sent"),
    ("TP_BYTES_RETRANS", "tcp_sock", "bytes_retrans"),
    ("TP_TOTAL_RETRANS", "tcp_sock", "total_retrans"),
    ("TP_SRTT_US", "tcp_sock", "srtt_us"),
    // struct minmax: the newest of three samples comes first, a time and a value in four bytes each.
    ("TP_RTT_MIN", "tcp_sock", "rtt_min"),
    ("SOCKET_SK", "socket", "sk"),
    ("SOCKET_FILE", "socket", "file"),
    ("SK_SOCKET", "sock", "sk_socket"),
    ("TASK_FILES", "task_struct", "files"),
    ("FILES_FDT", "files_struct", "fdt"),
    ("FDT_FD", "fdtable", "fd"),
    ("FDT_MAX", "fdtable", "max_fds"),
    ("MSG_ITER", "msghdr", "msg_iter"),
    ("MSG_NAME", "msghdr", "msg_name"),
    ("MSG_NAMELEN", "msghdr", "msg_namelen"),
    ("ITER_TYPE", "iov_iter", "iter_type"),
    ("ITER_OFFSET", "iov_iter", "iov_offset"),
    ("CGROUP_KN", "cgroup", "kn"),
    ("CGROUP_LEVEL", "cgroup", "level"),
    ("CGROUP_ANCESTORS", "cgroup", "ancestors"),
    ("CGROUP_ROOT", "cgroup", "root"),
    ("ROOT_HIERARCHY", "cgroup_root", "hierarchy_id"),
    ("KN_ID", "kernfs_node", "id"),
    ("CSET_DEFAULT", "css_set", "dfl_cgrp"),
    ("CSET_SUBSYS", "css_set", "subsys"),
    ("CSS_CGROUP", "cgroup_subsys_state", "cgroup"),
    ("TASK_PID", "task_struct", "pid"),
    ("TASK_GROUP_LEADER", "task_struct", "group_leader"),
    ("TASK_START", "task_struct", "start_boottime"),
    ("TASK_COMM", "task_struct", "comm"),
    ("TASK_EXEC", "task_struct", "self_exec_id"),
    ("TASK_CGROUPS", "task_struct", "cgroups"),
    ("TASK_MM", "task_struct", "mm"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("TASK_FLAGS", "task_struct", "flags"),
    ("TASK_EXIT_CODE", "task_struct", "exit_code"),
    ("SIGNAL_THREADS", "signal_struct", "nr_threads"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
    ("SIGNAL_FLAGS", "signal_struct", "flags"),
    ("SIGNAL_EXIT_CODE", "signal_struct", "group_exit_code"),
    ("SIGNAL_OOM_MM", "signal_struct", "oom_mm"),
    ("MM_ARG_START", "mm_struct", "arg_start"),
    ("MM_ARG_END", "mm_struct", "arg_end"),
    ("MM_ENV_START", "mm_struct", "env_start"),
    ("MM_ENV_END", "mm_struct", "env_end"),
    ("MM_EXE_FILE", "mm_struct", "exe_file"),
    ("FILE_DENTRY", "file", "f_path.dentry"),
    ("DENTRY_NAME", "dentry", "d_name.name"),
];

/// The same of Unix sockets, which a kernel may lack or have in a module.
const UNIX_MEMBERS: [(&str, &str, &str); 4] = [
    ("UNIX_PEER", "unix_sock", "peer"),
    ("UNIX_ADDR", "unix_sock", "addr"),
    ("ADDRESS_LEN", "unix_address", "len"),
    ("ADDRESS_NAME", "unix_address", "name"),
];

/// How the registers of a system call, and of a function's call, are kept (struct pt_regs).
#[derive(Debug, Clone, Copy)]
pub enum Machine {
    /// System V ABI: the number in rax, arguments in rdi, rsi, rdx, r10, r8, r9, the result in rax. A function has
    /// its fourth argument in rcx, and its return takes the place that it goes back to from the stack.
    /// One of Go (ABIInternal, since Go 1.17) has arguments in rax, rbx, rcx, the result in rax and its goroutine in r14.
    X86,
    /// AAPCS64: the number in x8, arguments in x0 to x5, the result in x0, of which the first value is kept.
    Arm64,
}

impl Machine {
    /// The one that this program runs on.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Machine = Machine::X86;
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Machine = Machine::Arm64;

    /// Globals and their values.
    fn registers(self, types: &KernelTypes) -> Result<[(&'static str, u32); 15], LoadError> {
        let at = |member| types.offset("pt_regs", member);
        Ok(match self {
            Machine::X86 => [
                ("REGS_SYSCALL", at("orig_ax")?),
                ("REGS_RESULT", at("ax")?),
                ("REGS_ARG1", at("di")?),
                ("REGS_ARG2", at("si")?),
                ("REGS_ARG3", at("dx")?),
                ("REGS_ARG5", at("r8")?),
                ("REGS_ARG6", at("r9")?),
                ("REGS_FUNCTION_ARG1", at("di")?),
                ("REGS_FUNCTION_ARG4", at("cx")?),
                ("REGS_STACK", at("sp")?),
                ("RETURN_BYTES", 8),
                ("REGS_GOROUTINE", at("r14")?),
                ("REGS_GO_ARG2", at("bx")?),
                ("REGS_GO_ARG3", at("cx")?),
                ("RESULT_IS_ARG1", 0),
            ],
            Machine::Arm64 => {
                let regs = at("regs")?;
                [
                    ("REGS_SYSCALL", at("syscallno")?),
                    ("REGS_RESULT", regs),
                    ("REGS_ARG1", at("orig_x0")?),
                    ("REGS_ARG2", regs + 8),
                    ("REGS_ARG3", regs + 16),
                    ("REGS_ARG5", regs + 32),
                    ("REGS_ARG6", regs + 40),
                    ("REGS_FUNCTION_ARG1", regs),
                    ("REGS_FUNCTION_ARG4", regs + 24),
                    ("REGS_STACK", at("sp")?),
                    ("RETURN_BYTES", 0),
                    // Go is watched on the other machine alone.
                    ("REGS_GOROUTINE", 0),
                    ("REGS_GO_ARG2", 0),
                    ("REGS_GO_ARG3", 0),
                    ("RESULT_IS_ARG1", 1),
                ]
            }
        })
    }
}

/// System calls that move bytes of sockets.
const SYSTEM_CALLS: [(libc::c_long, u8, u32); 10] = [
    (libc::SYS_read, BUFFER, RECEIVE),
    (libc::SYS_write, BUFFER, SEND),
    (libc::SYS_recvfrom, BUFFER, RECEIVE),
    (libc::SYS_sendto, BUFFER, SEND),
    (libc::SYS_readv, VECTOR, RECEIVE),
    (libc::SYS_writev, VECTOR, SEND),
    (libc::SYS_preadv2, VECTOR, RECEIVE),
    (libc::SYS_pwritev2, VECTOR, SEND),
    (libc::SYS_recvmsg, MESSAGE, RECEIVE),
    (libc::SYS_sendmsg, MESSAGE, SEND),
];

/// The table of system calls of this machine; see [`headwater_probe_types::call`].
pub fn system_calls() -> [u8; NUMBERS] {
    let mut table = [0; NUMBERS];
    for (number, form, direction) in SYSTEM_CALLS {
        // Both machines number these below 400.
        table[number as usize] = entry(form, direction);
    }
    table
}

/// Whether this kernel's Unix sockets can be looked at.
pub fn has_unix(types: &KernelTypes) -> bool {
    UNIX_MEMBERS.iter().all(|(_, struct_name, member)| types.offset(struct_name, member).is_ok())
}

/// Names and values of the globals that say where things lie, from the types of a kernel for a machine.
pub fn of_kernel(types: &KernelTypes, machine: Machine) -> Result<Vec<(&'static str, u32)>, LoadError> {
    let mut offsets = Vec::new();
    for &(global, struct_name, member) in MEMBERS {
        let value_offset = if global == "TP_RTT_MIN" { 4 } else { 0 };
        offsets.push((global, types.offset(struct_name, member)? + value_offset));
    }
    for (global, struct_name, member) in UNIX_MEMBERS {
        offsets.push((global, types.offset(struct_name, member).unwrap_or(0)));
    }
    offsets.extend(machine.registers(types)?);
    offsets.extend([("CALL_SENDTO", libc::SYS_sendto as u32), ("CALL_SENDMMSG", libc::SYS_sendmmsg as u32)]);
    // Renamed in 6.4; it shares its place with the address of a single buffer (6.0 and later).
    let segments = types.offset("iov_iter", "__iov").or_else(|_| types.offset("iov_iter", "iov"))?;
    offsets.push(("ITER_BUFFER", segments));
    // A kernel without the kind never makes such an iterator.
    for (global, name) in [("ITER_UBUF", "ITER_UBUF"), ("ITER_IOVEC", "ITER_IOVEC")] {
        offsets.push((global, types.constant(name).unwrap_or(u32::MAX)));
    }
    Ok(offsets)
}
