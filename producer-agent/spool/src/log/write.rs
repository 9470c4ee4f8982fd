//! Messages come in, and what is in memory goes out to the disk.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::acknowledge::{Pending, is_done};
use super::{Refused, Spool, now_us};
use crate::folder::Folder;
use crate::frame::{Entry, Head, whole_frames};
use crate::reader::Reader;
use crate::segment::Segment;

/// Files are removed as a whole, once all in them is acknowledged.
const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENTS_MIN: u64 = 8;

/// A disk that failed is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

impl Spool {
    /// Takes a message.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn push(&mut self, kind: u8, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let entry = Entry { position: self.next_position, kind, key, value };
        if !entry.fits() {
            return Err(Refused::TooLarge);
        }
        if self.memory_bytes + entry.frame_bytes() > self.memory_bytes_max {
            self.write_out();
            if self.memory_bytes + entry.frame_bytes() > self.memory_bytes_max {
                return Err(if self.failure.is_some() { Refused::Disk } else { Refused::Full });
            }
        }
        self.append(&entry);
        Ok(())
    }

    /// Keeps a message that has [`Spool::next_position`] and was handed over already, until it is acknowledged. To be called only if
    /// [`Spool::is_read`]. Where there is no room for it, it is not kept.
    pub fn handed(&mut self, kind: u8, key: &[u8], value: &[u8]) {
        let position = self.next_position;
        if self.push(kind, key, value).is_err() {
            self.next_position += 1;
            return;
        }
        let Some(back) = self.segments.back() else { return };
        let reader = match &mut self.reader {
            Some(reader) if reader.segment == back.first => reader,
            reader => reader.insert(Reader::new(back)),
        };
        reader.advance(position, kind, Entry { position, kind, key, value }.frame_bytes());
        self.pending.push_back((position, Pending { left: 1, is_complete: true }));
    }

    /// Writes what is in memory, as far as the disk has room.
    pub fn write_out(&mut self) {
        let may_not = self.failure.as_ref().is_some_and(|(_, at)| at.elapsed() < PAUSE);
        if may_not || self.memory_bytes == 0 {
            return;
        }
        self.failure = None;
        if let (None, Some(path)) = (&self.folder, &self.path) {
            match make_folder(path) {
                Ok(folder) => self.folder = Some(folder),
                Err(error) => self.failure = Some((error, Instant::now())),
            }
        }
        let Some(folder) = &self.folder else { return };
        for segment in self.segments.iter_mut().filter(|segment| !segment.memory.is_empty()) {
            let head_bytes = if segment.has_file() { 0 } else { Head::bytes(&self.writer.note) as u64 };
            let room = self.bytes_max.saturating_sub(self.file_bytes + head_bytes);
            if whole_frames(&segment.memory, room) == 0 {
                break;
            }
            let reader = self.reader.as_mut();
            let handed_to = reader.as_ref().map_or(0, |reader| reader.next);
            let forgotten = segment.forget(|position| position < handed_to && is_done(&self.pending, position));
            self.memory_bytes -= forgotten;
            if let Some(reader) = reader.filter(|reader| reader.segment == segment.first) {
                // All of it stood before what is read next.
                reader.offset -= forgotten as u64;
            }
            let frames = whole_frames(&segment.memory, room);
            if frames == 0 {
                continue;
            }
            let head = if segment.has_file() {
                Vec::new()
            } else {
                let note = self.writer.note.clone();
                Head { run: self.writer.run, since_us: segment.since_us, note }.write()
            };
            let parts = [&*head, &segment.memory[..frames]];
            if let Err(error) = folder.write(segment.first, segment.file_bytes, parts) {
                self.failure = Some((error, Instant::now()));
                break;
            }
            self.file_bytes += head_bytes + frames as u64;
            self.memory_bytes -= frames;
            segment.written(frames, head_bytes);
        }
        self.note();
    }

    /// Puts an entry behind all others.
    fn append(&mut self, entry: &Entry<'_>) {
        self.next_position = entry.position + 1;
        self.memory_bytes += entry.frame_bytes();
        let segment_bytes = self.segment_bytes();
        let goes_on =
            |segment: &&mut Segment| segment.writer.is_ours && segment.bytes() < segment_bytes && !segment.is_damaged();
        match self.segments.back_mut().filter(goes_on) {
            Some(segment) => segment.push(entry),
            None => {
                let mut segment = Segment::new(entry.position, &self.writer, now_us());
                segment.push(entry);
                self.segments.push_back(segment);
            }
        }
    }

    fn segment_bytes(&self) -> u64 {
        let on_disk = self.path.as_ref().map_or(SEGMENT_BYTES, |_| self.bytes_max / SEGMENTS_MIN);
        SEGMENT_BYTES.min(on_disk).min(self.memory_bytes_max as u64 / SEGMENTS_MIN)
    }
}

/// A folder that was not there at the start.
fn make_folder(path: &Path) -> io::Result<Folder> {
    let folder = Folder::open(path)?;
    // They would stand behind what is here already.
    if folder.files()?.is_empty() {
        Ok(folder)
    } else {
        Err(io::Error::other("another program has left its files there"))
    }
}
