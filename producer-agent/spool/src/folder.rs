//! The folder of the log: one program's at a time, files named by the position of their first entry, and the note of how far
//! everything is acknowledged.
//!
//! Nothing is synced: what a killed process has written stays, what a machine without
//! power had not written yet is lost.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::frame::{HEAD_BYTES_MAX, Head};

const SUFFIX: &str = ".log";
const LOCK: &str = "lock";
const ACKNOWLEDGED: &str = "acknowledged";

/// No position is as high, in thousands of runs.
pub const POSITIONS_END: u64 = 1 << 55;

const HEAD_BYTES_USUAL: usize = 16 << 10;

/// Lock and note, on a disk with the usual blocks.
pub const OWN_BYTES: u64 = 4096;

/// A folder that is this program's own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
    #[cfg(test)]
    pub disk_room: std::cell::Cell<Option<u64>>,
}

/// A file that was there at the start.
pub struct Found {
    pub first: u64,
    pub bytes: u64,
    /// None if it has no head that can be read.
    pub head: Option<(Head, u64)>,
}

/// In the file of this run that begins with `first`, all before `position` was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    pub run: u64,
    pub first: u64,
    pub position: u64,
}

impl Folder {
    /// Makes the folder where it is missing, and takes it.
    ///
    /// # Errors
    /// If that is not possible, or another program has it.
    pub fn open(path: &Path) -> io::Result<Folder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = private().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another program uses it"),
            TryLockError::Error(error) => error,
        })?;
        Ok(Folder {
            path: path.to_owned(),
            _lock: lock,
            #[cfg(test)]
            disk_room: std::cell::Cell::default(),
        })
    }

    /// The files that are there, in their order.
    pub fn files(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|name| name.parse().ok());
            if let Some(first) = first
                && first < POSITIONS_END
                && self.file(first) == entry.path()
            {
                found.push(Found { first, bytes: entry.metadata()?.len(), head: head(&entry.path())? });
            }
        }
        found.sort_unstable_by_key(|found| found.first);
        Ok(found)
    }

    pub fn read(&self, first: u64) -> io::Result<File> {
        File::open(self.file(first))
    }

    /// Writes bytes at a place of a file. If that fails, the file is as long as it was, if that is possible.
    pub fn write(&self, first: u64, at: u64, parts: [&[u8]; 2]) -> io::Result<()> {
        let file = private().create(true).truncate(false).write(true).open(self.file(first))?;
        if at == 0 {
            // Something else that had this name.
            file.set_len(0)?;
        }
        let mut end = at;
        let written = parts.iter().try_for_each(|part| {
            self.write_at(&file, part, end)?;
            end += part.len() as u64;
            Ok(())
        });
        if written.is_err() {
            let _ = if at == 0 { fs::remove_file(self.file(first)) } else { file.set_len(at) };
        }
        written
    }

    pub fn remove(&self, first: u64) -> io::Result<()> {
        fs::remove_file(self.file(first))
    }

    pub fn note(&self, Acknowledged { run, first, position }: Acknowledged) -> io::Result<()> {
        let bytes = Head { run, since_us: first, note: position.to_le_bytes().to_vec() }.write();
        let file = private().create(true).truncate(false).write(true).open(self.path.join(ACKNOWLEDGED))?;
        // Always as many bytes: no other byte stays.
        self.write_at(&file, &bytes, 0)
    }

    pub fn acknowledged(&self) -> Option<Acknowledged> {
        let (head, _) = Head::parse(&fs::read(self.path.join(ACKNOWLEDGED)).ok()?)?;
        let position = u64::from_le_bytes(head.note.try_into().ok()?);
        Some(Acknowledged { run: head.run, first: head.since_us, position })
    }

    #[cfg(not(test))]
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// On a disk that may be full.
    #[cfg(test)]
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let room = self.disk_room.get().unwrap_or(u64::MAX).min(bytes.len() as u64);
        file.write_all_at(&bytes[..room as usize], at)?;
        if room < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk_room.set(self.disk_room.get().map(|left| left - room));
        Ok(())
    }

    fn file(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}{SUFFIX}"))
    }
}

/// The head of a file, if it has one.
fn head(path: &Path) -> io::Result<Option<(Head, u64)>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    // Nearly all are short, and there may be hundreds of files.
    for bytes in [HEAD_BYTES_USUAL, HEAD_BYTES_MAX] {
        Read::by_ref(&mut file).take((bytes - start.len()) as u64).read_to_end(&mut start)?;
        if let Some((head, bytes)) = Head::parse(&start) {
            return Ok(Some((head, bytes as u64)));
        }
    }
    Ok(None)
}

/// Paths and addresses of others' requests are nobody's but root's.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
