//! What is kept of a thread.
//!
//! At the end of each thread of which something is kept, the kernel waits until no program may look at it any more (`call_rcu_tasks_trace`), and whoever
//! detaches an uprobe waits for the same: so nothing is kept of threads but of those that use a library of TLS.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get},
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
