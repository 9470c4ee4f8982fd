//! Where the two streams of a socket stand, and which place a call's bytes have in them.
//!
//! In: sequence numbers of the socket, bytes that calls say they moved. Out: positions, or that a place cannot be told. Promise: a place
//! that is given is right, and what is kept is never ahead of the socket.
//!
//! The hooks run when a call has ended and the socket's lock is gone: another thread's call may have moved bytes meanwhile, and calls may end
//! in another order than they moved theirs. A call's bytes are the last before the stream's end if nothing else moved since the call
//! before it. Where more has moved than the call says, a splice went past the hooks, or a run was missed, or another call has moved bytes and is
//! about to end: the last would make every place wrong, so it must be ruled out before a place is given.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use headwater_probe_types::{SocketState, count, direction, flag};

use crate::{
    buffers, globals,
    owner::read_kernel,
    socket::{Sock, TcpSock, tcp_state},
};

/// For so long a call may take from moving its bytes to its end, where others have moved bytes behind it. It takes microseconds, and more
/// where the thread loses the processor in between.
const UNCLAIMED_NS: u64 = 1_000_000_000;

/// Where a call's bytes are, or where they are not.
pub struct Place {
    pub start: u64,
    pub bytes: u32,
    /// Whether the call's bytes are these. If not, they are somewhere among or before them.
    pub is_certain: bool,
    /// When the call was looked at, where that matters: the clock is asked once for each.
    pub at_ns: u64,
}

/// How far a direction got, as the socket says, FINs left out; also what was moved past the hooks, or is not told of yet.
#[inline(always)]
pub fn end(sock: Sock, tcp: TcpSock, state: &SocketState, way: u32) -> u64 {
    let index = (way & 1) as usize;
    let reached = state.position[index];
    // Without a name it has no numbers either.
    if state.flags & flag::ESTABLISHED == 0 {
        return reached;
    }
    // The TCP state is read last: a FIN that is in the numbers has changed it before.
    let (sequence, about, fin) = if way == direction::SEND {
        let write_seq = tcp.write_seq();
        (write_seq, tcp.bytes_acked(), own_fin_is_counted(sock, state))
    } else {
        let copied_seq = tcp.copied_seq();
        let all_is_read = tcp.rcv_nxt() == copied_seq;
        (copied_seq, tcp.bytes_received(), all_is_read && peer_has_ended(sock, state))
    };
    // Sequence numbers tell the lower half of a position. The whole is near the kernel's own counter: no buffer holds 2 GiB, before or after it.
    let lower = sequence.wrapping_sub(fin as u32).wrapping_sub(state.base[index]);
    let ahead = lower.wrapping_sub(about as u32) as i32;
    let end = about.wrapping_add(ahead as i64 as u64);
    if (end as i64) < reached as i64 { reached } else { end }
}

/// Calls were left out: the next one goes on from where both streams are now.
#[inline(always)]
pub fn catch_up(sock: Sock, tcp: TcpSock, state: &mut SocketState) {
    state.position = [end(sock, tcp, state, direction::SEND), end(sock, tcp, state, direction::RECEIVE)];
    state.unclaimed = [0; 2];
}

/// Whether the program has read all that there will ever be, the end included.
#[inline(always)]
pub fn is_read_to_its_end(sock: Sock, tcp: TcpSock, state: &SocketState) -> bool {
    tcp.rcv_nxt() == tcp.copied_seq() && peer_has_ended(sock, state)
}

/// Whether bytes have arrived that the program has not read.
#[inline(always)]
pub fn has_unread(sock: Sock, tcp: TcpSock, state: &SocketState) -> bool {
    let unread = tcp.rcv_nxt().wrapping_sub(tcp.copied_seq());
    unread > peer_has_ended(sock, state) as u32
}

#[inline(always)]
fn own_fin_is_counted(sock: Sock, state: &SocketState) -> bool {
    match sock.state() {
        tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::LAST_ACK | tcp_state::CLOSING => true,
        tcp_state::CLOSE => state.flags & flag::OWN_FIN != 0,
        _ => false,
    }
}

#[inline(always)]
fn peer_has_ended(sock: Sock, state: &SocketState) -> bool {
    match sock.state() {
        tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK | tcp_state::CLOSING => true,
        tcp_state::CLOSE => state.flags & flag::PEER_FIN != 0,
        _ => false,
    }
}

/// Moves a direction on by a call of this task that moved `moved` bytes.
#[inline(always)]
pub fn advance(sock: Sock, tcp: TcpSock, state: &mut SocketState, moved: u32, way: u32, task: *const u8) -> Place {
    let index = (way & 1) as usize;
    let reached = state.position[index];
    let end = end(sock, tcp, state, way);
    let gone = (end - reached) as u32;
    // SAFETY: a typed load of a member of struct task_struct.
    let thread = unsafe { *task.add(globals::task_pid() as usize).cast::<u32>() };
    let shared = if way == direction::SEND { flag::SHARED_SEND } else { flag::SHARED_RECEIVE };
    if state.thread[index] != thread {
        if state.thread[index] != 0 {
            state.flags |= shared;
        }
        state.thread[index] = thread;
    }
    state.position[index] = end;
    let is_shared = state.flags & shared != 0;
    let is_certain = match gone {
        _ if gone == moved && state.unclaimed[index] == 0 => true,
        _ if gone < moved => {
            // Others have skipped over these bytes. Should the direction's next calls come at the same time, it is known from now on.
            state.flags |= shared;
            state.unclaimed[index] = state.unclaimed[index].saturating_sub(moved - gone);
            false
        }
        _ => is_the_last(state, gone - moved, way, is_shared, task),
    };
    if is_certain {
        return Place { start: end - moved as u64, bytes: moved, is_certain, at_ns: 0 };
    }
    buffers::add(count::UNPLACED, 1);
    Place { start: reached, bytes: gone, is_certain, at_ns: 0 }
}

/// More was moved than the call says, now or a moment ago. Whether the call's bytes are the last ones all the same.
#[inline(always)]
fn is_the_last(state: &mut SocketState, skipped: u32, way: u32, is_shared: bool, task: *const u8) -> bool {
    let index = (way & 1) as usize;
    // SAFETY: a helper without preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // Nobody reads one stream of bytes from two threads before there is a second one; requests are written so.
    let is_alone = !is_shared && (way == direction::RECEIVE || program_has_one_thread(task));
    if skipped == 0 {
        let is_over = is_alone || now_ns > state.unclaimed_until_ns;
        if is_over {
            state.unclaimed[index] = 0;
        }
        return is_over;
    }
    if is_alone {
        return true;
    }
    state.unclaimed[index] = state.unclaimed[index].saturating_add(skipped);
    state.unclaimed_until_ns = now_ns + UNCLAIMED_NS;
    false
}

#[inline(always)]
fn program_has_one_thread(task: *const u8) -> bool {
    let signal: *const u8 = read_kernel(task, globals::task_signal());
    let threads: i32 = read_kernel(signal, globals::signal_threads());
    threads == 1
}
