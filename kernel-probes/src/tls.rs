//! What programs give to a library of TLS to encrypt, and get from it decrypted (OpenSSL's `SSL_write`, `SSL_read` and their `_ex`, GnuTLS's
//! `gnutls_record_send` and `gnutls_record_recv`; those of Go are in `go.rs`, and those of rustls in `rustls.rs`),
//! and on which socket that goes, as `SSL_do_handshake` shows it, too.
//!
//! In: entries and returns of these functions, by uprobes; the calls on sockets that a thread makes in between. Out: a [`DataEvent`] of the kind
//! [`kind::PLAINTEXT`] for each call that moved bytes. Nothing is written into a program.
//!
//! A session's socket is the one that its calls use: between entry and return, the thread reads and writes one socket. That is remembered for calls
//! that find their bytes in the session's own buffer. A session that has used two sockets has none any more, until it is freed; of one that
//! has used none, since its program moves the bytes itself, the handshake's own bytes say it (`hello.rs`), or nothing does. Such calls are counted, never guessed.
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
    bindings::BPF_LOCAL_STORAGE_GET_F_CREATE,
    btf_maps::HashMap,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_task_pt_regs},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{
    ANYWHERE, CAPTURE_BYTES_MAX, NOWHERE, TLS_SESSION_WORDS, TURN_BYTES_MAX,
    cost::TELL,
    count, direction,
    frames::{Track, UNKNOWN, WINDOW_BYTES},
    interest, kind, mark, role,
    sniff::Head,
};

use crate::{
    buffers::{self, Room},
    capture, cost, frames, globals, go, hello, interest as table,
    memory::read_user,
    owner,
    source::{Bytes, bytes_kind, copy_buffer},
    threads::{TaskStorage, task},
};

/// The call that a thread is in.
#[repr(C)]
pub struct Call {
    /// Where the stack stood at its entry; 0 if it is in none. Of a goroutine, how far from the stack's end.
    pub stack: u64,
    pub session: u64,
    pub buffer: u64,
    pub asked_bytes: u64,
    /// Where the number of moved bytes is written; 0 if it is the result. Of a goroutine, where its stack ended.
    pub moved_at: u64,
    /// Of the socket that was used; 0 for none.
    pub connection_id: u64,
    pub cgroup_id: u64,
    /// Place on the wire of the first byte that was moved in the call's own direction.
    pub from: u64,
    /// Once they are told of: where its bytes begin among those that are encrypted, and how many they are.
    pub start: u64,
    pub moved_bytes: u64,
    /// Behind the last byte of all that is encrypted or decrypted at once, of which this is a part; 0 if it is all.
    pub end: u64,
    pub cgroup_hierarchy: u32,
    pub role: u32,
    pub way: u32,
    /// Not 0 if its session counts it among those that are under way.
    pub is_counted: u32,
    /// Not 0 if more than one socket was used, or another call was made within.
    pub is_unclear: u32,
    /// See [`ahead`].
    pub ahead: u32,
    /// Not 0 if a socket was used in the call's own direction.
    is_used_in_its_way: u32,
    reserved: u32,
}

/// What user space knows of a call that has not returned.
pub mod ahead {
    pub const NOTHING: u32 = 0;
    /// It wants to know nothing but numbers.
    pub const QUIET: u32 = 1;
    /// What the call was given.
    pub const TOLD: u32 = 2;
    /// That this begins to leave.
    pub const SENT: u32 = 3;
}

impl Call {
    pub const NONE: Self = Self {
        stack: 0,
        session: 0,
        buffer: 0,
        asked_bytes: 0,
        moved_at: 0,
        connection_id: 0,
        cgroup_id: 0,
        from: NOWHERE,
        start: 0,
        moved_bytes: 0,
        end: 0,
        cgroup_hierarchy: 0,
        role: 0,
        way: 0,
        is_counted: 0,
        is_unclear: 0,
        ahead: ahead::NOTHING,
        is_used_in_its_way: 0,
        reserved: 0,
    };
}

/// Those that a thread is in. Within one, a library may call its program, which then makes another one.
#[repr(C)]
struct Calls {
    outer: Call,
    inner: Call,
}

#[btf_map]
static TLS_CALLS: TaskStorage<Calls> = TaskStorage::new();

/// A session (SSL*, or a *Conn of Go) of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Name {
    pub session: u64,
    pub process: u64,
}

/// What is remembered of it.
#[repr(C)]
pub struct Session {
    /// 0 as long as no socket is known, [`UNCLEAR`] once there were two.
    pub connection_id: u64,
    pub cgroup_id: u64,
    /// Bytes that were moved in each direction, from its beginning on, or from some number on where that was not seen.
    pub position: [u64; 2],
    /// Where on the wire the calls since the last one that moved bytes began.
    pub from: [u64; 2],
    pub frames: [Track; 2],
    pub cgroup_hierarchy: u32,
    pub role: u32,
    interest: u32,
    /// As that of a socket. Both directions may be at work at the same time, so that what is left is kept for each.
    turn: u32,
    budget_bytes: [u32; 2],
    /// Not 0 if it begins with the preface of HTTP/2.
    pub has_preface: u32,
    /// Of Go, whose goroutines share a session (`go.rs`): calls that are under way in each direction,
    pub inside: [u32; 2],
    /// not 0 if there were two of them at a time, until there is none,
    pub is_shared: [u32; 2],
    /// not 0 if its program has closed it,
    pub is_closed: u32,
    /// and one more than the direction in which a call may have been under way before the session was known; 0 for none.
    pub unsettled: u32,
    /// Not 0 if what the newest call was given to encrypt was told of before it left.
    pub is_ahead: u32,
    /// Calls that were told of while user space had said nothing of the connection.
    undecided_calls: u32,
    /// Which end of the connection it is, as its program has said; a role.
    pub own_role: u32,
    /// Calls in which its socket is still looked for by its hello.
    looks_left: u32,
    /// Not 0 if its program moves the bytes between it and its socket,
    pub is_carried: u32,
    /// and if nothing but its hello shows which one that is.
    needs_hello: u32,
    reserved: u32,
}

impl Session {
    /// What begins as HTTP/2 is that, whether or not user space knows it yet.
    #[inline(always)]
    fn has_frames(&self) -> bool {
        self.interest == interest::RECORDS_OF_FRAMES || self.interest == interest::RECORDS && self.has_preface != 0
    }
}

const _: () = assert!(size_of::<Session>() == 8 * TLS_SESSION_WORDS);

pub const UNCLEAR: u64 = u64::MAX;

/// The way of a call that moves only what the library itself says.
pub const HANDSHAKE: u32 = 2;
/// Of one that makes a session.
const MAKE: u32 = 3;

/// The loader sets the number of entries: 1 where libraries of TLS are not watched. User space removes those of processes that are gone.
#[btf_map]
pub static TLS_SESSIONS: HashMap<Name, Session, 16384> = HashMap::new();

pub const TRACK: Track = Track { next: UNKNOWN, cut: 0, cut_bytes: 0 };

/// Not on the stack.
pub static NEW: Session = Session {
    connection_id: 0,
    cgroup_id: 0,
    position: [0; 2],
    from: [NOWHERE; 2],
    frames: [TRACK; 2],
    cgroup_hierarchy: 0,
    role: role::UNKNOWN,
    interest: interest::RECORDS,
    turn: 0,
    budget_bytes: [0; 2],
    has_preface: 0,
    inside: [0; 2],
    is_shared: [0; 2],
    is_closed: 0,
    unsettled: 0,
    is_ahead: 0,
    undecided_calls: 0,
    own_role: role::UNKNOWN,
    looks_left: hello::LOOKS_MAX,
    is_carried: 0,
    needs_hello: 0,
    reserved: 0,
};

#[inline(always)]
fn calls_of_thread(flags: u64) -> *mut Calls {
    TLS_CALLS.of_thread(flags)
}

/// A register of the program, as it stands at the uprobe.
#[inline(always)]
pub fn register(offset: u32) -> u64 {
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
    let calls = calls_of_thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE));
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(calls) = (unsafe { calls.as_mut() }) else { return buffers::add(count::STORAGE_FULL, 1) };
    let stack = register(globals::regs_stack());
    let session = register(globals::regs_function_arg1());
    let is_within = calls.outer.stack != 0 && stack < calls.outer.stack;
    if is_within {
        if (session, way) == (calls.outer.session, calls.outer.way) {
            return;
        }
        // Another session is carried by this one, or its library has called the program.
        calls.outer.is_unclear |= (session != calls.outer.session) as u32;
        if calls.inner.stack != 0 && stack < calls.inner.stack {
            give_up(session);
            return;
        }
    } else {
        calls.inner.stack = 0;
    }
    let call = if is_within { &mut calls.inner } else { &mut calls.outer };
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
        end: 0,
        cgroup_hierarchy: 0,
        role: 0,
        way,
        is_counted: 0,
        is_unclear: 0,
        ahead: ahead::NOTHING,
        is_used_in_its_way: 0,
        reserved: 0,
    };
}

/// What a session moves is no longer known to follow what was told of it. A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn give_up(session: u64) -> u32 {
    // SAFETY: null, or the map's value.
    let session = unsafe { TLS_SESSIONS.get_ptr_mut(name(session)).unwrap_or(ptr::null_mut()).as_mut() };
    if let Some(session) = session {
        session.connection_id = UNCLEAR;
    }
    count_unknown();
    1
}

/// The newest call that the thread is in; null if it is in none.
#[inline(always)]
fn call_of_thread() -> *mut Call {
    // SAFETY: null, or the thread's own, which outlives this run.
    let Some(calls) = (unsafe { calls_of_thread(0).as_mut() }) else { return ptr::null_mut() };
    if calls.outer.stack == 0 {
        return ptr::null_mut();
    }
    // One that never returned is above.
    let is_within = calls.inner.stack != 0 && register(globals::regs_stack()) < calls.inner.stack;
    if is_within { &raw mut calls.inner } else { &raw mut calls.outer }
}

/// A call on a captured socket has moved bytes, from this position on or from [`NOWHERE`]. `side` is the socket's role, and its cgroup's hierarchy above. Says whether the thread is in a call of a library of TLS, or its goroutine in one of Go's:
/// [`IN_CALL`], or [`IN_CALL_AHEAD`] if [`tell_sent`] is to be called when the bytes on the wire have been told of.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_socket(connection_id: u64, cgroup_id: u64, from: u64, side: u64, way: u32) -> u32 {
    let mut call = call_of_thread();
    if call.is_null() {
        call = go::call_of_goroutine();
    }
    // SAFETY: null, or the thread's or its goroutine's own, which outlives this run.
    let Some(call) = (unsafe { call.as_mut() }) else { return 0 };
    let role = side as u32;
    if call.connection_id == 0 {
        (call.connection_id, call.cgroup_id, call.role) = (connection_id, cgroup_id, role);
        call.cgroup_hierarchy = (side >> 32) as u32;
    } else if call.connection_id != connection_id || call.role != role {
        call.is_unclear = 1;
    }
    if way == call.way {
        call.is_used_in_its_way = 1;
        if call.from == NOWHERE {
            call.from = from;
        }
    }
    if way == call.way && call.ahead == ahead::TOLD { IN_CALL_AHEAD } else { IN_CALL }
}

pub const IN_CALL: u32 = 1;
pub const IN_CALL_AHEAD: u32 = 2;

/// The bytes that the goroutine's call was given have begun to leave.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_sent() -> u32 {
    // SAFETY: null, or the goroutine's own, which outlives this run.
    let Some(call) = (unsafe { go::call_of_goroutine().as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { TLS_SESSIONS.get_ptr_mut(name(call.session)).unwrap_or(ptr::null_mut()).as_mut() })
    else {
        return 0;
    };
    let is_its = call.is_unclear == 0 && (session.connection_id, session.role) == (call.connection_id, call.role);
    // Where it is not, the call's return says so, or the one who shares the session has said it.
    if is_its && session.is_shared[direction::SEND as usize] == 0 {
        call.ahead = ahead::SENT;
        tell_of_ahead(session, call, 0);
    }
    1
}

/// Says what becomes of a call that was told of ahead. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_of_ahead(session: *const Session, call: *const Call, marks: u32) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(session), Some(call)) = (unsafe { (session.as_ref(), call.as_ref()) }) else { return 0 };
    // SAFETY: null, or a room that nobody else uses until it is given back.
    let Some(room) = (unsafe { buffers::take_room().as_mut() }) else {
        buffers::add(count::RING_FULL_DATA, 1);
        return 0;
    };
    describe(room, session, call);
    (room.event.kind, room.event.captured_bytes, room.event.marks) = (kind::SENT, 0, marks as u8);
    capture::publish(room);
    buffers::give_back(room);
    1
}

/// A call is about to encrypt what it was given, of a session whose socket is known: tells of that, before a byte of it leaves, so that nothing that
/// is the answer to it is told of before.
#[inline(always)]
pub fn give(session: &mut Session, call: &mut Call) {
    let index = (call.way & 1) as usize;
    (call.start, call.moved_bytes) = (session.position[index], call.asked_bytes);
    (call.connection_id, call.role, call.from) = (0, 0, NOWHERE);
    session.position[index] += call.asked_bytes;
    session.from[index] = NOWHERE;
    session.is_ahead = 1;
    call.ahead = ahead::TOLD;
    if tell(session, call) == 0 {
        call.ahead = ahead::QUIET;
    }
}

/// The call that the thread returns from; none if that is not known.
#[inline(always)]
fn returned<'t>() -> Option<&'t mut Call> {
    // SAFETY: null, or the thread's own, which outlives this run.
    let calls = unsafe { calls_of_thread(0).as_mut() }.filter(|calls| calls.outer.stack != 0)?;
    let (stack, return_bytes) = (register(globals::regs_stack()), globals::return_bytes() as u64);
    if calls.inner.stack != 0 && stack > calls.inner.stack {
        let is_its = stack == calls.inner.stack + return_bytes;
        calls.inner.stack = 0;
        if is_its {
            return Some(&mut calls.inner);
        }
    }
    if stack != calls.outer.stack + return_bytes {
        // The one that is known is over where the stack is above it.
        if stack > calls.outer.stack {
            calls.outer.stack = 0;
        }
        count_unknown();
        return None;
    }
    calls.outer.stack = 0;
    Some(&mut calls.outer)
}

/// Return of one of these functions.
#[inline(always)]
pub fn leave() {
    let Some(call) = returned() else { return };
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

/// Entry of a function that makes a session and writes it to where its first argument says.
#[inline(always)]
pub fn make() {
    if !buffers::capturing() {
        return;
    }
    // SAFETY: null, or the thread's own, which outlives this run.
    let calls = unsafe { calls_of_thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE)).as_mut() };
    let Some(Calls { outer: call, .. }) = calls else { return buffers::add(count::STORAGE_FULL, 1) };
    let stack = register(globals::regs_stack());
    // Within the call of another session, this one is taken for one whose beginning was not seen.
    if call.stack == 0 || stack >= call.stack {
        (call.stack, call.session, call.way) = (stack, 0, MAKE);
        call.moved_at = register(globals::regs_function_arg1());
    }
}

/// Its return.
#[inline(always)]
pub fn made() {
    let Some(call) = returned() else { return };
    let mut session = 0u64;
    if call.way == MAKE
        && register(globals::regs_result()) as i32 == 0
        && read_user((&raw mut session).cast(), 8, call.moved_at)
    {
        begin_one(session, false);
    }
}

/// A session begins: all that it moves will be seen. `SSL_new` returns it.
#[inline(always)]
pub fn begin(needs_hello: bool) {
    begin_one(register(globals::regs_result()), needs_hello);
}

#[inline(always)]
fn begin_one(session: u64, needs_hello: bool) {
    if session == 0 {
        return;
    }
    let name = name(session);
    let _ = TLS_SESSIONS.remove(name);
    insert(&name);
    if needs_hello && let Some(session) = TLS_SESSIONS.get_ptr_mut(name) {
        // SAFETY: the map's value.
        unsafe { (*session).needs_hello = 1 };
    }
}

/// A program says which end of its connection a session is. Argument: the session.
#[inline(always)]
pub fn take_part(role: u32) {
    if let Some(session) = TLS_SESSIONS.get_ptr_mut(name(register(globals::regs_function_arg1()))) {
        // SAFETY: the map's value.
        unsafe { (*session).own_role = role };
    }
}

/// A session may begin anew, with another connection: what comes then is not seen from its beginning on. Argument: the session.
#[inline(always)]
pub fn clear() {
    let name = name(register(globals::regs_function_arg1()));
    // SAFETY: null, or the map's value.
    let known = unsafe { TLS_SESSIONS.get_ptr_mut(name).unwrap_or(ptr::null_mut()).as_ref() };
    // A handshake begins with it, too.
    if known.is_some_and(|known| known.connection_id != 0 || known.position != [0; 2]) {
        let _ = TLS_SESSIONS.remove(name);
    }
}

/// A program says that it sends no more. Argument: the session.
#[inline(always)]
pub fn shut_down() {
    shut(register(globals::regs_function_arg1()));
}

/// What a server has said is complete then, whatever becomes of the socket. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shut(session: u64) -> u32 {
    shut_session(TLS_SESSIONS.get_ptr_mut(name(session)).unwrap_or(ptr::null_mut()))
}

/// The same of a session. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shut_session(session: *const Session) -> u32 {
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session.as_ref() }) else { return 0 };
    let is_known = session.connection_id != 0 && session.connection_id != UNCLEAR;
    if is_known && session.role == role::SERVER && buffers::capturing() {
        // SAFETY: null, or a room that nobody else uses until it is given back.
        let Some(room) = (unsafe { buffers::take_room().as_mut() }) else {
            buffers::add(count::RING_FULL_DATA, 1);
            return 0;
        };
        describe(room, session, &NO_CALL);
        room.event.position = session.position[direction::SEND as usize];
        (room.event.kind, room.event.captured_bytes, room.event.marks) = (kind::SENT, 0, mark::END);
        capture::publish(room);
        buffers::give_back(room);
    }
    1
}

/// Not on the stack.
static NO_CALL: Call = Call::NONE;

/// A session ends: its name may be given to another one. Argument: the session.
#[inline(always)]
pub fn end() {
    let _ = TLS_SESSIONS.remove(name(register(globals::regs_function_arg1())));
}

#[inline(always)]
pub fn name(session: u64) -> Name {
    // SAFETY: a helper without preconditions.
    Name { session, process: unsafe { bpf_get_current_pid_tgid() } >> 32 }
}

#[inline(always)]
pub fn insert(name: &Name) {
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
    // What a library's program does within a call is not what the call itself does.
    if call.connection_id == 0 || call.is_used_in_its_way == 0 {
        return ptr::null_mut();
    }
    insert(&name);
    let Some(session) = TLS_SESSIONS.get_ptr_mut(name) else { return ptr::null_mut() };
    // Beyond all that it, or one of its name before it, was counted to: nobody moves a byte each nanosecond for long.
    // SAFETY: the session's calls are its program's to make one after the other; and a helper without preconditions.
    unsafe {
        let now = bpf_ktime_get_ns() | ANYWHERE;
        ((*session).position, (*session).looks_left) = ([now, now], 0);
        // What answers was perhaps under way before; what asks without an answer does no harm.
        if (call.role == role::CLIENT) == (call.way == direction::SEND) {
            (*session).unsettled = 1 + (call.way ^ 1);
        }
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
    if session.connection_id == 0 && session.own_role != role::UNKNOWN && session.looks_left > 0 {
        session.looks_left -= 1;
        hello::find_socket(session, call.session, call.connection_id);
    }
    if session.is_carried != 0 || session.needs_hello != 0 {
        (call.connection_id, call.is_unclear, call.from) = (0, 0, NOWHERE);
    }
    if call.connection_id != 0 {
        if session.connection_id == 0 && call.is_unclear == 0 {
            session.role = call.role;
            (session.cgroup_id, session.cgroup_hierarchy) = (call.cgroup_id, call.cgroup_hierarchy);
            // Last, since another goroutine's call may look at the same time.
            // SAFETY: a number of the map's value.
            unsafe { ptr::write_volatile(&raw mut session.connection_id, call.connection_id) };
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
        session.undecided_calls = URGENT_CALLS_MAX;
    }
    if session.interest == interest::COUNTERS {
        return 0;
    }
    let (turn, index) = (call.way + 1, (call.way & 1) as usize);
    if session.turn != turn {
        session.turn = turn;
        session.budget_bytes[index] = TURN_BYTES_MAX;
    }
    // SAFETY: null, or a room that nobody else uses until it is given back.
    let Some(room) = (unsafe { buffers::take_room().as_mut() }) else {
        buffers::add(count::RING_FULL_DATA, 1);
        return 0;
    };
    describe(room, session, call);
    if session.undecided_calls < URGENT_CALLS_MAX {
        session.undecided_calls += 1;
        room.is_urgent = 1;
    }
    let captured = copy_and_publish(room, session.has_frames() as u32);
    if captured & BEGINS_HTTP2 != 0 {
        session.has_preface = 1;
    }
    session.budget_bytes[index] = session.budget_bytes[index].saturating_sub(captured & !BEGINS_HTTP2);
    session.frames[index] = room.walk.track;
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
    let end = call.start + call.moved_bytes;
    let end_of_all = if call.end != 0 { call.end } else { end };
    room.event.other_position = if session.is_carried != 0 { end_of_all } else { call.from };
    room.event.length = call.moved_bytes as u32;
    room.event.direction = call.way as u8;
    room.event.marks = if call.moved_bytes == call.asked_bytes { mark::FULL } else { 0 };
    if call.ahead != ahead::NOTHING {
        room.event.marks = mark::AHEAD;
    }
    if session.is_carried != 0 {
        room.event.marks |= mark::CARRIED;
    }
    room.event.role = session.role as u16;
    room.is_urgent = 0;
    (room.cgroup_id, room.cgroup_hierarchy) = (session.cgroup_id, session.cgroup_hierarchy as u64);
    room.walk.bytes = Bytes { kind: bytes_kind::BUFFER, at: call.buffer, segments: 0, skip: 0 };
    room.walk.track = session.frames[(call.way & 1) as usize];
    room.walk.end = end;
    room.walk.asks = ((session.role == role::CLIENT) == (call.way == direction::SEND)) as u32;
    let budget_bytes = session.budget_bytes[(call.way & 1) as usize];
    let most = match session.interest {
        interest::RECORDS_OF_CALLS => CAPTURE_BYTES_MAX as u32,
        _ if session.has_frames() => budget_bytes.max(WINDOW_BYTES),
        _ => budget_bytes,
    };
    room.event.captured_bytes = (call.moved_bytes.min(CAPTURE_BYTES_MAX as u64) as u32).min(most);
}

/// The first calls of a session wake user space up, until it says what is wanted of the connection.
const URGENT_CALLS_MAX: u32 = 8;

/// Beside the number of copied bytes: the session begins with the preface of HTTP/2. User space would come too late for the frames that follow at once.
pub const BEGINS_HTTP2: u32 = 1 << 31;

/// Copies the bytes that are wanted into the room and publishes its event. Returns how many were copied, and [`BEGINS_HTTP2`]. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn copy_and_publish(room: *mut Room, has_frames: u32) -> u32 {
    // SAFETY: null, or a room that its program has taken.
    let Some(room) = (unsafe { room.as_mut() }) else { return 0 };
    let wanted = room.event.captured_bytes;
    let captured = if wanted == 0 { 0 } else { copy_buffer(room, room.walk.bytes.at, wanted) };
    room.event.captured_bytes = captured;
    let mut head = Head::default();
    if room.event.position == 0 && room.walk.asks != 0 {
        // SAFETY: the room's bytes are longer than eight; they need not be aligned.
        head.push(unsafe { room.bytes.as_ptr().cast::<u64>().read_unaligned() }, captured);
    }
    let begins_http2 = head.http2_preface();
    if has_frames != 0 || begins_http2 {
        frames::follow_frames_of_buffer(room);
    }
    capture::publish(room);
    captured | if begins_http2 { BEGINS_HTTP2 } else { 0 }
}

#[inline(always)]
pub fn count_unknown() {
    if owner::is_captured_task() {
        buffers::add(count::TLS_UNKNOWN, 1);
    }
}
