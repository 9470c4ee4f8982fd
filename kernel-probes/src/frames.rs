//! Copies the heads of all frames that a call on a connection of HTTP/2 moved, however many bytes it moved.
//!
//! In: a call whose first bytes are in the room, and where its bytes lie. Out: a [`DataEvent`](headwater_probe_types::DataEvent) for each part
//! of the call that ends before a head which was not copied with it; the last part is left in the room. What lies between the copies is the
//! inside of frames, which nobody reads.
//!
//! All that changes on the way lies in the room, of whose contents the verifier knows nothing: it looks at one step, once.

use headwater_probe_types::{
    CAPTURE_BYTES_MAX,
    frames::{BEGINNING_BYTES, Head, STEPS_MAX, Track, UNKNOWN, WINDOW_BYTES, WINDOWS_BYTES_MAX},
    mark,
};

use crate::{
    buffers::Room,
    capture,
    source::{Bytes, bytes_kind, copy_buffer},
};

/// A call that is being walked through.
#[repr(C)]
pub struct Walk {
    /// Of the part that is in the room, and of what follows it.
    pub bytes: Bytes,
    pub track: Track,
    /// The position behind the call's last byte.
    pub end: u64,
    /// Bytes that may still be copied.
    pub budget_bytes: u32,
    /// Bytes that were asked for at the part's beginning, which is a head.
    pub window_bytes: u32,
    /// 1 between the parts: the bytes at the next one's beginning are still to be found and copied.
    pub seeks: u32,
    /// 1 as long as it is a guess that the call begins with a head: nothing more is copied for it.
    pub guesses: u32,
    pub asks: u32,
    pub reserved: u32,
    /// Of records: where the segment lies that is looked at, and positions of its first byte and behind its last.
    pub segment_at: u64,
    pub segment_start: u64,
    pub segment_end: u64,
    /// Headers before it are not told of.
    pub quiet_to: u64,
}

/// Goes through the call in the room, whose event is complete. Leaves its last part there, not published, and where the next call finds a head.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn follow_frames(room: *mut Room) -> u32 {
    follow(room, frame_step)
}

/// The same of a call whose bytes lie in one buffer, in programs that have little stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn follow_frames_of_buffer(room: *mut Room) -> u32 {
    follow(room, frame_step_of_buffer)
}

#[inline(always)]
fn follow(room: *mut Room, one_step: extern "C" fn(*mut Room) -> u32) -> u32 {
    // SAFETY: null, or this processor's room, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    let start = room.event.position;
    // SAFETY: the room's bytes are longer than four; they need not be aligned.
    let first = unsafe { room.bytes.as_ptr().cast::<u32>().read_unaligned() };
    let (next, guesses) = room.walk.track.enter(start, first, room.event.captured_bytes, room.walk.asks != 0);
    room.walk.track = Track { next, cut: 0, cut_bytes: 0 };
    room.walk.guesses = guesses as u32;
    room.walk.seeks = 0;
    room.walk.budget_bytes = WINDOWS_BYTES_MAX;
    room.walk.window_bytes = CAPTURE_BYTES_MAX as u32;
    for _ in 0..STEPS_MAX {
        if one_step(room) == 0 {
            break;
        }
    }
    // One frame alone proves a guess if it fills the call.
    if room.walk.guesses != 0 && room.walk.track.next != room.walk.end {
        room.walk.track = Track { next: UNKNOWN, cut: 0, cut_bytes: 0 };
    }
    1
}

/// One step of [`follow_frames`]: a head, or a segment of the bytes. 0 if there is nothing more to do.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_step(room: *mut Room) -> u32 {
    step::<true>(room)
}

/// One step of [`follow_frames_of_buffer`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_step_of_buffer(room: *mut Room) -> u32 {
    step::<false>(room)
}

#[inline(always)]
fn step<const IN_VECTORS: bool>(room: *mut Room) -> u32 {
    // SAFETY: as above.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    if room.walk.seeks != 0 {
        return seek::<IN_VECTORS>(room);
    }
    let (next, end) = (room.walk.track.next, room.walk.end);
    if next >= end {
        return 0;
    }
    let inside = next - room.event.position;
    let behind = (room.event.captured_bytes as u64).saturating_sub(inside);
    let left = end - next;
    if behind >= Head::BYTES {
        let head = Head::of(read(room, inside));
        if room.walk.guesses != 0 {
            if !head.is_common() {
                return lose(room);
            }
            // Two heads of which one says where the other stands are no accident.
            room.walk.guesses = (inside == 0) as u32;
        }
        let frame = head.frame_bytes().min(left);
        let wanted = if head.has_block() { frame } else { frame.min(BEGINNING_BYTES) };
        // What was asked for and is not there will not come.
        let may_come = inside > 0 || (room.walk.window_bytes as u64) < wanted;
        if wanted > behind && may_come && room.walk.guesses == 0 {
            if head.has_block() {
                return turn_to(room, inside, wanted.min(CAPTURE_BYTES_MAX as u64) as u32);
            }
            // Without room for it, where the next head stands is known all the same.
            if room.walk.budget_bytes >= WINDOW_BYTES {
                return turn_to(room, inside, WINDOW_BYTES);
            }
        }
        room.walk.track.next = next + head.frame_bytes();
        return 1;
    }
    if left < Head::BYTES && behind >= left {
        // The call ends within the beginning of a head.
        let cut_bytes = left as u32 & 3;
        room.walk.track.cut = read(room, inside) & ((1 << (8 * cut_bytes)) - 1);
        room.walk.track.cut_bytes = cut_bytes;
        return 0;
    }
    if room.walk.guesses != 0 || inside == 0 {
        return lose(room);
    }
    turn_to(room, inside, WINDOW_BYTES)
}

/// Where the next head stands cannot be told.
#[inline(always)]
fn lose(room: &mut Room) -> u32 {
    room.walk.track.next = UNKNOWN;
    0
}

/// Publishes what lies before the next head. A part begins there, of which so many bytes are asked for.
#[inline(always)]
fn turn_to(room: &mut Room, inside: u64, wanted: u32) -> u32 {
    if room.walk.budget_bytes < wanted {
        return lose(room);
    }
    room.walk.budget_bytes -= wanted;
    if inside > 0 {
        let length = room.event.length;
        let captured = (room.event.captured_bytes as u64).min(inside) as u32;
        room.event.length = inside as u32;
        room.event.captured_bytes = captured;
        capture::publish(room);
        room.event.position += inside;
        room.event.length = length.wrapping_sub(inside as u32);
        room.event.marks &= mark::AHEAD;
    }
    room.event.captured_bytes = 0;
    room.walk.bytes.skip += inside;
    room.walk.window_bytes = wanted;
    room.walk.seeks = 1;
    1
}

/// Passes over a segment, or copies from the one in which the part begins.
#[inline(always)]
fn seek<const IN_VECTORS: bool>(room: &mut Room) -> u32 {
    let Bytes { kind, at, segments, skip } = room.walk.bytes;
    if IN_VECTORS && kind != bytes_kind::BUFFER {
        if segments == 0 {
            return lose(room);
        }
        let Some(length) = room.walk.bytes.segment_bytes() else { return lose(room) };
        if skip >= length {
            room.walk.bytes = Bytes { kind, at: at.wrapping_add(16), segments: segments - 1, skip: skip - length };
            return 1;
        }
    }
    let wanted = (room.walk.window_bytes as u64).min(room.event.length as u64) as u32;
    let bytes = Bytes { kind, at, segments, skip };
    room.event.captured_bytes =
        if IN_VECTORS { bytes.copy(room, wanted) } else { copy_buffer(room, at.wrapping_add(skip), wanted) };
    room.walk.seeks = 0;
    1
}

/// Four bytes of the room, the first one lowest. What lies behind the copy is anything.
#[inline(always)]
fn read(room: &Room, at: u64) -> u32 {
    // The compiler knows that the mask changes nothing and would leave it out; the verifier does not know it.
    let at = core::hint::black_box(at) as usize & (CAPTURE_BYTES_MAX - 1);
    // SAFETY: at < CAPTURE_BYTES_MAX, and the room is twice that; it need not be aligned.
    unsafe { room.bytes.as_ptr().add(at).cast::<u32>().read_unaligned() }
}
