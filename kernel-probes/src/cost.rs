//! What the programs cost: the time of their runs, measured while user space wants it, which is for a small part of the time.
//!
//! In: a word of user space. Out: for each program and processor the runs that were measured, and their time. A run that is not measured pays one
//! look at that word. Left out are the runs for sockets that are known to be refused, which are over before (`refused.rs`), and the kernel's
//! way to a program and back.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    helpers::generated::bpf_ktime_get_ns,
    macros::btf_map,
};
use headwater_probe_types::cost::{Cost, PROGRAMS};

/// 1 while runs are measured.
#[btf_map]
static MEASURING: Array<u32, 1> = Array::new();

#[btf_map]
static COSTS: PerCpuArray<Cost, PROGRAMS> = PerCpuArray::new();

/// When a run began, if it is measured; else 0.
#[inline(always)]
pub fn begin() -> u64 {
    // SAFETY: user space may write the word meanwhile; four aligned bytes are read at once.
    let measures = MEASURING.get(0).is_some_and(|word| unsafe { core::ptr::read_volatile(word) } != 0);
    // SAFETY: a helper without preconditions.
    if measures { unsafe { bpf_ktime_get_ns() } } else { 0 }
}

/// The run of a program ends that began at this time.
#[inline(always)]
pub fn end(program: u32, began_ns: u64) {
    if began_ns == 0 {
        return;
    }
    let Some(cost) = COSTS.get_ptr_mut(program) else { return };
    // SAFETY: a per-CPU value, and a helper without preconditions. A lost update by an interrupt in between would need one at this very
    // instruction.
    unsafe {
        (*cost).runs += 1;
        (*cost).time_ns += bpf_ktime_get_ns().saturating_sub(began_ns);
    }
}
