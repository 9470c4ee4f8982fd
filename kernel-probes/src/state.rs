//! The state kept on each TCP socket, and what changes of the TCP state make of it.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::SkStorage,
    helpers::generated::{bpf_ktime_get_ns, bpf_sk_storage_get},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{SocketState, connection_id, count, direction, flag, kind, role, role_of};

use crate::{
    buffers, events, owner,
    socket::{Sock, TcpSock},
};

#[btf_map]
static SOCKETS: SkStorage<SocketState> = SkStorage::new();

// include/net/tcp_states.h
const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_CLOSE: i32 = 7;
const TCP_LISTEN: i32 = 10;

/// The socket's state, if the probes have seen it.
#[inline(always)]
pub fn get(sock: Sock) -> *mut SocketState {
    storage(sock, 0)
}

/// The socket's state, made now if there is none; null and counted without memory.
#[inline(always)]
fn get_or_create(sock: Sock) -> *mut SocketState {
    let state = storage(sock, u64::from(BPF_SK_STORAGE_GET_F_CREATE));
    if state.is_null() {
        buffers::add(count::STORAGE_FULL, 1);
    }
    state
}

#[inline(always)]
fn storage(sock: Sock, flags: u64) -> *mut SocketState {
    // SAFETY: the map is a socket storage whose value is a SocketState.
    unsafe { bpf_sk_storage_get((&raw const SOCKETS).cast_mut().cast(), sock.as_ptr(), ptr::null_mut(), flags) }.cast()
}

/// `inet_sock_set_state`: runs in any context, on loopback also in that of the peer.
#[inline(always)]
pub fn changed(sock: Sock0, old: i32, new: i32) {
    if !buffers::capturing() {
        return;
    }
    let sock = Sock(sock);
    let Some(tcp) = sock.tcp() else { return };
    match (old, new) {
        (TCP_CLOSE, TCP_SYN_SENT) => connect_started(sock),
        (TCP_SYN_SENT | TCP_SYN_RECV, TCP_ESTABLISHED) => established(sock, tcp, old),
        (TCP_LISTEN, TCP_CLOSE) => {}
        (_, TCP_CLOSE) => closed(sock, tcp, old),
        _ => {}
    }
}

/// A raw pointer as the tracepoint gives it.
pub type Sock0 = *const u8;

/// Runs in the process that calls connect(2), so the owner is known from the start.
#[inline(always)]
fn connect_started(sock: Sock) {
    let state = get_or_create(sock);
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    state.role = role::CLIENT;
    state.connect_started_ns = unsafe { bpf_ktime_get_ns() };
    if !owner::cgroup_is_captured(sock, state) {
        state.flags |= flag::IGNORED;
    }
    owner::settle(state);
}

#[inline(always)]
fn established(sock: Sock, tcp: TcpSock, old: i32) {
    let state = get_or_create(sock);
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    let side = if old == TCP_SYN_SENT { role::CLIENT } else { role::SERVER };
    begin(sock, tcp, state, side);
    if state.flags & flag::ESTABLISHED == 0 {
        return;
    }
    if state.connect_started_ns != 0 {
        state.connect_us = ((state.opened_at_ns - state.connect_started_ns) / 1000) as u32;
    }
}

/// Notes what identifies the connection. Leaves the state without ESTABLISHED if that cannot be told yet.
#[inline(always)]
pub fn begin(sock: Sock, tcp: TcpSock, state: &mut SocketState, known_role: u32) {
    let Some(seq) = tcp.sequences() else {
        buffers::add(count::UNSETTLED, 1);
        return;
    };
    let side = if known_role != role::UNKNOWN {
        known_role
    } else {
        role_of(
            seq.bytes_acked as u32,
            seq.snd_nxt.wrapping_sub(seq.snd_una),
            seq.bytes_sent as u32,
            seq.bytes_retrans as u32,
        )
    };
    if side == role::UNKNOWN {
        buffers::add(count::UNSETTLED, 1);
        return;
    }
    let own_syn = (side == role::CLIENT) as u32;
    let (write_seq, copied_seq) = (tcp.write_seq(), tcp.copied_seq());
    let unacknowledged = write_seq.wrapping_sub(seq.snd_una);
    let unread = seq.rcv_nxt.wrapping_sub(copied_seq);
    let sent = (seq.bytes_acked + unacknowledged as u64).saturating_sub(own_syn as u64);
    let received = seq.bytes_received.saturating_sub(unread as u64);
    state.role = side;
    state.connection_id = connection_id(side, seq.send_base(), seq.receive_base());
    state.base = [seq.send_base().wrapping_add(own_syn), seq.receive_base()];
    state.position = [sent, received];
    state.first_position = [sent, received];
    state.local_port = sock.local_port() as u32;
    state.opened_at_ns = unsafe { bpf_ktime_get_ns() };
    state.flags |= flag::ESTABLISHED;
    buffers::add(count::SOCKETS, 1);
    if state.flags & flag::OWN != 0 {
        owner::remember_own(state);
    } else if owner::is_own(state.connection_id) || !owner::cgroup_is_captured(sock, state) {
        state.flags |= flag::IGNORED;
    }
}

/// The state of a socket that moves bytes: made now if the connection was opened before the probes were there.
#[inline(always)]
pub fn of_moving(sock: Sock, tcp: TcpSock, moved: u32, way: u32) -> *mut SocketState {
    let pointer = get_or_create(sock);
    let Some(state) = (unsafe { pointer.as_mut() }) else { return ptr::null_mut() };
    if state.flags & flag::ESTABLISHED == 0 && state.flags & flag::IGNORED == 0 {
        begin(sock, tcp, state, state.role);
        if state.flags & flag::ESTABLISHED == 0 {
            return ptr::null_mut();
        }
        state.flags |= flag::OPENED_BEFORE;
        let way = (way & 1) as usize;
        let before = state.position[way].saturating_sub(moved as u64);
        state.position[way] = before;
        state.first_position[way] = before;
        let answers = (state.role == role::SERVER) == (way as u32 == direction::SEND);
        if answers && state.flags & flag::IGNORED == 0 {
            state.flags |= flag::MID_EXCHANGE;
        }
    }
    if state.flags & (flag::OWNER_KNOWN | flag::IGNORED) == 0 {
        owner::settle(state);
    }
    if state.flags & flag::IGNORED != 0 {
        return ptr::null_mut();
    }
    if state.flags & flag::MID_EXCHANGE != 0 {
        buffers::add(count::MID_EXCHANGE, 1);
        state.flags &= !flag::MID_EXCHANGE;
    }
    pointer
}

#[inline(always)]
fn closed(sock: Sock, tcp: TcpSock, old: i32) {
    let state = get(sock);
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if state.flags & flag::IGNORED != 0 {
        return;
    }
    events::socket(kind::CLOSE, sock, tcp, state, old as u32);
    state.flags |= flag::IGNORED;
}
