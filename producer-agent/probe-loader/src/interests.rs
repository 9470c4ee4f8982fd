//! Tells the probes what is wanted of a connection, through a table that both map: a store, not a system call.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{HashMap, Map, MapData};
use headwater_probe_types::interest::{self, REFUSED_SLOTS, SLOTS};
use headwater_probe_types::share::Cgroup;

use crate::error::LoadError;
use crate::map_error;
use crate::mapped::Mapped;

/// The mapped tables, and the workloads that rest.
#[derive(Debug)]
pub struct Interests {
    words: Mapped<u64>,
    /// Sockets whose calls the probes do not look at.
    refused: Mapped<u64>,
    /// By [`Cgroup`], as the numbers that it is.
    resting: HashMap<MapData, [u64; size_of::<Cgroup>() / 8], u32>,
}

impl Interests {
    pub(crate) fn map(words: &Map, refused: &Map, resting: Map) -> Result<Interests, LoadError> {
        let words = Mapped::of(words, SLOTS, "INTERESTS")?;
        let refused = Mapped::of(refused, REFUSED_SLOTS, "REFUSED")?;
        Ok(Interests { words, refused, resting: HashMap::try_from(resting).map_err(map_error)? })
    }

    /// Has the probes look once more at each socket of the machine: of one of which nothing but counters was wanted, more may be wanted since. A probe
    /// that runs at this moment may still go by what was wanted before, so this is to be said again from time to time.
    pub fn look_again(&mut self) {
        for index in 0..REFUSED_SLOTS {
            // SAFETY: one aligned number of the mapping; a socket that loses its place is only looked at as at first.
            unsafe { AtomicU64::from_ptr(self.refused.at(index).as_ptr()) }.store(0, Ordering::Relaxed);
        }
    }

    /// Says that a cgroup rests, or does not any more: of sockets that it uses from now on, no more is copied than what may show what they
    /// speak. What is wanted of its other sockets is to be said of each. At most 64 can rest.
    pub fn rest(&mut self, cgroup: Cgroup, rests: bool) -> Result<(), LoadError> {
        let key = [cgroup.id, cgroup.hierarchy];
        let done = if rests { self.resting.insert(key, 1, 0) } else { self.resting.remove(&key) };
        done.map_err(map_error)
    }

    /// Says what is wanted of one end of a connection; see [`headwater_probe_types::interest`]. It counts from the socket's next call on.
    pub fn set(&mut self, connection_id: u64, role: u32, interest: u32) {
        let word = self.words.at(interest::slot(connection_id, role) as usize);
        // SAFETY: one aligned number of the mapping, which the probes only read.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        word.store(interest::word(connection_id, role, interest), Ordering::Relaxed);
    }
}
