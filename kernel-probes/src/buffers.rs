//! The ring buffer to user space, the counters, and the room in which events are put together.
//!
//! An event that belongs to a cgroup finds room while that cgroup has a share left (`shares.rs`). What finds none is counted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_ringbuf_discard, bpf_ringbuf_output, bpf_ringbuf_query, bpf_ringbuf_reserve,
        bpf_ringbuf_submit,
    },
    macros::btf_map,
};
use core::ffi::c_void;
use headwater_probe_types::{CAPTURE_BYTES_MAX, DataEvent, ROOM_TO_TAKE, ROOMS, SocketState, capture, count, share};

use crate::{atomic, frames::Walk, globals, shares};

/// Events for user space. The loader sets its real size.
#[btf_map]
static EVENTS: RingBuf<u8, { 16 * 1024 * 1024 }> = RingBuf::new();

#[btf_map]
static COUNTS: PerCpuArray<u64, { count::LEN as usize }> = PerCpuArray::new();

/// One of [`capture`]. A program that ran before the others were there would see one direction of a connection only.
#[btf_map]
static CAPTURING: Array<u32, 1> = Array::new();

/// [`ROOMS`] for each processor, one a program: a program does not interrupt itself, but one could interrupt another. From [`ROOM_TO_TAKE`] on, programs that
/// do take them for so long.
/// A plain array, since the kernel bounds the values of per-CPU ones to 32 KiB. The loader sets the number of entries.
#[btf_map]
static ROOM: Array<Room, { ROOMS }> = Array::new();

/// Wide enough for a few events of common size, so that one of them falls into it.
const WAKE_SPAN_BYTES: u64 = 2048;

/// An event and the bytes behind it. Twice the capture, so that the verifier sees that any offset and length below it fit.
#[repr(C)]
pub struct Room {
    pub walk: Walk,
    /// Whose share of the ring buffer the event takes.
    pub cgroup_id: u64,
    pub cgroup_hierarchy: u64,
    /// Not 0 if user space is to look at it at once.
    pub is_urgent: u64,
    /// Not 0 while a program has it, of those that are taken.
    is_taken: u64,
    pub event: DataEvent,
    pub bytes: [u8; 2 * CAPTURE_BYTES_MAX],
}

/// Whether everything is told.
#[inline(always)]
pub fn capturing() -> bool {
    CAPTURING.get(0).is_some_and(|value| *value >= capture::ALL)
}

/// Whether what a walk finds was there before the capture.
#[inline(always)]
pub fn begins() -> bool {
    CAPTURING.get(0).is_some_and(|value| *value == capture::BEGINS)
}

/// Whether the ends of connections are told.
#[inline(always)]
pub fn tells_ends() -> bool {
    CAPTURING.get(0).is_some_and(|value| *value != capture::NOTHING)
}

#[inline(always)]
pub fn room(direction: u32, of: u32) -> *mut Room {
    // SAFETY: a helper without preconditions.
    let processor = unsafe { bpf_get_smp_processor_id() } as u32;
    ROOM.get_ptr_mut(ROOMS as u32 * processor + 2 * of + direction).unwrap_or(core::ptr::null_mut())
}

/// A room for a program that another one may interrupt at any time; null if all are taken. To be given back.
#[inline(always)]
pub fn take_room() -> *mut Room {
    // SAFETY: a helper without preconditions. The program may go on on this processor only, but after others.
    let processor = unsafe { bpf_get_smp_processor_id() } as u32;
    for of in ROOM_TO_TAKE as u32..ROOMS as u32 {
        let room = ROOM.get_ptr_mut(ROOMS as u32 * processor + of).unwrap_or(core::ptr::null_mut());
        // SAFETY: a number of the map's value.
        if !room.is_null() && unsafe { atomic::exchange_u64(&raw mut (*room).is_taken, 1) } == 0 {
            return room;
        }
    }
    core::ptr::null_mut()
}

/// Others may have the room.
#[inline(always)]
pub fn give_back(room: &mut Room) {
    // SAFETY: a number of the map's value.
    unsafe { atomic::exchange_u64(&raw mut room.is_taken, 0) };
}

/// Adds to a counter; see `headwater_probe_types::count`.
#[inline(always)]
pub fn add(index: u32, n: u64) {
    if let Some(value) = COUNTS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value; a lost update by an interrupt in between would need one at this very instruction.
        unsafe { *value += n };
    }
}

/// Publishes bytes that belong to nobody's share. False if the ring buffer is full.
#[inline(always)]
pub fn publish(data: *const c_void, bytes: u64) -> bool {
    output(data, bytes, wake(waiting() + bytes))
}

/// Publishes the event in a room, and what it has captured: so many bytes, which the calls on a socket of a cgroup moved. False, and counted,
/// if there is no room for them.
#[inline(always)]
pub fn publish_data(room: &Room, bytes: u64) -> bool {
    let (id, hierarchy, data) = (room.cgroup_id, room.cgroup_hierarchy, (&raw const room.event).cast());
    let waiting = waiting();
    let fits =
        share::is_roomy(globals::ring_bytes(), waiting) || shares::admit_to(id, hierarchy, bytes, waiting, 1) != 0;
    let wake = if room.is_urgent != 0 { u64::from(BPF_RB_FORCE_WAKEUP) } else { wake(waiting + bytes) };
    // The verifier would go through what follows once for each way out of this.
    let published = core::hint::black_box(fits) && output(data, bytes, core::hint::black_box(wake));
    if !published {
        add(count::RING_FULL_DATA, 1);
        shares::lost_of(id, hierarchy, share::lost::DATA as u64);
    }
    published
}

/// Publishes what is a cgroup's and no data. False if there is no room, which is for the caller to count.
#[inline(always)]
pub fn publish_of(id: u64, hierarchy: u32, data: *const c_void, bytes: u64) -> bool {
    let waiting = waiting();
    let fits = share::is_roomy(globals::ring_bytes(), waiting)
        || shares::admit_to(id, hierarchy as u64, bytes, waiting, 0) != 0;
    core::hint::black_box(fits) && output(data, bytes, wake(waiting + bytes))
}

/// Room in the ring buffer for an event of a fixed size; null if there is none. What is reserved must be submitted.
#[inline(always)]
pub fn reserve(state: &SocketState, bytes: u64, is_data: bool) -> *mut c_void {
    reserve_of(state.cgroup_id, state.cgroup_hierarchy, bytes, is_data)
}

/// The same of a cgroup.
#[inline(always)]
pub fn reserve_of(id: u64, hierarchy: u32, bytes: u64, is_data: bool) -> *mut c_void {
    let waiting = waiting();
    if !share::is_roomy(globals::ring_bytes(), waiting)
        && shares::admit_to(id, hierarchy as u64, bytes, waiting, is_data as u32) == 0
    {
        return core::ptr::null_mut();
    }
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the helper takes any constant size.
    unsafe { bpf_ringbuf_reserve(ring, bytes, 0) }
}

/// Publishes what was reserved.
#[inline(always)]
pub fn submit(event: *mut c_void) {
    // SAFETY: the verifier checks that this is what `reserve` gave.
    unsafe { bpf_ringbuf_submit(event, wake(waiting())) };
}

/// Counts an event for which there was no room: in all, and as its cgroup's.
#[inline(always)]
pub fn lost(state: &SocketState, index: u32, kind: u32) {
    add(index, 1);
    shares::lost(state, kind);
}

/// Gives back what was reserved.
#[inline(always)]
pub fn discard(event: *mut c_void) {
    // SAFETY: the verifier checks that this is what `reserve` gave.
    unsafe { bpf_ringbuf_discard(event, u64::from(BPF_RB_NO_WAKEUP)) };
}

#[inline(always)]
fn output(data: *const c_void, bytes: u64, wake: u64) -> bool {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the caller gives `bytes` readable bytes, which the verifier checks.
    unsafe { bpf_ringbuf_output(ring, data.cast_mut(), bytes, wake) == 0 }
}

/// Bytes that wait in the ring buffer.
#[inline(always)]
fn waiting() -> u64 {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the helper only reads two counters of the map.
    unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) }
}

/// How far the reader has come.
#[inline(always)]
pub fn read_position() -> u64 {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the helper only reads a counter of the map.
    unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_CONS_POS)) }
}

/// Wakes the reader when what waits passes a mark, which is about a thousand events: a wake-up for each event would take the
/// processor away from the program that is observed, and so would a reader that has much to do at a time. Only few events
/// fall into the span at the mark; should one leap over it, the reader comes at its own interval, or when the buffer becomes full.
#[inline(always)]
fn wake(waiting: u64) -> u64 {
    let passes = waiting.wrapping_sub(globals::wake_bytes()) < WAKE_SPAN_BYTES;
    u64::from(if passes || waiting > globals::urgent_bytes() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}
