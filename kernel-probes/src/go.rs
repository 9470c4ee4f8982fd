//! What programs of Go give to crypto/tls to encrypt, and get from it decrypted, as `tls.rs` does for libraries of C.
//!
//! In: entries of `(*Conn).Write`, `Read`, `Close` and of the handshakes of client and server, and each instruction by which they return: a uretprobe changes
//! the return address on a stack that Go moves and walks over, which ends the program. Out: as there.
//!
//! Who calls is a goroutine, which may go on on another thread, while others run on the first. Its address is in r14, by Go's register ABI, and begins with the
//! bounds of its stack; who runs between these is it, so that nothing is believed of a register. A stack may be copied elsewhere: how far a frame is from
//! its end stays the same.
//!
//! Promise: a return is taken for that of an entry only if the goroutine's stack stands where it stood then. A call on a socket is of the goroutine whose stack the
//! thread's system call was made on, from below the call's own frame. Where two goroutines were in the same direction of one session at the same time, it
//! is not known in which order they went: none of the two is told, and they are counted. Bounds: those of the maps.

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{ANYWHERE, NOWHERE, cost::TELL, count, direction, mark, role};

use crate::{
    atomic, buffers, cost, globals,
    memory::read_user,
    tls::{self, Call, HANDSHAKE, Name, Session, TLS_SESSIONS, TRACK, ahead},
};

/// A goroutine of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Goroutine {
    address: u64,
    process: u64,
}

/// Where it runs.
struct Place {
    goroutine: Goroutine,
    /// How far the stack reaches from its end.
    depth: u64,
    stack_end: u64,
}

/// The loader sets the number of entries: 1 where libraries of TLS are not watched. Each connection that waits for its peer is in a call.
#[btf_map]
static GO_CALLS: HashMap<Goroutine, Call, 32768> = HashMap::new();

/// Not on the stack.
static NO_CALL: Call = Call::NONE;

/// Sessions that were closed lately, in a ring: a call that is under way may still have its hands on one.
#[btf_map]
static GO_CLOSED: Array<Name, { CLOSED as usize }> = Array::new();
const CLOSED: u64 = 1024;

/// How many were closed, and whether a program of Go was seen.
#[btf_map]
static GO_STATE: Array<u64, 2> = Array::new();
const CLOSES: u32 = 0;
const IS_SEEN: u32 = 1;

/// None if the thread does not run on the stack of a goroutine.
#[inline(always)]
fn place() -> Option<Place> {
    let (address, stack) = (tls::register(globals::regs_goroutine()), tls::register(globals::regs_stack()));
    let mut bounds = [0u64; 2];
    if !read_user(bounds.as_mut_ptr().cast(), 16, address) || stack <= bounds[0] || stack > bounds[1] {
        return None;
    }
    // SAFETY: a helper without preconditions.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    Some(Place { goroutine: Goroutine { address, process }, depth: bounds[1] - stack, stack_end: bounds[1] })
}

/// The call that the goroutine is in which has made the thread's system call; null if there is none.
#[inline(always)]
pub fn call_of_goroutine() -> *mut Call {
    if GO_STATE.get(IS_SEEN).is_none_or(|is_seen| *is_seen == 0) {
        return ptr::null_mut();
    }
    // SAFETY: a helper without preconditions.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let goroutine = Goroutine { address: tls::register(globals::regs_goroutine()), process };
    let Some(call) = GO_CALLS.get_ptr_mut(goroutine) else { return ptr::null_mut() };
    // SAFETY: a value of the map, which only its goroutine's own calls remove.
    let is_within = place().is_some_and(|place| place.depth > unsafe { (*call).stack });
    if is_within { call } else { ptr::null_mut() }
}

/// Entry of a function whose arguments are a session, and a buffer in three words.
#[inline(always)]
pub fn enter(way: u32) {
    if !buffers::capturing() {
        return;
    }
    let Some(place) = place() else { return tls::count_unknown() };
    let session = tls::register(globals::regs_result());
    let Some(call) = entered(&place, session, way) else { return };
    call.stack = place.depth;
    call.session = session;
    call.buffer = tls::register(globals::regs_go_arg2());
    call.asked_bytes = tls::register(globals::regs_go_arg3());
    call.moved_at = place.stack_end;
    call.connection_id = 0;
    call.from = NOWHERE;
    call.way = way;
    call.is_unclear = 0;
    call.is_counted = 0;
    call.ahead = ahead::NOTHING;
    if way != HANDSHAKE {
        begin_call(call);
    }
}

/// The call is under way in its session. What it was given is told of, before a byte of it leaves. A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_call(call: *mut Call) -> u32 {
    // SAFETY: null, or the caller's.
    let Some(call) = (unsafe { call.as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session_of(call.session).as_mut() }) else { return 0 };
    let index = (call.way & 1) as usize;
    call.is_counted = 1;
    let is_shared = session.inside[index] != 0;
    // SAFETY: a number of the map's value.
    unsafe { atomic::add_u32(&raw mut session.inside[index], 1) };
    if session.unsettled == 1 + call.way {
        skip(session, index);
        session.unsettled = 0;
    }
    if is_shared {
        session.is_shared[index] = 1;
        // The other one may come first or last, unless it has sent something: it has begun then.
        if call.way == direction::SEND && session.is_ahead != 0 {
            tls::tell_of_ahead(session, call, mark::FAILED as u32);
        }
    } else if call.way == direction::SEND {
        session.is_ahead = 0;
        let is_known = session.connection_id != 0 && session.connection_id != tls::UNCLEAR;
        if is_known && session.is_closed == 0 && call.asked_bytes > 0 {
            tls::give(session, call);
        }
    }
    1
}

/// Room for a call that begins; none if it is made within another one, or there is no room.
#[inline(always)]
fn entered(place: &Place, session: u64, way: u32) -> Option<&'static mut Call> {
    if let Some(call) = GO_CALLS.get_ptr_mut(place.goroutine) {
        // SAFETY: a value of the map, which only its goroutine's own calls remove.
        let call = unsafe { &mut *call };
        if place.depth > call.stack {
            // Another session is carried by this one.
            call.is_unclear |= (session != call.session) as u32;
            return None;
        }
        // Its stack has grown at the entry, behind the probe.
        let is_same = place.depth == call.stack && (session, way) == (call.session, call.way);
        if is_same && call.ahead == ahead::TOLD && call.asked_bytes == tls::register(globals::regs_go_arg3()) {
            (call.buffer, call.moved_at) = (tls::register(globals::regs_go_arg2()), place.stack_end);
            return None;
        }
        // That, or it never returned.
        if call.ahead == ahead::TOLD {
            give_up_call(call);
        }
        end(call);
        return Some(call);
    }
    if let Some(is_seen) = GO_STATE.get_ptr_mut(IS_SEEN) {
        // SAFETY: the map's value.
        unsafe { *is_seen = 1 };
    }
    if GO_CALLS.insert(place.goroutine, &NO_CALL, 0).is_err() {
        buffers::add(count::TLS_SESSIONS_FULL, 1);
        return None;
    }
    // SAFETY: as above.
    GO_CALLS.get_ptr_mut(place.goroutine).map(|call| unsafe { &mut *call })
}

/// What the call was given has not left, and will not. A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn give_up_call(call: *const Call) -> u32 {
    // SAFETY: null, or the caller's.
    let Some(call) = (unsafe { call.as_ref() }) else { return 0 };
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session_of(call.session).as_mut() }) else { return 0 };
    tls::tell_of_ahead(session, call, mark::FAILED as u32);
    skip(session, (call.way & 1) as usize);
    1
}

#[inline(always)]
fn session_of(session: u64) -> *mut Session {
    TLS_SESSIONS.get_ptr_mut(tls::name(session)).unwrap_or(ptr::null_mut())
}

/// The call is under way no more.
#[inline(always)]
fn end(call: &mut Call) {
    if call.is_counted == 0 {
        return;
    }
    call.is_counted = 0;
    let index = (call.way & 1) as usize;
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session_of(call.session).as_mut() }) else { return };
    if session.inside[index] == 1 {
        session.is_shared[index] = 0;
    }
    // SAFETY: a number of the map's value.
    unsafe { atomic::add_u32(&raw mut session.inside[index], u32::MAX) };
}

/// Return of one of these functions. One of a handshake that the call of another function has made says nothing.
#[inline(always)]
pub fn leave(moves: bool) {
    let moved = if moves { (tls::register(globals::regs_result()) as i64).max(0) as u64 } else { 0 };
    if !left(moved) && moved > 0 {
        tls::count_unknown();
    }
}

/// Says whether the call is known that returns.
#[inline(always)]
fn left(moved: u64) -> bool {
    let Some(place) = place() else { return false };
    // It may have been entered before the probes were there.
    let Some(call) = GO_CALLS.get_ptr_mut(place.goroutine) else { return false };
    // SAFETY: a value of the map, which only its goroutine's own calls remove.
    let call = unsafe { &mut *call };
    if place.depth > call.stack {
        return false;
    }
    let is_known = place.depth == call.stack;
    if is_known && buffers::capturing() {
        // What lay on the stack has moved with it.
        if call.buffer.wrapping_sub(call.moved_at - call.stack) < call.stack {
            call.buffer = call.buffer.wrapping_add(place.stack_end).wrapping_sub(call.moved_at);
        }
        let began_ns = cost::begin();
        moved_by(call, moved);
        cost::end(TELL, began_ns);
    }
    end(call);
    let _ = GO_CALLS.remove(place.goroutine);
    is_known
}

/// A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn moved_by_goroutine(call: *mut Call, moved: u64) -> u32 {
    // SAFETY: null, or the caller's.
    let Some(call) = (unsafe { call.as_mut() }) else { return 0 };
    let index = (call.way & 1) as usize;
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session_of(call.session).as_mut() }) else { return 1 };
    if call.way == HANDSHAKE {
        return 1;
    }
    // What answers, and what it may be the answer to is not told of yet.
    let overtakes = call.way == direction::RECEIVE
        && session.role == role::CLIENT
        && session.inside[direction::SEND as usize] != 0
        && session.is_ahead == 0;
    if call.is_counted == 0 || session.is_shared[index] != 0 || overtakes && moved > 0 {
        if moved > 0 {
            tls::count_unknown();
        }
        skip(session, index);
        return 0;
    }
    if call.ahead == ahead::NOTHING {
        return 1;
    }
    let was_sent = call.ahead != ahead::TOLD;
    if moved != call.asked_bytes || call.is_unclear != 0 || !was_sent {
        if moved == call.asked_bytes {
            tls::count_unknown();
        }
        tls::tell_of_ahead(session, call, mark::FAILED as u32);
        skip(session, index);
        let is_its = call.connection_id == 0 || call.connection_id == session.connection_id;
        if call.is_unclear != 0 || !is_its {
            session.connection_id = tls::UNCLEAR;
        }
    }
    0
}

/// What follows in a direction is not known to follow what was told of it: it goes on beyond all that it was counted to, as where its beginning was not seen.
#[inline(always)]
fn skip(session: &mut Session, index: usize) {
    // SAFETY: a helper without preconditions.
    session.position[index] = unsafe { bpf_ktime_get_ns() } | ANYWHERE;
    session.from[index] = NOWHERE;
    session.frames[index] = TRACK;
}

#[inline(always)]
fn moved_by(call: &mut Call, moved: u64) {
    if moved_by_goroutine(call, moved) != 0 {
        tls::moved_by(call, moved);
    }
}

/// A handshake begins, and with it a session, unless it is made within a call of a session that is known: a client may be asked for another one.
#[inline(always)]
pub fn begin() {
    if !buffers::capturing() {
        return;
    }
    let session = tls::register(globals::regs_result());
    if begin_session(session) != 0 {
        enter(HANDSHAKE);
    }
}

/// Says whether the handshake is a call of its own. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_session(session: u64) -> u32 {
    // SAFETY: null, or the goroutine's own.
    let call = unsafe { call_of_goroutine().as_mut() }.filter(|call| call.session == session);
    // SAFETY: null, or the map's value.
    let known = unsafe { session_of(session).as_mut() };
    match (call, known) {
        (Some(call), Some(known)) if call.is_counted != 0 && known.is_closed == 0 => 0,
        (call, Some(known)) => {
            // SAFETY: a session begins where nobody uses the one that had its address.
            unsafe { ptr::copy_nonoverlapping(&raw const tls::NEW, known, 1) };
            counted(call, known)
        }
        (call, None) => {
            tls::insert(&tls::name(session));
            // SAFETY: null, or the map's value.
            match unsafe { session_of(session).as_mut() } {
                Some(known) => counted(call, known),
                None => call.is_none() as u32,
            }
        }
    }
}

/// The call that makes the handshake is under way in the new session.
#[inline(always)]
fn counted(call: Option<&mut Call>, session: &mut Session) -> u32 {
    let Some(call) = call else { return 1 };
    call.is_counted = 1;
    session.inside[(call.way & 1) as usize] = 1;
    0
}

/// A session ends. It is forgotten when so many others have ended that nobody is in a call of it any more.
#[inline(always)]
pub fn close() {
    let session = tls::register(globals::regs_result());
    // SAFETY: null, or the map's value.
    let Some(known) = (unsafe { session_of(session).as_mut() }) else { return };
    if known.is_closed == 0 {
        known.is_closed = 1;
        tls::shut(session);
        forget_later(session);
    }
}

/// A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forget_later(session: u64) -> u32 {
    let Some(closes) = GO_STATE.get_ptr_mut(CLOSES) else { return 0 };
    // SAFETY: the map's value. Two that close at the same time may take one place: a session stays then until its process ends.
    let at = unsafe {
        let at = *closes;
        *closes = at + 1;
        at
    };
    let Some(closed) = GO_CLOSED.get_ptr_mut((at % CLOSED) as u32) else { return 0 };
    // SAFETY: the map's value.
    let closed = unsafe { &mut *closed };
    let forgotten = core::mem::replace(closed, tls::name(session));
    if let Some(known) = TLS_SESSIONS.get_ptr_mut(forgotten) {
        // SAFETY: the map's value.
        let is_closed = unsafe { (*known).is_closed } != 0;
        // One that has begun anew stays.
        if is_closed {
            let _ = TLS_SESSIONS.remove(forgotten);
        }
    }
    1
}
