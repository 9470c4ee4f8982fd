//! What the probes and the loader share: the events in the ring buffer, the record of one socket, the state kept on a socket.
//!
//! All types are `repr(C)` with fixed widths and no padding; no bool, no Option, no enum read from bytes. Sizes are asserted
//! at compile time. The logic here is pure and is tested on the host.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod await_memory;
pub mod call;
pub mod capture;
pub mod cost;
pub mod frames;
pub mod interest;
pub mod life;
pub mod looks;
pub mod records;
pub mod resp;
pub mod share;
pub mod sniff;
pub mod sums;

/// Kinds of events in the ring buffer: the first 32 bits of each.
pub mod kind {
    /// [`crate::DataEvent`] and the captured bytes behind it.
    pub const DATA: u32 = 1;
    /// [`crate::SocketEvent`]: a socket was seen for the first time, or again where the first event was lost.
    pub const OPEN: u32 = 2;
    /// [`crate::SocketEvent`]: a socket was closed.
    pub const CLOSE: u32 = 3;
    /// [`crate::DataEvent`] without bytes: the program read the end of the stream, or ended the one that it writes. Its length is 1 if
    /// the connection's client ended its stream first, and 0 if the server did.
    pub const END_OF_STREAM: u32 = 4;
    /// [`crate::CgroupEvent`] and the path behind it: a cgroup was made, renamed or removed.
    pub const CGROUP: u32 = 5;
    /// [`crate::ProcessEvent`] and its words behind it: a program uses a socket for the first time since its exec(2).
    pub const PROCESS: u32 = 6;
    /// [`crate::sums::ExchangeEvent`]: an exchange that was to be added up and did not fit.
    pub const EXCHANGE: u32 = 7;
    /// [`crate::DatagramEvent`]: a datagram of DNS was sent or received.
    pub const DATAGRAM: u32 = 8;
    /// [`crate::DataEvent`] and the captured bytes behind it: a library of TLS was given these bytes to encrypt, or gave them decrypted. Positions are
    /// those of what it encrypts, counted since its session began, or from [`crate::ANYWHERE`] on if that was not seen. `other_position` is the place on the wire, in
    /// the same direction, at which the calls of the session moved their first byte since the event before, or [`crate::NOWHERE`].
    pub const PLAINTEXT: u32 = 9;
    /// [`crate::DataEvent`] without bytes: those that were told of [ahead](crate::mark::AHEAD) begin to leave, encrypted. Position and length are those of the
    /// whole call, and `other_position` is the place on the wire, as above.
    pub const SENT: u32 = 10;
    /// [`crate::life::LifeEvent`]: a process began a program, ended, or began or ended to listen.
    pub const LIFE: u32 = 11;
    /// [`crate::DataEvent`] without bytes: what was told of under a key's own number, which is the position here, goes on this connection, as far behind
    /// the beginning as `other_position` says
    /// ([`mark::UNTIED`](crate::mark::UNTIED)).
    pub const TIED: u32 = 12;
}

/// What happened to a cgroup.
pub mod change {
    pub const MADE: u32 = 1;
    pub const RENAMED: u32 = 2;
    pub const REMOVED: u32 = 3;
}

/// Which way the bytes went, as the socket's own program sees it.
pub mod direction {
    pub const SEND: u32 = 0;
    pub const RECEIVE: u32 = 1;
}

/// Which side of the connection a socket is.
pub mod role {
    pub const UNKNOWN: u32 = 0;
    pub const CLIENT: u32 = 1;
    pub const SERVER: u32 = 2;
}

/// Bits of [`SocketState::flags`] and [`SocketRecord::flags`].
pub mod flag {
    /// Outside of the capture: only the storage itself remembers that.
    pub const IGNORED: u32 = 1;
    /// The loader was told of this socket.
    pub const ANNOUNCED: u32 = 2;
    /// The connection was established before the probes saw it.
    pub const OPENED_BEFORE: u32 = 4;
    /// A socket of the agent itself.
    pub const OWN: u32 = 16;
    /// Owner and filters are settled.
    pub const OWNER_KNOWN: u32 = 32;
    /// It was established at some time.
    pub const ESTABLISHED: u32 = 64;
    /// The socket was made outside of the filter: whether it is captured is decided by the cgroup of the process that uses it first.
    pub const OUTSIDE: u32 = 128;
    /// The connection has ended, but its program has not seen all of it: told of when it has, or when it lets go of the socket.
    pub const CLOSE_HELD: u32 = 256;
    /// It ended with its own FIN in the sequence numbers of what it sent, or with the peer's in those of what it received.
    pub const OWN_FIN: u32 = 512;
    pub const PEER_FIN: u32 = 1024;
    /// More than one thread has used the direction.
    pub const SHARED_SEND: u32 = 2048;
    pub const SHARED_RECEIVE: u32 = 4096;
    /// The program closed the socket with bytes unread, so that the kernel sent a reset instead of a FIN.
    pub const ABORTED: u32 = 8192;
    /// The last exchanges were added up ([`sums`](crate::sums)): all that lies before the next position that is told of has been told.
    pub const SUMMED: u32 = 16384;
    /// An exchange is under way that is to be added up.
    pub const EXCHANGE_OPEN: u32 = 32768;
    /// The next event is to say [`mark::CHECKPOINT`](crate::mark::CHECKPOINT).
    pub const CHECKPOINT: u32 = 65536;
    /// Its workload rests: no more is copied of it than what may show what it speaks.
    pub const RESTING: u32 = 131072;
    /// Nothing but counters is wanted of it, so that calls may have been left out since.
    pub const COUNTED: u32 = 262144;
    /// A library of TLS has moved its bytes, or a session's that its program moves.
    pub const TLS: u32 = 524288;
    /// Its client has begun a handshake of TLS.
    pub const HELLO: u32 = 1048576;
}

/// Bits of [`DataEvent::marks`].
pub mod mark {
    /// All exchanges before these positions were added up: this is the beginning of the next one, or the end.
    pub const RESUMES: u8 = 1;
    /// A command begins here behind which the probes follow the replies: they want to know whether all before it has been answered
    /// ([`Cell::settled_from`](crate::sums::Cell::settled_from)).
    pub const CHECKPOINT: u8 = 2;
    /// Of [`kind::PLAINTEXT`](crate::kind::PLAINTEXT): all that was asked for was moved, so that there may be more.
    pub const FULL: u8 = 4;
    /// The same: the bytes were given to the library a moment ago, and none of them has left yet. [`kind::SENT`](crate::kind::SENT) says when they do.
    pub const AHEAD: u8 = 8;
    /// Of [`kind::SENT`](crate::kind::SENT): they will not, or not all of them, or nobody knows in which order.
    pub const FAILED: u8 = 16;
    /// The same: a server's program says by its library that it sends no more; the position is behind the last byte.
    pub const END: u8 = 32;
    /// Of [`kind::PLAINTEXT`](crate::kind::PLAINTEXT): the session's program moves the bytes between library and socket itself. So what is encrypted has not left yet, and what is
    /// decrypted has come before; `other_position` is the position behind the whole call's last byte.
    pub const CARRIED: u8 = 64;
    /// The same: the connection is not known yet. In its place stands the number of the key; [`kind::TIED`](crate::kind::TIED) says which one it is.
    pub const UNTIED: u8 = 128;
}

/// Numbers of eight bytes that the probes remember of a session of TLS.
pub const TLS_SESSION_WORDS: usize = 20;

/// Places in sessions of TLS where libraries keep what a client's hello says.
pub const TLS_LAYOUTS_MAX: usize = 8;

/// Added to positions of a session of TLS whose beginning was not seen.
pub const ANYWHERE: u64 = 1 << 61;

/// Of a place on the wire: none.
pub const NOWHERE: u64 = u64::MAX;

/// A send or receive call moved bytes. The captured bytes follow it in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DataEvent {
    pub kind: u32,
    pub captured_bytes: u32,
    /// Names the connection on both sides; see [`connection_id`].
    pub connection_id: u64,
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Position of the first byte in its direction; the connection's first byte has position 0.
    pub position: u64,
    /// Position that the other direction had reached.
    pub other_position: u64,
    /// Bytes that the call moved. Where its bytes' place cannot be told, this is how far the direction went on, maybe 0, and
    /// nothing is captured.
    pub length: u32,
    pub direction: u8,
    /// See [`mark`].
    pub marks: u8,
    pub role: u16,
    /// The thread that made the call, as the machine itself numbers it.
    pub thread: u32,
    pub reserved: u32,
}

/// A datagram was sent or received on a socket of UDP, from or to the port of DNS.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DatagramEvent {
    pub kind: u32,
    /// Bytes that were captured; 0 where they could not be.
    pub captured_bytes: u32,
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Names the socket; never given again.
    pub socket: u64,
    /// Of the process whose call it was.
    pub cgroup_id: u64,
    pub process_started_ns: u64,
    /// All zeroes where the socket is bound to none.
    pub local_address: [u8; 16],
    /// All zeroes where it is not known, with the port 0.
    pub remote_address: [u8; 16],
    pub program: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// Of either address: AF_INET (it holds 4 bytes) or AF_INET6.
    pub local_family: u16,
    pub remote_family: u16,
    /// Bytes of the datagram.
    pub length: u32,
    pub direction: u32,
    pub pid: u32,
    pub exec: u32,
    pub cgroup_hierarchy: u32,
    /// The network namespace, by its number.
    pub network: u32,
    pub bytes: [u8; DATAGRAM_BYTES_MAX],
}

/// A socket appeared or went away.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketEvent {
    pub kind: u32,
    pub reserved: u32,
    pub socket: SocketRecord,
}

/// A cgroup was made, renamed or removed. Its path follows, from the root of its hierarchy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupEvent {
    pub kind: u32,
    /// See [`change`].
    pub change: u32,
    /// 0 for cgroup v2; a number that the kernel gave to a hierarchy of version 1.
    pub hierarchy: u32,
    pub path_bytes: u32,
    /// Unique in its hierarchy, and the inode number of its directory.
    pub id: u64,
}

/// What names a program: its executable, its arguments and its environment, as they are when it uses its first socket.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessEvent {
    pub kind: u32,
    pub pid: u32,
    pub started_ns: u64,
    /// Counts the calls of exec(2) that led to this program.
    pub exec: u32,
    /// Arguments and environment follow, one behind the other.
    pub arguments_bytes: u32,
    pub environment_bytes: u32,
    /// 1 if the environment is longer than what follows.
    pub environment_is_cut: u32,
    /// File name of the executable without its folders, ended by a zero.
    pub executable: [u8; 64],
    /// Name of the first thread (comm), ended by a zero: after exec(2) what the file was called by.
    pub first_thread: [u8; 16],
}

/// All that is known of one socket at one time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketRecord {
    pub connection_id: u64,
    pub at_ns: u64,
    /// When it was established, or first seen if that was before the capture.
    pub opened_at_ns: u64,
    /// Cgroup of the owner when it used the socket first; of the socket as long as there is no owner.
    pub cgroup_id: u64,
    /// Start of the owning process since boot; with the pid it names the process.
    pub process_started_ns: u64,
    /// Payload bytes written and read by the program since the connection's start.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// What of these was moved before the capture.
    pub sent_before_bytes: u64,
    pub received_before_bytes: u64,
    pub local_address: [u8; 16],
    pub remote_address: [u8; 16],
    /// Name of the owning process's first thread (comm), ended by a zero.
    pub program: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// AF_INET (addresses hold 4 bytes) or AF_INET6.
    pub family: u16,
    pub role: u16,
    pub flags: u32,
    /// Thread group that used the socket first; 0 if no process was seen at it yet.
    pub pid: u32,
    /// TCP state before the event.
    pub tcp_state: u32,
    /// sk_err: why the connection broke, as an errno.
    pub error: u32,
    pub retransmits: u32,
    /// Smoothed round-trip time; 0 if the kernel has none.
    pub rtt_us: u32,
    /// Smallest of late; 0 or u32::MAX if the kernel has none.
    pub rtt_min_us: u32,
    /// From SYN to established on the client side; 0 if not seen.
    pub connect_us: u32,
    /// The owner's [`ProcessEvent::exec`].
    pub exec: u32,
    /// Hierarchy of `cgroup_id`.
    pub cgroup_hierarchy: u32,
}

/// What the probes remember of a socket, in socket-local storage.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketState {
    pub connection_id: u64,
    pub opened_at_ns: u64,
    pub connect_started_ns: u64,
    pub cgroup_id: u64,
    pub process_started_ns: u64,
    /// Until when skipped bytes may still be claimed.
    pub unclaimed_until_ns: u64,
    /// Positions up to which calls were seen or skipped, by direction: never ahead of the socket.
    pub position: [u64; 2],
    /// Positions when the socket was first seen.
    pub first_position: [u64; 2],
    pub program: [u8; 16],
    /// Sequence number of position 0, by direction.
    pub base: [u32; 2],
    pub flags: u32,
    pub role: u32,
    pub pid: u32,
    /// See [`interest`].
    pub interest: u32,
    pub connect_us: u32,
    /// Direction of the current turn, plus 1; 0 before the first.
    pub turn: u32,
    /// Bytes that may still be copied in the current turn.
    pub budget_bytes: u32,
    /// Bytes copied and calls seen in each direction while nobody had decided what the connection speaks; see [`interest::PAUSES`].
    pub undecided_bytes: [u32; 2],
    pub undecided_calls: [u32; 2],
    /// The kernel has forgotten it when the socket closes.
    pub local_port: u32,
    /// The owner's [`ProcessEvent::exec`].
    pub exec: u32,
    pub cgroup_hierarchy: u32,
    /// TCP state before the end, and why it ended, as an errno.
    pub closed_from: u32,
    pub error: u32,
    /// Bytes that a call wrote before the connection was established (TCP Fast Open).
    pub early_bytes: u32,
    /// Thread that used the direction last.
    pub thread: [u32; 2],
    /// Bytes that were skipped and that calls which have not returned yet may still claim, by direction.
    pub unclaimed: [u32; 2],
    pub reserved: u32,
    /// The first bytes of the current turn, for [`sniff`].
    pub head: sniff::Head,
    pub open: sums::Open,
    /// Where frames of HTTP/2 begin, by direction.
    pub frames: [frames::Track; 2],
}

const _: () = assert!(size_of::<DataEvent>() == 56);
const _: () = assert!(size_of::<DatagramEvent>() == 120 + DATAGRAM_BYTES_MAX);
const _: () = assert!(size_of::<SocketRecord>() == 168);
const _: () = assert!(size_of::<SocketEvent>() == 176);
const _: () = assert!(size_of::<SocketState>() == 344);
const _: () = assert!(size_of::<CgroupEvent>() == 24);
const _: () = assert!(size_of::<ProcessEvent>() == 112);
const _: () = assert!(size_of::<share::Share>() == 128);

/// Why the probes gave up something: indices of the per-CPU counters.
pub mod count {
    /// The ring buffer was full, or the cgroup's share of it: a data event is lost.
    pub const RING_FULL_DATA: u32 = 0;
    /// The ring buffer was full: a close is lost (an open is tried again).
    pub const RING_FULL_CLOSE: u32 = 1;
    /// No memory for the state of a socket.
    pub const STORAGE_FULL: u32 = 2;
    /// The program's buffer could not be read.
    pub const UNREADABLE: u32 = 3;
    /// Role or positions of a connection opened earlier could not be told yet; tried again at its next call.
    pub const UNSETTLED: u32 = 4;
    /// Reads of a program's memory that was absent at first, as while the kernel moves it, and there a moment later.
    pub const AWAITED: u32 = 5;
    /// Data events published.
    pub const DATA_EVENTS: u32 = 6;
    /// Bytes copied.
    pub const COPIED_BYTES: u32 = 7;
    /// Sockets taken into the capture.
    pub const SOCKETS: u32 = 8;
    /// The ring buffer was full: the path of a cgroup is lost. The loader's user looks for it in the file system.
    pub const RING_FULL_CGROUP: u32 = 9;
    /// The ring buffer was full: the words of a program are lost. They are tried again at its next socket.
    pub const RING_FULL_PROCESS: u32 = 10;
    /// Programs announced.
    pub const PROCESSES: u32 = 11;
    /// Sockets made outside of the filter and used by a process inside of it.
    pub const ADOPTED: u32 = 12;
    /// Times that the bytes of a direction of a socket were not looked at for some ten seconds, since nobody had decided what it speaks.
    pub const UNDECIDED: u32 = 13;
    /// Calls whose bytes have no place that can be told: several threads used the same direction of a socket at the same time.
    pub const UNPLACED: u32 = 14;
    /// Bytes that were moved behind another call than the one that the program waits for, so that no buffer is known.
    pub const OTHER_CALL: u32 = 15;
    /// Bytes that were moved from or to the kernel's own memory, which is not read.
    pub const KERNEL_MEMORY: u32 = 16;
    /// Datagrams told of.
    pub const DATAGRAMS: u32 = 17;
    /// Calls of libraries of TLS in the capture of which the socket is not known for certain.
    pub const TLS_UNKNOWN: u32 = 18;
    /// Sessions of TLS, and calls of goroutines, for which there was no room.
    pub const TLS_SESSIONS_FULL: u32 = 19;
    /// Connections in the capture that ended without anything being known of them: they are older than the probes, or their beginning was left out.
    pub const UNSEEN_ENDS: u32 = 20;
    /// Sessions of TLS whose program moves the bytes itself, and whose socket was found.
    pub const TLS_CARRIED: u32 = 21;
    /// The ring buffer was full, or the cgroup's share of it: an event of a process's life is lost.
    pub const RING_FULL_LIFE: u32 = 22;
    /// The same for want of room among those of its cgroup in this second ([`crate::life::Rate`]).
    pub const RATE_LIMITED_LIFE: u32 = 23;
    /// Events of processes' lives that were told.
    pub const LIFE_EVENTS: u32 = 24;
    pub const LEN: u32 = 25;

    /// Names for metrics, in order.
    pub const NAMES: [&str; LEN as usize] = [
        "ring_full_data",
        "ring_full_close",
        "storage_full",
        "unreadable",
        "unsettled",
        "awaited",
        "data_events",
        "copied_bytes",
        "sockets",
        "ring_full_cgroup",
        "ring_full_process",
        "processes",
        "adopted",
        "undecided",
        "unplaced",
        "other_call",
        "kernel_memory",
        "datagrams",
        "tls_unknown",
        "tls_sessions_full",
        "unseen_ends",
        "tls_carried",
        "ring_full_life",
        "rate_limited_life",
        "life_events",
    ];
}

/// What is copied of a datagram: all of a message of DNS that is no longer than without an extension (RFC 1035, 4.2.1), so the addresses of nearly all answers.
pub const DATAGRAM_BYTES_MAX: usize = 512;

/// The port of DNS (RFC 1035, 4.2).
pub const DNS_PORT: u16 = 53;

/// Most bytes that are copied of one call.
pub const CAPTURE_BYTES_MAX: usize = 16 * 1024;

/// Rooms of each processor in which data events are put together: one for each direction, of programs that copy, of those that do not and of those of Unix sockets; and some for
/// programs that others may interrupt, each taken by one at a time.
pub const ROOMS: usize = 8;
/// The first of the latter.
pub const ROOM_TO_TAKE: usize = 6;

/// Most bytes that are copied of one turn, which is what one side says before the other answers.
pub const TURN_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of a cgroup's path: what the kernel gives to its own tracepoints.
pub const PATH_BYTES_MAX: usize = 1024;

/// Bytes of a path that a filter can name.
pub const FILTER_PATH_BYTES: usize = 256;

/// Bytes of a program's arguments and of its environment.
pub const ARGUMENTS_BYTES_MAX: usize = 1024;
pub const ENVIRONMENT_BYTES_MAX: usize = 4096;

/// The id that both sides of a connection compute alone: the client's and the server's initial sequence numbers, which NAT
/// does not change (RFC 9293 section 3.4).
///
/// `send_base` is `snd_una - bytes_acked` and `receive_base` is `rcv_nxt - bytes_received` of the socket (mod 2^32); both stay
/// constant while the connection lives. The client's send base is the server's receive base minus one, for its SYN counts as
/// acknowledged there; the server's send base is the client's receive base.
#[inline(always)]
pub fn connection_id(role: u32, send_base: u32, receive_base: u32) -> u64 {
    let (client, server) =
        if role == role::CLIENT { (send_base.wrapping_add(1), receive_base) } else { (receive_base, send_base) };
    ((client as u64) << 32) | server as u64
}

/// Which side a socket is: the connecting side's SYN is in `bytes_acked` and `snd_nxt`, but never in `bytes_sent`; the
/// accepting side's SYN is in none of them, for its socket is made after the handshake. `own_fin` is 1 if a FIN was sent: it counts
/// as a SYN does.
#[inline(always)]
pub fn role_of(acked_bytes: u32, in_flight_bytes: u32, sent_bytes: u32, retransmitted_bytes: u32, own_fin: u32) -> u32 {
    let moved = acked_bytes.wrapping_add(in_flight_bytes);
    match moved.wrapping_sub(own_fin).wrapping_sub(sent_bytes.wrapping_sub(retransmitted_bytes)) {
        1 => role::CLIENT,
        0 => role::SERVER,
        _ => role::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_compute_the_same_id() {
        let (client_isn, server_isn) = (0xffff_ffff_u32, 77_u32);
        let client = connection_id(role::CLIENT, client_isn, server_isn.wrapping_add(1));
        let server = connection_id(role::SERVER, server_isn.wrapping_add(1), client_isn.wrapping_add(1));
        assert_eq!(client, server);
    }

    #[test]
    fn the_side_is_told_with_bytes_in_flight_and_sent_again() {
        assert_eq!(role_of(1, 0, 0, 0, 0), role::CLIENT);
        assert_eq!(role_of(0, 0, 0, 0, 0), role::SERVER);
        assert_eq!(role_of(1001, 500, 1700, 200, 0), role::CLIENT);
        assert_eq!(role_of(1000, 500, 1700, 200, 0), role::SERVER);
        assert_eq!(role_of(1000, 500, 1600, 200, 0), role::UNKNOWN);
        // A FIN that was sent counts as a SYN does.
        assert_eq!(role_of(1, 0, 0, 0, 1), role::SERVER);
        assert_eq!(role_of(2, 0, 0, 0, 1), role::CLIENT);
    }
}
