//! Copies the headers of the records of TLS that a call moved, however many there are: they say where on the wire each record begins.
//!
//! In: a call on a socket of which user space knows that it is encrypted. Out: a [`DataEvent`] for each header, or for the part of one that the call holds. Their
//! lengths are those of the headers: what lies between is encrypted and read by nobody.
//!
//! All that changes on the way lies in the room, of whose contents the verifier knows nothing: it looks at one step, once.
//!
//! [`DataEvent`]: headwater_probe_types::DataEvent

use headwater_probe_types::{
    SocketState, count, flag,
    frames::{Track, UNKNOWN},
    records::{self, EARLY_BYTES, HEADER_BYTES, STEPS_MAX},
};

use crate::{
    buffers::{self, Room},
    capture,
    position::Place,
    source::{Bytes, bytes_kind, read_user},
};

/// Whether the headers of a call are wanted.
#[inline(always)]
pub fn are_wanted(state: &SocketState, place: &Place, asks: bool) -> bool {
    asks && place.is_certain && (state.flags & flag::TLS != 0 || place.start < EARLY_BYTES)
}

/// Goes through the records of the call that is described in the room. Leaves where the next one begins in its track.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn follow_records(room: *mut Room) -> u32 {
    // SAFETY: null, or this processor's room, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    room.walk.track = records::enter(room.walk.track, room.event.position);
    for _ in 0..STEPS_MAX {
        if record_step(room) == 0 {
            return 1;
        }
    }
    lose(room)
}

/// One header. 0 if there is nothing more to do.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_step(room: *mut Room) -> u32 {
    // SAFETY: as above.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    let Track { next, cut, cut_bytes } = room.walk.track;
    let had = (cut_bytes & 7) as u64;
    let at = next + had;
    if at >= room.walk.end || had >= HEADER_BYTES {
        return 0;
    }
    let wanted = HEADER_BYTES - had;
    let bytes = wanted.min(room.walk.end - at);
    // Where the call's first byte lies stays in `bytes`; the event's position moves on.
    let from = room.walk.bytes.at.wrapping_add(at.wrapping_sub(room.walk.bytes.skip));
    if !read_user(room.bytes.as_mut_ptr().cast(), core::hint::black_box(bytes) as u32 & 7, from) {
        buffers::add(count::UNREADABLE, 1);
        return lose(room);
    }
    // SAFETY: the room's bytes are longer than eight; they need not be aligned.
    let read = unsafe { room.bytes.as_ptr().cast::<u64>().read_unaligned() } & ((1 << (8 * bytes)) - 1);
    let header = cut as u64 | read << (8 * had);
    room.event.position = at;
    room.event.length = bytes as u32;
    room.event.captured_bytes = bytes as u32;
    if bytes < wanted {
        room.walk.track = Track { next, cut: header as u32, cut_bytes: (had + bytes) as u32 };
        capture::publish(room);
        return 0;
    }
    let record_bytes = records::record_bytes(header);
    if record_bytes == 0 {
        return lose(room);
    }
    capture::publish(room);
    room.walk.track = Track { next: next + record_bytes, cut: 0, cut_bytes: 0 };
    1
}

/// Where the next header stands cannot be told.
#[inline(always)]
fn lose(room: &mut Room) -> u32 {
    room.walk.track = Track { next: UNKNOWN, cut: 0, cut_bytes: 0 };
    0
}

/// Whether a call's bytes, which were found and whose first one has this position, lie one behind the other.
#[inline(always)]
pub fn lie_at(room: &mut Room, start: u64) -> bool {
    let at = room.walk.bytes.in_one_piece(room.event.length);
    room.walk.bytes = Bytes { kind: bytes_kind::BUFFER, at, segments: 0, skip: start };
    at != 0
}
