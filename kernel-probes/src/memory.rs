//! Reads of the observed program's memory.
//!
//! The kernel moves pages while programs run (compaction, huge pages), also one that a call has just used: for some hundred microseconds it is absent. The
//! program would sleep until it is back. A probe must not sleep: it looks again for a while, within what it may spend so in a second.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::btf_map,
};
use core::ffi::c_void;
use headwater_probe_types::{await_memory::Spent, count};

use crate::buffers;

/// What this processor has spent in waiting.
#[btf_map]
static AWAITED: PerCpuArray<Spent, 1> = PerCpuArray::new();

/// Looks at memory that is absent. Bounds the verifier's work; the time is over before.
const LOOKS_MAX: u32 = 1024;

const PAGE_BYTES: u64 = 4096;

/// Copies so many bytes of the program's memory. False if they cannot be read just now.
#[inline(always)]
pub fn read_user(target: *mut c_void, bytes: u32, from: u64) -> bool {
    // SAFETY: the helper checks the source; the caller gives a target of at least `bytes`, which the verifier checks.
    unsafe { bpf_probe_read_user(target.cast(), bytes, from as *const c_void) == 0 }
}

/// The same, and waits for memory that is absent for a moment. For functions that the verifier looks at by themselves: it goes through what follows once
/// for each way out of this.
#[inline(always)]
pub fn read_user_patiently(target: *mut c_void, bytes: u32, from: u64) -> bool {
    read_user(target, bytes, from) || (await_memory(from, bytes) != 0 && read_user(target, bytes, from))
}

/// Four numbers of the program's memory. 0 if they cannot be read. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn read_header(header: *mut [u64; 4], from: u64) -> u32 {
    if header.is_null() { 0 } else { read_user_patiently(header.cast(), 32, from) as u32 }
}

/// The same of two.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn read_segment(segment: *mut [u64; 2], from: u64) -> u32 {
    if segment.is_null() { 0 } else { read_user_patiently(segment.cast(), 16, from) as u32 }
}

/// The same of eight.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn read_message(message: *mut [u64; 8], from: u64) -> u32 {
    if message.is_null() { 0 } else { read_user_patiently(message.cast(), 64, from) as u32 }
}

/// Waits until so much memory is there. 0 if it is not in time. A function of its own, which the verifier looks at once, and not once for each read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn await_memory(from: u64, bytes: u32) -> u32 {
    // SAFETY: null, or this processor's value; a lost update by an interrupt in between does not matter.
    let Some(spent) = (unsafe { AWAITED.get_ptr_mut(0).and_then(|spent| spent.as_mut()) }) else { return 0 };
    // SAFETY: a helper without preconditions.
    let now_ns = || unsafe { bpf_ktime_get_ns() };
    let began_ns = now_ns();
    let until_ns = began_ns + spent.may_wait_ns(began_ns);
    let (mut at, end) = (from, from.wrapping_add(bytes as u64));
    let (mut is_there, mut ends_ns) = (0, began_ns);
    for _ in 0..LOOKS_MAX {
        let mut byte = 0_u64;
        if read_user((&raw mut byte).cast(), 1, at) {
            at = (at | (PAGE_BYTES - 1)).wrapping_add(1);
            if at >= end {
                is_there = 1;
                break;
            }
        }
        ends_ns = now_ns();
        if ends_ns >= until_ns {
            break;
        }
    }
    spent.waited(ends_ns - began_ns);
    buffers::add(count::AWAITED, is_there as u64);
    is_there
}
