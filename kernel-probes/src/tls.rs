//! What programs give to a library of TLS to encrypt, and get from it decrypted (OpenSSL's `SSL_write`, `SSL_read` and their `_ex`), and on which
//! socket that goes, as `SSL_do_handshake` shows it, too.
//!
//! In: entries and returns of these functions, by uprobes; the calls on sockets that a thread makes in between. Out: a [`DataEvent`] of the kind
//! [`kind::PLAINTEXT`] for each call that moved bytes. Nothing is written into a program.
//!
//! A session's socket is the one that its calls use: between entry and return, the thread reads and writes one socket. That is remembered for calls
//! that find their bytes in the session's own buffer. A session that has used two sockets has none any more, until it is freed; one that
//! has used none, since its program moves the bytes itself, has none either. Such calls are counted, never guessed.
//!
//! Promise: a return is taken for that of an entry only if the thread's stack stands where it stood then, so that a call that was left by
//! longjmp(3) or that another stack came into between is not taken for another one.
//!
//! Programs of uprobes may be interrupted by others on the same processor. So what they keep belongs to their thread or session alone, or is taken by one at a time. They
//! need little stack: a kernel that gives programs a stack of their own per processor (6.13 and later) does so from 64 bytes on, and may let two of
//! these programs use it at once.
//!
//! [`DataEvent`]: headwater_probe_types::DataEvent

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    btf_maps::HashMap,
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_task_pt_regs, bpf_task_storage_get,
    },
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{
    ANYWHERE, CAPTURE_BYTES_MAX, NOWHERE, TLS_SESSION_WORDS, TURN_BYTES_MAX,
    cost::TELL,
    count, direction,
    frames::{Track, UNKNOWN, WINDOW_BYTES},
    interest, kind, mark, role,
};

use crate::{
    buffers::{self, Room},
    capture, cost, frames, globals, interest as table, owner,
    source::{Bytes, bytes_kind, copy_buffer, read_user},
};

/// The call that a thread is in.
#[repr(C)]
pub struct Call {
    /// Where the stack stood at its entry; 0 if it is in none.
    stack: u64,
    session: u64,
    buffer: u64,
    asked_bytes: u64,
    /// Where the number of moved bytes is written; 0 if it is the result.
    moved_at: u64,
    /// Of the socket that was used; 0 for none.
    connection_id: u64,
    cgroup_id: u64,
    /// Place on the wire of the first byte that was moved in the call's own direction.
    from: u64,
    /// Once it has returned: where its bytes begin among those that are encrypted, and how many they are.
    start: u64,
    moved_bytes: u64,
    cgroup_hierarchy: u32,
    role: u32,
    way: u32,
    reserved: u32,
    /// Not 0 if more than one socket was used, or another call was made within.
    is_unclear: u64,
}

/// A map of aya has no type for it. As those are made.
#[repr(C)]
struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: placeholders for the loader, which nobody follows.
unsafe impl<T> Sync for TaskStorage<T> {}

#[btf_map]
static TLS_CALLS: TaskStorage<Call> = TaskStorage {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// A session (SSL*) of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    session: u64,
    process: u64,
}

/// What is remembered of it.
#[repr(C)]
pub struct Session {
    /// 0 as long as no socket is known, [`UNCLEAR`] once there were two.
    connection_id: u64,
    cgroup_id: u64,
    /// Bytes that were moved in each direction, from its beginning on, or from some number on where that was not seen.
    position: [u64; 2],
    /// Where on the wire the calls since the last one that moved bytes began.
    from: [u64; 2],
    frames: [Track; 2],
    cgroup_hierarchy: u32,
    role: u32,
    interest: u32,
    /// As those of a socket.
    turn: u32,
    budget_bytes: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Session>() == 8 * TLS_SESSION_WORDS);

const UNCLEAR: u64 = u64::MAX;

/// The way of a call that moves only what the library itself says.
pub const HANDSHAKE: u32 = 2;

/// The loader sets the number of entries: 1 where libraries of TLS are not watched. User space removes those of processes that are gone.
#[btf_map]
static TLS_SESSIONS: HashMap<Name, Session, 16384> = HashMap::new();

const TRACK: Track = Track { next: UNKNOWN, cut: 0, cut_bytes: 0 };

/// Not on the stack.
static NEW: Session = Session {
    connection_id: 0,
    cgroup_id: 0,
    position: [0; 2],
    from: [NOWHERE; 2],
    frames: [TRACK; 2],
    cgroup_hierarchy: 0,
    role: role::UNKNOWN,
    interest: interest::RECORDS,
    turn: 0,
    budget_bytes: 0,
    reserved: 0,
};

#[inline(always)]
fn task() -> *const u8 {
    // SAFETY: a helper without preconditions; there always is a current task.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

#[inline(always)]
fn call_of_thread(flags: u64) -> *mut Call {
    let map = (&raw const TLS_CALLS).cast_mut().cast();
    // SAFETY: the map is a task storage whose value is a Call.
    unsafe { bpf_task_storage_get(map, task().cast_mut().cast(), ptr::null_mut(), flags) }.cast()
}

/// A register of the program, as it stands at the uprobe.
#[inline(always)]
fn register(offset: u32) -> u64 {
    // SAFETY: a helper for a task; loads from the registers are typed by the verifier, at offsets from the kernel's BTF.
    unsafe {
        let registers = bpf_task_pt_regs(task().cast_mut().cast()) as *const u8;
        *registers.add(offset as usize).cast::<u64>()
    }
}

/// Entry of a function whose arguments are a session, a buffer, its bytes, and where the number of moved bytes is to be written if it is one of `_ex`.
#[inline(always)]
pub fn enter(way: u32, is_ex: bool) {
    if !buffers::capturing() {
        return;
    }
    let call = call_of_thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE));
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(call) = (unsafe { call.as_mut() }) else { return buffers::add(count::STORAGE_FULL, 1) };
    let stack = register(globals::regs_stack());
    let session = register(globals::regs_function_arg1());
    if call.stack != 0 && stack < call.stack {
        // Another session is carried by this one.
        call.is_unclear |= (session != call.session) as u64;
        return;
    }
    let asked = register(globals::regs_arg3());
    *call = Call {
        stack,
        session,
        buffer: register(globals::regs_arg2()),
        // An int, where it is not a size_t.
        asked_bytes: if is_ex { asked } else { asked as u32 as u64 },
        moved_at: if is_ex { register(globals::regs_function_arg4()) } else { 0 },
        connection_id: 0,
        cgroup_id: 0,
        from: NOWHERE,
        start: 0,
        moved_bytes: 0,
        cgroup_hierarchy: 0,
        role: 0,
        way,
        reserved: 0,
        is_unclear: 0,
    };
}

/// A call on a captured socket has moved bytes, from this position on or from [`NOWHERE`]. `side` is the socket's role, and its cgroup's hierarchy above. Says whether the thread is in a call of a library of TLS.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_socket(connection_id: u64, cgroup_id: u64, from: u64, side: u64, way: u32) -> u32 {
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(call) = (unsafe { call_of_thread(0).as_mut() }) else { return 0 };
    if call.stack == 0 {
        return 0;
    }
    let role = side as u32;
    if call.connection_id == 0 {
        (call.connection_id, call.cgroup_id, call.role) = (connection_id, cgroup_id, role);
        call.cgroup_hierarchy = (side >> 32) as u32;
    } else if call.connection_id != connection_id || call.role != role {
        call.is_unclear = 1;
    }
    if way == call.way && call.from == NOWHERE {
        call.from = from;
    }
    1
}

/// Return of one of these functions.
#[inline(always)]
pub fn leave() {
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(call) = (unsafe { call_of_thread(0).as_mut() }) else { return };
    if call.stack == 0 {
        return;
    }
    let stack = register(globals::regs_stack());
    if stack != call.stack + globals::return_bytes() as u64 {
        // The one that is known is over where the stack is above it.
        if stack > call.stack {
            call.stack = 0;
        }
        return count_unknown();
    }
    call.stack = 0;
    let result = register(globals::regs_result()) as i32;
    let mut moved = result.max(0) as u64;
    if call.moved_at != 0 {
        let is_read = result == 1 && read_user((&raw mut moved).cast(), 8, call.moved_at);
        moved = if is_read { moved } else { 0 };
    }
    if call.way == HANDSHAKE {
        moved = 0;
    }
    if buffers::capturing() {
        let began_ns = cost::begin();
        moved_by(call, moved);
        cost::end(TELL, began_ns);
    }
}

/// A session begins: all that it moves will be seen. `SSL_new` returns it.
#[inline(always)]
pub fn begin() {
    let session = register(globals::regs_result());
    if session != 0 {
        let name = name(session);
        let _ = TLS_SESSIONS.remove(name);
        insert(&name);
    }
}

/// A session ends: its name may be given to another one. Argument: the session.
#[inline(always)]
pub fn end() {
    let _ = TLS_SESSIONS.remove(name(register(globals::regs_function_arg1())));
}

#[inline(always)]
fn name(session: u64) -> Name {
    // SAFETY: a helper without preconditions.
    Name { session, process: unsafe { bpf_get_current_pid_tgid() } >> 32 }
}

#[inline(always)]
fn insert(name: &Name) {
    if TLS_SESSIONS.insert(name, &NEW, 0).is_err() {
        buffers::add(count::TLS_SESSIONS_FULL, 1);
    }
}

/// The session of a call, made now if its beginning was not seen.
#[inline(always)]
fn session_of(call: &Call) -> *mut Session {
    let name = name(call.session);
    if let Some(session) = TLS_SESSIONS.get_ptr_mut(name) {
        return session;
    }
    if call.connection_id == 0 {
        return ptr::null_mut();
    }
    insert(&name);
    let Some(session) = TLS_SESSIONS.get_ptr_mut(name) else { return ptr::null_mut() };
    // Beyond all that it, or one of its name before it, was counted to: nobody moves a byte each nanosecond for long.
    // SAFETY: the session's calls are its program's to make one after the other; and a helper without preconditions.
    unsafe {
        let now = bpf_ktime_get_ns() | ANYWHERE;
        (*session).position = [now, now];
    }
    session
}

/// The call has moved so many bytes, or none. A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn moved_by(call: *mut Call, moved: u64) -> u32 {
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(call) = (unsafe { call.as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value. A session's calls are its program's to make one after the other.
    let Some(session) = (unsafe { session_of(call).as_mut() }) else {
        if moved > 0 {
            count_unknown();
        }
        return 0;
    };
    let index = (call.way & 1) as usize;
    if call.connection_id != 0 {
        if session.connection_id == 0 && call.is_unclear == 0 {
            (session.connection_id, session.role) = (call.connection_id, call.role);
            (session.cgroup_id, session.cgroup_hierarchy) = (call.cgroup_id, call.cgroup_hierarchy);
        } else if session.connection_id != call.connection_id || session.role != call.role {
            session.connection_id = UNCLEAR;
        }
    }
    if call.is_unclear != 0 {
        session.connection_id = UNCLEAR;
    }
    if session.from[index] == NOWHERE {
        session.from[index] = call.from;
    }
    if moved == 0 {
        return 0;
    }
    (call.start, call.moved_bytes) = (session.position[index], moved);
    session.position[index] += moved;
    call.from = core::mem::replace(&mut session.from[index], NOWHERE);
    if session.connection_id == 0 || session.connection_id == UNCLEAR {
        count_unknown();
        return 0;
    }
    tell(session, call)
}

/// Tells of what a session's call has moved. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(session: *mut Session, call: *const Call) -> u32 {
    // SAFETY: null, or what the caller has; the session's calls are its program's to make one after the other.
    let (Some(session), Some(call)) = (unsafe { (session.as_mut(), call.as_ref()) }) else { return 0 };
    let told = table::of(session.connection_id, session.role);
    if told != interest::UNDECIDED {
        session.interest = told;
    }
    if session.interest == interest::COUNTERS {
        return 0;
    }
    let turn = call.way + 1;
    if session.turn != turn {
        (session.turn, session.budget_bytes) = (turn, TURN_BYTES_MAX);
    }
    // SAFETY: null, or a room that nobody else uses until it is given back.
    let Some(room) = (unsafe { buffers::take_room().as_mut() }) else {
        buffers::add(count::RING_FULL_DATA, 1);
        return 0;
    };
    describe(room, session, call);
    let captured = copy_and_publish(room, (session.interest == interest::RECORDS_OF_FRAMES) as u32);
    session.budget_bytes = session.budget_bytes.saturating_sub(captured);
    session.frames[(call.way & 1) as usize] = room.walk.track;
    buffers::give_back(room);
    1
}

/// Fills in the event of a call, without its bytes, of which it says how many are wanted.
#[inline(always)]
fn describe(room: &mut Room, session: &Session, call: &Call) {
    // SAFETY: a helper without preconditions.
    room.event.at_ns = unsafe { bpf_ktime_get_ns() };
    room.event.kind = kind::PLAINTEXT;
    room.event.connection_id = session.connection_id;
    room.event.position = call.start;
    room.event.other_position = call.from;
    room.event.length = call.moved_bytes as u32;
    room.event.direction = call.way as u8;
    room.event.marks = if call.moved_bytes == call.asked_bytes { mark::FULL } else { 0 };
    room.event.role = session.role as u16;
    room.is_urgent = 0;
    (room.cgroup_id, room.cgroup_hierarchy) = (session.cgroup_id, session.cgroup_hierarchy as u64);
    room.walk.bytes = Bytes { kind: bytes_kind::BUFFER, at: call.buffer, segments: 0, skip: 0 };
    room.walk.track = session.frames[(call.way & 1) as usize];
    room.walk.end = call.start + call.moved_bytes;
    room.walk.asks = ((session.role == role::CLIENT) == (call.way == direction::SEND)) as u32;
    let has_frames = session.interest == interest::RECORDS_OF_FRAMES;
    let most = if has_frames { session.budget_bytes.max(WINDOW_BYTES) } else { session.budget_bytes };
    room.event.captured_bytes = (call.moved_bytes.min(CAPTURE_BYTES_MAX as u64) as u32).min(most);
}

/// Copies the bytes that are wanted into the room and publishes its event. Returns how many were copied. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_and_publish(room: *mut Room, has_frames: u32) -> u32 {
    // SAFETY: null, or a room that its program has taken.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    let wanted = room.event.captured_bytes;
    let captured = if wanted == 0 { 0 } else { copy_buffer(room, room.walk.bytes.at, wanted) };
    room.event.captured_bytes = captured;
    if has_frames != 0 {
        frames::follow_frames_of_buffer(room);
    }
    capture::publish(room);
    captured
}

#[inline(always)]
fn count_unknown() {
    if owner::is_captured_task() {
        buffers::add(count::TLS_UNKNOWN, 1);
    }
}
