//! Each cgroup's share of the ring buffer, and what it lost; see [`headwater_probe_types::share`].
//!
//! Looked at when the ring buffer is more than half full, when something was lost, and for each event of a process's life: any other event pays nothing for it. Bounded: the
//! cgroups that were not looked at for longest are forgotten.

use aya_ebpf::{btf_maps::LruHashMap, helpers::generated::bpf_ktime_get_ns, macros::btf_map};
use headwater_probe_types::{
    SocketState, count,
    life::Rate,
    share::{
        Cgroup, PIECES, Ring, Share,
        lost::{self, LEN},
    },
};

use crate::{atomic, buffers, globals};

#[btf_map]
static SHARES: LruHashMap<Cgroup, Share, 4096> = LruHashMap::new();

/// Not on the stack, of which some programs have little.
static NEW: Share = Share { written: [0; PIECES], newest: 0, lives: Rate { second: 0, told: 0 }, lost: [0; LEN] };

/// Whether a cgroup may put so many more bytes into the ring buffer. A function of its own, which the verifier looks at once, and whose key takes room on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn admit_to(id: u64, hierarchy: u64, bytes: u64, waiting: u64, is_data: u32) -> u32 {
    let share = of(id, hierarchy);
    // SAFETY: null, or the map's value. What another processor counts meanwhile may be lost, which lets a few events more in.
    let Some(share) = (unsafe { share.as_mut() }) else { return 0 };
    let ring = Ring { bytes: globals::ring_bytes(), waiting, read: buffers::read_position() };
    share.admit(&ring, bytes, is_data != 0) as u32
}

/// An event of a socket's cgroup found no room.
#[inline(always)]
pub fn lost(state: &SocketState, kind: u32) {
    lost_of(state.cgroup_id, state.cgroup_hierarchy as u64, kind as u64);
}

/// The same of a cgroup.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lost_of(id: u64, hierarchy: u64, kind: u64) -> u32 {
    let share = of(id, hierarchy);
    if share.is_null() || kind >= LEN as u64 {
        return 0;
    }
    // SAFETY: one of the numbers of the map's value; what is added here at the same time is added as one operation.
    unsafe { atomic::add_u64((&raw mut (*share).lost).cast::<u64>().add(kind as usize), 1) };
    1
}

/// Whether one more event of a process's life may be told of a cgroup; counts it as lost if not.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn admit_life(id: u64, hierarchy: u64, is_ordinary: u64) -> u32 {
    let share = of(id, hierarchy);
    // SAFETY: null, or the map's value. What another processor counts meanwhile may be lost, which lets a few events more in.
    let Some(share) = (unsafe { share.as_mut() }) else {
        buffers::add(count::RATE_LIMITED_LIFE, 1);
        return 0;
    };
    // SAFETY: a helper without preconditions.
    let second = unsafe { bpf_ktime_get_ns() } / 1_000_000_000;
    if share.lives.admit(second, globals::processes_per_second_max(), is_ordinary != 0) {
        return 1;
    }
    buffers::add(count::RATE_LIMITED_LIFE, 1);
    // SAFETY: one of the numbers of the map's value; what is added here at the same time is added as one operation.
    unsafe { atomic::add_u64((&raw mut share.lost).cast::<u64>().add(lost::LIFE_RATE as usize), 1) };
    0
}

/// Null without room.
#[inline(always)]
fn of(id: u64, hierarchy: u64) -> *mut Share {
    let cgroup = Cgroup { id, hierarchy };
    if let Some(share) = SHARES.get_ptr_mut(cgroup) {
        return share;
    }
    let new: &Share = &NEW;
    let _ = SHARES.insert(cgroup, new, 1);
    SHARES.get_ptr_mut(cgroup).unwrap_or(core::ptr::null_mut())
}
