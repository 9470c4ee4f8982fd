//! What user space wants to see of each connection, as it writes it into a mapped table; see [`headwater_probe_types::interest`].

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use headwater_probe_types::{
    SocketState,
    interest::{self, SLOTS},
};

#[btf_map]
static INTERESTS: Array<u64, SLOTS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Takes over what user space has said of the socket since its last call.
#[inline(always)]
pub fn update(state: &mut SocketState) {
    let told = of(state.connection_id, state.role);
    if told != interest::UNDECIDED {
        state.interest = told;
    }
}

/// What user space wants of one end of a connection; undecided if it has said nothing, or another's word has taken the place of its own.
#[inline(always)]
pub fn of(connection_id: u64, role: u32) -> u32 {
    let Some(word) = INTERESTS.get(interest::slot(connection_id, role)) else { return interest::UNDECIDED };
    // SAFETY: user space may write the word meanwhile; eight aligned bytes are read at once.
    let word = unsafe { core::ptr::read_volatile(word) };
    interest::read(word, connection_id, role)
}
