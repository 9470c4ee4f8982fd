//! Tells the probes what is wanted of a connection, through a table that both map: a store, not a system call.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use headwater_probe_types::interest::{self, SLOTS};

use crate::error::LoadError;

const BYTES: usize = SLOTS * size_of::<u64>();

/// The mapped table. It stays valid when the probes are gone; nobody reads it then.
#[derive(Debug)]
pub struct Interests {
    words: std::ptr::NonNull<AtomicU64>,
}

// SAFETY: the words are atomic, and the mapping belongs to this value alone.
unsafe impl Send for Interests {}

impl Interests {
    pub(crate) fn map(map: &Map) -> Result<Interests, LoadError> {
        let Map::Array(data) = map else { return Err(LoadError::Object("INTERESTS is no array".into())) };
        // SAFETY: a new mapping of a map whose size the probes and this file take from one constant.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            let source = std::io::Error::last_os_error();
            return Err(LoadError::Read { what: "the table of interests (mmap)", source });
        }
        let words =
            std::ptr::NonNull::new(address.cast()).ok_or_else(|| LoadError::Object("INTERESTS is at 0".into()))?;
        Ok(Interests { words })
    }

    /// Says what is wanted of one end of a connection; see [`headwater_probe_types::interest`]. It counts from the socket's next call on.
    pub fn set(&mut self, connection_id: u64, role: u32, interest: u32) {
        let slot = interest::slot(connection_id, role) as usize;
        // SAFETY: a slot is less than SLOTS, and so many words are mapped for as long as this value lives.
        let word = unsafe { self.words.add(slot).as_ref() };
        word.store(interest::word(connection_id, role, interest), Ordering::Relaxed);
    }
}

impl Drop for Interests {
    fn drop(&mut self) {
        // SAFETY: what was mapped in `map`, once.
        unsafe { libc::munmap(self.words.as_ptr().cast(), BYTES) };
    }
}
