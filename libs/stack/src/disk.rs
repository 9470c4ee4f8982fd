//! Says that a disk is full before Java does, whose message would be a stack trace.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{io, mem};

use crate::error::StackError;

/// Fails when the file system of `path` has less than `needed_bytes` for this user; `setting` chooses another one.
pub fn require_space(path: &Path, needed_bytes: u64, setting: &'static str) -> Result<(), StackError> {
    let free_bytes = free_bytes(path).map_err(StackError::io("asking for the free space of", path))?;
    if free_bytes < needed_bytes {
        let detail = format!("{} MiB are free, {} MiB are needed", free_bytes >> 20, needed_bytes >> 20);
        return Err(StackError::DiskFull { path: path.to_path_buf(), detail, setting });
    }
    Ok(())
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs is plain data, for which zero is valid; the path is a C string that outlives the call.
    let (result, stat) = unsafe {
        let mut stat: libc::statvfs = mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat), stat)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_disk_without_the_space_is_named_with_both_sizes() {
        let folder = tempfile::tempdir().unwrap();
        require_space(folder.path(), 1, "--data-dir").unwrap();
        let error = require_space(folder.path(), u64::MAX, "--data-dir").unwrap_err().to_string();
        assert!(
            error.contains("is full") && error.contains("MiB are needed") && error.contains("--data-dir"),
            "{error}"
        );
    }
}
