//! The probes: what the kernel sees of sockets of TCP, and of those of UDP that DNS is spoken on, as events in one ring buffer and counters on each socket.
//!
//! Hooks, and why these (one run a socket call, none for files). The loader takes one of the first two:
//! - `fexit` of `tcp_sendmsg` and `tcp_recvmsg`: a call moved bytes. In: the socket, the message with the exact buffer, and the
//!   result. `tcp_sendpage` (before 6.5) and `tcp_splice_read` beside them, which move pages past both.
//!   For UDP `udp_sendmsg`, `udp_recvmsg` and those of IPv6. Out: [`DatagramEvent`]s.
//! - `tp_btf/sock_send_length`, `tp_btf/sock_recv_length` (6.3 and later) where the kernel has no function tracing. In: the socket
//!   and the length; the buffer is the one that the system call names.
//!   Out of either: [`DataEvent`]s for sockets in which user space has an interest.
//!   Streams of Unix sockets go the same two ways (`unix_stream_sendmsg`, `unix_stream_recvmsg`); `fentry` of `unix_release` tells of their end. Out: as of TCP.
//! - `tp_btf/inet_sock_set_state`: a connection opened, closed or failed. Out: [`SocketEvent`]s.
//! - `tp_btf/tcp_destroy_sock`: a program let go of a socket whose connection had ended before. Out: [`SocketEvent`]s.
//! - `tp_btf/cgroup_mkdir`, `cgroup_rename`, `cgroup_rmdir`: whose sockets are in which cgroup. Out: [`CgroupEvent`]s.
//! - `tp_btf/sched_process_exec`, `sched_process_exit`: a process began another program, or ended. Out: [`LifeEvent`]s, as of sockets that are listened on.
//! - uprobes at entries and returns of a TLS library's functions, in the files that user space attaches them to (`tls.rs`, `go.rs`, `rustls.rs`). Out: [`DataEvent`]s of what is
//!   encrypted, before and after that.
//! - `iter/task_file`: on request of the loader, the counters of every socket in the capture that a process holds open, in all
//!   network namespaces (`iter/tcp` sees one namespace only). Out: [`SocketRecord`]s.
//!
//! Nothing here parses a protocol, but for where exchanges that are added up begin and end. What cannot be delivered is counted (`headwater_probe_types::count`).
#![no_std]
#![no_main]
// The instructions of atomic.rs.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod atomic;
mod buffers;
mod capture;
mod commands;
mod cost;
mod datagrams;
mod events;
mod frames;
mod globals;
mod go;
mod hello;
mod interest;
mod keys;
mod lifecycle;
mod looks;
mod memory;
mod names;
mod owner;
mod position;
mod processes;
mod records;
mod refused;
mod rustls;
mod shares;
mod socket;
mod source;
mod state;
mod sums;
mod threads;
mod tls;
mod unix;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, uprobe, uretprobe},
    programs::{BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use core::ffi::c_void;
use headwater_probe_types::{change, cost::LIFE, direction, role};

use crate::{
    rustls::overhead,
    source::{Message, Pages, SystemCall, UnixMessage},
};

#[btf_tracepoint(function = "sock_send_length")]
pub fn on_send(ctx: BtfTracePointContext) -> i32 {
    let source = SystemCall { sock: ctx.arg(0), way: direction::SEND };
    capture::call(ctx.arg(0), ctx.arg(1), 0, direction::SEND, source);
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn on_receive(ctx: BtfTracePointContext) -> i32 {
    let source = SystemCall { sock: ctx.arg(0), way: direction::RECEIVE };
    capture::call(ctx.arg(0), ctx.arg(1), ctx.arg(2), direction::RECEIVE, source);
    0
}

/// Arguments: sk, msg, size; then the result.
#[fexit(function = "tcp_sendmsg")]
pub fn on_tcp_send(ctx: FExitContext) -> i32 {
    capture::call(ctx.arg(0), ctx.arg(3), 0, direction::SEND, Message(ctx.arg(1)));
    0
}

/// Arguments: sk, msg, len, flags; then the result.
#[fexit(function = "tcp_recvmsg")]
pub fn on_tcp_receive(ctx: FExitContext) -> i32 {
    capture::call(ctx.arg(0), ctx.arg(4), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)));
    0
}

/// In most kernels from 5.19 on. Arguments: sk, msg, len, flags, addr_len; then the result.
#[fexit(function = "tcp_recvmsg")]
pub fn on_tcp_receive_of_five(ctx: FExitContext) -> i32 {
    capture::call(ctx.arg(0), ctx.arg(5), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)));
    0
}

/// Before 5.19. Arguments: sk, msg, len, nonblock, flags, addr_len; then the result.
#[fexit(function = "tcp_recvmsg")]
pub fn on_tcp_receive_of_six(ctx: FExitContext) -> i32 {
    capture::call(ctx.arg(0), ctx.arg(6), ctx.arg(4), direction::RECEIVE, Message(ctx.arg(1)));
    0
}

/// Before 6.5. Arguments: sk, page, offset, size, flags; then the result.
#[fexit(function = "tcp_sendpage")]
pub fn on_tcp_send_page(ctx: FExitContext) -> i32 {
    capture::call(ctx.arg(0), ctx.arg(5), 0, direction::SEND, Pages);
    0
}

/// Arguments: sock, ppos, pipe, len, flags; then the result.
#[fexit(function = "tcp_splice_read")]
pub fn on_tcp_splice(ctx: FExitContext) -> i32 {
    let socket: *const u8 = ctx.arg(0);
    capture::call(socket::of(socket), ctx.arg(5), 0, direction::RECEIVE, Pages);
    0
}

/// Arguments: sk, msg, len; then the result.
#[fexit(function = "udp_sendmsg")]
pub fn on_udp_send(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(3), 0, direction::SEND, Message(ctx.arg(1)), false);
    0
}

/// Arguments as of `udp_sendmsg`, which it calls for addresses of IPv4.
#[fexit(function = "udpv6_sendmsg")]
pub fn on_udp_send_over_ipv6(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(3), 0, direction::SEND, Message(ctx.arg(1)), true);
    0
}

/// Arguments: sk, msg, len, flags; then the result.
#[fexit(function = "udp_recvmsg")]
pub fn on_udp_receive(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(4), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)), false);
    0
}

/// Arguments as of `udp_recvmsg`.
#[fexit(function = "udpv6_recvmsg")]
pub fn on_udp_receive_over_ipv6(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(4), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)), false);
    0
}

/// From 5.19 on, in most kernels. Arguments: sk, msg, len, flags, addr_len; then the result.
#[fexit(function = "udp_recvmsg")]
pub fn on_udp_receive_of_five(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(5), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)), false);
    0
}

/// Arguments as of `udp_recvmsg`.
#[fexit(function = "udpv6_recvmsg")]
pub fn on_udp_receive_over_ipv6_of_five(ctx: FExitContext) -> i32 {
    capture::datagram(ctx.arg(0), ctx.arg(5), ctx.arg(3), direction::RECEIVE, Message(ctx.arg(1)), false);
    0
}

/// Arguments: sock, msg, len; then the result.
#[fexit(function = "unix_stream_sendmsg")]
pub fn on_unix_send(ctx: FExitContext) -> i32 {
    let socket: *const u8 = ctx.arg(0);
    unix::call(socket::of(socket), ctx.arg(3), 0, direction::SEND, UnixMessage(ctx.arg(1)));
    0
}

/// Arguments: sock, msg, size, flags; then the result.
#[fexit(function = "unix_stream_recvmsg")]
pub fn on_unix_receive(ctx: FExitContext) -> i32 {
    let socket: *const u8 = ctx.arg(0);
    unix::call(socket::of(socket), ctx.arg(4), ctx.arg(3), direction::RECEIVE, UnixMessage(ctx.arg(1)));
    0
}

/// Arguments: sock.
#[fentry(function = "unix_release")]
pub fn on_unix_release(ctx: FEntryContext) -> i32 {
    let socket: *const u8 = ctx.arg(0);
    unix::let_go(socket::of(socket));
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn on_state(ctx: BtfTracePointContext) -> i32 {
    lifecycle::changed(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn on_destroyed(ctx: BtfTracePointContext) -> i32 {
    lifecycle::destroyed(ctx.arg(0));
    0
}

#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn on_cgroup_made(ctx: BtfTracePointContext) -> i32 {
    names::cgroup(ctx.arg(0), ctx.arg(1), change::MADE);
    0
}

#[btf_tracepoint(function = "cgroup_rename")]
pub fn on_cgroup_renamed(ctx: BtfTracePointContext) -> i32 {
    names::cgroup(ctx.arg(0), ctx.arg(1), change::RENAMED);
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn on_cgroup_removed(ctx: BtfTracePointContext) -> i32 {
    names::cgroup(ctx.arg(0), ctx.arg(1), change::REMOVED);
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn on_exec(_: BtfTracePointContext) -> i32 {
    let began_ns = cost::begin();
    processes::began();
    cost::end(LIFE, began_ns);
    0
}

/// For each thread, within itself.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn on_exit(_: BtfTracePointContext) -> i32 {
    let began_ns = cost::begin();
    processes::thread_ended();
    cost::end(LIFE, began_ns);
    0
}

#[uprobe]
pub fn on_tls_write(_: ProbeContext) -> u32 {
    tls::enter(direction::SEND, false);
    0
}

#[uprobe]
pub fn on_tls_write_ex(_: ProbeContext) -> u32 {
    tls::enter(direction::SEND, true);
    0
}

#[uprobe]
pub fn on_tls_read(_: ProbeContext) -> u32 {
    tls::enter(direction::RECEIVE, false);
    0
}

#[uprobe]
pub fn on_tls_read_ex(_: ProbeContext) -> u32 {
    tls::enter(direction::RECEIVE, true);
    0
}

#[uprobe]
pub fn on_tls_handshake(_: ProbeContext) -> u32 {
    tls::enter(tls::HANDSHAKE, false);
    0
}

/// Of each of the five.
#[uretprobe]
pub fn on_tls_return(_: RetProbeContext) -> u32 {
    tls::leave();
    0
}

#[uretprobe]
pub fn on_tls_new(_: RetProbeContext) -> u32 {
    tls::begin(false);
    0
}

/// Of a library that is part of a program, which may run other code of its own within any call of it.
#[uretprobe]
pub fn on_tls_new_within(_: RetProbeContext) -> u32 {
    tls::begin(true);
    0
}

#[uprobe]
pub fn on_tls_connects(_: ProbeContext) -> u32 {
    tls::take_part(role::CLIENT);
    0
}

#[uprobe]
pub fn on_tls_accepts(_: ProbeContext) -> u32 {
    tls::take_part(role::SERVER);
    0
}

#[uprobe]
pub fn on_tls_clear(_: ProbeContext) -> u32 {
    tls::clear();
    0
}

#[uprobe]
pub fn on_tls_make(_: ProbeContext) -> u32 {
    tls::make();
    0
}

#[uretprobe]
pub fn on_tls_made(_: RetProbeContext) -> u32 {
    tls::made();
    0
}

#[uprobe]
pub fn on_tls_shutdown(_: ProbeContext) -> u32 {
    tls::shut_down();
    0
}

#[uprobe]
pub fn on_tls_free(_: ProbeContext) -> u32 {
    tls::end();
    0
}

#[uprobe]
pub fn on_go_write(_: ProbeContext) -> u32 {
    go::enter(direction::SEND);
    0
}

#[uprobe]
pub fn on_go_read(_: ProbeContext) -> u32 {
    go::enter(direction::RECEIVE);
    0
}

/// At each instruction by which one of the two returns.
#[uprobe]
pub fn on_go_return(_: ProbeContext) -> u32 {
    go::leave(true);
    0
}

/// Of a client, and of a server.
#[uprobe]
pub fn on_go_handshake(_: ProbeContext) -> u32 {
    go::begin();
    0
}

#[uprobe]
pub fn on_go_handshake_return(_: ProbeContext) -> u32 {
    go::leave(false);
    0
}

#[uprobe]
pub fn on_go_close(_: ProbeContext) -> u32 {
    go::close();
    0
}

#[uprobe]
pub fn on_rustls_encrypt_tls13(_: ProbeContext) -> u32 {
    rustls::enter(direction::SEND, overhead::TLS13);
    0
}

#[uprobe]
pub fn on_rustls_encrypt_gcm(_: ProbeContext) -> u32 {
    rustls::enter(direction::SEND, overhead::GCM);
    0
}

#[uprobe]
pub fn on_rustls_encrypt_chacha(_: ProbeContext) -> u32 {
    rustls::enter(direction::SEND, overhead::CHACHA);
    0
}

#[uprobe]
pub fn on_rustls_decrypt_tls13(_: ProbeContext) -> u32 {
    rustls::enter(direction::RECEIVE, overhead::TLS13);
    0
}

#[uprobe]
pub fn on_rustls_decrypt_gcm(_: ProbeContext) -> u32 {
    rustls::enter(direction::RECEIVE, overhead::GCM);
    0
}

#[uprobe]
pub fn on_rustls_decrypt_chacha(_: ProbeContext) -> u32 {
    rustls::enter(direction::RECEIVE, overhead::CHACHA);
    0
}

/// Of each of the six.
#[uretprobe]
pub fn on_rustls_return(_: RetProbeContext) -> u32 {
    rustls::leave();
    0
}

/// There is no macro for iterators. The section names the program's type; the loader names the target.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn each_socket(ctx: *mut c_void) -> i32 {
    events::dump_socket(ctx);
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
