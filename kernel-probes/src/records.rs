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
    memory::read_user_patiently,
    position::Place,
    source::{Bytes, SEGMENTS_MAX, bytes_kind},
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
    if at >= room.walk.segment_end {
        return next_segment(room);
    }
    let wanted = HEADER_BYTES - had;
    let bytes = wanted.min(room.walk.end.min(room.walk.segment_end) - at);
    let from = room.walk.segment_at.wrapping_add(at.wrapping_sub(room.walk.segment_start));
    if !read_user_patiently(room.bytes.as_mut_ptr().cast(), core::hint::black_box(bytes) as u32 & 7, from) {
        buffers::add(count::UNREADABLE, 1);
        return lose(room);
    }
    // SAFETY: the room's bytes are longer than eight; they need not be aligned.
    let read = unsafe { room.bytes.as_ptr().cast::<u64>().read_unaligned() } & ((1 << (8 * bytes)) - 1);
    let header = cut as u64 | read << (8 * had);
    room.event.position = at;
    room.event.length = bytes as u32;
    room.event.captured_bytes = bytes as u32;
    let is_whole = bytes == wanted;
    let record_bytes = if is_whole { records::record_bytes(header) } else { 0 };
    if is_whole && record_bytes == 0 {
        return lose(room);
    }
    if at + bytes > room.walk.quiet_to {
        capture::publish(room);
    }
    if !is_whole {
        room.walk.track = Track { next, cut: header as u32, cut_bytes: (had + bytes) as u32 };
        return 1;
    }
    room.walk.track = Track { next: next + record_bytes, cut: 0, cut_bytes: 0 };
    1
}

/// Where the next header stands cannot be told.
#[inline(always)]
fn lose(room: &mut Room) -> u32 {
    room.walk.track = Track { next: UNKNOWN, cut: 0, cut_bytes: 0 };
    0
}

/// The bytes go on in the vector's next segment.
#[inline(always)]
fn next_segment(room: &mut Room) -> u32 {
    let bytes = Bytes {
        at: room.walk.bytes.at.wrapping_add(16),
        segments: room.walk.bytes.segments.wrapping_sub(1),
        ..room.walk.bytes
    };
    room.walk.bytes = bytes;
    let is_there = bytes.kind != bytes_kind::BUFFER && bytes.segments != 0 && bytes.segments < SEGMENTS_MAX;
    let Some([at, length]) = bytes.first_segment().filter(|_| is_there) else {
        buffers::add(count::UNREADABLE, 1);
        return lose(room);
    };
    room.walk.segment_at = at;
    room.walk.segment_start = room.walk.segment_end;
    room.walk.segment_end += length;
    1
}

/// Follows the records of a call that is described in the room, whose bytes were found and whose first one has this position, up to another one; headers that lie before
/// `quiet_to` are not told of. Where the next one begins goes from call to call in the track.
#[inline(always)]
pub fn follow(room: &mut Room, track: &mut Track, start: u64, end: u64, quiet_to: u64) {
    let bytes = room.walk.bytes;
    let (at, length) = match bytes.kind {
        bytes_kind::NONE => return,
        bytes_kind::BUFFER => (bytes.at, bytes.skip + (end - start)),
        _ => match bytes.first_segment() {
            Some([at, length]) => (at, length),
            None => return,
        },
    };
    room.walk.segment_at = at.wrapping_add(bytes.skip);
    room.walk.segment_start = start;
    room.walk.segment_end = start.wrapping_add(length.wrapping_sub(bytes.skip));
    (room.walk.end, room.walk.quiet_to) = (end, quiet_to);
    room.walk.track = *track;
    follow_records(room);
    *track = room.walk.track;
}
