//! Whose a socket is, and whether that is in the capture. Decided once a socket.

use aya_ebpf::{
    btf_maps::{HashMap, LruHashMap},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_kernel},
    macros::btf_map,
};
use headwater_probe_types::{FILTER_PATH_BYTES, SocketState, count, flag, share::Cgroup};

use crate::{buffers, globals, names, socket::Sock};

/// Ids of the cgroups whose sockets are captured, those of cgroups below them included.
#[btf_map]
static FILTER_CGROUPS: HashMap<u64, u32, 64> = HashMap::new();

/// Paths of these cgroups, padded with zeroes: one that is made again has another id.
#[btf_map]
static FILTER_PATHS: HashMap<[u8; FILTER_PATH_BYTES], u32, 64> = HashMap::new();

/// Processes whose sockets are captured.
#[btf_map]
static FILTER_PIDS: HashMap<u32, u32, 1024> = HashMap::new();

/// Connections of the agent itself, so that their other ends on this machine are left out as well.
#[btf_map]
static OWN_CONNECTIONS: LruHashMap<u64, u32, 1024> = LruHashMap::new();

/// Workloads of which no more is wanted for now than what the counters say, as user space has it.
#[btf_map]
static RESTING: HashMap<Cgroup, u32, 64> = HashMap::new();

/// Levels of a cgroup's path that are compared with the filter.
const CGROUP_LEVELS_MAX: u32 = 16;

/// Whether the cgroup in which the socket was made is in the capture; also notes its id.
#[inline(always)]
pub fn cgroup_is_captured(sock: Sock, state: &mut SocketState) -> bool {
    let cgroup = sock.cgroup();
    if cgroup.is_null() {
        return globals::filter_by_cgroup() == 0;
    }
    state.cgroup_id = cgroup_id(cgroup);
    in_filter(cgroup)
}

#[inline(always)]
fn in_filter(cgroup: *const u8) -> bool {
    if globals::filter_by_cgroup() == 0 {
        return true;
    }
    let level: u32 = read_kernel(cgroup, globals::cgroup_level());
    for i in 0..CGROUP_LEVELS_MAX {
        if i > level {
            break;
        }
        let ancestor: *const u8 = read_kernel(cgroup, globals::cgroup_ancestors() + i * 8);
        let id = cgroup_id(ancestor);
        // SAFETY: only its presence is asked for; the value, which could change meanwhile, is not read.
        if unsafe { FILTER_CGROUPS.get(id) }.is_some() {
            return true;
        }
    }
    false
}

/// Whether what the current process does is in the capture.
#[inline(always)]
pub fn is_captured_task() -> bool {
    // SAFETY: helpers without preconditions; there always is a current task.
    let (pid, task) = unsafe { ((bpf_get_current_pid_tgid() >> 32) as u32, bpf_get_current_task_btf()) };
    is_captured(task.cast_const().cast(), pid)
}

/// The same of a task of this process.
#[inline(always)]
pub fn is_captured(task: *const u8, pid: u32) -> bool {
    // SAFETY: only its presence is asked for; the value, which could change meanwhile, is not read.
    if pid == globals::own_pid() || globals::filter_by_pid() != 0 && unsafe { FILTER_PIDS.get(pid) }.is_none() {
        return false;
    }
    let groups: *const u8 = read_kernel(task, globals::task_cgroups());
    in_filter(read_kernel(groups, globals::cset_default()))
}

/// A cgroup was made at a path: it is in the capture if the filter names the path.
#[inline(always)]
pub fn cgroup_was_made(id: u64, path: &[u8; FILTER_PATH_BYTES]) {
    // SAFETY: only whether there is a value counts; it is not read.
    if globals::filter_by_cgroup() != 0 && unsafe { FILTER_PATHS.get(path) }.is_some() {
        let _ = FILTER_CGROUPS.insert(id, 1, 0);
    }
}

/// Ids are never given again: the entry would only take room.
#[inline(always)]
pub fn cgroup_was_removed(id: u64) {
    if globals::filter_by_cgroup() != 0 {
        let _ = FILTER_CGROUPS.remove(id);
    }
}

/// Settles the owner from the current process, which must be the one that uses the socket.
#[inline(always)]
pub fn settle(state: &mut SocketState) {
    state.flags |= flag::OWNER_KNOWN;
    // SAFETY: a helper without preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if pid == globals::own_pid() {
        state.flags |= flag::IGNORED | flag::OWN;
        remember_own(state);
        return;
    }
    // SAFETY: only its presence is asked for; the value, which could change meanwhile, is not read.
    if globals::filter_by_pid() != 0 && unsafe { FILTER_PIDS.get(pid) }.is_none() {
        state.flags |= flag::IGNORED;
        return;
    }
    // SAFETY: a helper without preconditions; there always is a current task.
    let task: *const u8 = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
    let groups: *const u8 = read_kernel(task, globals::task_cgroups());
    let cgroup: *const u8 = read_kernel(groups, globals::cset_default());
    if state.flags & flag::OUTSIDE != 0 {
        if !in_filter(cgroup) {
            state.flags |= flag::IGNORED;
            return;
        }
        state.flags &= !flag::OUTSIDE;
        buffers::add(count::ADOPTED, 1);
    }
    state.pid = pid;
    note_cgroup(state, groups, cgroup);
    let leader: *const u8 = read_kernel(task, globals::task_group_leader());
    state.process_started_ns = read_kernel(leader, globals::task_start());
    state.program = read_kernel(leader, globals::task_comm());
    state.exec = read_kernel(leader, globals::task_exec());
    names::process(state, task);
}

/// Who uses a socket owns it, not who made it: systemd makes sockets for its services, and a program may move after it made one.
#[inline(always)]
fn note_cgroup(state: &mut SocketState, groups: *const u8, cgroup: *const u8) {
    (state.cgroup_id, state.cgroup_hierarchy) = place(groups, cgroup);
    let key = Cgroup { id: state.cgroup_id, hierarchy: state.cgroup_hierarchy as u64 };
    // SAFETY: only its presence is asked for; the value, which could change meanwhile, is not read.
    if unsafe { RESTING.get(key) }.is_some() {
        state.flags |= flag::RESTING;
    }
}

/// The cgroup of the current task, and its hierarchy.
#[inline(always)]
pub fn cgroup_of(task: *const u8) -> (u64, u32) {
    let groups: *const u8 = read_kernel(task, globals::task_cgroups());
    place(groups, read_kernel(groups, globals::cset_default()))
}

/// At the root of version 2 there may still be a container in the hierarchies of version 1.
#[inline(always)]
fn place(groups: *const u8, cgroup: *const u8) -> (u64, u32) {
    let level: u32 = read_kernel(cgroup, globals::cgroup_level());
    if level == 0 && globals::v1_hierarchy() != 0 {
        let controller: *const u8 = read_kernel(groups, globals::cset_subsys() + 8 * globals::v1_subsys());
        let group: *const u8 = read_kernel(controller, globals::css_cgroup());
        return (cgroup_id(group), globals::v1_hierarchy());
    }
    (cgroup_id(cgroup), 0)
}

/// Makes the other end of an own connection known as such.
#[inline(always)]
pub fn remember_own(state: &SocketState) {
    if state.connection_id != 0 {
        let _ = OWN_CONNECTIONS.insert(state.connection_id, 1, 0);
    }
}

/// Whether the connection is the agent's own, seen from its other end.
#[inline(always)]
pub fn is_own(connection_id: u64) -> bool {
    // SAFETY: only its presence is asked for; the value, which could change meanwhile, is not read.
    unsafe { OWN_CONNECTIONS.get(connection_id) }.is_some()
}

/// The id of a cgroup in its hierarchy.
#[inline(always)]
pub fn cgroup_id(cgroup: *const u8) -> u64 {
    let node: *const u8 = read_kernel(cgroup, globals::cgroup_kn());
    read_kernel(node, globals::kn_id())
}

/// Reads a member of a kernel struct; zero where that faults.
#[inline(always)]
pub fn read_kernel<T: Copy>(base: *const u8, offset: u32) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the helper checks the source and leaves the target zeroed on a fault; T is a plain integer or pointer.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(offset as usize).cast(),
        );
        value.assume_init()
    }
}
