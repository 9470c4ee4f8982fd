//! What one end of a connection has found in the bytes of a call, for its other end: where both are on this machine, they need to be read once.
//!
//! In: a connection's name, the place and direction of a message, and what it says as far as the sums need it. Out: the same to whoever asks for
//! that very place. A table of fixed size with one slot for each direction of a connection: who lost its slot to another reads the bytes itself.
//!
//! Promise: an answer is that of this connection, direction, position and length, as far as 64 bits tell them apart. It is as true as the other
//! end's memory was when its call ended. A program that changes its buffer under its own call deceives its peer's sums as well, which it can
//! within the operations that the connection had.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use headwater_probe_types::{SocketState, looks};

use crate::{position::Place, sums::Said};

/// A lock would cost more than all of this: the first number is that of the place combined with the word, so that halves of two do not fit.
#[repr(C)]
struct Look {
    check: u64,
    word: u64,
}

#[btf_map]
static LOOKS: Array<Look, { 1 << looks::SLOT_BITS }> = Array::new();

/// What these bytes say in the protocol of the exchange before, if that is known.
#[inline(always)]
pub fn find(state: &SocketState, place: &Place, asks: bool) -> Option<Said> {
    let look = LOOKS.get_ptr(looks::slot(state.connection_id, asks))?;
    // SAFETY: others may write it meanwhile; aligned numbers are read at once.
    let (check, word) =
        unsafe { ((&raw const (*look).check).read_volatile(), (&raw const (*look).word).read_volatile()) };
    let protocol = state.open.protocol;
    (word != 0 && check ^ word == name(state, place, asks, protocol)).then_some(Said { protocol, word })
}

/// These bytes say this.
#[inline(always)]
pub fn note(state: &SocketState, place: &Place, asks: bool, said: Said) {
    let Some(look) = LOOKS.get_ptr_mut(looks::slot(state.connection_id, asks)) else { return };
    // SAFETY: others may write it meanwhile; aligned numbers are written at once.
    unsafe {
        (&raw mut (*look).check).write_volatile(name(state, place, asks, said.protocol) ^ said.word);
        (&raw mut (*look).word).write_volatile(said.word);
    }
}

#[inline(always)]
fn name(state: &SocketState, place: &Place, asks: bool, protocol: u32) -> u64 {
    looks::name(state.connection_id, place.start, place.bytes, protocol, asks)
}
