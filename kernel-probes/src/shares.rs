//! Each cgroup's share of the ring buffer, and what it lost; see [`headwater_probe_types::share`].
//!
//! Looked at when the ring buffer is more than half full, and when something was lost: an event pays nothing for it otherwise. Bounded: the
//! cgroups that were not looked at for longest are forgotten.

use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use headwater_probe_types::{
    SocketState,
    share::{Cgroup, PIECES, Ring, Share, lost::LEN},
};

use crate::{atomic, buffers, globals};

#[btf_map]
static SHARES: LruHashMap<Cgroup, Share, 4096> = LruHashMap::new();

/// Not on the stack, of which some programs have little.
static NEW: Share = Share { written: [0; PIECES], newest: 0, lost: [0; LEN] };

/// Whether a socket's cgroup may put so many more bytes into the ring buffer.
#[inline(always)]
pub fn admit(state: &SocketState, bytes: u64, waiting: u64, is_data: bool) -> bool {
    admit_to(state.cgroup_id, state.cgroup_hierarchy as u64, bytes, waiting, is_data as u32) != 0
}

/// The same of a cgroup. A function of its own, which the verifier looks at once, and whose key takes room on the stack.
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
