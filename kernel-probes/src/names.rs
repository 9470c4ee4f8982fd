//! What names the owners of sockets: the paths of cgroups, told when they are made, and the words of programs, told when a program
//! uses its first socket, or when something is told of its life. Both are gone from /proc before anyone could look, where programs live for milliseconds.
//!
//! In: a cgroup with its path, or the current process. Out: a [`CgroupEvent`] or a [`ProcessEvent`] with what follows it. Bounded: paths
//! of `PATH_BYTES_MAX`, words of `ARGUMENTS_BYTES_MAX` and `ENVIRONMENT_BYTES_MAX`, at most two events for each exec(2).

use aya_ebpf::{
    btf_maps::{Array, LruHashMap},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_probe_read_kernel_str},
    macros::btf_map,
};
use headwater_probe_types::{
    ARGUMENTS_BYTES_MAX, CgroupEvent, ENVIRONMENT_BYTES_MAX, FILTER_PATH_BYTES, PATH_BYTES_MAX, ProcessEvent,
    SocketState, change, count, kind, share::lost,
};

use crate::{
    buffers, globals,
    memory::read_user_patiently,
    owner::{self, cgroup_id, read_kernel},
    shares,
};

/// Programs whose words were told: [`BY_LIFE`] or [`BY_SOCKET`].
#[btf_map]
static ANNOUNCED: LruHashMap<Program, u32, 16384> = LruHashMap::new();

/// Of paths one for each processor, of words two, for calls on sockets and for the lives of processes: the programs of each run where nothing else takes
/// the processor from them, and none of them runs inside of another. The loader sets the number of entries.
#[btf_map]
static PATH_ROOM: Array<PathRoom, 1> = Array::new();
#[btf_map]
static WORDS_ROOM: Array<WordsRoom, 1> = Array::new();

#[repr(C)]
#[derive(Clone, Copy)]
struct Program {
    started_ns: u64,
    pid: u32,
    exec: u32,
}

#[repr(C)]
struct PathRoom {
    event: CgroupEvent,
    path: [u8; PATH_BYTES_MAX],
}

/// Twice the longest words, so that the verifier sees that any offset and length below it fit.
#[repr(C)]
struct WordsRoom {
    event: ProcessEvent,
    words: [u8; 2 * ENVIRONMENT_BYTES_MAX],
}

/// A cgroup was made, renamed or removed. `path` is the kernel's own text.
#[inline(always)]
pub fn cgroup(cgroup: *const u8, path: *const u8, what: u32) {
    if !buffers::capturing() {
        return;
    }
    let root: *const u8 = read_kernel(cgroup, globals::cgroup_root());
    let hierarchy: u32 = read_kernel(root, globals::root_hierarchy());
    if hierarchy != 0 && hierarchy != globals::v1_hierarchy() {
        return;
    }
    // SAFETY: a helper without preconditions.
    let processor = unsafe { bpf_get_smp_processor_id() } as u32;
    let room = PATH_ROOM.get_ptr_mut(processor).unwrap_or(core::ptr::null_mut());
    // SAFETY: the map's value, which is ours while this program runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return };
    // The beginning is also a key, which ends in zeroes.
    let (key, _) = room.path.split_at_mut(FILTER_PATH_BYTES);
    key.fill(0);
    // SAFETY: the helper checks the source; the room's path has so many bytes.
    let length =
        unsafe { bpf_probe_read_kernel_str(room.path.as_mut_ptr().cast(), PATH_BYTES_MAX as u32, path.cast()) as i64 };
    // The length counts the zero at the end.
    let bytes = if length > 1 { (length - 1) as u64 & (PATH_BYTES_MAX as u64 - 1) } else { 0 };
    let id = cgroup_id(cgroup);
    room.event = CgroupEvent { kind: kind::CGROUP, change: what, hierarchy, path_bytes: bytes as u32, id };
    if hierarchy == 0 {
        if what == change::REMOVED {
            owner::cgroup_was_removed(id);
        } else if bytes < FILTER_PATH_BYTES as u64 {
            // SAFETY: the path's first bytes are as long as the key.
            owner::cgroup_was_made(id, unsafe { &*room.path.as_ptr().cast() });
        }
    }
    if !buffers::publish((&raw const *room).cast(), size_of::<CgroupEvent>() as u64 + bytes) {
        buffers::add(count::RING_FULL_CGROUP, 1);
    }
}

/// Tells the words of the current process, once for each exec(2), also if something of its life was told before. It must be the owner that `state` names.
#[inline(always)]
pub fn process(state: &SocketState, task: *const u8) {
    let program = Program { started_ns: state.process_started_ns, pid: state.pid, exec: state.exec };
    words_of(program, state.program, task, state.cgroup_id, state.cgroup_hierarchy, BY_SOCKET);
}

/// The same where no socket names it, of a task in this cgroup. One that has given its memory back has no words any more.
#[inline(always)]
pub fn current_process(task: *const u8, cgroup_id: u64, cgroup_hierarchy: u32) {
    let mm: *const u8 = read_kernel(task, globals::task_mm());
    if mm.is_null() {
        return;
    }
    let leader: *const u8 = read_kernel(task, globals::task_group_leader());
    // SAFETY: a helper without preconditions.
    let pid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let started_ns = read_kernel(leader, globals::task_start());
    let program = Program { started_ns, pid, exec: read_kernel(leader, globals::task_exec()) };
    words_of(program, read_kernel(leader, globals::task_comm()), task, cgroup_id, cgroup_hierarchy, BY_LIFE);
}

/// The words of a program when something is told of its life, and when it uses its first socket: it may have given itself a title meanwhile, which is what names it.
const BY_LIFE: u32 = 1;
const BY_SOCKET: u32 = 2;

/// Puts the words together in one of the two rooms of the processor.
#[inline(always)]
fn words_of(
    program: Program,
    first_thread: [u8; 16],
    task: *const u8,
    cgroup_id: u64,
    cgroup_hierarchy: u32,
    when: u32,
) {
    // SAFETY: a number, which a run beside this one may write; then the words are told twice.
    if unsafe { ANNOUNCED.get(program) }.is_some_and(|told| *told >= when) {
        return;
    }
    // SAFETY: a helper without preconditions.
    let processor = unsafe { bpf_get_smp_processor_id() } as u32;
    let room = WORDS_ROOM.get_ptr_mut(2 * processor + when - BY_LIFE).unwrap_or(core::ptr::null_mut());
    // SAFETY: the map's value, which is ours while this program runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return };
    room.event = ProcessEvent {
        kind: kind::PROCESS,
        pid: program.pid,
        started_ns: program.started_ns,
        exec: program.exec,
        arguments_bytes: 0,
        environment_bytes: 0,
        environment_is_cut: 0,
        executable: [0; 64],
        first_thread,
    };
    let mm: *const u8 = read_kernel(task, globals::task_mm());
    let mut bytes = 0;
    // A kernel thread has neither.
    if !mm.is_null() {
        executable(mm, &mut room.event.executable);
        let start: u64 = read_kernel(mm, globals::mm_arg_start());
        let end: u64 = read_kernel(mm, globals::mm_arg_end());
        let arguments = words(room.words.as_mut_ptr(), start, end, ARGUMENTS_BYTES_MAX as u64);
        let start: u64 = read_kernel(mm, globals::mm_env_start());
        let end: u64 = read_kernel(mm, globals::mm_env_end());
        // The compiler knows that the mask changes nothing and would leave it out; the verifier does not know it.
        let at = core::hint::black_box(arguments) as usize & (ENVIRONMENT_BYTES_MAX - 1);
        // SAFETY: at is below half of the room.
        let target = unsafe { room.words.as_mut_ptr().add(at) };
        let environment = words(target, start, end, ENVIRONMENT_BYTES_MAX as u64);
        room.event.arguments_bytes = arguments as u32;
        room.event.environment_bytes = environment as u32;
        room.event.environment_is_cut = (end.wrapping_sub(start) > environment) as u32;
        bytes = arguments + environment;
    }
    let bytes = core::hint::black_box(bytes) & (2 * ENVIRONMENT_BYTES_MAX as u64 - 1);
    let bytes = size_of::<ProcessEvent>() as u64 + bytes;
    if buffers::publish_of(cgroup_id, cgroup_hierarchy, (&raw const *room).cast(), bytes) {
        buffers::add(count::PROCESSES, 1);
        let _ = ANNOUNCED.insert(program, when, 0);
    } else {
        buffers::add(count::RING_FULL_PROCESS, 1);
        shares::lost_of(cgroup_id, cgroup_hierarchy as u64, lost::PROCESS as u64);
    }
}

/// The file's name as the directory has it: the path would take a walk.
#[inline(always)]
pub fn executable(mm: *const u8, name: &mut [u8; 64]) {
    let file: *const u8 = read_kernel(mm, globals::mm_exe_file());
    let dentry: *const u8 = read_kernel(file, globals::file_dentry());
    let text: *const u8 = read_kernel(dentry, globals::dentry_name());
    // SAFETY: the helper checks the source and ends the text with a zero.
    unsafe { bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), 64, text.cast()) };
}

/// Copies what is between two addresses of the program, at most `max` bytes. Returns how many.
#[inline(always)]
fn words(target: *mut u8, start: u64, end: u64, max: u64) -> u64 {
    let bytes = core::hint::black_box(end.wrapping_sub(start)).min(max);
    if read_user_patiently(target.cast(), bytes as u32, start) { bytes } else { 0 }
}
