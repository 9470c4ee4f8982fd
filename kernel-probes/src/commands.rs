//! Follows commands of Redis and their replies, and says which of them are added up; see [`headwater_probe_types::resp`].
//!
//! In: the calls of a connection whose interest is [`SUMS`](headwater_probe_types::interest::SUMS). Out: a command with its reply that is added up, or
//! all that user space needs to match them itself: nothing is lost where they turn out not to be plain.
//!
//! A reply is taken for that of the command before it only if nothing else can be owed. So each command must be one by what its call says, and
//! be followed by one whole reply; and user space, which has parsed all before a [checkpoint](headwater_probe_types::sums::Open::checkpoint), must have
//! said that it was answered. Where positions show that anything else was moved in between, there is a new checkpoint.

use headwater_probe_types::{
    SocketState, flag,
    resp::{Window, reply},
    sums::{self, FOLLOWED, Last, SETTLED, STATUS_OK, protocol, reason},
};

use crate::{
    position::Place,
    sums::{CELLS_OF_SUMS, find, tell},
};

/// User space is asked again about a checkpoint of which it has said nothing for so long.
const ASK_AGAIN_NS: u64 = 1_000_000_000;

/// A call that may be a command: of this operation, or of none. Says whether it is to be added up: then nothing else is told of it.
#[inline(always)]
pub fn begin(state: &mut SocketState, place: &Place, moved: u32, way: u32, operation: u64) -> bool {
    let answered = state.position[((way ^ 1) & 1) as usize];
    let now_ns = place.at_ns;
    let open = &mut state.open;
    let last = &open.exchange;
    let goes_on = open.protocol == protocol::REDIS
        && last.response_bytes != 0
        && place.start == last.position + last.request_bytes
        && answered == open.answer_position + last.response_bytes;
    open.protocol = protocol::REDIS;
    open.exchange = Last { position: place.start, started_ns: now_ns, request_bytes: moved as u64, ..Last::default() };
    open.answer_position = answered;
    open.status = 0;
    open.cell = 0;
    if operation == 0 {
        return false;
    }
    let asks_again = open.checkpoint != SETTLED && now_ns.wrapping_sub(open.checkpoint_ns) > ASK_AGAIN_NS;
    if !goes_on || asks_again {
        open.checkpoint = place.start + 1;
        open.checkpoint_ns = now_ns;
        state.flags |= flag::CHECKPOINT;
    }
    open.cell = FOLLOWED;
    open.key = sums::key(state.connection_id, state.role, operation);
    let cell = find(open.key);
    if !takes(cell, state) {
        return false;
    }
    state.turn = way + 1;
    state.flags |= flag::SUMMED;
    state.open.cell = cell as u64 + 1;
    true
}

/// Whether there is a cell, and nothing is owed to commands before it.
#[inline(always)]
fn takes(place: u32, state: &mut SocketState) -> bool {
    let Some(cell) = CELLS_OF_SUMS.get_ptr(place) else { return false };
    // SAFETY: a cell of the table; user space may write it meanwhile, and aligned numbers are read at once.
    let settled_from = unsafe { (&raw const (*cell).settled_from).read_volatile() };
    if settled_from == state.open.checkpoint {
        state.open.checkpoint = SETTLED;
    }
    state.open.checkpoint == SETTLED
}

/// What may be a reply, and what it is by its bytes. Says whether it was added up: then nothing else is told of it.
#[inline(always)]
pub fn reply(state: &mut SocketState, place: &Place, moved: u32, way: u32, is: u32) -> bool {
    let is = if place.start == state.open.answer_position { is } else { reply::UNCERTAIN };
    let is_added_up = is == reply::OK && state.open.cell != FOLLOWED;
    if !is_added_up {
        let_go(state);
    }
    if is != reply::UNCERTAIN {
        state.open.exchange.answered_ns = place.at_ns;
        state.open.exchange.ended_ns = place.at_ns;
        state.open.exchange.response_bytes = moved as u64;
        state.open.status = STATUS_OK;
    }
    if is_added_up {
        state.turn = way + 1;
    }
    is_added_up
}

/// The command that is under way, if any, is not added up.
#[inline(always)]
pub fn let_go(state: &mut SocketState) {
    if state.open.cell != FOLLOWED {
        hand_over(state);
    }
    state.open.cell = 0;
}

/// Gives user space the command that was to be added up; all behind it is told of.
#[inline(always)]
pub fn hand_over(state: &mut SocketState) {
    tell(state, reason::HANDED_OVER);
    // Should that find no room, the gap shows.
    state.flags &= !flag::SUMMED;
}

/// See [`Window::command`]. Functions of their own, which the verifier looks at once, and not once for each way that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn command_of(window: *const Window, captured: u32, moved: u32) -> u64 {
    // SAFETY: null, or bytes of this size.
    let Some(bytes) = (unsafe { window.as_ref() }) else { return 0 };
    bytes.command(captured, moved, |at| string_of(window, at, captured))
}

/// See [`Window::reply`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reply_of(window: *const Window, captured: u32, moved: u32) -> u32 {
    // SAFETY: null, or bytes of this size.
    let Some(bytes) = (unsafe { window.as_ref() }) else { return reply::UNCERTAIN };
    bytes.reply(captured, moved, |at| string_of(window, at, captured))
}

/// See [`Window::string`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn string_of(window: *const Window, at: u32, captured: u32) -> u64 {
    // SAFETY: null, or bytes of this size.
    let Some(window) = (unsafe { window.as_ref() }) else { return 0 };
    window.string(at, captured)
}
