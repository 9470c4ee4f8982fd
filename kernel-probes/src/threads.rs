//! What is kept of a thread, and which of its calls one is: in a thread that handles one request at a time, what it asks others lies between the call that
//! reads a request and the one that answers it.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_task_storage_get},
    macros::btf_map,
};
use core::ptr;

/// A map of aya has no type for it. As those are made.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: placeholders for the loader, which nobody follows.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    pub const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// What the current thread has; null if it has nothing, and none is to be made or can be.
    #[inline(always)]
    pub fn of_thread(&self, flags: u64) -> *mut T {
        let map = (&raw const *self).cast_mut().cast();
        // SAFETY: the map is a task storage with values of this type.
        unsafe { bpf_task_storage_get(map, task().cast_mut().cast(), ptr::null_mut(), flags) }.cast()
    }
}

/// The current `struct task_struct`.
#[inline(always)]
pub fn task() -> *const u8 {
    // SAFETY: a helper without preconditions; there always is a current task.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

/// The calls of each thread that were told of; the kernel lets go of the number with its thread.
#[btf_map]
static THREAD_CALLS: TaskStorage<u64> = TaskStorage::new();

/// The current thread, and the how-manieth of its calls that is told of this one is; 0 if there is no memory to count them.
#[inline(always)]
pub fn next_call() -> (u32, u32) {
    // SAFETY: a helper without preconditions.
    let thread = unsafe { bpf_get_current_pid_tgid() } as u32;
    let calls = THREAD_CALLS.of_thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE));
    // SAFETY: null, or the thread's own number, which only its own calls change.
    let Some(calls) = (unsafe { calls.as_mut() }) else { return (thread, 0) };
    *calls += 1;
    (thread, *calls as u32)
}
