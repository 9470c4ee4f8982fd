//! A stretch of the log: entries one behind the other, first those that are in its file, then those in memory.

use std::rc::Rc;

use crate::KINDS;
use crate::frame::{self, Entry, Parsed};

/// A stretch. Offsets in it count the bytes of frames, in its file and behind that in memory: they stay as they are when it is written.
#[derive(Debug)]
pub struct Segment {
    /// Position of its first entry.
    pub first: u64,
    /// No entry has a higher position.
    pub last: u64,
    /// Who wrote it.
    pub writer: Rc<Writer>,
    pub since_us: u64,
    /// Bytes of its file; 0 without one.
    pub file_bytes: u64,
    /// Where the first frame stands in the file.
    pub head_bytes: u64,
    /// Bytes of frames in the file that can be read.
    pub readable_bytes: u64,
    /// Entries in the file, by kind, if it is of this run.
    pub counts: Option<[u64; KINDS]>,
    /// Frames that are not written yet.
    pub memory: Vec<u8>,
}

/// A run of the program that wrote to the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Writer {
    pub run: u64,
    /// Whether that is this run.
    pub is_ours: bool,
    pub note: Vec<u8>,
}

impl Segment {
    /// An empty one in memory.
    pub fn new(first: u64, writer: &Rc<Writer>, since_us: u64) -> Segment {
        Segment {
            first,
            last: first,
            writer: Rc::clone(writer),
            since_us,
            file_bytes: 0,
            head_bytes: 0,
            readable_bytes: 0,
            counts: Some([0; KINDS]),
            memory: Vec::new(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.file_bytes + self.memory.len() as u64
    }

    pub fn has_file(&self) -> bool {
        self.file_bytes > 0
    }

    /// Bytes of the frames in the file.
    pub fn written_bytes(&self) -> u64 {
        self.file_bytes - self.head_bytes
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.written_bytes() + self.memory.len() as u64
    }

    /// Whether a part of the file cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.readable_bytes < self.written_bytes()
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        entry.write(&mut self.memory);
        self.last = entry.position;
    }

    /// The entry at an offset that is in memory.
    pub fn in_memory(&self, offset: u64) -> Option<(Entry<'_>, usize)> {
        let bytes = self.memory.get(offset.checked_sub(self.written_bytes())? as usize..)?;
        match frame::parse(bytes) {
            Parsed::Entry(entry, bytes) => Some((entry, bytes)),
            // They were written here.
            Parsed::Short | Parsed::Damaged => None,
        }
    }

    /// Removes entries from memory that need no place on the disk. Says how many bytes they took.
    pub fn forget(&mut self, is_needless: impl Fn(u64) -> bool) -> usize {
        let mut kept = Vec::with_capacity(self.memory.len());
        let mut left = &self.memory[..];
        while let Parsed::Entry(entry, bytes) = frame::parse(left) {
            if !is_needless(entry.position) {
                kept.extend_from_slice(&left[..bytes]);
            }
            left = &left[bytes..];
        }
        let forgotten = self.memory.len() - kept.len();
        self.memory = kept;
        forgotten
    }

    /// The first bytes in memory are written to the file.
    pub fn written(&mut self, bytes: usize, head_bytes: u64) {
        let counts = self.counts.get_or_insert_default();
        let mut left = &self.memory[..bytes];
        while let Parsed::Entry(entry, bytes) = frame::parse(left) {
            counts[usize::from(entry.kind) % KINDS] += 1;
            left = &left[bytes..];
        }
        if !self.has_file() {
            self.head_bytes = head_bytes;
            self.file_bytes = head_bytes;
        }
        self.file_bytes += bytes as u64;
        self.readable_bytes = self.written_bytes();
        if bytes == self.memory.len() {
            self.memory = Vec::new();
        } else {
            self.memory.drain(..bytes);
        }
    }

    /// Makes a segment of what is in memory alone.
    pub fn split_off_memory(&mut self) -> Option<Segment> {
        let (front, _) = self.in_memory(self.written_bytes())?;
        let mut rest = Segment::new(front.position, &self.writer, self.since_us);
        rest.last = self.last;
        self.last = front.position - 1;
        rest.memory = std::mem::take(&mut self.memory);
        Some(rest)
    }
}
