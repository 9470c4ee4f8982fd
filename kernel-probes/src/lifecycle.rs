//! What changes of a socket's TCP state make of the state that is kept on it.
//!
//! In: a socket, its old and its new TCP state. Out: the beginning of what is kept, and a [`SocketEvent`] at the end.
//!
//! [`SocketEvent`]: headwater_probe_types::SocketEvent

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use headwater_probe_types::{direction, flag, kind, role};

use crate::{
    buffers, capture, events, owner,
    socket::{Sock, TcpSock},
    state,
};

// include/net/tcp_states.h
const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_CLOSE_WAIT: i32 = 8;
const TCP_LAST_ACK: i32 = 9;
const TCP_LISTEN: i32 = 10;

/// `inet_sock_set_state`: runs in any context, on loopback also in that of the peer.
#[inline(always)]
pub fn changed(sock: *const u8, old: i32, new: i32) {
    if !buffers::capturing() {
        return;
    }
    let sock = Sock(sock);
    let Some(tcp) = sock.tcp() else { return };
    match (old, new) {
        (TCP_CLOSE, TCP_SYN_SENT) => connect_started(sock),
        (TCP_SYN_SENT | TCP_SYN_RECV, TCP_ESTABLISHED) => established(sock, tcp, old),
        // The program has shut the stream or closed the socket, in its own context. What comes later comes with the peer's segments.
        (TCP_ESTABLISHED, TCP_FIN_WAIT1) | (TCP_CLOSE_WAIT, TCP_LAST_ACK) => {
            capture::end_of_stream(sock, direction::SEND);
        }
        (TCP_LISTEN, TCP_CLOSE) => {}
        (_, TCP_CLOSE) => closed(sock, tcp, old),
        _ => {}
    }
}

/// Runs in the process that calls connect(2), so the owner is known from the start.
#[inline(always)]
fn connect_started(sock: Sock) {
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    state.role = role::CLIENT;
    // SAFETY: a helper without preconditions.
    state.connect_started_ns = unsafe { bpf_ktime_get_ns() };
    if !owner::cgroup_is_captured(sock, state) {
        state.flags |= flag::OUTSIDE;
    }
    owner::settle(state);
}

#[inline(always)]
fn established(sock: Sock, tcp: TcpSock, old: i32) {
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    let side = if old == TCP_SYN_SENT { role::CLIENT } else { role::SERVER };
    state::begin(sock, tcp, state, side);
    if state.flags & flag::ESTABLISHED == 0 {
        return;
    }
    if state.connect_started_ns != 0 {
        state.connect_us = ((state.opened_at_ns - state.connect_started_ns) / 1000) as u32;
    }
}

#[inline(always)]
fn closed(sock: Sock, tcp: TcpSock, old: i32) {
    let state = state::get(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if state.flags & (flag::IGNORED | flag::OUTSIDE) != 0 {
        return;
    }
    events::socket(kind::CLOSE, sock, tcp, state, old as u32);
    state.flags |= flag::IGNORED;
}
