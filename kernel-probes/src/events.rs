//! Events about whole sockets, and the dump of all of them.

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_seq_write, bpf_sock_from_file};
use core::ffi::c_void;
use headwater_probe_types::{
    SocketEvent, SocketRecord, SocketState, count, direction, flag, kind, share, sums::FOLLOWED,
};

use crate::{
    buffers, globals, owner, position, processes,
    socket::{AF_UNIX, Sock, TcpSock, tcp_state},
    state, sums, unix,
};

/// Tells the loader of a socket. Returns false if there was no room in the ring buffer.
///
/// The event is written straight into the ring buffer: it would not fit the 512 bytes of a program's stack beside the rest.
#[inline(always)]
pub fn socket(event: u32, sock: Sock, tcp: TcpSock, state: &SocketState, tcp_state: u32) -> bool {
    let room = buffers::reserve(state, size_of::<SocketEvent>() as u64, false).cast::<SocketEvent>();
    // SAFETY: the reserved room has the event's size and eight bytes of alignment, and is ours until it is submitted.
    let Some(room) = (unsafe { room.as_mut() }) else {
        if event == kind::CLOSE {
            buffers::lost(state, count::RING_FULL_CLOSE, share::lost::CLOSE);
        }
        return false;
    };
    room.kind = event;
    room.reserved = 0;
    fill(&mut room.socket, sock, tcp, state, tcp_state);
    buffers::submit((&raw mut *room).cast());
    true
}

/// One step of the iterator over the files of all processes: writes the record of a captured socket to the reader.
#[inline(always)]
pub fn dump_socket(ctx: *mut c_void) {
    // struct bpf_iter__task_file: meta, task, fd, file, each in eight bytes.
    let ctx = ctx.cast::<*mut u8>();
    // SAFETY: the verifier types these loads from the context.
    let (meta, task, file) = unsafe { (*ctx, *ctx.add(1), *ctx.add(3)) };
    if task.is_null() || file.is_null() {
        return;
    }
    // SAFETY: the helper takes a file and returns its socket, if it is one.
    let socket: *const u8 = unsafe { bpf_sock_from_file(file.cast()) }.cast();
    if socket.is_null() {
        return;
    }
    // SAFETY: a typed load of struct socket's member sk.
    let sock = Sock(unsafe { *socket.add(globals::socket_sk() as usize).cast::<*const u8>() });
    if sock.0.is_null() {
        return;
    }
    if sock.state() == tcp_state::LISTEN {
        return processes::is_listening(sock, task.cast_const());
    }
    if buffers::begins() && sock.is_unix_stream() {
        unix::was_there(sock);
    }
    let state = state::get(sock);
    // SAFETY: the helper returned null or the socket's state.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if sock.family() == AF_UNIX {
        unix::begin_late(sock, state);
    }
    if state.flags & (flag::IGNORED | flag::OUTSIDE) != 0 || state.flags & flag::ESTABLISHED == 0 {
        return;
    }
    // The other end of a connection of the agent that was opened before the capture may have moved bytes first.
    if owner::is_own(state.connection_id) {
        state.flags |= flag::IGNORED;
        return;
    }
    // SAFETY: a record of integers, for which zeroes are a value.
    let mut record: SocketRecord = unsafe { core::mem::zeroed() };
    if sock.family() == AF_UNIX {
        unix::fill(&mut record, sock, state);
    } else {
        let Some(tcp) = sock.tcp() else { return };
        sums::finish_if_silent(state);
        fill(&mut record, sock, tcp, state, sock.state());
    }
    // SAFETY: the first field of struct bpf_iter_meta is the seq_file; the helper copies the record.
    unsafe {
        let seq = *meta.cast::<*mut c_void>();
        bpf_seq_write(seq.cast(), (&raw const record).cast_mut().cast(), size_of::<SocketRecord>() as u32);
    }
}

#[inline(always)]
fn fill(record: &mut SocketRecord, sock: Sock, tcp: TcpSock, state: &SocketState, tcp_state: u32) {
    record.connection_id = state.connection_id;
    // SAFETY: a helper without preconditions.
    record.at_ns = unsafe { bpf_ktime_get_ns() };
    record.opened_at_ns = if state.opened_at_ns != 0 { state.opened_at_ns } else { state.connect_started_ns };
    record.cgroup_id = state.cgroup_id;
    record.process_started_ns = state.process_started_ns;
    // What was moved past the hooks counts as well.
    record.sent_bytes = position::end(sock, tcp, state, direction::SEND);
    record.received_bytes = position::end(sock, tcp, state, direction::RECEIVE);
    record.sent_before_bytes = state.first_position[0];
    record.received_before_bytes = state.first_position[1];
    record.local_address = [0; 16];
    record.remote_address = [0; 16];
    sock.addresses(&mut record.local_address, &mut record.remote_address);
    record.program = state.program;
    record.local_port = state.local_port as u16;
    record.remote_port = sock.remote_port();
    record.family = sock.family();
    record.role = state.role as u16;
    let is_open = state.open.cell != 0 && state.open.cell != FOLLOWED;
    record.flags = state.flags | if is_open { flag::EXCHANGE_OPEN } else { 0 };
    record.pid = state.pid;
    record.tcp_state = tcp_state;
    // The verifier wants one load for each kind of pointer: the compiler would choose the pointer, and load once.
    let error = core::hint::black_box(sock.error());
    record.error = if state.closed_from != 0 { state.error } else { error };
    record.retransmits = tcp.retransmits();
    record.rtt_us = tcp.rtt_us();
    record.rtt_min_us = tcp.rtt_min_us();
    record.connect_us = state.connect_us;
    record.exec = state.exec;
    record.cgroup_hierarchy = state.cgroup_hierarchy;
}
