//! Typed reads of kernel sockets. In: pointers that the verifier knows. Out: plain values.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock};
use core::ffi::c_void;

use crate::{globals, owner::read_kernel};

pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// include/uapi/linux/in.h
const IPPROTO_UDP: u16 = 17;

/// include/linux/net.h
const SOCK_STREAM: u16 = 1;

/// include/net/sock.h: the program has let go of the socket.
const SOCK_DEAD: u64 = 1;
/// The same: the peer's FIN has come.
const SOCK_DONE: u64 = 2;

/// include/net/tcp_states.h
pub mod tcp_state {
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const FIN_WAIT1: u32 = 4;
    pub const FIN_WAIT2: u32 = 5;
    pub const CLOSE: u32 = 7;
    pub const CLOSE_WAIT: u32 = 8;
    pub const LAST_ACK: u32 = 9;
    pub const LISTEN: u32 = 10;
    pub const CLOSING: u32 = 11;
}

/// A `struct sock` from a tracepoint's arguments.
#[derive(Clone, Copy)]
pub struct Sock(pub *const u8);

/// The same socket as a `struct tcp_sock`.
#[derive(Clone, Copy)]
pub struct TcpSock(*const u8);

#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller gives a pointer that the verifier types and an offset that the loader took from the kernel's BTF; the
    // kernel turns a fault of such a load into a zero.
    unsafe { *base.add(offset as usize).cast::<T>() }
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub fn of(socket: *const u8) -> *const u8 {
    // SAFETY: the caller gives a socket that the verifier types.
    unsafe { load(socket, globals::socket_sk()) }
}

impl Sock {
    /// The TCP view; `None` for other protocols and for sockets that only wait (time-wait, request).
    #[inline(always)]
    pub fn tcp(self) -> Option<TcpSock> {
        // SAFETY: the helper takes any pointer to a socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.0.cast_mut().cast()) };
        if tcp.is_null() { None } else { Some(TcpSock(tcp.cast())) }
    }

    #[inline(always)]
    pub fn family(self) -> u16 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::skc_family()) }
    }

    #[inline(always)]
    pub fn state(self) -> u32 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        u32::from(unsafe { load::<u8>(self.0, globals::skc_state()) })
    }

    #[inline(always)]
    pub fn error(self) -> u32 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::sk_err()) }
    }

    /// Whether the program has closed it. A connection that waits to be accepted has no program yet, and is not dead.
    #[inline(always)]
    pub fn is_dead(self) -> bool {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load::<u64>(self.0, globals::skc_flags()) & SOCK_DEAD != 0 }
    }

    /// Whether the peer's FIN has come, also of a connection that is over.
    #[inline(always)]
    pub fn has_peer_fin(self) -> bool {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load::<u64>(self.0, globals::skc_flags()) & SOCK_DONE != 0 }
    }

    /// The local port, in host order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::skc_num()) }
    }

    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        u16::from_be(unsafe { load(self.0, globals::skc_dport()) })
    }

    /// A socket of UDP, over IPv4 or IPv6.
    #[inline(always)]
    pub fn is_udp(self) -> bool {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        matches!(self.family(), AF_INET | AF_INET6)
            && unsafe { load::<u16>(self.0, globals::sk_protocol()) } == IPPROTO_UDP
    }

    /// SOCK_STREAM and the like.
    #[inline(always)]
    pub fn kind(self) -> u16 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::sk_type()) }
    }

    /// A stream of the Unix domain.
    #[inline(always)]
    pub fn is_unix_stream(self) -> bool {
        self.family() == AF_UNIX && self.kind() == SOCK_STREAM
    }

    /// Which directions are over: 1 for what it receives, 2 for what it sends.
    #[inline(always)]
    pub fn shutdown(self) -> u8 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::sk_shutdown()) }
    }

    /// Pieces that wait to be read.
    #[inline(always)]
    pub fn unread_pieces(self) -> u32 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::sk_unread()) }
    }

    /// A socket of IPv6 that is connected to an address of IPv4 (RFC 4291, 2.5.5.2).
    #[inline(always)]
    pub fn is_connected_to_ipv4(self) -> bool {
        let address: [u32; 3] = read_kernel(self.0, globals::skc_v6_daddr());
        self.family() == AF_INET6 && address == [0, 0, u32::from_be(0xffff)]
    }

    /// The number of its network namespace.
    #[inline(always)]
    pub fn network(self) -> u32 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        let network: *const u8 = unsafe { load(self.0, globals::skc_net()) };
        read_kernel(network, globals::net_inum())
    }

    /// A number of its own, which no other socket is ever given.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        // SAFETY: the helper takes any pointer to a socket.
        unsafe { bpf_get_socket_cookie(self.as_ptr()) }
    }

    /// Local and remote address; of IPv4, the first four bytes.
    #[inline(always)]
    pub fn addresses(self, local: &mut [u8; 16], remote: &mut [u8; 16]) {
        let (from, to, bytes) = if self.family() == AF_INET6 {
            (globals::skc_v6_rcv_saddr(), globals::skc_v6_daddr(), 16)
        } else {
            (globals::skc_rcv_saddr(), globals::skc_daddr(), 4)
        };
        // SAFETY: the helper checks the source; the targets hold 16 bytes.
        unsafe {
            bpf_probe_read_kernel(local.as_mut_ptr().cast(), bytes, self.0.add(from as usize).cast());
            bpf_probe_read_kernel(remote.as_mut_ptr().cast(), bytes, self.0.add(to as usize).cast());
        }
    }

    /// The local address; of IPv4, the first four bytes.
    #[inline(always)]
    pub fn local_address(self, local: &mut [u8; 16]) {
        let is_ipv6 = self.family() == AF_INET6;
        let (from, bytes) = if is_ipv6 { (globals::skc_v6_rcv_saddr(), 16) } else { (globals::skc_rcv_saddr(), 4) };
        // SAFETY: the helper checks the source; the target holds 16 bytes.
        unsafe { bpf_probe_read_kernel(local.as_mut_ptr().cast(), bytes, self.0.add(from as usize).cast()) };
    }

    /// The cgroup v2 in which the socket was made, null if there is none.
    #[inline(always)]
    pub fn cgroup(self) -> *const u8 {
        // SAFETY: the member belongs to the socket that the tracepoint gave.
        unsafe { load(self.0, globals::sk_cgroup()) }
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *mut c_void {
        self.0.cast_mut().cast()
    }
}

impl TcpSock {
    #[inline(always)]
    fn u32_at(self, offset: u32) -> u32 {
        // SAFETY: the callers give offsets of 32-bit members of struct tcp_sock, which this socket is.
        unsafe { load(self.0, offset) }
    }

    /// Sequence number behind the last byte that the program wrote.
    #[inline(always)]
    pub fn write_seq(self) -> u32 {
        self.u32_at(globals::tp_write_seq())
    }

    /// Sequence number behind the last byte that the program read; also counts a FIN that it read.
    #[inline(always)]
    pub fn copied_seq(self) -> u32 {
        self.u32_at(globals::tp_copied_seq())
    }

    /// Sequence number behind the last byte that has arrived in order; also counts a FIN.
    #[inline(always)]
    pub fn rcv_nxt(self) -> u32 {
        self.u32_at(globals::tp_rcv_nxt())
    }

    /// What is written and not acknowledged, a FIN counted as a byte.
    #[inline(always)]
    pub fn unacknowledged(self) -> u32 {
        self.write_seq().wrapping_sub(self.u32_at(globals::tp_snd_una()))
    }

    /// Bytes that the peer has acknowledged, of a client its SYN too.
    #[inline(always)]
    pub fn bytes_acked(self) -> u64 {
        // SAFETY: a member of struct tcp_sock, which this socket is.
        unsafe { load(self.0, globals::tp_bytes_acked()) }
    }

    /// Bytes that have arrived in order.
    #[inline(always)]
    pub fn bytes_received(self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.0, globals::tp_bytes_received()) }
    }

    #[inline(always)]
    pub fn retransmits(self) -> u32 {
        self.u32_at(globals::tp_total_retrans())
    }

    /// srtt_us holds eight times the value.
    #[inline(always)]
    pub fn rtt_us(self) -> u32 {
        self.u32_at(globals::tp_srtt_us()) >> 3
    }

    #[inline(always)]
    pub fn rtt_min_us(self) -> u32 {
        self.u32_at(globals::tp_rtt_min())
    }

    /// What never changes on a connection, and how far it got.
    ///
    /// `None` if an acknowledgement on another processor came between the reads: the socket's lock is not held here.
    #[inline(always)]
    pub fn sequences(self) -> Option<Sequences> {
        let first = self.read_sequences();
        let second = self.read_sequences();
        if first.snd_una == second.snd_una
            && first.snd_nxt == second.snd_nxt
            && first.rcv_nxt == second.rcv_nxt
            && first.bytes_sent == second.bytes_sent
            && first.bytes_retrans == second.bytes_retrans
            && first.bytes_acked == second.bytes_acked
            && first.bytes_received == second.bytes_received
        {
            Some(second)
        } else {
            None
        }
    }

    #[inline(always)]
    fn read_sequences(self) -> Sequences {
        // SAFETY: as in `load`, of members of struct tcp_sock. Volatile, since both reads have to be made.
        unsafe {
            Sequences {
                snd_una: core::ptr::read_volatile(self.0.add(globals::tp_snd_una() as usize).cast()),
                snd_nxt: core::ptr::read_volatile(self.0.add(globals::tp_snd_nxt() as usize).cast()),
                rcv_nxt: core::ptr::read_volatile(self.0.add(globals::tp_rcv_nxt() as usize).cast()),
                bytes_acked: core::ptr::read_volatile(self.0.add(globals::tp_bytes_acked() as usize).cast()),
                bytes_received: core::ptr::read_volatile(self.0.add(globals::tp_bytes_received() as usize).cast()),
                bytes_sent: core::ptr::read_volatile(self.0.add(globals::tp_bytes_sent() as usize).cast()),
                bytes_retrans: core::ptr::read_volatile(self.0.add(globals::tp_bytes_retrans() as usize).cast()),
            }
        }
    }
}

/// Sequence numbers and byte counts of one connection at one moment (RFC 9293 section 3.3.1, RFC 4898).
#[derive(Clone, Copy)]
pub struct Sequences {
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
}

impl Sequences {
    #[inline(always)]
    pub fn send_base(&self) -> u32 {
        self.snd_una.wrapping_sub(self.bytes_acked as u32)
    }

    #[inline(always)]
    pub fn receive_base(&self) -> u32 {
        self.rcv_nxt.wrapping_sub(self.bytes_received as u32)
    }
}
