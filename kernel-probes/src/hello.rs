//! Sessions of TLS whose programs move the bytes between the library and a socket themselves (with memory BIOs of OpenSSL, as asyncio and Node do): on which
//! socket these go.
//!
//! In: the first bytes of a client's handshake, as its end sends or the server's receives them on a socket, and a session's own memory. Both hold the random bytes
//! that the client has chosen (RFC 8446, 4.1.2): where 16 of them, the process and the side are the same, the session's socket is this one. Where in its
//! memory a library keeps them the loader finds in its code; what lies there is compared, and goes nowhere.
//!
//! A hello that one process has moved on two sockets of one side, as a relay does, names none of them. Bounds: those of the maps, which give up what was not used
//! for the longest time, and [`LOOKS_MAX`] looks a session.

use aya_ebpf::{
    btf_maps::{Array, LruHashMap},
    helpers::generated::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use headwater_probe_types::{
    SocketState, TLS_LAYOUTS_MAX, count, flag,
    frames::Track,
    interest,
    records::{EARLY_BYTES, HEADER_BYTES},
};

use crate::{
    buffers::{self, Room},
    memory::read_user,
    tls::{self, Session, UNCLEAR},
};

/// What a hello is known by.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hello {
    random: [u64; 2],
    process: u32,
    /// Of the socket.
    role: u32,
}

/// The socket that it went over.
#[repr(C)]
#[derive(Clone, Copy)]
struct Socket {
    connection_id: u64,
    cgroup_id: u64,
    cgroup_hierarchy: u64,
}

/// The loader sets the number of entries of these two: 1 where libraries of TLS are not watched.
#[btf_map]
static TLS_HELLOS: LruHashMap<Hello, Socket, 8192> = LruHashMap::new();

/// Sockets, by connection and role, on which a session goes whose program moves the bytes.
#[btf_map]
static TLS_CARRIED: LruHashMap<[u64; 2], u32, 16384> = LruHashMap::new();

/// Where libraries keep a client's random bytes: how far behind the beginning of a session. 0 for none, behind all others.
#[btf_map]
static TLS_LAYOUTS: Array<u64, TLS_LAYOUTS_MAX> = Array::new();

/// Calls of a session in which its socket is looked for.
pub const LOOKS_MAX: u32 = 32;

/// A record's header, a message's, and the version that it says.
const RANDOM_AT: usize = HEADER_BYTES as usize + 4 + 2;

/// Bytes that are needed of a hello.
const NEEDED_BYTES: u32 = RANDOM_AT as u32 + 16;

#[inline(always)]
fn process() -> u32 {
    // SAFETY: a helper without preconditions.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Looks at what a client has sent, as it lies in the room with the position of its first byte. Notes the socket if it begins a handshake. A function of its own, which the
/// verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note(room: *const Room, state: *mut SocketState, captured: u32, start: u64, way: u32) -> u32 {
    // SAFETY: null, or what the caller has. What another processor writes meanwhile may be lost.
    let (Some(room), Some(state)) = (unsafe { (room.as_ref(), state.as_mut()) }) else { return 0 };
    let bytes = &room.bytes;
    // A record of a handshake; a library that reads for itself takes its header alone.
    if captured < HEADER_BYTES as u32 || bytes[0] != 22 || bytes[1] != 3 {
        return 0;
    }
    let is_undecided = state.interest == interest::UNDECIDED;
    if state.flags & flag::HELLO == 0 && is_undecided {
        state.frames[(way & 1) as usize] = Track { next: start, cut: 0, cut_bytes: 0 };
    }
    if state.flags & flag::HELLO == 0 && !is_undecided {
        // What was spoken before was known already, so that nobody has looked whose call this is.
        note_call(state, start, way);
    }
    state.flags |= flag::HELLO;
    if captured < NEEDED_BYTES || bytes[5] != 1 {
        return 0;
    }
    // SAFETY: the room's bytes are longer; they need not be aligned.
    let random = unsafe { bytes.as_ptr().add(RANDOM_AT).cast::<[u64; 2]>().read_unaligned() };
    let hello = Hello { random, process: process(), role: state.role };
    let mut socket = Socket {
        connection_id: state.connection_id,
        cgroup_id: state.cgroup_id,
        cgroup_hierarchy: state.cgroup_hierarchy as u64,
    };
    // SAFETY: a value of the map, of which one number is read.
    let known = TLS_HELLOS.get_ptr(hello).map(|known| unsafe { (*known).connection_id });
    if known.is_some_and(|known| known != socket.connection_id) {
        socket.connection_id = UNCLEAR;
    }
    TLS_HELLOS.insert(hello, socket, 0).is_ok() as u32
}

/// A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_call(state: *mut SocketState, start: u64, way: u32) -> u32 {
    // SAFETY: null, or what the caller has.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let side = (state.cgroup_hierarchy as u64) << 32 | state.role as u64;
    if tls::note_socket(state.connection_id, state.cgroup_id, start, side, way) != 0 {
        state.flags |= flag::TLS;
    }
    1
}

/// Looks for the socket of the session that has this address, whose call has used the socket of a connection, or none. Says whether it is known now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_socket(session: *mut Session, address: u64, used: u64) -> u32 {
    for layout in 0..TLS_LAYOUTS_MAX as u32 {
        let Some(offset) = TLS_LAYOUTS.get(layout).filter(|offset| **offset != 0) else { return 0 };
        if find_socket_by(session, address.wrapping_add(*offset)) != 0 {
            // SAFETY: null, or the caller's.
            if let Some(session) = unsafe { session.as_mut() }
                && session.connection_id != used
            {
                session.is_carried = 1;
                note_carried(session.connection_id, session.role);
            }
            return 1;
        }
    }
    0
}

/// The same by the random bytes that are at this address. A function of its own, as those above, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_socket_by(session: *mut Session, random_at: u64) -> u32 {
    // SAFETY: null, or the caller's.
    let Some(session) = (unsafe { session.as_mut() }) else { return 0 };
    let mut hello = Hello { random: [0; 2], process: process(), role: session.own_role };
    if !read_user(hello.random.as_mut_ptr().cast(), 16, random_at) || hello.random == [0; 2] {
        return 0;
    }
    // SAFETY: null, or the map's value.
    let Some(socket) = (unsafe { TLS_HELLOS.get_ptr(hello).unwrap_or(core::ptr::null()).as_ref() }) else { return 0 };
    if socket.connection_id == UNCLEAR {
        return 0;
    }
    (session.cgroup_id, session.cgroup_hierarchy) = (socket.cgroup_id, socket.cgroup_hierarchy as u32);
    (session.connection_id, session.role) = (socket.connection_id, session.own_role);
    1
}

/// A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_carried(connection_id: u64, role: u32) -> u32 {
    buffers::add(count::TLS_CARRIED, 1);
    TLS_CARRIED.insert([connection_id, role as u64], 1, 0).is_ok() as u32
}

/// Whether such a session goes on the socket, of which a call begins at this position.
#[inline(always)]
pub fn is_carried(state: &SocketState, start: u64) -> bool {
    state.flags & (flag::HELLO | flag::TLS) == flag::HELLO
        && start < EARLY_BYTES
        && TLS_CARRIED.get_ptr([state.connection_id, state.role as u64]).is_some()
}
