//! A table of the probes that this process maps: both read and write it without a system call.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use aya::maps::Map;

use crate::error::LoadError;

/// `count` values of a table. They stay valid when the probes are gone.
#[derive(Debug)]
pub struct Mapped<T> {
    values: NonNull<T>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone; what the probes write meanwhile is for the users of `at` to think of.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps a table that was made to be mapped, of `count` values of this type: the probes and their users take both from one place.
    pub fn of(map: &Map, count: usize, name: &'static str) -> Result<Mapped<T>, LoadError> {
        let Map::Array(data) = map else { return Err(LoadError::Object(format!("{name} is no array"))) };
        // SAFETY: a new mapping; the kernel refuses more than the table has.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            let source = std::io::Error::last_os_error();
            return Err(LoadError::Read { what: "a table of the probes (mmap)", source });
        }
        let values = NonNull::new(address.cast()).ok_or_else(|| LoadError::Object(format!("{name} is at 0")))?;
        Ok(Mapped { values, count })
    }

    /// One of the values, which are also written by others.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, index: usize) -> NonNull<T> {
        assert!(index < self.count, "value {index} of {}", self.count);
        // SAFETY: within the mapping.
        unsafe { self.values.add(index) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: what was mapped in `of`, once.
        unsafe { libc::munmap(self.values.as_ptr().cast(), self.count * size_of::<T>()) };
    }
}
