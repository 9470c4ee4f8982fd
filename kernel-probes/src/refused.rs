//! Sockets whose calls say nothing: those outside of the capture, and those of which nothing but the kernel's own counters is wanted. It is the
//! first thing that each call on the machine is asked, and mostly the last.
//!
//! In: a socket. Out: yes, or not known. It takes no call of a helper, each of which costs a call on a socket as much as all of this. A small
//! table of names, each of which takes the place of another one: a socket that lost its place is looked at as at first.
//!
//! Promise: no socket is ever found here that was not put here. A name is the socket's address, which the kernel gives again, and its ports; whatever
//! begins or ends a connection takes its place away. Where more is wanted again of a socket, user space empties the table.

#[cfg(target_arch = "bpf")]
use core::arch::asm;

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use headwater_probe_types::interest::{REFUSED_SLOTS, REFUSED_SLOTS_BITS};

use crate::socket::Sock;

#[btf_map]
static REFUSED: Array<u64, REFUSED_SLOTS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Whether the socket was refused, is none of TCP, or is only counted.
#[inline(always)]
pub fn is_known(sock: Sock) -> bool {
    let address = address(sock);
    // SAFETY: others may write the word meanwhile; eight aligned bytes are read at once.
    REFUSED.get(slot(address)).is_some_and(|word| unsafe { core::ptr::read_volatile(word) } == name(sock, address))
}

/// The socket is outside of the capture, or only counted, for as long as its connection lasts or until user space empties the table.
#[inline(always)]
pub fn note(sock: Sock) {
    let address = address(sock);
    set(address, name(sock, address));
}

/// The socket's state changes: a connection may begin at an address that another socket had.
#[inline(always)]
pub fn forget(sock: Sock) {
    set(address(sock), 0);
}

#[inline(always)]
fn set(address: u64, word: u64) {
    if let Some(place) = REFUSED.get_ptr_mut(slot(address)) {
        // SAFETY: a word of the table; eight aligned bytes are written at once.
        unsafe { core::ptr::write_volatile(place, word) };
    }
}

/// All of the address, whose upper sixteen bits are the same for all, and as much as fits of the ports. They are for the case that a change of
/// state was not seen, since the kernel leaves a run out that would interrupt another one. Sockets without ports, whose states nobody tells of,
/// differ by their kind: no stream is ever taken for what had its address before.
#[inline(always)]
fn name(sock: Sock, address: u64) -> u64 {
    (address << 16) | (sock.local_port() ^ sock.remote_port() ^ sock.kind()) as u64
}

/// Spread over all places (Fibonacci hashing).
#[inline(always)]
fn slot(address: u64) -> u32 {
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - REFUSED_SLOTS_BITS)) as u32
}

/// The socket's address as a number: what lies between it and the table. The verifier lets pointers be subtracted, but not be hashed.
#[inline(always)]
fn address(sock: Sock) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = sock.0 as u64;
        // SAFETY: one instruction, which only changes its own register.
        unsafe {
            asm!("{number} -= {other}", number = inout(reg) number, other = in(reg) &raw const REFUSED, options(pure, nomem, nostack))
        };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        sock.0 as u64
    }
}
