//! The state kept on each TCP socket: where it lies, and how it begins.
//!
//! In: sockets as the hooks meet them. Out: the state of those in the capture. What is told of it is said in `events.rs`.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::SkStorage,
    helpers::generated::{bpf_ktime_get_ns, bpf_sk_storage_get},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{SocketState, connection_id, count, direction, flag, role, role_of};

use crate::{
    buffers, owner, refused,
    socket::{Sock, TcpSock, tcp_state},
};

#[btf_map]
static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// The socket's state, if the probes have seen it; null otherwise.
#[inline(always)]
pub fn get(sock: Sock) -> *mut SocketState {
    kept(&SOCKETS, sock, 0)
}

/// The socket's state, made now if there is none; null and counted without memory.
#[inline(always)]
pub fn get_or_create(sock: Sock) -> *mut SocketState {
    let state = kept(&SOCKETS, sock, BPF_SK_STORAGE_GET_F_CREATE);
    if state.is_null() {
        buffers::add(count::STORAGE_FULL, 1);
    }
    state
}

/// What a map keeps of a socket, by flags of `bpf_sk_storage_get`; null if there is none, or no memory for it.
#[inline(always)]
pub fn kept<T>(map: &SkStorage<T>, sock: Sock, flags: u32) -> *mut T {
    let get = || {
        // SAFETY: the map is a storage of sockets whose value is a T.
        unsafe { bpf_sk_storage_get((&raw const *map).cast_mut().cast(), sock.as_ptr(), ptr::null_mut(), flags.into()) }
    };
    let mut value = get();
    // Of two that make the first thing that is kept of a socket, whosever map it is for, the kernel lets one fail; and so it does of two that make the same thing
    // (kernel/bpf/bpf_local_storage.c, EAGAIN and EEXIST). Both may befall one of them, in this order; then it is there.
    if flags != 0 && value.is_null() {
        value = get();
    }
    if flags != 0 && value.is_null() {
        value = get();
    }
    value.cast()
}

/// Notes what identifies the connection. Leaves the state without ESTABLISHED if that cannot be told yet, and counts it.
#[inline(always)]
fn begin(sock: Sock, tcp: TcpSock, state: &mut SocketState, known_role: u32, is_new: bool) {
    let Some(seq) = tcp.sequences() else { return unsettled(sock, state) };
    let (write_seq, copied_seq) = (tcp.write_seq(), tcp.copied_seq());
    // Read last: a FIN that is in the numbers has changed it before. While a connection is being established it is still the old one.
    let tcp_state = if is_new { tcp_state::ESTABLISHED } else { sock.state() };
    let all_is_sent = seq.snd_nxt == write_seq;
    let own_fin = match tcp_state {
        // No number is the peer's yet.
        tcp_state::SYN_SENT => None,
        tcp_state::FIN_WAIT2 => all_is_sent.then_some(1),
        tcp_state::CLOSING => Some(all_is_sent as u32),
        // It has been decided on, and may or may not have been sent.
        tcp_state::FIN_WAIT1 | tcp_state::LAST_ACK => None,
        _ => Some(0),
    };
    let side = match own_fin {
        None => role::UNKNOWN,
        _ if known_role != role::UNKNOWN => known_role,
        Some(own_fin) => role_of(
            seq.bytes_acked as u32,
            seq.snd_nxt.wrapping_sub(seq.snd_una),
            seq.bytes_sent as u32,
            seq.bytes_retrans as u32,
            own_fin,
        ),
    };
    let (Some(own_fin), true) = (own_fin, side != role::UNKNOWN) else {
        return unsettled(sock, state);
    };
    let own_syn = (side == role::CLIENT) as u32;
    let own_fin = if tcp_state == tcp_state::CLOSING { 1 } else { own_fin };
    let peer_fin = matches!(tcp_state, tcp_state::CLOSE_WAIT | tcp_state::CLOSING) && seq.rcv_nxt == copied_seq;
    let unacknowledged = write_seq.wrapping_sub(seq.snd_una);
    let unread = seq.rcv_nxt.wrapping_sub(copied_seq);
    let sent = (seq.bytes_acked + unacknowledged as u64).saturating_sub(own_syn as u64 + own_fin as u64);
    let received = seq.bytes_received.saturating_sub(unread as u64 + peer_fin as u64);
    state.role = side;
    state.connection_id = connection_id(side, seq.send_base(), seq.receive_base());
    state.base = [seq.send_base().wrapping_add(own_syn), seq.receive_base()];
    state.position = [sent, received];
    state.first_position = [sent, received];
    state.local_port = sock.local_port() as u32;
    // SAFETY: a helper without preconditions.
    state.opened_at_ns = unsafe { bpf_ktime_get_ns() };
    state.flags |= flag::ESTABLISHED;
    buffers::add(count::SOCKETS, 1);
    if state.flags & flag::OWN != 0 {
        owner::remember_own(state);
    } else if owner::is_own(state.connection_id) {
        state.flags |= flag::IGNORED;
    } else if state.flags & flag::OWNER_KNOWN == 0 && !owner::cgroup_is_captured(sock, state) {
        state.flags |= flag::OUTSIDE;
    }
}

/// Counts a socket that cannot be named yet, if it was made in the capture: nothing is lost of others.
#[inline(always)]
fn unsettled(sock: Sock, state: &mut SocketState) {
    let is_captured = match state.flags & (flag::OWNER_KNOWN | flag::IGNORED) {
        0 => owner::cgroup_is_captured(sock, state),
        known => known & flag::IGNORED == 0,
    };
    if is_captured {
        buffers::add(count::UNSETTLED, 1);
    }
}

/// Notes what identifies a connection that is seen from its first byte on. What was written with the SYN (TCP Fast Open) is told of when
/// the call that wrote it ends; if it has ended, it could not be told, for the connection had no name.
#[inline(always)]
pub fn begin_at_start(sock: Sock, tcp: TcpSock, state: &mut SocketState, side: u32) {
    begin(sock, tcp, state, side, true);
    state.position = [state.early_bytes as u64, 0];
    state.first_position = [0, 0];
}

/// The state of a socket that moves bytes: made now if the connection was opened before the probes were there.
#[inline(always)]
pub fn of_moving(sock: Sock, tcp: TcpSock, moved: u32, way: u32) -> *mut SocketState {
    let pointer = get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { pointer.as_mut() }) else { return ptr::null_mut() };
    if state.flags & flag::ESTABLISHED == 0 && state.flags & flag::IGNORED == 0 {
        if sock.state() == tcp_state::SYN_RECV {
            // Accepted with the SYN's bytes (TCP Fast Open), before the handshake's end.
            begin_at_start(sock, tcp, state, role::SERVER);
        } else {
            begin(sock, tcp, state, state.role, false);
            if state.flags & flag::ESTABLISHED != 0 {
                opened_before(state, moved, way);
            } else if sock.state() == tcp_state::SYN_SENT && way == direction::SEND {
                state.early_bytes = state.early_bytes.wrapping_add(moved);
            }
        }
        if state.flags & flag::ESTABLISHED == 0 {
            return ptr::null_mut();
        }
    }
    if state.flags & (flag::OWNER_KNOWN | flag::IGNORED) == 0 {
        owner::settle(state);
    }
    if state.flags & flag::IGNORED != 0 {
        refused::note(sock);
        return ptr::null_mut();
    }
    pointer
}

/// The first call that is seen of a connection has moved its bytes already.
#[inline(always)]
fn opened_before(state: &mut SocketState, moved: u32, way: u32) {
    state.flags |= flag::OPENED_BEFORE;
    let index = (way & 1) as usize;
    let before = state.position[index].saturating_sub(moved as u64);
    state.position[index] = before;
    state.first_position[index] = before;
}
