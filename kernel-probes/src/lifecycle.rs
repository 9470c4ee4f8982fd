//! What changes of a socket's TCP state make of the state that is kept on it.
//!
//! In: a socket, its old and its new TCP state, and the calls and the end of sockets that are closed already. Out: the beginning of what is
//! kept, and a [`SocketEvent`] at the end.
//!
//! A connection may end before its program has seen all of it: a reset, or the peer's FIN after a half-close, comes while an answer waits
//! to be read, or while a call is about to end. Such an end is told of once the program has read everything, or has let go of the socket.
//!
//! A change that comes in an interrupt while the program runs for another socket on that processor is left out by the kernel, which counts
//! that. What it would have said is made up for at the next call or change, or when the socket is destroyed; where nothing has been seen of the
//! connection until then, it is counted as an unseen end.
//!
//! [`SocketEvent`]: headwater_probe_types::SocketEvent

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_ns};
use headwater_probe_types::{SocketState, cost::STATE, count, direction, flag, kind, role};

use crate::{
    buffers, capture, cost, events, globals, owner, position, processes, refused,
    socket::{Sock, TcpSock, tcp_state},
    state, sums,
};

/// Why a connection ended that its own program reset: by closing it with bytes unread, or so that no FIN was sent.
const ECONNRESET: u32 = 104;

/// `inet_sock_set_state`: runs in any context, on loopback also in that of the peer.
#[inline(always)]
pub fn changed(sock: *const u8, old: u32, new: u32) {
    let sock = Sock(sock);
    refused::forget(sock);
    if !is_told(new) {
        return;
    }
    let began_ns = cost::begin();
    state_changed(sock, old, new);
    cost::end(STATE, began_ns);
}

/// Whether a change to this state is told of: all of them, or nothing but ends.
#[inline(always)]
fn is_told(new: u32) -> bool {
    buffers::capturing() || new == tcp_state::CLOSE && buffers::tells_ends()
}

#[inline(always)]
fn state_changed(sock: Sock, old: u32, new: u32) {
    let Some(tcp) = sock.tcp() else { return };
    match (old, new) {
        (tcp_state::CLOSE, tcp_state::SYN_SENT) => connect_started(sock),
        (tcp_state::SYN_SENT | tcp_state::SYN_RECV, tcp_state::ESTABLISHED) => established(sock, tcp, old),
        // The program has shut the stream or closed the socket, in its own context. What comes later comes with the peer's segments.
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1) | (tcp_state::CLOSE_WAIT, tcp_state::LAST_ACK) => {
            if let Some(state) = known(sock) {
                begin_late(sock, tcp, state);
                // Should the end go past the probes, this says that its own FIN came before it.
                state.flags |= flag::OWN_FIN;
            }
            capture::end_of_stream(sock, tcp, direction::SEND);
        }
        (tcp_state::ESTABLISHED, tcp_state::CLOSE_WAIT) => {
            if let Some(state) = known(sock) {
                begin_late(sock, tcp, state);
            }
        }
        (tcp_state::LISTEN, tcp_state::CLOSE) => processes::listens_no_more(sock),
        // Within listen(2).
        (_, tcp_state::LISTEN) => processes::listens(sock),
        (_, tcp_state::CLOSE) => closed(sock, tcp, old),
        _ => {}
    }
}

/// Runs in the process that calls connect(2), so the owner is known from the start.
#[inline(always)]
fn connect_started(sock: Sock) {
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    // A socket may be connected again after it failed, or was disconnected.
    // SAFETY: the state is made of integers, for which zeroes are a value.
    *state = unsafe { core::mem::zeroed() };
    state.role = role::CLIENT;
    // SAFETY: a helper without preconditions.
    state.connect_started_ns = unsafe { bpf_ktime_get_ns() };
    if !owner::cgroup_is_captured(sock, state) {
        state.flags |= flag::OUTSIDE;
    }
    owner::settle(state);
}

#[inline(always)]
fn established(sock: Sock, tcp: TcpSock, old: u32) {
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if state.flags & flag::ESTABLISHED == 0 {
        // Two sockets that connect to each other at the same time are clients both.
        let connects = old == tcp_state::SYN_SENT || state.role == role::CLIENT;
        state::begin_at_start(sock, tcp, state, if connects { role::CLIENT } else { role::SERVER });
    }
    if state.flags & flag::ESTABLISHED == 0 {
        return;
    }
    if state.connect_started_ns != 0 {
        state.connect_us = ((state.opened_at_ns - state.connect_started_ns) / 1000) as u32;
    }
}

/// What is kept of a socket, if the probes have seen it.
#[inline(always)]
fn known(sock: Sock) -> Option<&'static mut SocketState> {
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    unsafe { state::get(sock).as_mut() }
}

/// A connection whose establishment went past the probes while its program waited for it begins before its end: nothing has moved on it.
#[inline(always)]
fn begin_late(sock: Sock, tcp: TcpSock, state: &mut SocketState) {
    if state.flags & (flag::ESTABLISHED | flag::IGNORED) == 0 && state.connect_started_ns != 0 {
        state::begin_at_start(sock, tcp, state, role::CLIENT);
    }
}

/// A connection has ended of which nothing was seen before, if it was one at all.
#[inline(always)]
fn unseen_end(sock: Sock, old: u32) {
    if matches!(old, tcp_state::CLOSE | tcp_state::SYN_SENT | tcp_state::SYN_RECV) {
        return;
    }
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if owner::cgroup_is_captured(sock, state) {
        buffers::add(count::UNSEEN_ENDS, 1);
    }
    state.flags |= flag::IGNORED;
}

#[inline(always)]
fn closed(sock: Sock, tcp: TcpSock, old: u32) {
    let Some(state) = known(sock) else { return unseen_end(sock, old) };
    if state.flags & (flag::IGNORED | flag::OUTSIDE) != 0 {
        return;
    }
    if state.flags & flag::ESTABLISHED == 0 && !matches!(old, tcp_state::SYN_SENT | tcp_state::SYN_RECV) {
        // No attempt that failed.
        return unseen_end(sock, old);
    }
    // Both streams are complete, and only the FIN has no answer yet: the peer has forgotten the connection (RFC 9293, 3.10.7.1).
    let is_over = matches!(old, tcp_state::LAST_ACK | tcp_state::CLOSING)
        && sock.error() == ECONNRESET
        && tcp.unacknowledged() <= 1;
    let error = if is_over { 0 } else { sock.error() };
    // A reset or a timeout has left its error. Without one, the program itself has ended what had not ended yet, in its own context.
    let is_aborted = error == 0 && matches!(old, tcp_state::ESTABLISHED | tcp_state::CLOSE_WAIT);
    state.closed_from = old;
    state.error = if is_aborted { ECONNRESET } else { error };
    let peer_ended = matches!(old, tcp_state::CLOSE_WAIT | tcp_state::CLOSING | tcp_state::LAST_ACK)
        || (error == 0 && matches!(old, tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2));
    if peer_ended {
        state.flags |= flag::PEER_FIN;
    }
    if matches!(old, tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::CLOSING | tcp_state::LAST_ACK) {
        state.flags |= flag::OWN_FIN;
    }
    if is_aborted {
        state.flags |= flag::ABORTED;
        settle(state);
    } else if !sock.is_dead() && waits_for_its_program(sock, tcp, state) {
        state.flags |= flag::CLOSE_HELD;
        return;
    }
    tell_end(sock, tcp, state);
}

/// After a call on a socket.
#[inline(always)]
pub fn used(sock: *const u8) {
    let sock = Sock(sock);
    if sock.state() != tcp_state::CLOSE {
        return;
    }
    let Some(tcp) = sock.tcp() else { return };
    let Some(state) = held(sock) else { return };
    settle(state);
    if !waits_for_its_program(sock, tcp, state) {
        tell_end(sock, tcp, state);
    }
}

/// `tcp_destroy_sock`: a program that closes a socket whose connection has ended destroys it at once, in its own context.
#[inline(always)]
pub fn destroyed(sock: *const u8) {
    let began_ns = cost::begin();
    let_go(Sock(sock));
    cost::end(STATE, began_ns);
}

#[inline(always)]
fn let_go(sock: Sock) {
    let Some(tcp) = sock.tcp() else { return };
    let Some(state) = held(sock) else { return went_past(sock, tcp) };
    // SAFETY: a helper without preconditions; there always is a current task.
    let task: *const u8 = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
    let mm: *const u8 = owner::read_kernel(task, globals::task_mm());
    // A kernel thread may do it for a program that has ended: then the owner stays unknown.
    if !mm.is_null() {
        settle(state);
    }
    tell_end(sock, tcp, state);
}

/// The end of a socket whose last change went past the probes: what it was before is told by what it has left.
#[inline(always)]
fn went_past(sock: Sock, tcp: TcpSock) {
    let Some(state) = known(sock) else { return };
    let is_established = state.flags & flag::ESTABLISHED != 0;
    if !is_told(tcp_state::CLOSE)
        || state.flags & flag::IGNORED != 0
        || !is_established && state.connect_started_ns == 0
    {
        return;
    }
    let old = match (state.flags & flag::OWN_FIN != 0, sock.has_peer_fin()) {
        _ if !is_established => tcp_state::SYN_SENT,
        (true, true) => tcp_state::LAST_ACK,
        (true, false) => tcp_state::FIN_WAIT2,
        (false, true) => tcp_state::CLOSE_WAIT,
        (false, false) => tcp_state::ESTABLISHED,
    };
    closed(sock, tcp, old);
}

/// The state of a socket whose end is still to be told.
#[inline(always)]
fn held(sock: Sock) -> Option<&'static mut SocketState> {
    let state = known(sock)?;
    (state.flags & flag::CLOSE_HELD != 0 && state.flags & flag::IGNORED == 0).then_some(state)
}

/// The current process is the owner, if nobody is yet.
#[inline(always)]
fn settle(state: &mut SocketState) {
    if state.flags & flag::OWNER_KNOWN == 0 {
        owner::settle(state);
    }
}

/// Whether the program of a socket that has ended has still to do with it: to use it at all, to read, or to end a call.
#[inline(always)]
fn waits_for_its_program(sock: Sock, tcp: TcpSock, state: &SocketState) -> bool {
    let is_counted = state.flags & flag::COUNTED != 0;
    state.flags & flag::OWNER_KNOWN == 0
        || position::has_unread(sock, tcp, state)
        || !is_counted && position::end(sock, tcp, state, direction::RECEIVE) != state.position[1]
        || !is_counted && position::end(sock, tcp, state, direction::SEND) != state.position[0]
}

#[inline(always)]
fn tell_end(sock: Sock, tcp: TcpSock, state: &mut SocketState) {
    if state.flags & flag::IGNORED == 0 {
        // SAFETY: a helper without preconditions.
        sums::finish(state, true, unsafe { bpf_ktime_get_ns() });
        // First: a walk that finds the socket once its end has been read from the ring buffer would begin the connection again.
        state.flags |= flag::IGNORED;
        events::socket(kind::CLOSE, sock, tcp, state, state.closed_from);
    }
}
