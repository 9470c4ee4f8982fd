//! What the probes' globals are set to: where the kernel keeps what they read, and how system calls look on this machine.
//!
//! The names on the left are those of `kernel-probes/src/globals.rs`.

use crate::LoadError;
use crate::btf::KernelTypes;

/// Global, struct, member.
const MEMBERS: [(&str, &str, &str); 49] = [
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
    ("CGROUP_KN", "cgroup", "kn"),
    ("CGROUP_LEVEL", "cgroup", "level"),
    ("CGROUP_ANCESTORS", "cgroup", "ancestors"),
    ("CGROUP_ROOT", "cgroup", "root"),
    ("ROOT_HIERARCHY", "cgroup_root", "hierarchy_id"),
    ("KN_ID", "kernfs_node", "id"),
    ("CSET_DEFAULT", "css_set", "dfl_cgrp"),
    ("CSET_SUBSYS", "css_set", "subsys"),
    ("CSS_CGROUP", "cgroup_subsys_state", "cgroup"),
    ("TASK_GROUP_LEADER", "task_struct", "group_leader"),
    ("TASK_START", "task_struct", "start_boottime"),
    ("TASK_COMM", "task_struct", "comm"),
    ("TASK_EXEC", "task_struct", "self_exec_id"),
    ("TASK_CGROUPS", "task_struct", "cgroups"),
    ("TASK_MM", "task_struct", "mm"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("SIGNAL_THREADS", "signal_struct", "nr_threads"),
    ("MM_ARG_START", "mm_struct", "arg_start"),
    ("MM_ARG_END", "mm_struct", "arg_end"),
    ("MM_ENV_START", "mm_struct", "env_start"),
    ("MM_ENV_END", "mm_struct", "env_end"),
    ("MM_EXE_FILE", "mm_struct", "exe_file"),
    ("FILE_DENTRY", "file", "f_path.dentry"),
    ("DENTRY_NAME", "dentry", "d_name.name"),
    ("REGS_SYSCALL", "pt_regs", SYSCALL_REGISTER),
];

#[cfg(target_arch = "x86_64")]
const SYSCALL_REGISTER: &str = "orig_ax";
#[cfg(target_arch = "aarch64")]
const SYSCALL_REGISTER: &str = "syscallno";

/// Global, system call.
const SYSTEM_CALLS: [(&str, libc::c_long); 10] = [
    ("SYS_READ", libc::SYS_read),
    ("SYS_WRITE", libc::SYS_write),
    ("SYS_RECVFROM", libc::SYS_recvfrom),
    ("SYS_SENDTO", libc::SYS_sendto),
    ("SYS_READV", libc::SYS_readv),
    ("SYS_WRITEV", libc::SYS_writev),
    ("SYS_PREADV2", libc::SYS_preadv2),
    ("SYS_PWRITEV2", libc::SYS_pwritev2),
    ("SYS_RECVMSG", libc::SYS_recvmsg),
    ("SYS_SENDMSG", libc::SYS_sendmsg),
];

/// Values of the globals.
pub struct Layout {
    pub offsets: Vec<(&'static str, u32)>,
    pub system_calls: Vec<(&'static str, u64)>,
}

/// Looks everything up in the kernel's types.
pub fn of_kernel(types: &KernelTypes) -> Result<Layout, LoadError> {
    let mut offsets = Vec::new();
    for (global, struct_name, member) in MEMBERS {
        let value_offset = if global == "TP_RTT_MIN" { 4 } else { 0 };
        offsets.push((global, types.offset(struct_name, member)? + value_offset));
    }
    for (global, offset) in [("REGS_ARG2", argument(types, 1)?), ("REGS_ARG3", argument(types, 2)?)] {
        offsets.push((global, offset));
    }
    Ok(Layout { offsets, system_calls: SYSTEM_CALLS.map(|(global, number)| (global, number as u64)).to_vec() })
}

/// Where the system call's argument is among the saved registers (System V ABI: rdi, rsi, rdx).
#[cfg(target_arch = "x86_64")]
fn argument(types: &KernelTypes, index: usize) -> Result<u32, LoadError> {
    types.offset("pt_regs", ["di", "si", "dx"][index])
}

/// Where the system call's argument is among the saved registers (AAPCS64: x0, x1, x2).
#[cfg(target_arch = "aarch64")]
fn argument(types: &KernelTypes, index: usize) -> Result<u32, LoadError> {
    Ok(types.offset("pt_regs", "regs")? + 8 * index as u32)
}
