//! A send or receive call moved bytes: count them on the socket and, as long as user space wants to see them, publish the first ones.
//!
//! In: socket, length, flags. Out: a [`DataEvent`] with at most `CAPTURE_BYTES_MAX` bytes.
//! What a connection speaks is for user space to say: until it does, the first bytes of both directions are copied (`interest.rs`). A turn is
//! what one side says before the other answers. Where a client's turn begins like a request of HTTP/1 or a command of Redis, user space would
//! come too late for the heads that follow, so that each turn's first bytes are copied until it says otherwise.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns};
use headwater_probe_types::{
    CAPTURE_BYTES_MAX, DataEvent, NOWHERE, SocketState, TURN_BYTES_MAX,
    cost::TELL,
    count, direction, flag,
    frames::WINDOW_BYTES,
    interest, kind, mark,
    records::HEADER_BYTES,
    role, share,
    sniff::{Head, Verdict},
    sums::ANSWER_BYTES,
};

use crate::{
    buffers::{self, Room},
    cost, datagrams, events, frames, globals, hello, interest as table, lifecycle, looks, position, records, refused,
    rustls,
    socket::{Sock, TcpSock, tcp_state},
    source::Source,
    state,
    sums::{self, Part},
    tls, unix,
};

const MSG_OOB: i32 = 0x1;
const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;

/// Flags of calls that move nothing of a stream.
pub const NOT_MOVED: i32 = MSG_PEEK | MSG_ERRQUEUE | MSG_OOB;

/// A call on a socket has ended.
#[inline(always)]
pub fn call<S: Source>(sock: *const u8, result: i32, flags: i32, way: u32, bytes: S) {
    if refused::is_known(Sock(sock)) {
        return;
    }
    let began_ns = cost::begin();
    // The verifier would go through what follows once for each way that leads here.
    let mut sends_ahead = false;
    let tells = core::hint::black_box(moved(sock, result, flags, way, bytes, &mut sends_ahead) as u32);
    if core::hint::black_box(sends_ahead) {
        tls::tell_sent();
    }
    lifecycle::used(sock);
    // The numbers of both ways are those of their programs.
    cost::end(if tells != 0 { TELL } else { way }, began_ns);
}

/// A call on a socket of UDP has ended, where those of TCP have hooks of their own.
#[inline(always)]
pub fn datagram<S: Source>(sock: *const u8, result: i32, flags: i32, way: u32, bytes: S, skips_ipv4: bool) {
    let sock = Sock(sock);
    if refused::is_known(sock) || result < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 || !buffers::capturing() {
        return;
    }
    let began_ns = cost::begin();
    datagrams::moved(sock, result as u32, flags & MSG_TRUNC == 0, way, bytes, skips_ipv4);
    cost::end(way, began_ns);
}

/// Says whether user space is told of it. `sends_ahead` becomes true if [`tls::tell_sent`] is to be called then.
#[inline(always)]
fn moved<S: Source>(sock: *const u8, result: i32, flags: i32, way: u32, bytes: S, sends_ahead: &mut bool) -> bool {
    if unix::is_broken(result) {
        unix::broke(sock);
    }
    if result < 0 || flags & NOT_MOVED != 0 || !buffers::capturing() {
        return false;
    }
    let sock = Sock(sock);
    let Some(tcp) = sock.tcp() else {
        if sock.is_unix_stream() {
            return unix::moved(sock, result as u32, way, bytes);
        }
        if S::OF_ALL_SOCKETS {
            datagrams::moved(sock, result as u32, flags & MSG_TRUNC == 0, way, bytes, false);
        } else {
            refused::note(sock);
        }
        return false;
    };
    if result == 0 {
        if way == direction::RECEIVE {
            end_of_stream(sock, tcp, direction::RECEIVE);
        }
        return false;
    }
    let moved = result as u32;
    let state = state::of_moving(sock, tcp, moved, way);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return false };
    table::update(state);
    if only_counts(sock, tcp, state) {
        return false;
    }
    // SAFETY: a helper without preconditions; there always is a current task.
    let task: *const u8 = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
    let mut place = position::advance(sock, tcp, state, moved, way, task);
    // These were thrown away, not written into the buffer.
    place.is_certain &= flags & MSG_TRUNC == 0;
    // SAFETY: a helper without preconditions.
    place.at_ns = unsafe { bpf_ktime_get_ns() };
    let asks = (state.role == role::CLIENT) == (way == direction::SEND);
    // What began in clear text may go on in TLS before user space has said so.
    let may_be_tls = state.interest == interest::UNDECIDED
        || state.flags & flag::HELLO != 0
        || interest::is_of_records(state.interest);
    if globals::watches_tls() != 0 && may_be_tls {
        let from = if place.is_certain { place.start } else { NOWHERE };
        let side = (state.cgroup_hierarchy as u64) << 32 | state.role as u64;
        let noted = tls::note_socket(state.connection_id, state.cgroup_id, from, side, way);
        if noted != 0 || hello::is_carried(state, place.start) {
            state.flags |= flag::TLS;
        }
        *sends_ahead = noted == tls::IN_CALL_AHEAD;
        if rustls::is_at_work() != 0 {
            // SAFETY: null, or this processor's room for this direction, which no other program writes while this one runs.
            let Some(room) = (unsafe { buffers::room(way, S::ROOM).as_mut() }) else { return false };
            room.walk.bytes = bytes.find(moved, task);
            if core::hint::black_box(rustls::note_moved(room, state, moved, way)) != 0 {
                state.flags |= flag::TLS;
            }
        }
        // The handshake is over. User space would come too late for the records that follow at once.
        if *sends_ahead && state.interest == interest::UNDECIDED {
            state.interest = interest::RECORDS;
        }
    }
    let is_encrypted = interest::is_of_records(state.interest);
    if is_encrypted && !records::are_wanted(state, &place, asks) {
        return false;
    }
    // Also of what goes on behind the last exchange that was added up, when user space wants to be told of all again.
    let may_be_summed = state.interest == interest::SUMS || state.open.cell != 0 || state.flags & flag::SUMMED != 0;
    let part = if may_be_summed { sums::part(sock, tcp, state, &place, moved, way, asks) } else { Part::NONE };
    if part == Part::COUNTED {
        return false;
    }
    let is_known = part != Part::NONE
        && match looks::find(state, &place, asks) {
            Some(said) if sums::follow(part, state, &place, moved, way, said) => return false,
            said => said.is_some(),
        };
    begin_turn(state, way);
    let undecided = state.interest == interest::UNDECIDED;
    let look = !undecided || may_look(state, way) != 0;
    // A request of HTTP/1 is found after any number of other turns, as after a long answer that was under way when the capture began.
    if !look && (!asks || state.head.len >= Head::BYTES_MAX) {
        return false;
    }
    let room = buffers::room(way, S::ROOM);
    // SAFETY: null, or this processor's room for this direction, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return false };
    let has_frames = state.interest == interest::FRAMES;
    let most = match part {
        Part::ANSWER => ANSWER_BYTES,
        _ if is_encrypted => HEADER_BYTES as u32,
        // The first bytes of each call, since a head may go on in them.
        _ if has_frames => state.budget_bytes.max(WINDOW_BYTES),
        // Of a connection of which nothing is known, no more than both bounds of `may_look`: what it speaks may be said only while a turn goes on.
        _ if state.interest == interest::CALLS || (undecided && look) => CAPTURE_BYTES_MAX as u32,
        _ => state.budget_bytes,
    };
    let wanted = if !place.is_certain { 0 } else { moved.min(most).min(CAPTURE_BYTES_MAX as u32) };
    // Until user space says what is wanted, records are followed from the client's hello on, so that no header is missed then.
    let has_records = undecided && asks && place.is_certain && state.flags & flag::HELLO != 0;
    // The verifier would go through the copy once for each way that leads here, and through what follows once for each way out of it.
    let hidden = core::hint::black_box((part, is_known, undecided, look, asks, wanted, is_encrypted));
    let (part, is_known, undecided, look, asks, wanted, is_encrypted) = hidden;
    let captured = core::hint::black_box(if wanted == 0 && !has_records {
        0
    } else {
        room.walk.bytes = bytes.find(moved, task);
        // SAFETY: a member of the room. Read again, so that the verifier goes through the copy once and not once for each place of bytes.
        let bytes = unsafe { core::ptr::read_volatile(&raw const room.walk.bytes) };
        bytes.copy(room, wanted)
    });
    if part != Part::NONE && !is_known {
        let said = sums::said(part, room, captured, moved);
        looks::note(state, &place, asks, said);
        if sums::follow(part, state, &place, moved, way, said) {
            return false;
        }
    }
    if globals::watches_tls() != 0 && asks && !is_encrypted {
        hello::note(room, state, captured, place.start, way);
    }
    room.is_urgent = 0;
    if undecided {
        let index = (way & 1) as usize;
        let before = state.undecided_bytes[index];
        state.undecided_bytes[index] = before + captured;
        if state.flags & flag::RESTING == 0 && captured > 0 {
            // SAFETY: the room's bytes are longer than eight; they need not be aligned.
            let first = unsafe { room.bytes.as_ptr().cast::<u64>().read_unaligned() };
            guess(state, first, captured, asks as u32, place.start);
        }
        if state.interest == interest::UNDECIDED {
            if !look {
                return false;
            }
            room.is_urgent = is_urgent(state, index, before, captured);
        }
    }
    state.budget_bytes = state.budget_bytes.saturating_sub(captured);
    if state.flags & flag::ANNOUNCED == 0 {
        // Without it, nobody could say whose the bytes are.
        if !events::socket(kind::OPEN, sock, tcp, state, sock.state()) {
            buffers::lost(state, count::RING_FULL_DATA, share::lost::DATA);
            return false;
        }
        state.flags |= flag::ANNOUNCED;
    }
    room.event = DataEvent {
        kind: kind::DATA,
        captured_bytes: captured,
        connection_id: state.connection_id,
        at_ns: place.at_ns,
        position: place.start,
        // Also where its own event is still to come or its run was missed: what has been answered must never look unanswered.
        other_position: position::end(sock, tcp, state, way ^ 1),
        length: place.bytes,
        direction: way as u8,
        marks: marks(state),
        role: state.role as u16,
        thread: 0,
        reserved: 0,
    };
    room.cgroup_id = state.cgroup_id;
    room.cgroup_hierarchy = state.cgroup_hierarchy as u64;
    let index = (way & 1) as usize;
    let end = place.start + place.bytes as u64;
    if is_encrypted {
        records::follow(room, &mut state.frames[index], place.start, end, 0);
        return true;
    }
    if state.interest == interest::FRAMES && place.is_certain {
        room.walk.track = state.frames[index];
        room.walk.end = end;
        room.walk.asks = asks as u32;
        frames::follow_frames(room);
        state.frames[index] = room.walk.track;
    }
    publish(room);
    if undecided && asks && place.is_certain && state.flags & flag::HELLO != 0 {
        records::follow(room, &mut state.frames[index], place.start, end, place.start + captured as u64);
    }
    true
}

/// Goes on with the turn of this direction, or begins it.
#[inline(always)]
pub fn begin_turn(state: &mut SocketState, way: u32) {
    let turn = way + 1;
    if state.turn != turn {
        state.turn = turn;
        state.budget_bytes = TURN_BYTES_MAX;
        state.head = Head::default();
    }
}

/// 1 if user space is to look before its time: so much was copied that nothing more would be soon.
#[inline(always)]
pub fn is_urgent(state: &SocketState, index: usize, before: u32, captured: u32) -> u64 {
    let calls = state.undecided_calls[index] == interest::URGENT_CALLS;
    let bytes = before < interest::URGENT_BYTES && before + captured >= interest::URGENT_BYTES;
    (calls || bytes) as u64
}

/// Whether this call is left out: nothing but counters is wanted, or more is wanted since a moment ago, of which the first call shows where the streams are.
#[inline(always)]
fn only_counts(sock: Sock, tcp: TcpSock, state: &mut SocketState) -> bool {
    if state.interest == interest::COUNTERS {
        // Should more be wanted again, that begins with a turn of its own.
        state.open.cell = 0;
        state.flags = state.flags & !flag::SUMMED | flag::COUNTED;
        state.turn = 0;
        // Of a connection that has ended, the calls show when its program has seen the end.
        if sock.state() == tcp_state::ESTABLISHED {
            refused::note(sock);
        }
        return true;
    }
    if state.flags & flag::COUNTED != 0 {
        state.flags &= !flag::COUNTED;
        position::catch_up(sock, tcp, state);
        return true;
    }
    false
}

/// See [`mark`]; told once.
#[inline(always)]
fn marks(state: &mut SocketState) -> u8 {
    let of = |flag: u32, mark: u8| (state.flags & flag != 0) as u8 * mark;
    let marks = of(flag::SUMMED, mark::RESUMES) | of(flag::CHECKPOINT, mark::CHECKPOINT);
    state.flags &= !(flag::SUMMED | flag::CHECKPOINT);
    marks
}

/// 1 if bytes of this direction are copied of a connection of which nothing is known: up to the bounds, and some more after each pause. A function of its
/// own, for the sake of the verifier, as [`guess`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_look(state: *mut SocketState, way: u32) -> u32 {
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let index = (way & 1) as usize;
    let calls = state.undecided_calls[index];
    if state.flags & flag::RESTING != 0 {
        state.undecided_calls[index] = calls.saturating_add(1);
        return (calls < interest::RESTING_CALLS_MAX) as u32;
    }
    if calls < interest::UNDECIDED_CALLS_MAX && state.undecided_bytes[index] < interest::UNDECIDED_BYTES_MAX {
        state.undecided_calls[index] = calls + 1;
        return 1;
    }
    // SAFETY: a helper without preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if calls & interest::PAUSES == 0 {
        state.undecided_calls[index] = interest::pausing(now_ns);
        buffers::add(count::UNDECIDED, 1);
        return 0;
    }
    if !interest::is_pause_over(calls, now_ns) {
        return 0;
    }
    state.undecided_bytes[index] = interest::UNDECIDED_BYTES_MAX - interest::AGAIN_BYTES;
    state.undecided_calls[index] = interest::UNDECIDED_CALLS_MAX - interest::AGAIN_CALLS + 1;
    1
}

/// Decides what is wanted of a client whose turn begins like a request of HTTP/1, a command of Redis or the preface of HTTP/2, or of a server that
/// begins like one of HTTP/2. A function of its own, which the verifier looks at once, and not once for each way that leads there: kernels before 6.3
/// would not get to the end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn guess(state: *mut SocketState, first: u64, captured: u32, asks: u32, start: u64) -> u32 {
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    if asks == 0 {
        if start == 0 && captured >= Head::BYTES_MAX && Head::http2_settings(first) {
            state.interest = interest::FRAMES;
        }
        return 0;
    }
    state.head.push(first, captured);
    if state.head.http2_preface() {
        state.interest = interest::FRAMES;
    } else if state.head.redis_command() || state.head.http1_request() == Verdict::Yes {
        state.interest = interest::HEADS;
    }
    1
}

/// The server's stream has ended: its program has shut it, or the client's program has read its end. When the client will ask nothing
/// more, nothing is over, and nobody is told.
///
/// A receive call that returns 0 may have asked for nothing, so the socket says whether it was the end.
#[inline(always)]
pub fn end_of_stream(sock: Sock, tcp: TcpSock, way: u32) {
    let state = state::get(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    let sends = way == direction::SEND;
    if state.flags & flag::IGNORED != 0
        || matches!(state.interest, interest::UNDECIDED | interest::COUNTERS)
        || sends != (state.role == role::SERVER)
        || !(sends || position::is_read_to_its_end(sock, tcp, state))
    {
        return;
    }
    // SAFETY: a helper without preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    sums::finish(state, true, now_ns);
    let room = buffers::reserve(state, size_of::<DataEvent>() as u64, true).cast::<DataEvent>();
    // SAFETY: the reserved room has the event's size and eight bytes of alignment, and is ours until it is submitted.
    let Some(event) = (unsafe { room.as_mut() }) else {
        buffers::lost(state, count::RING_FULL_DATA, share::lost::DATA);
        return;
    };
    let own_ended_first = match sock.state() {
        tcp_state::CLOSE => {
            matches!(state.closed_from, tcp_state::FIN_WAIT1 | tcp_state::FIN_WAIT2 | tcp_state::CLOSING)
        }
        // The state is the one before: who is in CLOSE_WAIT has got the other's FIN and sent none.
        before => before != tcp_state::CLOSE_WAIT,
    };
    let client_ended_first = own_ended_first == (state.role == role::CLIENT);
    *event = DataEvent {
        kind: kind::END_OF_STREAM,
        captured_bytes: 0,
        connection_id: state.connection_id,
        at_ns: now_ns,
        position: position::end(sock, tcp, state, way),
        other_position: position::end(sock, tcp, state, way ^ 1),
        length: client_ended_first as u32,
        direction: way as u8,
        marks: marks(state),
        role: state.role as u16,
        thread: 0,
        reserved: 0,
    };
    buffers::submit((&raw mut *event).cast());
    buffers::add(count::DATA_EVENTS, 1);
}

/// Publishes what is in the room. A function of its own, which the verifier looks at once, and not once for each way that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn publish(room: *mut Room) -> u32 {
    // SAFETY: null, or this processor's room, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    // SAFETY: a helper without preconditions.
    room.event.thread = unsafe { bpf_get_current_pid_tgid() } as u32;
    let captured = (room.event.captured_bytes as u64).min(CAPTURE_BYTES_MAX as u64);
    let bytes = size_of::<DataEvent>() as u64 + captured;
    if buffers::publish_data(room, bytes) {
        buffers::add(count::DATA_EVENTS, 1);
        buffers::add(count::COPIED_BYTES, captured);
    }
    1
}
