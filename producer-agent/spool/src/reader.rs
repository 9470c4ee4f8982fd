//! Reads the entries of one segment's file, the oldest first.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::KINDS;
use crate::folder::Folder;
use crate::frame::{self, Entry, Parsed};
use crate::segment::Segment;

const CHUNK_BYTES: usize = 64 << 10;

/// A place in a segment.
#[derive(Debug)]
pub struct Reader {
    /// The segment's first position.
    pub segment: u64,
    /// Every entry of the segment with a lower position was read.
    pub next: u64,
    /// Where the next entry begins.
    pub offset: u64,
    /// Entries that were read, by kind.
    pub counts: [u64; KINDS],
    file: Option<File>,
    /// What stands in the file from `offset` on, behind `chunk_start`.
    chunk: Vec<u8>,
    chunk_start: usize,
}

/// What comes next.
pub enum Next<'a> {
    Entry(Entry<'a>, usize),
    /// What is left of the file cannot be read.
    Damaged,
}

impl Reader {
    pub fn new(segment: &Segment) -> Reader {
        Reader {
            segment: segment.first,
            next: segment.first,
            offset: 0,
            counts: [0; KINDS],
            file: None,
            chunk: Vec::new(),
            chunk_start: 0,
        }
    }

    /// The next entry of a segment that does not end here, which stays the next one until [`Reader::advance`].
    pub fn peek<'a>(&'a mut self, folder: Option<&Folder>, segment: &'a Segment) -> Next<'a> {
        if self.offset >= segment.written_bytes() {
            return match segment.in_memory(self.offset) {
                Some((entry, bytes)) => Next::Entry(entry, bytes),
                None => Next::Damaged,
            };
        }
        loop {
            // Parsed once more below: a borrow that is returned lasts too long here.
            match frame::parse(&self.chunk[self.chunk_start..]) {
                Parsed::Entry(..) => break,
                Parsed::Damaged => return Next::Damaged,
                Parsed::Short => {
                    let is_filled = folder.is_some_and(|folder| self.fill(folder, segment).is_ok_and(|more| more));
                    if !is_filled {
                        return Next::Damaged;
                    }
                }
            }
        }
        match frame::parse(&self.chunk[self.chunk_start..]) {
            Parsed::Entry(entry, bytes)
                if (self.next..=segment.last).contains(&entry.position) && usize::from(entry.kind) < KINDS =>
            {
                Next::Entry(entry, bytes)
            }
            _ => Next::Damaged,
        }
    }

    /// Goes on behind the entry that was the next one.
    pub fn advance(&mut self, position: u64, kind: u8, bytes: usize) {
        self.offset += bytes as u64;
        // What comes from memory is in no chunk.
        self.chunk_start = (self.chunk_start + bytes).min(self.chunk.len());
        self.next = position + 1;
        self.counts[usize::from(kind) % KINDS] += 1;
    }

    pub fn is_at_end(&self, segment: &Segment) -> bool {
        self.offset >= if segment.is_damaged() { segment.readable_bytes } else { segment.end() }
    }

    /// Reads more of the file. Says whether there was more.
    fn fill(&mut self, folder: &Folder, segment: &Segment) -> std::io::Result<bool> {
        self.chunk.drain(..std::mem::take(&mut self.chunk_start));
        let kept = self.chunk.len();
        let at = self.offset + kept as u64;
        let more = segment.written_bytes().saturating_sub(at).min(CHUNK_BYTES as u64) as usize;
        if more == 0 {
            return Ok(false);
        }
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(folder.read(segment.first)?),
        };
        self.chunk.resize(kept + more, 0);
        let read = file.read_exact_at(&mut self.chunk[kept..], segment.head_bytes + at);
        if read.is_err() {
            self.chunk.truncate(kept);
        }
        read.map(|()| true)
    }
}
