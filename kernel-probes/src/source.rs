//! Where a call's bytes are read from: the one thing in which the hooks differ.
//!
//! In: how many bytes a call moved, and how many are wanted. Out: the first of them in the [`Room`]; fewer where they cannot be
//! read, which is counted.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_task_pt_regs};
use core::ffi::c_void;
use headwater_probe_types::{CAPTURE_BYTES_MAX, call, count, direction};

use crate::{
    buffers::{self, Room},
    globals,
    memory::{read_header, read_message, read_segment, read_user, read_user_patiently},
    owner::read_kernel,
};

/// Buffers of one vector that are looked at; what lies beyond counts as not captured.
const VECTOR_MAX: u64 = 40;

/// Segments of one vector that are walked back to find where a call began: the most that the kernel takes (UIO_MAXIOV).
pub const SEGMENTS_MAX: u64 = 1024;

/// What a system call leaves in its result's register while it runs, on x86 (entry_64.S).
const NO_RESULT: u64 = -38_i64 as u64;

/// The bytes that a call moved.
pub trait Source {
    /// Which of the processor's rooms its program uses, beside the direction: another one than any program of the same direction
    /// that could be interrupted by it.
    const ROOM: u32 = 0;

    /// Whether its programs are those of sockets of all kinds.
    const OF_ALL_SOCKETS: bool = false;

    /// Where the `moved` bytes lie, which a call of this task moved.
    fn find(&self, moved: u32, task: *const u8) -> Bytes;

    /// Where the datagram of so many bytes lies, and what the call names as its other side.
    fn find_datagram(&self, moved: u32, task: *const u8) -> Datagram;
}

/// Where a datagram lies, and where the address stands that it goes to or comes from.
#[derive(Clone, Copy)]
pub struct Datagram {
    pub bytes: Bytes,
    /// A struct sockaddr in the program's memory, or in the kernel's; 0 if none is known.
    name_at: u64,
    name_bytes: u32,
    name_is_in_kernel: bool,
}

/// A struct sockaddr_in6, and room.
pub type Name = [u64; 4];

const SOCKADDR_IN_BYTES: u32 = 16;
const SOCKADDR_IN6_BYTES: u32 = 28;

impl Datagram {
    const NONE: Datagram = Datagram { bytes: Bytes::NONE, name_at: 0, name_bytes: 0, name_is_in_kernel: false };

    /// Reads the address. False if there is none that is long enough for either version of IP.
    #[inline(always)]
    pub fn read_name(&self, name: &mut Name) -> bool {
        if self.name_at == 0 || self.name_bytes < SOCKADDR_IN_BYTES {
            return false;
        }
        let target: *mut c_void = name.as_mut_ptr().cast();
        let bytes = if self.name_bytes < SOCKADDR_IN6_BYTES { SOCKADDR_IN_BYTES } else { SOCKADDR_IN6_BYTES };
        if self.name_is_in_kernel {
            read_segments(target, bytes, self.name_at)
        } else {
            read_user(target, bytes, self.name_at)
        }
    }
}

/// What [`Bytes`] are.
pub mod bytes_kind {
    /// Nowhere that may be read.
    pub const NONE: u32 = 0;
    pub const BUFFER: u32 = 1;
    /// An array of struct iovec in the program's memory, or in the kernel's.
    pub const USER_VECTOR: u32 = 2;
    pub const KERNEL_VECTOR: u32 = 3;
}

/// Where the bytes of a call lie. A number says what it is, so that it can lie in a room.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    /// See [`bytes_kind`].
    pub kind: u32,
    /// The buffer, or the array of its segments.
    pub at: u64,
    pub segments: u64,
    /// Bytes before the first one.
    pub skip: u64,
}

impl Bytes {
    const NONE: Bytes = Bytes { kind: bytes_kind::NONE, at: 0, segments: 0, skip: 0 };

    /// Copies up to `wanted` bytes, from the first on, into the room. Returns how many. `skip` ends within the first segment.
    #[inline(always)]
    pub fn copy(&self, room: &mut Room, wanted: u32) -> u32 {
        match self.kind {
            bytes_kind::BUFFER => copy_buffer(room, self.at.wrapping_add(self.skip), wanted),
            bytes_kind::USER_VECTOR => copy_user_vector(room, self.at, self.segments, self.skip, wanted),
            bytes_kind::KERNEL_VECTOR => copy_kernel_vector(room, self.at, self.segments, self.skip, wanted),
            _ => 0,
        }
    }

    /// Copies so many bytes to a place of at least as many, if all of them lie in the first segment. Returns how many: all or none.
    #[inline(always)]
    pub fn copy_first(&self, target: *mut c_void, wanted: u32) -> u32 {
        let first = match self.kind {
            bytes_kind::NONE => return 0,
            bytes_kind::BUFFER => Some([self.at, wanted as u64]),
            _ => self.first_segment(),
        };
        if let Some([base, length]) = first
            && length.wrapping_sub(self.skip) >= wanted as u64
            && read_user_patiently(target, wanted, base.wrapping_add(self.skip))
        {
            return wanted;
        }
        buffers::add(count::UNREADABLE, 1);
        0
    }

    /// The length of a vector's first segment.
    #[inline(always)]
    pub fn segment_bytes(&self) -> Option<u64> {
        self.first_segment().map(|[_, length]| length)
    }

    /// Where the first segment of a vector begins, and its length.
    #[inline(always)]
    pub fn first_segment(&self) -> Option<[u64; 2]> {
        let mut segment = [0_u64; 2];
        let is_read = match self.kind {
            bytes_kind::USER_VECTOR => read_segment(&raw mut segment, self.at) != 0,
            bytes_kind::KERNEL_VECTOR => read_segments(segment.as_mut_ptr().cast(), 16, self.at),
            _ => false,
        };
        is_read.then_some(segment)
    }
}

/// The buffer that the current system call names in its arguments, if it is shown that the bytes are this call's.
///
/// Other work may run behind a call: what io_uring completes when a call returns, or in a thread that a call has made. So the call must be
/// under way, in the same direction, and its file descriptor must be this very socket.
pub struct SystemCall {
    pub sock: *const u8,
    pub way: u32,
}

impl Source for SystemCall {
    const OF_ALL_SOCKETS: bool = true;

    #[inline(always)]
    fn find(&self, _moved: u32, task: *const u8) -> Bytes {
        // SAFETY: a helper for a task; loads from the registers are typed by the verifier.
        let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) as *const u8 };
        // SAFETY: members of struct pt_regs, at offsets from the kernel's BTF.
        let reg = |offset: u32| unsafe { *regs.add(offset as usize).cast::<u64>() };
        // Four bytes on arm64, with something else behind them.
        // SAFETY: as above.
        let number = unsafe { *regs.add(globals::regs_syscall() as usize).cast::<u32>() };
        let descriptor = reg(globals::regs_arg1());
        let result = reg(globals::regs_result());
        // arm64 keeps the first argument in the result's register until there is a result.
        let is_under_way = if globals::result_is_arg1() != 0 { result == descriptor } else { result == NO_RESULT };
        let form = call::form(globals::system_call(number), self.way);
        if form == 0 {
            return Bytes::NONE;
        }
        if !is_under_way || !self.is_at(task, descriptor as u32) {
            buffers::add(count::OTHER_CALL, 1);
            return Bytes::NONE;
        }
        let (arg2, arg3) = (reg(globals::regs_arg2()), reg(globals::regs_arg3()));
        if form == call::BUFFER {
            return Bytes { kind: bytes_kind::BUFFER, at: arg2, segments: 0, skip: 0 };
        }
        if form == call::VECTOR {
            return Bytes { kind: bytes_kind::USER_VECTOR, at: arg2, segments: arg3, skip: 0 };
        }
        // struct user_msghdr: name, name length, vector, count; eight bytes each.
        let mut header = [0_u64; 4];
        if core::hint::black_box(read_header(&raw mut header, arg2)) != 0 {
            return Bytes { kind: bytes_kind::USER_VECTOR, at: header[2], segments: header[3], skip: 0 };
        }
        buffers::add(count::UNREADABLE, 1);
        Bytes::NONE
    }

    /// Where a datagram came from stands nowhere yet: the kernel tells it to the program behind this place.
    #[inline(always)]
    fn find_datagram(&self, moved: u32, task: *const u8) -> Datagram {
        // SAFETY: a helper for a task; loads from the registers are typed by the verifier.
        let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) as *const u8 };
        // SAFETY: as in `find`.
        let reg = |offset: u32| unsafe { *regs.add(offset as usize).cast::<u64>() };
        // SAFETY: as in `find`.
        let number = unsafe { *regs.add(globals::regs_syscall() as usize).cast::<u32>() };
        let sends = self.way == direction::SEND;
        if !sends || (number != globals::call_sendto() && number != globals::call_sendmmsg()) {
            let bytes = self.find(moved, task);
            // struct user_msghdr, as in `find`.
            let mut header = [0_u64; 4];
            let has_name = sends
                && bytes.kind == bytes_kind::USER_VECTOR
                && call::form(globals::system_call(number), self.way) == call::MESSAGE
                && read_header(&raw mut header, reg(globals::regs_arg2())) != 0;
            let name_at = if has_name { header[0] } else { 0 };
            return Datagram { bytes, name_at, name_bytes: header[1] as u32, name_is_in_kernel: false };
        }
        let descriptor = reg(globals::regs_arg1());
        let result = reg(globals::regs_result());
        let is_under_way = if globals::result_is_arg1() != 0 { result == descriptor } else { result == NO_RESULT };
        if !is_under_way || !self.is_at(task, descriptor as u32) {
            buffers::add(count::OTHER_CALL, 1);
            return Datagram::NONE;
        }
        let at = reg(globals::regs_arg2());
        if number == globals::call_sendto() {
            let bytes = Bytes { kind: bytes_kind::BUFFER, at, segments: 0, skip: 0 };
            let (name_at, name_bytes) = (reg(globals::regs_arg5()), reg(globals::regs_arg6()) as u32);
            return Datagram { bytes, name_at, name_bytes, name_is_in_kernel: false };
        }
        under_way_of(at, reg(globals::regs_arg3()), moved)
    }
}

/// Messages of one call of sendmmsg(2) that are looked at.
const MESSAGES_MAX: u64 = 8;

/// The message of sendmmsg(2) that is being sent: the kernel notes in each that was sent how many bytes that were, which is 0 before if the
/// program has made its array new. One that has not, and one of several buffers, is not read.
#[inline(always)]
fn under_way_of(array: u64, messages: u64, moved: u32) -> Datagram {
    // struct mmsghdr: struct user_msghdr in 56 bytes, and the bytes sent in 4.
    let mut message = [0_u64; 8];
    for i in 0..MESSAGES_MAX {
        if i >= messages || read_message(&raw mut message, array.wrapping_add(i * 64)) == 0 {
            break;
        }
        if message[7] as u32 == 0 || messages == 1 {
            let bytes = Bytes { kind: bytes_kind::USER_VECTOR, at: message[2], segments: message[3], skip: 0 };
            if message[3] == 1 && bytes.segment_bytes() == Some(moved as u64) {
                return Datagram {
                    bytes,
                    name_at: message[0],
                    name_bytes: message[1] as u32,
                    name_is_in_kernel: false,
                };
            }
            break;
        }
    }
    buffers::add(count::OTHER_CALL, 1);
    Datagram::NONE
}

impl SystemCall {
    /// Whether the process has this socket at the file descriptor.
    #[inline(always)]
    fn is_at(&self, task: *const u8, descriptor: u32) -> bool {
        // SAFETY: typed loads along members of kernel structs at offsets from the kernel's BTF; the kernel turns a fault into a zero.
        let (file, files, descriptors) = unsafe {
            let socket = *self.sock.add(globals::sk_socket() as usize).cast::<*const u8>();
            if socket.is_null() {
                return false;
            }
            let file = *socket.add(globals::socket_file() as usize).cast::<*const u8>();
            let files = *task.add(globals::task_files() as usize).cast::<*const u8>();
            if files.is_null() {
                return false;
            }
            let table = *files.add(globals::files_fdt() as usize).cast::<*const u8>();
            if table.is_null() {
                return false;
            }
            let descriptors = *table.add(globals::fdt_max() as usize).cast::<u32>();
            (file as u64, *table.add(globals::fdt_fd() as usize).cast::<u64>(), descriptors)
        };
        if file == 0 || descriptor >= descriptors {
            return false;
        }
        let found: u64 = read_kernel((files + 8 * descriptor as u64) as *const u8, 0);
        found == file
    }
}

/// The iterator of a message (`msg_iter`) after the call: it stands behind the bytes that were moved.
pub struct Message(pub *const u8);

impl Source for Message {
    #[inline(always)]
    fn find(&self, moved: u32, _task: *const u8) -> Bytes {
        // SAFETY: typed loads of members of the message's iterator, which the hook gave.
        let (kind, inside) = unsafe {
            let iterator = self.0.add(globals::msg_iter() as usize);
            (*iterator.add(globals::iter_type() as usize), *iterator.add(globals::iter_offset() as usize).cast::<u64>())
        };
        // A member of a union, whose other members have other types: not read by a typed load.
        let buffer: u64 = read_kernel(self.0, globals::msg_iter() + globals::iter_buffer());
        let kind = kind as u32;
        if kind == globals::iter_ubuf() {
            let at = buffer.wrapping_add(inside).wrapping_sub(moved as u64);
            return Bytes { kind: bytes_kind::BUFFER, at, segments: 0, skip: 0 };
        }
        if kind != globals::iter_iovec() {
            buffers::add(count::KERNEL_MEMORY, 1);
            return Bytes::NONE;
        }
        let moved = moved as u64;
        if moved <= inside {
            return Bytes { kind: bytes_kind::KERNEL_VECTOR, at: buffer, segments: 1, skip: inside - moved };
        }
        let mut skip = moved - inside;
        let at = walk_back(buffer, &raw mut skip);
        if at == 0 {
            buffers::add(count::UNREADABLE, 1);
            return Bytes::NONE;
        }
        let segments = (buffer.wrapping_sub(at) >> 4) + 1;
        Bytes { kind: bytes_kind::KERNEL_VECTOR, at, segments, skip }
    }

    #[inline(always)]
    fn find_datagram(&self, moved: u32, task: *const u8) -> Datagram {
        let name_at: u64 = read_kernel(self.0, globals::msg_name());
        let name_bytes: u32 = read_kernel(self.0, globals::msg_namelen());
        Datagram { bytes: self.find(moved, task), name_at, name_bytes, name_is_in_kernel: true }
    }
}

/// The same of a stream of a Unix socket, where that has programs of its own.
pub struct UnixMessage(pub *const u8);

impl Source for UnixMessage {
    const ROOM: u32 = 2;

    #[inline(always)]
    fn find(&self, moved: u32, task: *const u8) -> Bytes {
        Message(self.0).find(moved, task)
    }

    #[inline(always)]
    fn find_datagram(&self, moved: u32, task: *const u8) -> Datagram {
        Message(self.0).find_datagram(moved, task)
    }
}

/// Pages of the kernel that were moved without a copy (sendfile, splice). They are no program's memory and are not read.
pub struct Pages;

impl Source for Pages {
    const ROOM: u32 = 1;

    #[inline(always)]
    fn find(&self, _moved: u32, _task: *const u8) -> Bytes {
        buffers::add(count::KERNEL_MEMORY, 1);
        Bytes::NONE
    }

    /// No hook of datagrams moves pages.
    #[inline(always)]
    fn find_datagram(&self, _moved: u32, _task: *const u8) -> Datagram {
        Datagram::NONE
    }
}

/// Where the segment begins that lies so many bytes before a segment, and in `left` how far into it that is. 0 if the array would have more segments
/// than the kernel takes. A function of its own, which the verifier looks at once: its loop for each way that leads there was too much for Linux 6.1.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_back(segment: u64, left: *mut u64) -> u64 {
    // SAFETY: null, or a number of the caller's.
    let Some(left) = (unsafe { left.as_mut() }) else { return 0 };
    let mut at = segment;
    for _ in 0..SEGMENTS_MAX {
        at = at.wrapping_sub(16);
        let length: u64 = read_kernel(at as *const u8, 8);
        if *left <= length {
            *left = length - *left;
            return at;
        }
        *left -= length;
    }
    0
}

/// Copies from one buffer. A function of its own, which the verifier looks at once, and not once for each way that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_buffer(room: *mut Room, from: u64, wanted: u32) -> u32 {
    // SAFETY: null, or this processor's room, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    let bytes = wanted.min(CAPTURE_BYTES_MAX as u32);
    if read_user_patiently(room.bytes.as_mut_ptr().cast(), bytes, from) {
        bytes
    } else {
        buffers::add(count::UNREADABLE, 1);
        0
    }
}

/// Copies from the segments of a vector. A function of its own, which the verifier looks at once, and not once for each way that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_kernel_vector(room: *mut Room, at: u64, segments: u64, skip: u64, wanted: u32) -> u32 {
    // SAFETY: null, or this processor's room, which no other program writes while this one runs.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    copy_segments::<true>(room, at, segments, skip, wanted)
}

/// As [`copy_kernel_vector`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_user_vector(room: *mut Room, at: u64, segments: u64, skip: u64, wanted: u32) -> u32 {
    // SAFETY: as above.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    copy_segments::<false>(room, at, segments, skip, wanted)
}

#[inline(always)]
fn copy_segments<const IN_KERNEL: bool>(room: &mut Room, at: u64, segments: u64, mut skip: u64, wanted: u32) -> u32 {
    let mut copied: u32 = 0;
    // Two of struct iovec: base, length. A read costs as much as all that it copies, and servers write head and body together.
    let mut pair = [0_u64; 4];
    for i in 0..VECTOR_MAX {
        if i >= segments || copied >= wanted || copied >= CAPTURE_BYTES_MAX as u32 {
            break;
        }
        if i % 2 == 0 {
            let bytes = if i + 1 < segments { 32 } else { 16 };
            let from = at.wrapping_add(i * 16);
            let target: *mut c_void = pair.as_mut_ptr().cast();
            let is_read =
                if IN_KERNEL { read_segments(target, bytes, from) } else { read_user_patiently(target, bytes, from) };
            if !is_read {
                buffers::add(count::UNREADABLE, 1);
                break;
            }
        }
        let entry = if i % 2 == 0 { [pair[0], pair[1]] } else { [pair[2], pair[3]] };
        let (from, length) = (entry[0].wrapping_add(skip), entry[1].wrapping_sub(skip));
        skip = 0;
        // An empty buffer is read as well, of no bytes: a branch here would double the verifier's work with each round.
        let bytes = (length.min((wanted - copied) as u64) as u32).min(CAPTURE_BYTES_MAX as u32);
        // The compiler knows that the mask changes nothing and would leave it out; the verifier does not know it.
        let at = core::hint::black_box(copied) as usize & (CAPTURE_BYTES_MAX - 1);
        // SAFETY: at < CAPTURE_BYTES_MAX and bytes <= CAPTURE_BYTES_MAX, and the room is twice that.
        let target = unsafe { room.bytes.as_mut_ptr().add(at) };
        if !read_user_patiently(target.cast(), bytes, from) {
            buffers::add(count::UNREADABLE, 1);
            break;
        }
        copied += bytes;
    }
    copied
}

#[inline(always)]
fn read_segments(target: *mut c_void, bytes: u32, from: u64) -> bool {
    // SAFETY: the helper checks the source; the caller gives a target of at least `bytes`, which the verifier checks.
    unsafe { bpf_probe_read_kernel(target.cast(), bytes, from as *const c_void) == 0 }
}
