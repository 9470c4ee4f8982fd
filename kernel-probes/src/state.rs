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
    buffers, owner,
    socket::{Sock, TcpSock},
};

#[btf_map]
static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// The socket's state, if the probes have seen it; null otherwise.
#[inline(always)]
pub fn get(sock: Sock) -> *mut SocketState {
    storage(sock, 0)
}

/// The socket's state, made now if there is none; null and counted without memory.
#[inline(always)]
pub fn get_or_create(sock: Sock) -> *mut SocketState {
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

/// The state of a socket that moves bytes: made now if the connection was opened before the probes were there.
#[inline(always)]
pub fn of_moving(sock: Sock, tcp: TcpSock, moved: u32, way: u32) -> *mut SocketState {
    let pointer = get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
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
