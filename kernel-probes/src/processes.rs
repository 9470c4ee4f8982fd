//! The lives of processes: programs that begin, processes that end, sockets that are listened on.
//!
//! In: the current process, at the tracepoints of exec(2) and of a thread's end, and sockets that begin or end to listen. Out: [`LifeEvent`]s, and the
//! program's words before them (`names.rs`), so that who has lived for a millisecond has a name, too. Nothing of the words is in the event.
//!
//! Told of is a process as a whole, not its threads, and none of the kernel's own. Bounded: so many events of a cgroup in a second as the loader
//! says ([`headwater_probe_types::life::Rate`]); what is beyond that, and what finds no room, is counted as its cgroup's.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE},
    btf_maps::{LruHashMap, SkStorage},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_boot_ns, bpf_ktime_get_ns},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{
    count, kind,
    life::{LifeEvent, signal, what},
    share::lost,
};

use crate::{
    buffers, globals, names,
    owner::{self, read_kernel},
    shares,
    socket::Sock,
    state,
};

/// Processes whose end was told: as many as may end while two threads of one process do.
#[btf_map]
static ENDED: LruHashMap<Process, u32, 4096> = LruHashMap::new();

/// Sockets that are listened on: what was told of them.
#[btf_map]
static LISTENING: SkStorage<LifeEvent> = SkStorage::new();

#[repr(C)]
#[derive(Clone, Copy)]
struct Process {
    started_ns: u64,
    pid: u64,
}

/// Of `task_struct.flags`: a thread of the kernel (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

/// Of `signal_struct.flags`: the process ends as a whole, with the code of the group (include/linux/sched/signal.h).
const SIGNAL_GROUP_EXIT: u32 = 4;

/// By which the kernel kills for want of memory.
const SIGKILL: u32 = 9;

const EEXIST: i32 = 17;

/// The current process has begun another program.
#[inline(always)]
pub fn began() {
    if buffers::capturing() && owner::is_captured_task() {
        tell(what::EXEC, 0);
    }
}

/// The current thread ends. It counts itself out of the living before it comes here.
#[inline(always)]
pub fn thread_ended() {
    let task = current();
    let signals: *const u8 = read_kernel(task, globals::task_signal());
    let living: u32 = read_kernel(signals, globals::signal_live());
    if living != 0 || !buffers::capturing() || !owner::is_captured_task() {
        return;
    }
    if read_kernel::<u32>(task, globals::task_flags()) & PF_KTHREAD != 0 {
        return;
    }
    let leader: *const u8 = read_kernel(task, globals::task_group_leader());
    // The last threads may all come here after all have counted themselves out: the first one tells, and may be gone from the group when the
    // next one comes.
    let process = Process { started_ns: read_kernel(leader, globals::task_start()), pid: pid() as u64 };
    if ENDED.insert(process, 1, BPF_NOEXIST as u64) == Err(-EEXIST) {
        return;
    }
    // As wait(2) has it.
    let status: u32 = if read_kernel::<u32>(signals, globals::signal_flags()) & SIGNAL_GROUP_EXIT != 0 {
        read_kernel(signals, globals::signal_exit_code())
    } else {
        read_kernel(leader, globals::task_exit_code())
    };
    // The memory of who was chosen when there was none left is kept here until the process is gone (mark_oom_victim).
    let victim: *const u8 = read_kernel(signals, globals::signal_oom_mm());
    let is_victim = !victim.is_null() && signal(status) == SIGKILL;
    tell(if is_victim { what::OOM_KILL } else { what::EXIT }, status);
}

/// The current process begins to listen.
#[inline(always)]
pub fn listens(sock: Sock) {
    if !buffers::capturing() || !owner::is_captured_task() {
        return;
    }
    let listening = listening(sock, BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: null, or the socket's value, which outlives this run.
    let Some(listening) = (unsafe { listening.as_mut() }) else { return buffers::add(count::STORAGE_FULL, 1) };
    let task = current();
    let (cgroup_id, cgroup_hierarchy) = owner::cgroup_of(task);
    fill(listening, what::LISTEN, 0, (task, pid()), cgroup_id, cgroup_hierarchy);
    note_place(listening, sock);
    if is_admitted(cgroup_id, cgroup_hierarchy, false) {
        names::current_process(task, cgroup_id, cgroup_hierarchy);
        publish(listening);
    }
}

/// A process has a socket on which somebody listens. It is told once if nobody has seen that it began, and tried again later where there is no room now.
#[inline(always)]
pub fn is_listening(sock: Sock, task: *const u8) {
    let leader: *const u8 = read_kernel(task, globals::task_group_leader());
    let pid: u32 = read_kernel(leader, globals::task_pid());
    if !buffers::capturing() || sock.tcp().is_none() || !owner::is_captured(task, pid) || !listening(sock, 0).is_null()
    {
        return;
    }
    let (cgroup_id, cgroup_hierarchy) = owner::cgroup_of(task);
    let room = buffers::reserve_of(cgroup_id, cgroup_hierarchy, size_of::<LifeEvent>() as u64, false);
    // SAFETY: as in `tell`.
    let Some(room) = (unsafe { room.cast::<LifeEvent>().as_mut() }) else { return };
    fill(room, what::LISTENING, 0, (task, pid), cgroup_id, cgroup_hierarchy);
    note_place(room, sock);
    // SAFETY: null, or the socket's value, which outlives this run.
    if let Some(listening) = unsafe { listening(sock, BPF_SK_STORAGE_GET_F_CREATE).as_mut() } {
        *listening = *room;
        buffers::add(count::LIFE_EVENTS, 1);
        buffers::submit((&raw mut *room).cast());
    } else {
        buffers::add(count::STORAGE_FULL, 1);
        buffers::discard((&raw mut *room).cast());
    }
}

#[inline(always)]
fn note_place(event: &mut LifeEvent, sock: Sock) {
    event.family = sock.family();
    event.local_port = sock.local_port();
    sock.local_address(&mut event.local_address);
}

/// Nobody listens any more on this socket.
#[inline(always)]
pub fn listens_no_more(sock: Sock) {
    if !buffers::capturing() {
        return;
    }
    // SAFETY: null, or the socket's value, which outlives this run.
    let Some(listening) = (unsafe { listening(sock, 0).as_mut() }) else { return };
    if listening.what != what::LISTEN && listening.what != what::LISTENING {
        return;
    }
    listening.what = what::LISTEN_END;
    (listening.at_ns, listening.lived_ns) = times(listening.process_started_ns);
    if is_admitted(listening.cgroup_id, listening.cgroup_hierarchy, false) {
        publish(listening);
    }
}

/// Tells of the current process.
#[inline(always)]
fn tell(what: u32, status: u32) {
    let task = current();
    let (cgroup_id, cgroup_hierarchy) = owner::cgroup_of(task);
    if !is_admitted(cgroup_id, cgroup_hierarchy, status == 0) {
        return;
    }
    names::current_process(task, cgroup_id, cgroup_hierarchy);
    let room = buffers::reserve_of(cgroup_id, cgroup_hierarchy, size_of::<LifeEvent>() as u64, false);
    // SAFETY: the reserved room has the event's size and eight bytes of alignment, and is ours until it is submitted.
    let Some(room) = (unsafe { room.cast::<LifeEvent>().as_mut() }) else {
        return no_room(cgroup_id, cgroup_hierarchy);
    };
    fill(room, what, status, (task, pid()), cgroup_id, cgroup_hierarchy);
    buffers::add(count::LIFE_EVENTS, 1);
    buffers::submit((&raw mut *room).cast());
}

/// Puts all into an event that is known of a process.
#[inline(always)]
fn fill(
    event: &mut LifeEvent,
    what: u32,
    status: u32,
    (task, pid): (*const u8, u32),
    cgroup_id: u64,
    cgroup_hierarchy: u32,
) {
    let leader: *const u8 = read_kernel(task, globals::task_group_leader());
    // What lies in the ring buffer's room is what was there before.
    // SAFETY: an event of integers, for which zeroes are a value.
    unsafe { ptr::write_bytes(&raw mut *event, 0, 1) };
    event.kind = kind::LIFE;
    event.what = what;
    event.process_started_ns = read_kernel(leader, globals::task_start());
    (event.at_ns, event.lived_ns) = times(event.process_started_ns);
    event.cgroup_id = cgroup_id;
    event.cgroup_hierarchy = cgroup_hierarchy;
    event.program = read_kernel(leader, globals::task_comm());
    event.pid = pid;
    event.exec = read_kernel(leader, globals::task_exec());
    event.status = status;
    let mm: *const u8 = read_kernel(task, globals::task_mm());
    if !mm.is_null() {
        names::executable(mm, &mut event.executable);
    }
}

/// Publishes what is kept of a socket.
#[inline(always)]
fn publish(event: &LifeEvent) {
    let (id, hierarchy) = (event.cgroup_id, event.cgroup_hierarchy);
    if buffers::publish_of(id, hierarchy, (&raw const *event).cast(), size_of::<LifeEvent>() as u64) {
        buffers::add(count::LIFE_EVENTS, 1);
    } else {
        no_room(id, hierarchy);
    }
}

#[inline(always)]
fn no_room(cgroup_id: u64, cgroup_hierarchy: u32) {
    buffers::add(count::RING_FULL_LIFE, 1);
    shares::lost_of(cgroup_id, cgroup_hierarchy as u64, lost::LIFE as u64);
}

/// Whether one more event of this cgroup may be told; counts it if not.
#[inline(always)]
fn is_admitted(cgroup_id: u64, cgroup_hierarchy: u32, is_ordinary: bool) -> bool {
    shares::admit_life(cgroup_id, cgroup_hierarchy as u64, is_ordinary as u64) != 0
}

/// Now, and how long a process has lived that began at this time since boot.
#[inline(always)]
fn times(process_started_ns: u64) -> (u64, u64) {
    // SAFETY: helpers without preconditions.
    unsafe { (bpf_ktime_get_ns(), bpf_ktime_get_boot_ns().saturating_sub(process_started_ns)) }
}

#[inline(always)]
fn listening(sock: Sock, flags: u32) -> *mut LifeEvent {
    state::kept(&LISTENING, sock, flags)
}

#[inline(always)]
fn current() -> *const u8 {
    // SAFETY: a helper without preconditions; there always is a current task.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

#[inline(always)]
fn pid() -> u32 {
    // SAFETY: a helper without preconditions.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}
