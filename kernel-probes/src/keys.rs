//! Keys of rustls and whose sockets they are (`rustls.rs`).
//!
//! In: records that were encrypted and where they lie, and what calls on sockets send. Out: a key's connection, from where its bytes go on; what it encrypts before that is known is told of under its number,
//! and [`kind::TIED`] says the connection. Promise: a key is tied to a socket only where the call has sent the very record, whose last 16 bytes are the cipher's tag. Bounds: those of the
//! maps, which give up what was not used for the longest time, and [`UNTIED_MAX`].

use aya_ebpf::{
    btf_maps::LruHashMap,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{
    ANYWHERE, CAPTURE_BYTES_MAX, SocketState, count, direction, frames::Track, kind, mark, role,
};

use crate::{
    buffers::{self, Room},
    capture, hello, owner,
    rustls::{HEADER_BYTES, Thread},
    source::{Bytes, bytes_kind, copy_buffer},
    tls::{self, Call, Name, Session},
};

/// Records of a key without a socket that are told of.
const UNTIED_MAX: u32 = 8;

/// A socket of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Socket {
    pub connection_id: u64,
    cgroup_id: u64,
    cgroup_hierarchy: u32,
    pub role: u32,
}

/// A key of a process, by where its box is.
#[repr(C)]
pub struct Key {
    /// Its number, which no other one has.
    pub id: u64,
    /// The number of its next record.
    next: u64,
    /// Bytes of data that it has encrypted or decrypted.
    pub bytes: u64,
    pub socket: Socket,
    track: Track,
    /// Records that were told of without a socket.
    untied: u32,
    /// Not 0 if it begins with the preface of HTTP/2.
    has_preface: u32,
}

/// The loader sets the number of entries of these: 1 where libraries of TLS are not watched.
#[btf_map]
pub static RUSTLS_KEYS: LruHashMap<Name, Key, 32768> = LruHashMap::new();

/// What is known of a connection, by its id; the process has the role in its upper half.
#[btf_map]
static RUSTLS_SESSIONS: LruHashMap<Name, Session, 16384> = LruHashMap::new();

/// A record that was encrypted with a key without a socket, by where it lies.
#[repr(C)]
struct Encrypted {
    /// Where the key's box is, and its number: the box may be another key's by the time that the record is sent.
    key: u64,
    id: u64,
    bytes: u64,
    tag: [u64; 2],
}

#[btf_map]
static RUSTLS_RECORDS: LruHashMap<Name, Encrypted, 4096> = LruHashMap::new();

/// Not on the stack.
static NEW_KEY: Key = Key {
    id: 0,
    next: 0,
    bytes: 0,
    socket: Socket { connection_id: 0, cgroup_id: 0, cgroup_hierarchy: 0, role: role::UNKNOWN },
    track: tls::TRACK,
    untied: 0,
    has_preface: 0,
};
static NO_RECORD: Encrypted = Encrypted { key: 0, id: 0, bytes: 0, tag: [0; 2] };

/// A key's first record is next: what is known of one that was there before is of another.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forget(address: u64) -> u32 {
    RUSTLS_KEYS.remove(tls::name(address)).is_ok() as u32
}

/// The key. It is taken for another one, which was not seen from its beginning on, where records were missed.
#[inline(always)]
pub fn key_of(address: u64, number: u64) -> *mut Key {
    let name = tls::name(address);
    let mut key = RUSTLS_KEYS.get_ptr_mut(name).unwrap_or(ptr::null_mut());
    // SAFETY: null, or the map's value.
    if unsafe { key.as_ref() }.is_none_or(|key| key.next != number) {
        if RUSTLS_KEYS.insert(name, &NEW_KEY, 0).is_err() {
            buffers::add(count::TLS_SESSIONS_FULL, 1);
            return ptr::null_mut();
        }
        key = RUSTLS_KEYS.get_ptr_mut(name).unwrap_or(ptr::null_mut());
    }
    // SAFETY: null, or the map's value.
    if let Some(key) = unsafe { key.as_mut() } {
        // SAFETY: helpers without preconditions.
        let (now, processor) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
        if key.id == 0 {
            key.id = now << 8 | (processor & 0xff) as u64;
            // Beyond all that was counted: nobody moves a byte each nanosecond for long.
            key.bytes = if number == 0 { 0 } else { now | ANYWHERE };
        }
        key.next = number + 1;
    }
    key
}

/// The key goes on where the one before it in this direction of its connection has ended. Says where that was. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_on(key: *mut Key, way: u32) -> u64 {
    // SAFETY: null, or the map's value.
    let Some(key) = (unsafe { key.as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value.
    let Some(session) = (unsafe { session_of(&key.socket, key).as_mut() }) else { return 0 };
    let index = (way & 1) as usize;
    let from = session.position[index];
    if key.bytes < ANYWHERE {
        key.bytes += from;
    }
    if way == direction::SEND {
        session.has_preface |= key.has_preface;
        if key.untied > 0 {
            session.frames[index] = key.track;
            session.position[index] = key.bytes;
        }
    }
    from
}

/// The record may be found again where it is sent. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_encrypted(thread: *const Thread, id: u64) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_ref() }) else { return 0 };
    let name = tls::name(thread.at);
    let _ = RUSTLS_RECORDS.insert(name, &NO_RECORD, 0);
    // SAFETY: null, or the map's value.
    let record = unsafe { RUSTLS_RECORDS.get_ptr_mut(name).unwrap_or(ptr::null_mut()).as_mut() };
    let Some(record) = record else { return 0 };
    (record.key, record.id, record.bytes, record.tag) = (thread.key, id, thread.length, thread.tag);
    1
}

#[inline(always)]
fn name_of(socket: &Socket) -> Name {
    // SAFETY: a helper without preconditions.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    Name { session: socket.connection_id, process: process | (socket.role as u64) << 32 }
}

/// What is known of the connection. A new one goes on with what its key began with.
#[inline(always)]
pub fn session_of(socket: &Socket, key: &Key) -> *mut Session {
    if socket.connection_id == 0 {
        return ptr::null_mut();
    }
    let name = name_of(socket);
    if let Some(session) = RUSTLS_SESSIONS.get_ptr_mut(name) {
        return session;
    }
    if RUSTLS_SESSIONS.insert(name, &tls::NEW, 0).is_err() {
        buffers::add(count::TLS_SESSIONS_FULL, 1);
    }
    let Some(session) = RUSTLS_SESSIONS.get_ptr_mut(name) else { return ptr::null_mut() };
    // SAFETY: the map's value.
    let known = unsafe { &mut *session };
    (known.connection_id, known.cgroup_id) = (socket.connection_id, socket.cgroup_id);
    (known.cgroup_hierarchy, known.role) = (socket.cgroup_hierarchy, socket.role);
    known.is_carried = 1;
    known.has_preface = key.has_preface;
    hello::note_carried(socket.connection_id, socket.role);
    session
}

/// Tells of what a key without a socket encrypts. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_untied(key: *mut Key, call: *const Call) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(key), Some(call)) = (unsafe { (key.as_mut(), call.as_ref()) }) else { return 0 };
    if !owner::is_captured_task() {
        return 0;
    }
    if key.untied >= UNTIED_MAX {
        tls::count_unknown();
        return 0;
    }
    key.untied += 1;
    // SAFETY: null, or a room that nobody else uses until it is given back.
    let Some(room) = (unsafe { buffers::take_room().as_mut() }) else {
        buffers::add(count::RING_FULL_DATA, 1);
        return 0;
    };
    // SAFETY: a helper without preconditions.
    room.event.at_ns = unsafe { bpf_ktime_get_ns() };
    (room.event.kind, room.event.connection_id) = (kind::PLAINTEXT, key.id);
    (room.event.position, room.event.other_position) = (call.start, call.end);
    (room.event.length, room.event.direction) = (call.moved_bytes as u32, call.way as u8);
    (room.event.marks, room.event.role) = (mark::FULL | mark::CARRIED | mark::UNTIED, role::UNKNOWN as u16);
    room.event.captured_bytes = call.moved_bytes.min(CAPTURE_BYTES_MAX as u64) as u32;
    (room.cgroup_id, room.cgroup_hierarchy, room.is_urgent) = (0, 0, 0);
    room.walk.bytes = Bytes { kind: bytes_kind::BUFFER, at: call.buffer, segments: 0, skip: 0 };
    room.walk.track = key.track;
    room.walk.end = call.start + call.moved_bytes;
    // Only a client begins as HTTP/2 does.
    room.walk.asks = 1;
    let captured = tls::copy_and_publish(room, key.has_preface);
    if captured & tls::BEGINS_HTTP2 != 0 {
        key.has_preface = 1;
    }
    key.track = room.walk.track;
    buffers::give_back(room);
    1
}

pub const FOUND: u32 = 1;
pub const MORE: u32 = 2;

/// Where the first bytes lie, and how many there are.
#[inline(always)]
pub fn segment(bytes: &Bytes, moved: u64) -> Option<[u64; 2]> {
    match bytes.kind {
        bytes_kind::NONE => None,
        bytes_kind::BUFFER => Some([bytes.at.wrapping_add(bytes.skip), moved]),
        _ => bytes.first_segment().map(|[at, length]| [at.wrapping_add(bytes.skip), length.wrapping_sub(bytes.skip)]),
    }
}

#[inline(always)]
pub fn socket(state: &SocketState) -> Socket {
    Socket {
        connection_id: state.connection_id,
        cgroup_id: state.cgroup_id,
        cgroup_hierarchy: state.cgroup_hierarchy,
        role: state.role,
    }
}

/// Looks whether the next buffer of the call that is sent is a record of a key without a socket, and goes on behind it. Says [`FOUND`] and [`MORE`]. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_sent(room: *mut Room, state: *const SocketState) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(room), Some(state)) = (unsafe { (room.as_mut(), state.as_ref()) }) else { return 0 };
    let is_buffer = room.walk.bytes.kind == bytes_kind::BUFFER;
    let Some([at, _]) = segment(&room.walk.bytes, 0) else { return 0 };
    let more = if !is_buffer && room.walk.bytes.segments > 1 { MORE } else { 0 };
    if more != 0 {
        room.walk.bytes.at += 16;
        (room.walk.bytes.segments, room.walk.bytes.skip) = (room.walk.bytes.segments - 1, 0);
    }
    more | tie(room, state, at)
}

/// Ties the key to the socket that has encrypted what lies here, if there is one. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tie(room: *mut Room, state: *const SocketState, at: u64) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(room), Some(state)) = (unsafe { (room.as_mut(), state.as_ref()) }) else { return 0 };
    let name = tls::name(at);
    // SAFETY: null, or the map's value.
    let record = unsafe { RUSTLS_RECORDS.get_ptr(name).unwrap_or(ptr::null()).as_ref() };
    let Some(record) = record else { return 0 };
    // The header stands in front of it by now, and the tag behind.
    if copy_buffer(room, at, HEADER_BYTES as u32) == 0 {
        return 0;
    }
    let length = (room.bytes[3] as u64) << 8 | room.bytes[4] as u64;
    if length + HEADER_BYTES != record.bytes || copy_buffer(room, at + record.bytes - 16, 16) == 0 {
        return 0;
    }
    // SAFETY: the room's bytes are longer; they need not be aligned.
    let tag = unsafe { room.bytes.as_ptr().cast::<[u64; 2]>().read_unaligned() };
    if tag != record.tag {
        return 0;
    }
    let (key, id) = (tls::name(record.key), record.id);
    let _ = RUSTLS_RECORDS.remove(name);
    // SAFETY: null, or the map's value.
    let Some(key) = (unsafe { RUSTLS_KEYS.get_ptr_mut(key).unwrap_or(ptr::null_mut()).as_mut() }) else { return 0 };
    if key.id != id || key.socket.connection_id != 0 {
        return 0;
    }
    key.socket = socket(state);
    let from = go_on(key, direction::SEND);
    if key.untied > 0 {
        // SAFETY: a helper without preconditions.
        room.event.at_ns = unsafe { bpf_ktime_get_ns() };
        (room.event.kind, room.event.captured_bytes, room.event.marks) = (kind::TIED, 0, 0);
        (room.event.connection_id, room.event.role) = (state.connection_id, state.role as u16);
        (room.event.position, room.event.other_position, room.event.length) = (key.id, from, 0);
        room.event.direction = direction::SEND as u8;
        (room.cgroup_id, room.cgroup_hierarchy) = (state.cgroup_id, state.cgroup_hierarchy as u64);
        room.is_urgent = 0;
        capture::publish(room);
    }
    FOUND
}
