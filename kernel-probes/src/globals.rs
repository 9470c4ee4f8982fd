//! Read-only globals that the loader sets before loading: offsets of kernel fields from the kernel's BTF (Rust cannot emit
//! CO-RE relocations), system call numbers and registers of the machine, and the limits of the capture.
//!
//! As `.rodata` is frozen, the verifier sees constants: a load at such an offset passes as a typed load.

use headwater_probe_types::call::NUMBERS;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, $get:ident;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            static $name: $type = $default;

            $(#[$doc])*
            #[inline(always)]
            pub fn $get() -> $type {
                // SAFETY: the static lives as long as the program. The read is volatile since the loader changes the value
                // in the object file, which the compiler cannot know.
                unsafe { core::ptr::read_volatile(&raw const $name) }
            }
        )*
    };
}

globals! {
    /// struct sock_common
    SKC_FAMILY: u32 = 0, skc_family;
    SKC_STATE: u32 = 0, skc_state;
    SKC_DADDR: u32 = 0, skc_daddr;
    SKC_RCV_SADDR: u32 = 0, skc_rcv_saddr;
    SKC_DPORT: u32 = 0, skc_dport;
    SKC_NUM: u32 = 0, skc_num;
    SKC_V6_DADDR: u32 = 0, skc_v6_daddr;
    SKC_V6_RCV_SADDR: u32 = 0, skc_v6_rcv_saddr;
    /// struct sock
    SK_CGROUP: u32 = 0, sk_cgroup;
    SK_ERR: u32 = 0, sk_err;
    SKC_FLAGS: u32 = 0, skc_flags;
    SK_PROTOCOL: u32 = 0, sk_protocol;
    SKC_COOKIE: u32 = 0, skc_cookie;
    SK_TYPE: u32 = 0, sk_type;
    SK_SHUTDOWN: u32 = 0, sk_shutdown;
    SK_UNREAD: u32 = 0, sk_unread;
    /// struct unix_sock and struct unix_address
    UNIX_PEER: u32 = 0, unix_peer;
    UNIX_ADDR: u32 = 0, unix_addr;
    ADDRESS_LEN: u32 = 0, address_len;
    ADDRESS_NAME: u32 = 0, address_name;
    /// What makes the numbers of Unix sockets those of this machine since its start; 0 if they are not looked at
    UNIX_SALT: u64 = 0, unix_salt;
    /// The network namespace: struct net
    SKC_NET: u32 = 0, skc_net;
    NET_INUM: u32 = 0, net_inum;
    /// struct tcp_sock
    TP_WRITE_SEQ: u32 = 0, tp_write_seq;
    TP_COPIED_SEQ: u32 = 0, tp_copied_seq;
    TP_SND_UNA: u32 = 0, tp_snd_una;
    TP_SND_NXT: u32 = 0, tp_snd_nxt;
    TP_RCV_NXT: u32 = 0, tp_rcv_nxt;
    TP_BYTES_ACKED: u32 = 0, tp_bytes_acked;
    TP_BYTES_RECEIVED: u32 = 0, tp_bytes_received;
    TP_BYTES_SENT: u32 = 0, tp_bytes_sent;
    TP_BYTES_RETRANS: u32 = 0, tp_bytes_retrans;
    TP_TOTAL_RETRANS: u32 = 0, tp_total_retrans;
    TP_SRTT_US: u32 = 0, tp_srtt_us;
    TP_RTT_MIN: u32 = 0, tp_rtt_min;
    /// struct socket, and the way from a process to it: struct task_struct, files_struct and fdtable
    SOCKET_SK: u32 = 0, socket_sk;
    SOCKET_FILE: u32 = 0, socket_file;
    SK_SOCKET: u32 = 0, sk_socket;
    TASK_FILES: u32 = 0, task_files;
    FILES_FDT: u32 = 0, files_fdt;
    FDT_FD: u32 = 0, fdt_fd;
    FDT_MAX: u32 = 0, fdt_max;
    /// struct msghdr and struct iov_iter; the kernel's numbers of its kinds, of which none is u32::MAX
    MSG_ITER: u32 = 0, msg_iter;
    MSG_NAME: u32 = 0, msg_name;
    MSG_NAMELEN: u32 = 0, msg_namelen;
    ITER_TYPE: u32 = 0, iter_type;
    ITER_OFFSET: u32 = 0, iter_offset;
    ITER_BUFFER: u32 = 0, iter_buffer;
    ITER_UBUF: u32 = u32::MAX, iter_ubuf;
    ITER_IOVEC: u32 = u32::MAX, iter_iovec;
    /// struct cgroup and struct kernfs_node
    CGROUP_KN: u32 = 0, cgroup_kn;
    CGROUP_LEVEL: u32 = 0, cgroup_level;
    CGROUP_ANCESTORS: u32 = 0, cgroup_ancestors;
    CGROUP_ROOT: u32 = 0, cgroup_root;
    ROOT_HIERARCHY: u32 = 0, root_hierarchy;
    KN_ID: u32 = 0, kn_id;
    /// struct css_set and struct cgroup_subsys_state
    CSET_DEFAULT: u32 = 0, cset_default;
    CSET_SUBSYS: u32 = 0, cset_subsys;
    CSS_CGROUP: u32 = 0, css_cgroup;
    /// struct task_struct
    TASK_PID: u32 = 0, task_pid;
    TASK_GROUP_LEADER: u32 = 0, task_group_leader;
    TASK_START: u32 = 0, task_start;
    TASK_COMM: u32 = 0, task_comm;
    TASK_EXEC: u32 = 0, task_exec;
    TASK_CGROUPS: u32 = 0, task_cgroups;
    TASK_MM: u32 = 0, task_mm;
    TASK_SIGNAL: u32 = 0, task_signal;
    TASK_FLAGS: u32 = 0, task_flags;
    TASK_EXIT_CODE: u32 = 0, task_exit_code;
    /// struct signal_struct
    SIGNAL_THREADS: u32 = 0, signal_threads;
    SIGNAL_LIVE: u32 = 0, signal_live;
    SIGNAL_FLAGS: u32 = 0, signal_flags;
    SIGNAL_EXIT_CODE: u32 = 0, signal_exit_code;
    SIGNAL_OOM_MM: u32 = 0, signal_oom_mm;
    /// struct mm_struct, struct file and struct dentry
    MM_ARG_START: u32 = 0, mm_arg_start;
    MM_ARG_END: u32 = 0, mm_arg_end;
    MM_ENV_START: u32 = 0, mm_env_start;
    MM_ENV_END: u32 = 0, mm_env_end;
    MM_EXE_FILE: u32 = 0, mm_exe_file;
    FILE_DENTRY: u32 = 0, file_dentry;
    DENTRY_NAME: u32 = 0, dentry_name;
    /// struct pt_regs: the system call's number, its result, and its arguments: the file descriptor, then buffer and length, or
    /// vector and count
    REGS_SYSCALL: u32 = 0, regs_syscall;
    REGS_RESULT: u32 = 0, regs_result;
    REGS_ARG1: u32 = 0, regs_arg1;
    REGS_ARG2: u32 = 0, regs_arg2;
    REGS_ARG3: u32 = 0, regs_arg3;
    REGS_ARG5: u32 = 0, regs_arg5;
    REGS_ARG6: u32 = 0, regs_arg6;
    /// The same of a function that a program calls, where it is another one; the stack; and the bytes that a return takes from it
    REGS_FUNCTION_ARG1: u32 = 0, regs_function_arg1;
    REGS_FUNCTION_ARG4: u32 = 0, regs_function_arg4;
    REGS_STACK: u32 = 0, regs_stack;
    RETURN_BYTES: u32 = 0, return_bytes;
    /// The goroutine that runs, and the second and third argument of a function of Go
    REGS_GOROUTINE: u32 = 0, regs_goroutine;
    REGS_GO_ARG2: u32 = 0, regs_go_arg2;
    REGS_GO_ARG3: u32 = 0, regs_go_arg3;
    /// Numbers of system calls that say where a datagram goes
    CALL_SENDTO: u32 = u32::MAX, call_sendto;
    CALL_SENDMMSG: u32 = u32::MAX, call_sendmmsg;
    /// 1 if the result is the first argument while the call runs
    RESULT_IS_ARG1: u32 = 0, result_is_arg1;
    /// The agent's own thread group.
    OWN_PID: u32 = 0, own_pid;
    /// A hierarchy of version 1 in which containers are told apart where version 2 is not in use, and the index of its controller
    V1_HIERARCHY: u32 = 0, v1_hierarchy;
    V1_SUBSYS: u32 = 0, v1_subsys;
    /// 1 if only sockets of the cgroups in FILTER_CGROUPS are captured
    FILTER_BY_CGROUP: u32 = 0, filter_by_cgroup;
    /// 1 if only sockets of the processes in FILTER_PIDS are captured
    FILTER_BY_PID: u32 = 0, filter_by_pid;
    /// Events of processes' lives that are told of one cgroup in a second
    PROCESSES_PER_SECOND_MAX: u32 = 0, processes_per_second_max;
    /// 1 if libraries of TLS are watched
    WATCHES_TLS: u32 = 0, watches_tls;
    /// Bytes waiting in the ring buffer at which the reader is woken before its time: once at the first, always above the second
    WAKE_BYTES: u64 = u64::MAX, wake_bytes;
    URGENT_BYTES: u64 = u64::MAX, urgent_bytes;
    /// Size of the ring buffer
    RING_BYTES: u64 = u64::MAX, ring_bytes;
}

/// For each number of a system call what it is; see [`headwater_probe_types::call`].
#[unsafe(no_mangle)]
static SYSTEM_CALLS: [u8; NUMBERS] = [0; NUMBERS];

/// As the loader said it of a system call's number: one look, whatever the call.
#[inline(always)]
pub fn system_call(number: u32) -> u8 {
    if number >= NUMBERS as u32 {
        return 0;
    }
    // SAFETY: within the table; volatile as above.
    unsafe { core::ptr::read_volatile((&raw const SYSTEM_CALLS).cast::<u8>().add(number as usize)) }
}
