//! A call on a socket of UDP sent or received a datagram: tell of it, if it is one of DNS.
//!
//! In: socket, length, and where the hook finds the bytes and the other side's address. Out: a [`DatagramEvent`] with the first bytes.
//!
//! What is looked at are sockets that are bound or connected to the port of DNS, or have sent to it: the last are those that have a state. Any
//! other is refused at its first call, for as long as it keeps its ports, so that it pays no more than a socket outside of the capture.
//! What a datagram says, and who asks whom, is for user space to find out.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_ns};
use headwater_probe_types::{DATAGRAM_BYTES_MAX, DNS_PORT, DatagramEvent, count, direction, flag, kind, share};

use crate::{
    buffers, owner, refused,
    socket::{AF_INET, AF_INET6, Sock},
    source::{Name, Source},
    state,
};

/// Changes no number of bytes that is wanted, and shows the verifier that it has a bound.
const WANTED_MASK: u64 = (DATAGRAM_BYTES_MAX as u64 + 1).next_power_of_two() - 1;

/// A call on a socket that is none of TCP moved so many bytes; `is_whole` if all of them are in the program's buffer. With `skips_ipv4`, one that
/// goes to an address of IPv4 is told of by another program.
#[inline(always)]
pub fn moved<S: Source>(sock: Sock, moved: u32, is_whole: bool, way: u32, source: S, skips_ipv4: bool) {
    if !sock.is_udp() {
        return refused::note(sock);
    }
    let (local_port, remote_port) = (sock.local_port(), sock.remote_port());
    let is_of_dns = local_port == DNS_PORT || remote_port == DNS_PORT;
    let may_become = remote_port == 0 && (way == direction::SEND || !state::get(sock).is_null());
    if !is_of_dns && !may_become {
        return refused::note(sock);
    }
    // SAFETY: a helper without preconditions; there always is a current task.
    let task: *const u8 = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
    let found = source.find_datagram(moved, task);
    let mut name: Name = [0; 4];
    let has_name = remote_port == 0 && found.read_name(&mut name);
    let name_family = name[0] as u16;
    let name_port = ((name[0] >> 16) as u16).swap_bytes();
    let is_named = has_name && matches!(name_family, AF_INET | AF_INET6);
    if !is_of_dns && way == direction::SEND && !(is_named && name_port == DNS_PORT) {
        return refused::note(sock);
    }
    let is_to_ipv4 = if is_named { name_family == AF_INET || is_mapped(&name) } else { sock.is_connected_to_ipv4() };
    if skips_ipv4 && is_to_ipv4 {
        return;
    }
    let state = state::get_or_create(sock);
    // SAFETY: null, or the socket's state, which outlives this run. What another processor writes meanwhile may be lost.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    if state.flags & (flag::OWNER_KNOWN | flag::IGNORED) == 0 {
        if !owner::cgroup_is_captured(sock, state) {
            state.flags |= flag::OUTSIDE;
        }
        owner::settle(state);
    }
    if state.flags & flag::IGNORED != 0 {
        return refused::note(sock);
    }
    // The compiler knows its bound and would leave out the checks of it that the verifier needs.
    let wanted = core::hint::black_box(if is_whole { moved.min(DATAGRAM_BYTES_MAX as u32) as u64 } else { 0 });
    let wanted = (wanted & WANTED_MASK).min(DATAGRAM_BYTES_MAX as u64);
    let event = buffers::reserve(state, size_of::<DatagramEvent>() as u64, true).cast::<DatagramEvent>();
    // SAFETY: the reserved room has the event's size and eight bytes of alignment, and is ours until it is submitted.
    let Some(event) = (unsafe { event.as_mut() }) else {
        return buffers::lost(state, count::RING_FULL_DATA, share::lost::DATA);
    };
    event.kind = kind::DATAGRAM;
    // Right to where it is told: a room is of one program alone, and there are more of datagrams than rooms.
    let captured = if wanted == 0 { 0 } else { found.bytes.copy_first(event.bytes.as_mut_ptr().cast(), wanted as u32) };
    event.captured_bytes = captured;
    // SAFETY: a helper without preconditions.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.socket = sock.cookie();
    event.cgroup_id = state.cgroup_id;
    event.process_started_ns = state.process_started_ns;
    event.local_address = [0; 16];
    event.remote_address = [0; 16];
    sock.addresses(&mut event.local_address, &mut event.remote_address);
    event.program = state.program;
    event.local_port = local_port;
    event.remote_port = remote_port;
    event.local_family = sock.family();
    event.remote_family = sock.family();
    if remote_port == 0 {
        event.remote_address = [0; 16];
    }
    if is_named {
        event.remote_family = name_family;
        event.remote_port = name_port;
        event.remote_address = if name_family == AF_INET { of_ipv4(&name) } else { of_ipv6(&name) };
    }
    event.length = moved;
    event.direction = way;
    event.pid = state.pid;
    event.exec = state.exec;
    event.cgroup_hierarchy = state.cgroup_hierarchy;
    event.network = sock.network();
    buffers::submit((&raw mut *event).cast());
    buffers::add(count::DATAGRAMS, 1);
    buffers::add(count::COPIED_BYTES, captured as u64);
}

/// struct sockaddr_in: family, port, address.
#[inline(always)]
fn of_ipv4(name: &Name) -> [u8; 16] {
    let mut address = [0; 16];
    let [_, _, _, _, a, b, c, d] = name[0].to_ne_bytes();
    (address[0], address[1], address[2], address[3]) = (a, b, c, d);
    address
}

/// struct sockaddr_in6: family, port, flow, address.
#[inline(always)]
fn of_ipv6(name: &Name) -> [u8; 16] {
    // SAFETY: plain bytes of the same size.
    unsafe { core::mem::transmute([name[1], name[2]]) }
}

/// An address of IPv4 in one of IPv6 (RFC 4291, 2.5.5.2).
#[inline(always)]
fn is_mapped(name: &Name) -> bool {
    name[1] == 0 && name[2] as u32 == 0xffff_0000_u32
}
