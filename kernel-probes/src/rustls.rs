//! What programs give to rustls to encrypt and get from it decrypted: its functions for one record, `MessageEncrypter::encrypt` and `MessageDecrypter::decrypt` of each cipher, which are called
//! by a table and so are functions of their own in any program (x86_64).
//!
//! In: entries and returns of these functions, by uprobes; the calls on sockets that a thread makes in between. Out: a [`DataEvent`] of the kind [`kind::PLAINTEXT`] for each record that holds
//! data, or for each part of one that its program has in several places. Nothing is written into a program.
//!
//! A session is moved about in memory. A key is not: it lies in a box of its own, and counts its records from 0, which shows a new key where another one was. Whose socket a key's is, memory proves:
//!
//! - A record that is decrypted ends within what the thread's last call has received, where it was received, and what that call wrote last is still there; so do those that follow in the same buffer.
//! - The box that an encrypted record lies in is what a call sends, and it ends with the same 16 bytes, which are the cipher's tag.
//!
//! What is encrypted before the key's first record was sent is told under the key's own number, and [`kind::TIED`] says later which connection that is. All other records of a key
//! without a socket are counted, never guessed.
//!
//! Keys and how they are tied are in `keys.rs`. Where a function's arguments lie is not promised by Rust: nothing is believed of them that does not fit. The header of the record stands before what is decrypted and says its length; what
//! was encrypted is longer than what it holds by what the cipher says. Bounds: those of the maps, which give up what was not used for the longest time.
//!
//! [`DataEvent`]: headwater_probe_types::DataEvent

use aya_ebpf::{
    bindings::BPF_LOCAL_STORAGE_GET_F_CREATE,
    btf_maps::{Array, LruHashMap},
    helpers::generated::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use core::ptr;
use headwater_probe_types::{SocketState, cost::TELL, count, direction, role};

use crate::{
    buffers::{self, Room},
    cost, globals,
    keys::{self, FOUND, MORE, RUSTLS_KEYS, Socket, forget, go_on, key_of, note_encrypted, session_of, tell_untied},
    memory::read_user,
    threads::TaskStorage,
    tls::{self, Call},
};

/// What a record of a cipher has beside the bytes that it holds (RFC 8446, 5.2; RFC 5288, 3; RFC 7905, 2).
pub mod overhead {
    /// Any of TLS 1.3.
    pub const TLS13: u64 = 17;
    pub const GCM: u64 = 24;
    pub const CHACHA: u64 = 16;
}

/// In front of what a record of GCM holds (RFC 5288, 3). With ring, what is decrypted is moved to where that was; with aws-lc-rs it stays behind it.
const EXPLICIT_NONCE_BYTES: u64 = 8;

/// No record holds more (RFC 8446, 5.1).
const HELD_BYTES_MAX: u64 = 1 << 14;
pub const HEADER_BYTES: u64 = 5;
/// Kinds of records, as rustls numbers them in memory and as they are on the wire.
const ALERT: u8 = 1;
const HANDSHAKE: u8 = 2;
const DATA: u8 = 3;
const DATA_ON_THE_WIRE: u8 = 23;

/// Places of one record's bytes that are looked at; what lies in more is not told of, and shows as a gap.
const PLACES_MAX: u32 = 64;
/// Buffers of one call that are compared with what was encrypted.
const SEGMENTS_MAX: u32 = 8;

/// What a thread is about to do, and what its last call has received.
#[repr(C)]
pub struct Thread {
    /// Of the record, or of one part of it.
    call: Call,
    /// Where the stack stood at the entry; 0 if it is in no call.
    stack: u64,
    pub key: u64,
    number: u64,
    /// Of a record that is decrypted: where it lies, and its length without the header.
    pub at: u64,
    pub length: u64,
    overhead: u64,
    /// The first words of the message that is encrypted: 0, its address and its length; or the address of its parts and their number, and where in them it begins and ends. Then its kind.
    message: [u64; 5],
    /// What the function has returned: how it ended, and what else.
    result: [u64; 4],
    /// Of parts: how many bytes are before the first one's, and how many are left.
    skip: u64,
    left: u64,
    part: [u64; 2],
    /// What the last call has received, from where to where; 0 if nothing.
    received_at: u64,
    received_end: u64,
    /// Where the first record begins that was found in there; 0 if none was.
    first_at: u64,
    received_by: Socket,
    /// The last bytes of it, and what is there now.
    tail: u32,
    tail_now: u32,
    pub tag: [u64; 2],
    header: u64,
    way: u32,
    kind: u32,
    /// Not 0 if the record was found where the socket's bytes are.
    is_proven: u32,
    reserved: u32,
}

#[btf_map]
static RUSTLS_THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Processes that were seen to use it, and whether there is one.
#[btf_map]
static RUSTLS_PROCESSES: LruHashMap<u32, u32, 4096> = LruHashMap::new();
#[btf_map]
static RUSTLS_SEEN: Array<u32, 1> = Array::new();

#[inline(always)]
fn process() -> u32 {
    // SAFETY: a helper without preconditions.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

#[inline(always)]
fn thread<'t>(flags: u64) -> Option<&'t mut Thread> {
    // SAFETY: null, or the thread's own, which outlives this run.
    unsafe { RUSTLS_THREADS.of_thread(flags).as_mut() }
}

/// Entry of a function whose arguments are where its result goes, a key, a message, and the record's number.
#[inline(always)]
pub fn enter(way: u32, overhead: u64) {
    if !buffers::capturing() {
        return;
    }
    let Some(thread) = thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE)) else {
        return buffers::add(count::STORAGE_FULL, 1);
    };
    thread.stack = tls::register(globals::regs_stack());
    thread.key = tls::register(globals::regs_arg2());
    thread.number = tls::register(globals::regs_function_arg4());
    (thread.way, thread.overhead, thread.is_proven) = (way, overhead, 0);
    let message_at = tls::register(globals::regs_arg3());
    let words = if way == direction::SEND { 40 } else { 16 };
    if !read_user(thread.message.as_mut_ptr().cast(), words, message_at) {
        thread.stack = 0;
        return tls::count_unknown();
    }
    note_process();
    if thread.number == 0 {
        forget(thread.key);
    }
    if way == direction::RECEIVE && find_received(thread) == 0 {
        thread.stack = 0;
        tls::count_unknown();
    }
}

/// A function of its own, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_process() -> u32 {
    let process = process();
    if RUSTLS_PROCESSES.get_ptr(process).is_some() {
        return 0;
    }
    if let Some(is_seen) = RUSTLS_SEEN.get_ptr_mut(0) {
        // SAFETY: the map's value.
        unsafe { *is_seen = 1 };
    }
    RUSTLS_PROCESSES.insert(process, 1, 0).is_ok() as u32
}

/// Looks at the record that is to be decrypted, and whether it lies where the thread's last call has received it. 0 if it is none. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_received(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    (thread.at, thread.length) = (thread.message[0], thread.message[1]);
    let header_at = thread.at.wrapping_sub(HEADER_BYTES);
    thread.header = 0;
    if !read_user((&raw mut thread.header).cast(), HEADER_BYTES as u32, header_at) {
        return 0;
    }
    let header = thread.header;
    let length = (header >> 24 & 0xff) << 8 | header >> 32 & 0xff;
    if !(20..=24).contains(&(header & 0xff)) || header >> 8 & 0xff != 3 || length != thread.length {
        return 0;
    }
    thread.kind = (header & 0xff) as u32;
    let end = thread.at + length;
    let is_first = end > thread.received_at && end <= thread.received_end;
    let follows = thread.first_at != 0 && header_at >= thread.first_at && end <= thread.received_end;
    if thread.received_end == 0 || !(is_first || follows) {
        // It came otherwise, and so may what follows.
        thread.received_end = 0;
        return 1;
    }
    thread.tail_now = 0;
    let bytes = tail_bytes(thread.received_at, thread.received_end);
    let is_read = read_user((&raw mut thread.tail_now).cast(), bytes, thread.received_end - bytes as u64);
    if !is_read || thread.tail_now != thread.tail {
        thread.received_end = 0;
        return 1;
    }
    if thread.first_at == 0 {
        thread.first_at = header_at;
    }
    thread.is_proven = 1;
    1
}

/// How many bytes at the end are compared.
#[inline(always)]
fn tail_bytes(at: u64, end: u64) -> u32 {
    core::hint::black_box(end.wrapping_sub(at).min(4)) as u32 & 7
}

/// Return of one of these functions, with the address of its result.
#[inline(always)]
pub fn leave() {
    let Some(thread) = thread(0) else { return };
    let is_its =
        thread.stack != 0 && tls::register(globals::regs_stack()) == thread.stack + globals::return_bytes() as u64;
    thread.stack = 0;
    if !is_its || !buffers::capturing() {
        return;
    }
    let began_ns = cost::begin();
    returned(thread);
    cost::end(TELL, began_ns);
}

#[inline(always)]
fn returned(thread: &mut Thread) {
    let result_at = tls::register(globals::regs_result());
    if !read_user(thread.result.as_mut_ptr().cast(), 32, result_at) {
        return tls::count_unknown();
    }
    let fits = if thread.way == direction::SEND { encrypted(thread) } else { decrypted(thread) };
    if fits == 0 {
        return tls::count_unknown();
    }
    record_moved(thread);
    // Here, since the verifier takes eight calls one within the other.
    for _ in 0..PLACES_MAX {
        if next_part(thread) == 0 {
            return;
        }
        tell_part(thread);
    }
}

/// Says whether the record is what the message makes. Leaves its kind, its length and its last bytes. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn encrypted(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let [single, _, length, end, kind] = thread.message;
    let is_single = single == 0;
    let bytes = if is_single { length } else { end.wrapping_sub(length) };
    (thread.left, thread.skip) = (bytes, if is_single { 0 } else { length });
    thread.kind = match kind as u8 {
        DATA => DATA_ON_THE_WIRE as u32,
        ALERT | HANDSHAKE => kind as u8 as u32,
        _ => return 0,
    };
    // A vector: room, address, bytes.
    let [_, _, record_at, record_bytes] = thread.result;
    if bytes > HELD_BYTES_MAX || record_bytes != HEADER_BYTES + bytes + thread.overhead {
        return 0;
    }
    (thread.at, thread.length) = (record_at, record_bytes);
    // The header is still to be written.
    thread.header = 1;
    let has_room = read_user((&raw mut thread.header).cast(), HEADER_BYTES as u32, record_at) && thread.header == 0;
    (has_room && read_user(thread.tag.as_mut_ptr().cast(), 16, record_at + record_bytes - 16)) as u32
}

/// Says whether the message is what the record holds. Leaves its kind and its length. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decrypted(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    let [_, at, bytes, _] = thread.result;
    let held_bytes = thread.length.wrapping_sub(thread.overhead);
    let is_13 = thread.overhead == overhead::TLS13;
    let is_behind_nonce = thread.overhead == overhead::GCM && at == thread.at + EXPLICIT_NONCE_BYTES;
    // One of TLS 1.3 may be padded.
    if !(at == thread.at || is_behind_nonce)
        || bytes > held_bytes
        || held_bytes > HELD_BYTES_MAX
        || !is_13 && bytes != held_bytes
    {
        return 0;
    }
    (thread.at, thread.left) = (at, bytes);
    if is_13 {
        // Its kind stands behind what it holds.
        thread.header = 0;
        if !read_user((&raw mut thread.header).cast(), 1, at + bytes) {
            return 0;
        }
        thread.kind = thread.header as u32 & 0xff;
    }
    (20..=24).contains(&thread.kind) as u32
}

/// A record has been encrypted or decrypted. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_moved(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value, which its session's calls use one after the other.
    let Some(key) = (unsafe { key_of(thread.key, thread.number).as_mut() }) else { return 0 };
    if key.socket.connection_id == 0 {
        if thread.is_proven != 0 {
            key.socket = thread.received_by;
            go_on(key, direction::RECEIVE);
        } else if thread.way == direction::SEND {
            note_encrypted(thread, key.id);
        }
    }
    let is_data = thread.kind == DATA_ON_THE_WIRE as u32;
    thread.call.way = thread.way;
    thread.call.start = key.bytes;
    if is_data {
        key.bytes += thread.left;
    }
    thread.call.end = key.bytes;
    if is_data {
        return 1;
    }
    thread.left = 0;
    if thread.way == direction::SEND && thread.kind == ALERT as u32 && key.socket.role == role::SERVER {
        let session = session_of(&key.socket, key);
        // SAFETY: null, or the map's value.
        if let Some(session) = unsafe { session.as_mut() } {
            session.position[direction::SEND as usize] = key.bytes;
        }
        tls::shut_session(session);
    }
    1
}

/// Finds the next place in which bytes of the record lie. 0 if nothing is left. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn next_part(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    if thread.left == 0 {
        return 0;
    }
    let [single, at, ..] = thread.message;
    thread.part = [0, thread.left];
    if thread.way == direction::RECEIVE {
        thread.part[0] = thread.at;
    } else if single == 0 {
        thread.part[0] = at;
    } else if !next_of_many(thread) {
        // Nobody knows where the rest lies.
        thread.part = [0, thread.left];
    }
    1
}

/// False if it cannot be read. Empty where it lies before the record.
#[inline(always)]
fn next_of_many(thread: &mut Thread) -> bool {
    let [at, places, ..] = thread.message;
    if places == 0 || !read_user(thread.part.as_mut_ptr().cast(), 16, at) {
        return false;
    }
    (thread.message[0], thread.message[1]) = (at + 16, places - 1);
    let skipped = thread.skip.min(thread.part[1]);
    thread.skip -= skipped;
    thread.part[0] = thread.part[0].wrapping_add(skipped);
    thread.part[1] = (thread.part[1] - skipped).min(thread.left);
    true
}

/// Tells of the bytes that were found. A function of its own, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_part(thread: *mut Thread) -> u32 {
    // SAFETY: null, or the thread's own.
    let Some(thread) = (unsafe { thread.as_mut() }) else { return 0 };
    // SAFETY: null, or the map's value.
    let key = unsafe { RUSTLS_KEYS.get_ptr_mut(tls::name(thread.key)).unwrap_or(ptr::null_mut()).as_mut() };
    let (Some(key), [at, bytes]) = (key, thread.part) else { return 0 };
    let call = &mut thread.call;
    (call.buffer, call.moved_bytes, call.asked_bytes) = (at, bytes, bytes);
    if bytes == 0 {
        return 0;
    }
    let told = if key.socket.connection_id != 0 {
        let session = session_of(&key.socket, key);
        // SAFETY: null, or the map's value.
        if let Some(session) = unsafe { session.as_mut() } {
            session.position[(call.way & 1) as usize] = call.end;
        }
        tls::tell(session, call)
    } else if call.way == direction::SEND {
        tell_untied(key, call)
    } else {
        tls::count_unknown();
        0
    };
    call.start += bytes;
    thread.left -= bytes.min(thread.left);
    told
}

/// Whether the process was seen to use rustls.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_at_work() -> u32 {
    let is_seen = RUSTLS_SEEN.get(0).is_some_and(|is_seen| *is_seen != 0);
    (is_seen && RUSTLS_PROCESSES.get_ptr(process()).is_some()) as u32
}

/// A call on a captured socket has moved so many bytes, which lie where the room says. Says whether a key is its from now on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_moved(room: *mut Room, state: *const SocketState, bytes: u32, way: u32) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(room), Some(state)) = (unsafe { (room.as_mut(), state.as_ref()) }) else { return 0 };
    if state.role == role::UNKNOWN {
        return 0;
    }
    if way == direction::RECEIVE {
        return note_received(room, state, bytes);
    }
    let mut found = 0;
    for _ in 0..SEGMENTS_MAX {
        let step = keys::find_sent(room, state);
        found |= step & FOUND;
        if step & MORE == 0 {
            break;
        }
    }
    found
}

/// What the thread has received, and where. A function of its own, which the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_received(room: *const Room, state: *const SocketState, bytes: u32) -> u32 {
    // SAFETY: null, or what the caller has.
    let (Some(room), Some(state)) = (unsafe { (room.as_ref(), state.as_ref()) }) else { return 0 };
    let Some(thread) = thread(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE)) else {
        buffers::add(count::STORAGE_FULL, 1);
        return 0;
    };
    (thread.received_at, thread.received_end, thread.first_at) = (0, 0, 0);
    let Some([at, length]) = keys::segment(&room.walk.bytes, bytes as u64) else { return 0 };
    if (bytes as u64) > length || bytes == 0 {
        return 0;
    }
    (thread.received_at, thread.received_end) = (at, at + bytes as u64);
    thread.received_by = keys::socket(state);
    thread.tail = 0;
    let tail = tail_bytes(at, thread.received_end);
    if !read_user((&raw mut thread.tail).cast(), tail, thread.received_end - tail as u64) {
        thread.received_end = 0;
    }
    0
}
