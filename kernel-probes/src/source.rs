//! Where a call's bytes are read from: the one thing in which the hooks differ.
//!
//! In: how many bytes a call moved, and how many are wanted. Out: the first of them in the [`Room`]; fewer where they cannot be
//! read, which is counted.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs};
use core::ffi::c_void;
use headwater_probe_types::{CAPTURE_BYTES_MAX, count};

use crate::{
    buffers::{self, Room},
    globals,
};

/// Buffers of one vector that are looked at; what lies beyond counts as not captured.
const VECTOR_MAX: u64 = 40;

/// The bytes that a call moved.
pub trait Source {
    /// Copies up to `wanted` of the `moved` bytes, from the first on, into the room. Returns how many.
    fn copy(&self, room: &mut Room, wanted: u32, moved: u32) -> u32;
}

/// The buffer that the current system call names in its arguments.
pub struct SystemCall;

impl Source for SystemCall {
    #[inline(always)]
    fn copy(&self, room: &mut Room, wanted: u32, _moved: u32) -> u32 {
        copy(room, wanted)
    }
}

/// Copies up to `wanted` bytes of the current system call's buffer into the room. Returns how many.
#[inline(always)]
fn copy(room: &mut Room, wanted: u32) -> u32 {
    // SAFETY: helpers without preconditions; loads from the registers are typed by the verifier.
    let (number, arg2, arg3) = unsafe {
        let task = bpf_get_current_task_btf();
        let regs = bpf_task_pt_regs(task) as *const u8;
        let reg = |offset: u32| *regs.add(offset as usize).cast::<u64>();
        (reg(globals::regs_syscall()), reg(globals::regs_arg2()), reg(globals::regs_arg3()))
    };
    if number == globals::sys_read()
        || number == globals::sys_write()
        || number == globals::sys_recvfrom()
        || number == globals::sys_sendto()
    {
        return copy_buffer(room, arg2, wanted);
    }
    if number == globals::sys_readv()
        || number == globals::sys_writev()
        || number == globals::sys_preadv2()
        || number == globals::sys_pwritev2()
    {
        return copy_vector(room, arg2, arg3, wanted);
    }
    if number == globals::sys_recvmsg() || number == globals::sys_sendmsg() {
        // struct user_msghdr: name, name length, vector, count; eight bytes each.
        let mut header = [0_u64; 4];
        if read_user(header.as_mut_ptr().cast(), 32, arg2) {
            return copy_vector(room, header[2], header[3], wanted);
        }
        buffers::add(count::UNREADABLE, 1);
    }
    0
}

#[inline(always)]
fn copy_buffer(room: &mut Room, from: u64, wanted: u32) -> u32 {
    let bytes = wanted.min(CAPTURE_BYTES_MAX as u32);
    if read_user(room.bytes.as_mut_ptr().cast(), bytes, from) {
        bytes
    } else {
        buffers::add(count::UNREADABLE, 1);
        0
    }
}

#[inline(always)]
fn copy_vector(room: &mut Room, vector: u64, buffers_in_vector: u64, wanted: u32) -> u32 {
    let mut copied: u32 = 0;
    // Two of struct iovec: base, length. A read costs as much as all that it copies, and servers write head and body together.
    let mut pair = [0_u64; 4];
    for i in 0..VECTOR_MAX {
        if i >= buffers_in_vector || copied >= wanted || copied >= CAPTURE_BYTES_MAX as u32 {
            break;
        }
        if i % 2 == 0 {
            let bytes = if i + 1 < buffers_in_vector { 32 } else { 16 };
            if !read_user(pair.as_mut_ptr().cast(), bytes, vector + i * 16) {
                buffers::add(count::UNREADABLE, 1);
                break;
            }
        }
        let entry = if i % 2 == 0 { [pair[0], pair[1]] } else { [pair[2], pair[3]] };
        // An empty buffer is read as well, of no bytes: a branch here would double the verifier's work with each round.
        let bytes = (entry[1].min((wanted - copied) as u64) as u32).min(CAPTURE_BYTES_MAX as u32);
        // The compiler knows that the mask changes nothing and would leave it out; the verifier does not know it.
        let at = core::hint::black_box(copied) as usize & (CAPTURE_BYTES_MAX - 1);
        // SAFETY: at < CAPTURE_BYTES_MAX and bytes <= CAPTURE_BYTES_MAX, and the room is twice that.
        let target = unsafe { room.bytes.as_mut_ptr().add(at) };
        if !read_user(target.cast(), bytes, entry[0]) {
            buffers::add(count::UNREADABLE, 1);
            break;
        }
        copied += bytes;
    }
    copied
}

#[inline(always)]
fn read_user(target: *mut c_void, bytes: u32, from: u64) -> bool {
    // SAFETY: the helper checks the source; the caller gives a target of at least `bytes`, which the verifier checks.
    unsafe { bpf_probe_read_user(target.cast(), bytes, from as *const c_void) == 0 }
}
