//! Adds up plain exchanges in cells that user space has named; see [`headwater_probe_types::sums`].
//!
//! In: the calls of a connection whose operations are known. Out: sums, and an [`ExchangeEvent`] for what did not fit. An exchange is over when
//! its client asks next, when both sides have been silent for a while (the walk over all sockets), or at the end.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, helpers::generated::bpf_ktime_get_ns, macros::btf_map};
use headwater_probe_types::{
    SocketState, count, flag, interest, kind, share,
    sums::{
        self, ANSWER_BYTES, BUCKETS, CELLS, Cell, ExchangeEvent, FOLLOWED, HEAD_BYTES, Last, MUTED, Operation, Step,
        protocol, reason,
    },
};

use crate::{
    atomic,
    buffers::{self, Room},
    commands,
    position::{self, Place},
    socket::{Sock, TcpSock},
};

#[btf_map]
pub static CELLS_OF_SUMS: Array<Cell, CELLS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Nanoseconds from CLOCK_MONOTONIC to the time of day.
#[btf_map]
static DAY_OFFSET: Array<u64, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Silence after which an exchange is told of, so that it does not wait for the next one.
const SILENCE_NS: u64 = 1_000_000_000;

/// What a call means for the sums. A number, which can be hidden from the verifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Part(u32);

impl Part {
    /// Nothing: it is told of.
    pub const NONE: Part = Part(0);
    /// A request begins: [`begin`] says whether it is to be added up, once its bytes are there.
    pub const REQUEST: Part = Part(1);
    /// An answer begins: [`answer`] is to be told of its first bytes.
    pub const ANSWER: Part = Part(2);
    /// All is said of it.
    pub const COUNTED: Part = Part(3);
    /// What may be a reply of Redis begins: [`commands::reply`] is to be told of it.
    pub const REPLY: Part = Part(4);
}

/// A call on a connection whose exchanges may be added up.
#[inline(always)]
pub fn part(
    sock: Sock,
    tcp: TcpSock,
    state: &mut SocketState,
    place: &Place,
    moved: u32,
    way: u32,
    asks: bool,
) -> Part {
    let is_new = state.turn != way + 1;
    let is_redis = state.open.protocol == protocol::REDIS;
    // What comes behind a whole reply answers nothing.
    let is_behind = is_redis && !asks && state.open.exchange.answered_ns != 0;
    if (asks && is_new) || is_behind {
        finish(state, false, place.at_ns);
        if is_behind {
            return Part::NONE;
        }
        let may_be_added = state.interest == interest::SUMS && place.is_certain;
        return if may_be_added { Part::REQUEST } else { Part::NONE };
    }
    if state.open.cell == 0 {
        // What goes on after it was taken for over was told of as far as it was known.
        let goes_on = !asks && !is_redis && state.flags & flag::SUMMED != 0;
        return if goes_on { Part::COUNTED } else { Part::NONE };
    }
    if is_redis {
        if !asks && place.is_certain {
            return Part::REPLY;
        }
        // The next command came before the reply, or it is not known what came.
        commands::let_go(state);
        return Part::NONE;
    }
    state.turn = way + 1;
    if state.open.cell == MUTED {
        return Part::COUNTED;
    }
    if asks || !place.is_certain {
        // What its cell says of its size is that all of a request is moved by one call. Another thread's answer may be about to be told of.
        let other = (way ^ 1) & 1;
        let is_overtaken = asks && position::end(sock, tcp, state, other) > state.position[other as usize];
        mute(state, if is_overtaken { reason::OVERTAKEN } else { reason::NOT_PLAIN });
        return Part::COUNTED;
    }
    state.open.exchange.ended_ns = place.at_ns;
    state.open.exchange.response_bytes += moved as u64;
    if is_new { Part::ANSWER } else { Part::COUNTED }
}

/// What a call says, as far as it is needed here, in a protocol: the operation of a request, the status of an answer, what a reply is. 0 if it says
/// nothing that can be added up.
#[derive(Clone, Copy)]
pub struct Said {
    pub protocol: u32,
    pub word: u64,
}

/// What a call says by its first bytes.
#[inline(always)]
pub fn said(part: Part, room: &Room, captured: u32, moved: u32) -> Said {
    let window = room.bytes.as_ptr().cast();
    match part {
        Part::REQUEST if captured > 0 && room.bytes[0] == b'*' => {
            Said { protocol: protocol::REDIS, word: commands::command_of(window, captured, moved) }
        }
        Part::REQUEST => Said { protocol: protocol::HTTP1, word: operation_of(window.cast(), captured) },
        Part::REPLY => Said { protocol: protocol::REDIS, word: commands::reply_of(window, captured, moved) as u64 },
        _ => {
            // SAFETY: the room's bytes are longer than sixteen; they need not be aligned.
            let (first, second) = unsafe {
                let halves = room.bytes.as_ptr().cast::<u64>();
                (halves.read_unaligned(), halves.add(1).read_unaligned())
            };
            let status = if captured == ANSWER_BYTES { sums::status(first, second) } else { 0 };
            Said { protocol: protocol::HTTP1, word: status as u64 }
        }
    }
}

/// Goes on by what a call says. Says whether nothing else is told of it.
#[inline(always)]
pub fn follow(part: Part, state: &mut SocketState, place: &Place, moved: u32, way: u32, said: Said) -> bool {
    match part {
        Part::REQUEST if said.protocol == protocol::REDIS => commands::begin(state, place, moved, way, said.word),
        Part::REQUEST => begin(state, place, moved, way, said.word),
        Part::REPLY => commands::reply(state, place, moved, way, said.word as u32),
        _ => {
            answer(state, said.word as u32);
            true
        }
    }
}

/// A request of this operation, or of none. Says whether it fits a cell: then nothing else is told of it.
#[inline(always)]
fn begin(state: &mut SocketState, place: &Place, moved: u32, way: u32, operation: u64) -> bool {
    if operation == 0 {
        return false;
    }
    let key = sums::key(state.connection_id, state.role, operation);
    let cell = find(key);
    if !fits(cell, moved) {
        return false;
    }
    state.turn = way + 1;
    state.flags |= flag::SUMMED;
    state.open.key = key;
    state.open.exchange =
        Last { position: place.start, started_ns: place.at_ns, request_bytes: moved as u64, ..Last::default() };
    state.open.status = 0;
    state.open.protocol = protocol::HTTP1;
    state.open.cell = cell as u64 + 1;
    true
}

/// An answer of this status. What is no answer, or an interim one, ends the adding up.
#[inline(always)]
fn answer(state: &mut SocketState, status: u32) {
    state.open.status = status;
    state.open.exchange.answered_ns = state.open.exchange.ended_ns;
    if status == 0 || status as u8 == b'1' {
        mute(state, reason::NOT_PLAIN);
    }
}

/// What is under way could not be followed, and is not told of up to the next request.
#[inline(always)]
fn mute(state: &mut SocketState, reason: u32) {
    tell(state, reason);
    state.open.cell = MUTED;
}

/// The first bytes of a request.
#[repr(C)]
pub struct Line {
    bytes: [u8; HEAD_BYTES],
}

/// The hash of a request's operation; 0 if it has none.
///
/// A function of its own, which the verifier looks at once, and not once for each way that leads there: it knows nothing of its arguments.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn operation_of(line: *const Line, captured: u32) -> u64 {
    // SAFETY: null, or bytes of this size.
    let Some(line) = (unsafe { line.as_ref() }) else { return 0 };
    let mut operation = Operation::default();
    for i in 0..HEAD_BYTES {
        if i as u32 >= captured {
            return 0;
        }
        match operation.push(line.bytes[i]) {
            Step::More => {}
            Step::Done(hash) => return hash,
            Step::Unfit => return 0,
        }
    }
    0
}

/// The place of a key's cell; beyond the table if it has none.
#[inline(always)]
pub fn find(key: u64) -> u32 {
    let found = sums::places(key).into_iter().find(|place| {
        // SAFETY: a cell of the table; user space may write it meanwhile, and aligned numbers are read at once.
        CELLS_OF_SUMS.get_ptr(*place).is_some_and(|cell| unsafe { (*cell).key } == key)
    });
    // The verifier would go through what follows once for each place.
    core::hint::black_box(found.unwrap_or(CELLS as u32))
}

#[inline(always)]
fn fits(place: u32, moved: u32) -> bool {
    let Some(cell) = CELLS_OF_SUMS.get_ptr(place) else { return false };
    // SAFETY: a cell of the table; user space may write it meanwhile, and aligned numbers are read at once.
    unsafe { (*cell).request_bytes_min <= moved && moved <= (*cell).request_bytes_max }
}

/// The exchange that is under way is over, if there is one.
#[inline(always)]
pub fn finish(state: &mut SocketState, is_at_end: bool, now_ns: u64) {
    if state.open.cell != 0 {
        finish_of(&raw mut *state, is_at_end as u32, now_ns);
    }
}

/// A function of its own, which the verifier looks at once, and not once for each way that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn finish_of(state: *mut SocketState, is_at_end: u32, now_ns: u64) -> u32 {
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let cell = take_cell(state);
    if cell == 0 || cell == MUTED || cell == FOLLOWED {
        return 0;
    }
    if state.open.exchange.answered_ns == 0 {
        if state.open.protocol == protocol::REDIS {
            commands::hand_over(state);
        } else {
            tell(state, reason::UNANSWERED);
        }
    } else if is_at_end != 0 {
        tell(state, reason::AT_END);
    } else if !add(state, cell as u32 - 1, now_ns) {
        tell(state, reason::UNFIT);
    }
    1
}

/// Both sides have been silent since the answer's last bytes. Whether it is whole is for user space to say.
#[inline(always)]
pub fn finish_if_silent(state: &mut SocketState) {
    // SAFETY: a helper without preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let ended_ns = state.open.exchange.ended_ns;
    if state.open.cell != 0 && ended_ns != 0 && now_ns.saturating_sub(ended_ns) > SILENCE_NS {
        finish(state, true, now_ns);
    }
}

/// Who takes it adds it: the walk over all sockets may come while the socket is used.
#[inline(always)]
fn take_cell(state: &mut SocketState) -> u64 {
    if state.open.cell == 0 {
        return 0;
    }
    // SAFETY: an aligned number of the socket's state, which outlives this run.
    unsafe { atomic::exchange_u64(&raw mut state.open.cell, 0) }
}

#[inline(always)]
fn add(state: &SocketState, place: u32, now_ns: u64) -> bool {
    let Some(cell) = CELLS_OF_SUMS.get_ptr_mut(place) else { return false };
    let Some(offset_ns) = DAY_OFFSET.get(0) else { return false };
    let open = &state.open;
    let exchange = &open.exchange;
    // SAFETY: a cell of the table; user space may write it meanwhile, and aligned numbers are read at once.
    let is_its_own = unsafe { (*cell).key == open.key && (*cell).status == open.status };
    let duration_ns = exchange.ended_ns.saturating_sub(exchange.started_ns);
    let bucket = sums::bucket(duration_ns);
    if !is_its_own || bucket >= BUCKETS as u32 {
        return false;
    }
    // SAFETY: eight aligned bytes are read at once.
    let second = now_ns.wrapping_add(unsafe { core::ptr::read_volatile(offset_ns) }) / 1_000_000_000;
    // SAFETY: one of the cell's two parts.
    let sums = unsafe { &raw mut (*cell).sums[(second & 1) as usize] };
    // SAFETY: user space takes the sums of a second that is over, by exchanging each number for 0; what is added here at the same time is
    // added as one operation. The last exchange is that of this socket alone, and of a second that is not over.
    unsafe {
        let exchanges = &raw mut (*sums).exchanges;
        if (*sums).second != second {
            // User space has not taken the second before the last: this exchange belongs to another one.
            if exchanges.read_volatile() != 0 {
                return false;
            }
            (*sums).second = second;
        }
        if exchanges.read_volatile() == 0 {
            (*sums).first_position = exchange.position;
        }
        (*sums).last = *exchange;
        (*sums).last.completed_ns = now_ns;
        atomic::add_u64(&raw mut (*sums).request_bytes, exchange.request_bytes);
        atomic::add_u64(&raw mut (*sums).response_bytes, exchange.response_bytes);
        atomic::add_u64(&raw mut (*sums).duration_ns, duration_ns);
        // Again, for the verifier: the number that is compared must be the one that is used.
        let bucket = core::hint::black_box(bucket as usize);
        if bucket < BUCKETS {
            atomic::add_u32((&raw mut (*sums).counts).cast::<u32>().add(bucket), 1);
        }
        atomic::add_u32(exchanges, 1);
    }
    true
}

/// Tells of the exchange that is under way. A function of its own, as it is needed in many places.
#[inline(always)]
pub fn tell(state: &SocketState, reason: u32) {
    tell_of(&raw const *state, reason);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_of(state: *const SocketState, reason: u32) -> u32 {
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_ref() }) else { return 0 };
    let room = buffers::reserve(state, size_of::<ExchangeEvent>() as u64, true).cast::<ExchangeEvent>();
    // SAFETY: the reserved room has the event's size and eight bytes of alignment, and is ours until it is submitted.
    let Some(event) = (unsafe { room.as_mut() }) else {
        buffers::lost(state, count::RING_FULL_DATA, share::lost::DATA);
        return 0;
    };
    *event = ExchangeEvent {
        kind: kind::EXCHANGE,
        reason,
        connection_id: state.connection_id,
        role: state.role,
        status: state.open.status,
        key: state.open.key,
        answer_position: state.open.answer_position,
        // SAFETY: a helper without preconditions.
        exchange: Last { completed_ns: unsafe { bpf_ktime_get_ns() }, ..state.open.exchange },
    };
    buffers::submit((&raw mut *event).cast());
    buffers::add(count::DATA_EVENTS, 1);
    1
}
