//! Streams of Unix sockets: who speaks with whom on this machine, and what, as far as user space wants to see it.
//!
//! In: calls that moved bytes, as the hooks meet them, and the ends of sockets where a hook tells of them. Out: a [`SocketEvent`] when both ends are
//! known and when the connection is over, [`DataEvent`]s of the first bytes of calls; what was moved meanwhile, walks find.
//!
//! There are no sequence numbers: each end counts for itself, from its first call that is seen, or from [`BEFORE`] on if the connection is older than the capture. So
//! places of one end say nothing of the other's; and where several threads move bytes of one direction at the same moment, their order is taken to be that in which their calls end. A connection is named by its client's socket, whose number (cookie)
//! its server's end finds by the pointer that the kernel keeps to the other one; the client is the end without an address, as what was accepted has its listener's. What
//! has none on either side (`socketpair`), or one on both, has no client and is not looked at.
//!
//! A program is told of its peer's end by a read of nothing, where no other hook tells of it: by then it has read all.
//!
//! [`SocketEvent`]: headwater_probe_types::SocketEvent
//! [`DataEvent`]: headwater_probe_types::DataEvent

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_kernel};
use headwater_probe_types::{
    CAPTURE_BYTES_MAX, DataEvent, SocketEvent, SocketRecord, SocketState, cost::TELL, count, direction, flag,
    frames::WINDOW_BYTES, interest, kind, role, share, sniff::Head,
};

use crate::{
    buffers, capture, cost, frames, globals, interest as table, owner,
    owner::read_kernel,
    refused,
    socket::{AF_UNIX, Sock, tcp_state},
    source::Source,
    state,
};

/// include/net/sock.h: both directions are over.
const SHUTDOWN_MASK: u8 = 3;

/// Where a connection's places begin whose own beginning was not seen.
const BEFORE: u64 = 1 << 40;

const ECONNRESET: i32 = 104;
const EPIPE: i32 = 32;

/// Bytes of a socket's path that are told: its last ones.
const PATH_BYTES: u32 = 32;

/// A call on a stream of a Unix socket has ended, where it has a hook of its own.
#[inline(always)]
pub fn call<S: Source>(sock: *const u8, result: i32, flags: i32, way: u32, bytes: S) {
    if is_broken(result) {
        broke(sock);
    }
    let sock = Sock(sock);
    if result < 0 || flags & capture::NOT_MOVED != 0 || !buffers::capturing() || !sock.is_unix_stream() {
        return;
    }
    let began_ns = cost::begin();
    let tells = moved(sock, result as u32, way, bytes);
    cost::end(if tells { TELL } else { way }, began_ns);
}

/// A call moved so many bytes; none if a program read the end of what its peer says. Says whether user space is told of it.
#[inline(always)]
pub fn moved<S: Source>(sock: Sock, moved: u32, way: u32, bytes: S) -> bool {
    if globals::unix_salt() == 0 {
        // Nobody looks at any, so that none can be taken for another one.
        refused::note(sock);
        return false;
    }
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state::get_or_create(sock).as_mut() }) else { return false };
    if state.flags & (flag::OWNER_KNOWN | flag::IGNORED) == 0 {
        // The kernel makes the server's end in the process of its client: who uses it decides.
        state.flags |= flag::OUTSIDE;
        owner::settle(state);
        // Its peer may be in the capture, and asks for it.
        sock.cookie();
    }
    if state.flags & flag::OWN != 0 && state.flags & flag::ESTABLISHED == 0 {
        begin(sock, state);
        owner::remember_own(state);
    }
    if state.flags & flag::IGNORED != 0 {
        return false;
    }
    let index = (way & 1) as usize;
    state.position[index] += moved as u64;
    if state.flags & flag::ESTABLISHED == 0 {
        begin(sock, state);
    }
    if state.flags & flag::ESTABLISHED == 0 || state.flags & flag::IGNORED != 0 {
        return false;
    }
    if state.flags & flag::ANNOUNCED == 0 {
        // Without it, nobody could say whose the bytes are.
        if !tell(kind::OPEN, sock, state) {
            if moved != 0 {
                buffers::lost(state, count::RING_FULL_DATA, share::lost::DATA);
            }
            return false;
        }
        state.flags |= flag::ANNOUNCED;
    }
    if moved != 0 {
        return copy(state, moved, way, bytes);
    }
    let is_over = way == direction::RECEIVE && sock.shutdown() & SHUTDOWN_MASK == SHUTDOWN_MASK;
    if is_over && sock.unread_pieces() == 0 {
        state.closed_from = tcp_state::CLOSE_WAIT;
        end(sock, state);
    }
    false
}

/// Copies the first bytes of a call, as those of one on a socket of TCP, but that nothing is added up or encrypted.
#[inline(always)]
fn copy<S: Source>(state: &mut SocketState, moved: u32, way: u32, bytes: S) -> bool {
    table::update(state);
    if state.interest == interest::COUNTERS || interest::is_of_records(state.interest) {
        // Should more be wanted again, that begins with a turn of its own.
        state.turn = 0;
        state.flags |= flag::COUNTED;
        return false;
    }
    state.flags &= !flag::COUNTED;
    let index = (way & 1) as usize;
    let start = state.position[index] - moved as u64;
    let asks = (state.role == role::CLIENT) == (way == direction::SEND);
    capture::begin_turn(state, way);
    let undecided = state.interest == interest::UNDECIDED;
    let look = !undecided || capture::may_look(state, way) != 0;
    if !look && (!asks || state.head.len >= Head::BYTES_MAX) {
        return false;
    }
    // SAFETY: null, or this processor's room for this direction, which no other program writes while this one runs.
    let Some(room) = (unsafe { buffers::room(way, S::ROOM).as_mut() }) else { return false };
    let most = match state.interest {
        interest::FRAMES => state.budget_bytes.max(WINDOW_BYTES),
        interest::CALLS => CAPTURE_BYTES_MAX as u32,
        _ if undecided && look => CAPTURE_BYTES_MAX as u32,
        _ => state.budget_bytes,
    };
    let wanted = moved.min(most).min(CAPTURE_BYTES_MAX as u32);
    // The verifier would go through the copy once for each way that leads here, and through what follows once for each way out of it.
    let hidden = core::hint::black_box((undecided, look, asks, wanted));
    let (undecided, look, asks, wanted) = hidden;
    let captured = core::hint::black_box(if wanted == 0 {
        0
    } else {
        // SAFETY: a helper without preconditions; there always is a current task.
        let task: *const u8 = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
        room.walk.bytes = bytes.find(moved, task);
        // SAFETY: a member of the room. Read again, so that the verifier goes through the copy once and not once for each place of bytes.
        let bytes = unsafe { core::ptr::read_volatile(&raw const room.walk.bytes) };
        bytes.copy(room, wanted)
    });
    room.is_urgent = 0;
    if undecided {
        let before = state.undecided_bytes[index];
        state.undecided_bytes[index] = before + captured;
        if state.flags & flag::RESTING == 0 && captured > 0 {
            // SAFETY: the room's bytes are longer than eight; they need not be aligned.
            let first = unsafe { room.bytes.as_ptr().cast::<u64>().read_unaligned() };
            capture::guess(state, first, captured, asks as u32, start);
        }
        if state.interest == interest::UNDECIDED {
            if !look {
                return false;
            }
            room.is_urgent = capture::is_urgent(state, index, before, captured);
        }
    }
    state.budget_bytes = state.budget_bytes.saturating_sub(captured);
    room.event = DataEvent {
        kind: kind::DATA,
        captured_bytes: captured,
        connection_id: state.connection_id,
        // SAFETY: a helper without preconditions.
        at_ns: unsafe { bpf_ktime_get_ns() },
        position: start,
        other_position: state.position[index ^ 1],
        length: moved,
        direction: way as u8,
        marks: 0,
        role: state.role as u16,
        thread: 0,
        reserved: 0,
    };
    room.cgroup_id = state.cgroup_id;
    room.cgroup_hierarchy = state.cgroup_hierarchy as u64;
    if state.interest == interest::FRAMES {
        room.walk.track = state.frames[index];
        room.walk.end = start + moved as u64;
        room.walk.asks = asks as u32;
        frames::follow_frames(room);
        state.frames[index] = room.walk.track;
    }
    capture::publish(room);
    true
}

/// Whether a call failed since its peer has let go of the socket.
#[inline(always)]
pub fn is_broken(result: i32) -> bool {
    result == -ECONNRESET || result == -EPIPE
}

/// Such a call on a socket of whatever kind.
#[inline(always)]
pub fn broke(sock: *const u8) {
    let sock = Sock(sock);
    if !buffers::capturing() || !sock.is_unix_stream() {
        return;
    }
    // SAFETY: null, or the socket's state, which outlives this run.
    let Some(state) = (unsafe { state::get(sock).as_mut() }) else { return };
    if state.flags & flag::ANNOUNCED != 0 && state.flags & flag::IGNORED == 0 {
        (state.closed_from, state.error) = (tcp_state::CLOSE_WAIT, ECONNRESET as u32);
        end(sock, state);
    }
}

/// A walk that is the first one has found a socket: it is older than the capture.
#[inline(always)]
pub fn was_there(sock: Sock) {
    if globals::unix_salt() == 0 || sock.state() != tcp_state::ESTABLISHED {
        return;
    }
    // SAFETY: as above.
    let Some(state) = (unsafe { state::get_or_create(sock).as_mut() }) else { return };
    if state.flags & (flag::ESTABLISHED | flag::IGNORED | flag::OPENED_BEFORE) == 0 {
        state.flags |= flag::OPENED_BEFORE;
        let [sent, received] = state.position;
        (state.position, state.first_position) = ([BEFORE + sent, BEFORE + received], [BEFORE; 2]);
    }
}

/// A walk has found a socket. A server whose calls ended before its client's did, and that has waited since, finds its client's number now.
#[inline(always)]
pub fn begin_late(sock: Sock, state: &mut SocketState) {
    if state.flags & (flag::OWNER_KNOWN | flag::ESTABLISHED | flag::IGNORED | flag::OUTSIDE) == flag::OWNER_KNOWN {
        begin(sock, state);
    }
}

/// A program lets go of a socket: of its last descriptor.
#[inline(always)]
pub fn let_go(sock: *const u8) {
    if sock.is_null() || !buffers::tells_ends() {
        return;
    }
    let sock = Sock(sock);
    // SAFETY: null, or the socket's state, which outlives this run.
    let Some(state) = (unsafe { state::get(sock).as_mut() }) else { return };
    if sock.family() == AF_UNIX && state.flags & flag::ANNOUNCED != 0 && state.flags & flag::IGNORED == 0 {
        // Its peer has ended before, or it ends now.
        let is_second = sock.shutdown() & SHUTDOWN_MASK == SHUTDOWN_MASK;
        state.closed_from = if is_second { tcp_state::CLOSE_WAIT } else { tcp_state::FIN_WAIT1 };
        end(sock, state);
    }
}

#[inline(always)]
fn end(sock: Sock, state: &mut SocketState) {
    // First: a walk that finds the socket later would begin the connection again.
    state.flags |= flag::IGNORED;
    tell(kind::CLOSE, sock, state);
}

/// Notes what identifies the connection, once that is known: the server's end may come before its client has made any call.
#[inline(always)]
fn begin(sock: Sock, state: &mut SocketState) {
    let peer: *const u8 = read_kernel(sock.0, globals::unix_peer());
    if peer.is_null() {
        return;
    }
    let own: *const u8 = read_kernel(sock.0, globals::unix_addr());
    let other: *const u8 = read_kernel(peer, globals::unix_addr());
    let cookie = match (own.is_null(), other.is_null()) {
        (true, false) => {
            state.role = role::CLIENT;
            sock.cookie()
        }
        (false, true) => {
            state.role = role::SERVER;
            read_kernel(peer, globals::skc_cookie())
        }
        _ => {
            state.flags |= flag::IGNORED;
            return;
        }
    };
    if cookie == 0 {
        return;
    }
    state.connection_id = cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ globals::unix_salt();
    if owner::is_own(state.connection_id) {
        state.flags |= flag::IGNORED;
        return;
    }
    // SAFETY: a helper without preconditions.
    state.opened_at_ns = unsafe { bpf_ktime_get_ns() };
    state.flags |= flag::ESTABLISHED;
    buffers::add(count::SOCKETS, 1);
}

/// Tells the loader of a socket. Returns false if there was no room in the ring buffer.
#[inline(always)]
fn tell(event: u32, sock: Sock, state: &SocketState) -> bool {
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
    fill(&mut room.socket, sock, state);
    buffers::submit((&raw mut *room).cast());
    true
}

/// The path stands where addresses do, the bytes of it that are told where the local port does, and all of its length where the remote one does.
#[inline(always)]
pub fn fill(record: &mut SocketRecord, sock: Sock, state: &SocketState) {
    let named: *const u8 = if state.role == role::SERVER { sock.0 } else { read_kernel(sock.0, globals::unix_peer()) };
    let address: *const u8 = read_kernel(named, globals::unix_addr());
    // The family stands before the path.
    let length: u32 = read_kernel(address, globals::address_len());
    let bytes = length.saturating_sub(2);
    let skipped = bytes.saturating_sub(PATH_BYTES).min(127);
    let at = address.wrapping_add((globals::address_name() + 2 + skipped) as usize);
    record.local_address = [0; 16];
    record.remote_address = [0; 16];
    // SAFETY: the helper checks the source; the targets hold 16 bytes each.
    unsafe {
        bpf_probe_read_kernel(record.local_address.as_mut_ptr().cast(), 16, at.cast());
        bpf_probe_read_kernel(record.remote_address.as_mut_ptr().cast(), 16, at.wrapping_add(16).cast());
    }
    record.connection_id = state.connection_id;
    // SAFETY: a helper without preconditions.
    record.at_ns = unsafe { bpf_ktime_get_ns() };
    record.opened_at_ns = state.opened_at_ns;
    record.cgroup_id = state.cgroup_id;
    record.process_started_ns = state.process_started_ns;
    record.sent_bytes = state.position[0] - state.first_position[0];
    record.received_bytes = state.position[1] - state.first_position[1];
    [record.sent_before_bytes, record.received_before_bytes] = [0; 2];
    record.program = state.program;
    record.local_port = bytes.min(PATH_BYTES) as u16;
    record.remote_port = bytes as u16;
    record.family = AF_UNIX;
    record.role = state.role as u16;
    record.flags = state.flags;
    record.pid = state.pid;
    record.tcp_state = if state.closed_from != 0 { state.closed_from } else { tcp_state::ESTABLISHED };
    record.error = state.error;
    record.retransmits = 0;
    record.rtt_us = 0;
    record.rtt_min_us = 0;
    record.connect_us = 0;
    record.exec = state.exec;
    record.cgroup_hierarchy = state.cgroup_hierarchy;
}
