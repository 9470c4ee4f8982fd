//! Tells the probes what is wanted of a connection, through a table that both map: a store, not a system call.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use headwater_probe_types::interest::{self, SLOTS};

use crate::error::LoadError;
use crate::mapped::Mapped;

/// The mapped table.
#[derive(Debug)]
pub struct Interests {
    words: Mapped<u64>,
}

impl Interests {
    pub(crate) fn map(map: &Map) -> Result<Interests, LoadError> {
        Ok(Interests { words: Mapped::of(map, SLOTS, "INTERESTS")? })
    }

    /// Says what is wanted of one end of a connection; see [`headwater_probe_types::interest`]. It counts from the socket's next call on.
    pub fn set(&mut self, connection_id: u64, role: u32, interest: u32) {
        let word = self.words.at(interest::slot(connection_id, role) as usize);
        // SAFETY: one aligned number of the mapping, which the probes only read.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        word.store(interest::word(connection_id, role, interest), Ordering::Relaxed);
    }
}
