//! The log: segments in the order of their positions, and how far they were read and acknowledged.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::KINDS;
use crate::folder::{Acknowledged, Folder, OWN_BYTES};
use crate::frame::{Entry, Head, whole_frames};
use crate::reader::{Next, Reader};
use crate::segment::{Segment, Writer};

/// Files are removed as a whole, once all in them is acknowledged.
const SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENTS_MIN: u64 = 8;

/// Positions of one run lie within so many.
const RUN_POSITIONS: u64 = 1 << 40;

/// A disk that failed is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What the log needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of its files.
    pub bytes_max: u64,
    /// Bytes that wait in memory.
    pub memory_bytes_max: usize,
    /// Stands in each file: what a later version needs to read the values.
    pub note: Vec<u8>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no room, neither in memory nor on disk.
    Full,
    /// There is no room in memory, and the disk takes nothing: it is full or broken.
    Disk,
    /// No message may be so large.
    TooLarge,
}

/// What comes next.
#[derive(Debug)]
pub enum Event<'a> {
    /// A message, and who wrote it.
    Entry(Entry<'a>, &'a Writer),
    /// Here entries are missing: bytes of a file cannot be read. Of a file of this run it is known how many, by kind.
    Lost { writer: &'a Writer, bytes: u64, counts: Option<[u64; KINDS]> },
}

/// What was done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// Acknowledgements that will come for what was done now.
    pub messages: u32,
    /// The entry is done with, once they are there. Otherwise it is the next one again.
    pub is_complete: bool,
}

impl Handed {
    /// It was not taken.
    pub const NOT: Handed = Handed { messages: 0, is_complete: false };
    /// Nobody needs it.
    pub const DROPPED: Handed = Handed { messages: 0, is_complete: true };
}

/// The log.
#[derive(Debug)]
pub struct Spool {
    /// None until something is written.
    folder: Option<Folder>,
    /// None: it is in memory alone.
    path: Option<PathBuf>,
    bytes_max: u64,
    memory_bytes_max: usize,
    writer: Rc<Writer>,
    next_position: u64,
    segments: VecDeque<Segment>,
    /// None: at the beginning.
    reader: Option<Reader>,
    /// Entries that were handed over, by their positions, until nothing before them is left.
    pending: VecDeque<(u64, Pending)>,
    acknowledged: Option<Acknowledged>,
    /// What the disk says of that.
    noted: Option<Acknowledged>,
    failure: Option<(io::Error, Instant)>,
    memory_bytes: usize,
    file_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    left: u32,
    is_complete: bool,
}

impl Pending {
    fn is_done(self) -> bool {
        self.is_complete && self.left == 0
    }
}

impl Spool {
    /// One that keeps everything in memory.
    pub fn in_memory(options: &Options) -> Spool {
        Spool {
            folder: None,
            path: None,
            bytes_max: options.bytes_max.saturating_sub(OWN_BYTES),
            memory_bytes_max: options.memory_bytes_max,
            writer: Rc::new(Writer { run: now_us(), is_ours: true, note: options.note.clone() }),
            next_position: 1,
            segments: VecDeque::new(),
            reader: None,
            pending: VecDeque::new(),
            acknowledged: None,
            noted: None,
            failure: None,
            memory_bytes: 0,
            file_bytes: 0,
        }
    }

    /// One that can write into a folder of its own, and that begins with what earlier runs left there. A folder that is missing is made as
    /// soon as it is needed.
    ///
    /// # Errors
    /// If there is a folder that cannot be used.
    pub fn open(path: &Path, options: &Options) -> io::Result<Spool> {
        let mut spool = Spool { path: Some(path.to_owned()), ..Spool::in_memory(options) };
        if !path.try_exists()? {
            return Ok(spool);
        }
        let folder = Folder::open(path)?;
        let noted = folder.acknowledged();
        let found = folder.files()?;
        spool.next_position = found.last().map_or(1, |last| last.first.saturating_add(RUN_POSITIONS));
        let mut next_first = spool.next_position;
        for file in found.into_iter().rev() {
            let (head, head_bytes) = file.head.unwrap_or((Head { run: 0, since_us: now_us(), note: Vec::new() }, 0));
            // Two runs never begin in the same microsecond, unless somebody sets the clock.
            spool.writer = Rc::new(Writer {
                run: spool.writer.run.max(head.run.saturating_add(1)),
                is_ours: true,
                note: options.note.clone(),
            });
            let last_writer = spool.segments.front().map(|segment| &segment.writer);
            let writer = match last_writer {
                Some(writer) if writer.run == head.run && writer.note == head.note => Rc::clone(writer),
                _ => Rc::new(Writer { run: head.run, is_ours: false, note: head.note }),
            };
            let mut segment = Segment::new(file.first, &writer, head.since_us);
            segment.last = next_first - 1;
            // A file without head has nothing that can be read, which is told when it is its turn.
            (segment.head_bytes, segment.file_bytes) = (head_bytes, file.bytes.max(1));
            (segment.readable_bytes, segment.counts) = (segment.written_bytes(), None);
            next_first = file.first;
            spool.file_bytes += segment.file_bytes;
            spool.segments.push_front(segment);
        }
        let is_of_front = |noted: &Acknowledged| {
            spool.segments.front().is_some_and(|front| front.first == noted.first && front.writer.run == noted.run)
        };
        spool.acknowledged = noted.filter(is_of_front);
        spool.noted = noted;
        spool.folder = Some(folder);
        Ok(spool)
    }

    /// Whether it may write.
    pub fn has_folder(&self) -> bool {
        self.path.is_some()
    }

    /// Whether nothing is left to be handed over.
    pub fn is_read(&self) -> bool {
        match (self.segments.back(), &self.reader) {
            (None, _) => true,
            (Some(back), Some(reader)) => {
                reader.segment > back.first || reader.segment == back.first && reader.is_at_end(back)
            }
            (Some(_), None) => false,
        }
    }

    /// Whether it has files.
    pub fn has_files(&self) -> bool {
        self.file_bytes > 0
    }

    /// What it takes: on disk, and in memory.
    pub fn bytes(&self) -> (u64, usize) {
        (self.file_bytes, self.memory_bytes)
    }

    /// Since when the oldest part of it waits, in microseconds since the epoch.
    pub fn oldest_us(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.since_us)
    }

    /// What the disk said last, if it takes nothing now.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref().map(|(error, _)| error)
    }

    /// The position of the message that is taken next.
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

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

    /// Hands over what comes next, until something is not taken or nothing is left.
    pub fn hand_over(&mut self, mut to: impl FnMut(Event<'_>) -> Handed) {
        while let Some(index) = self.reading() {
            if !self.hand_over_next(index, &mut to) {
                return;
            }
        }
    }

    /// One message of an entry was acknowledged, or given up for good.
    pub fn acknowledge(&mut self, position: u64) {
        if let Some((_, pending)) = find(&self.pending, position).and_then(|index| self.pending.get_mut(index)) {
            pending.left = pending.left.saturating_sub(1);
        }
    }

    /// Removes what is acknowledged, and notes how far that is.
    pub fn settle(&mut self) {
        while let Some(front) = self.segments.front() {
            // A reader that is before the front one has read nothing of it.
            let reader = self.reader.as_ref().filter(|reader| reader.segment >= front.first);
            let read_to = match reader {
                Some(reader) if reader.segment == front.first => reader.next,
                Some(_) => u64::MAX,
                None => 0,
            };
            let run = front.writer.run;
            while let Some(&(position, pending)) = self.pending.front() {
                if position > front.last || position >= read_to || !pending.is_done() {
                    break;
                }
                self.pending.pop_front();
                self.acknowledged = Some(Acknowledged { run, first: front.first, position: position + 1 });
            }
            let is_at_end = |reader: &Reader| read_to == u64::MAX || reader.is_at_end(front);
            let waits = self.pending.front().is_some_and(|(position, _)| *position <= front.last);
            if waits || !reader.is_some_and(is_at_end) {
                break;
            }
            self.remove_front();
        }
        self.note();
    }

    /// Tells the disk what is acknowledged of the first file.
    fn note(&mut self) {
        let Some(front) = self.segments.front().filter(|front| front.has_file()) else { return };
        let (Some(folder), Some(acknowledged)) = (&self.folder, self.acknowledged) else { return };
        if front.first == acknowledged.first && self.noted != self.acknowledged {
            // What is noted too late is handed over once more, after a kill.
            let _ = folder.note(acknowledged);
            self.noted = self.acknowledged;
        }
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

    /// The segment that has the next entry.
    fn reading(&mut self) -> Option<usize> {
        loop {
            let Some(reader) = &self.reader else {
                self.reader = Some(Reader::new(self.segments.front()?));
                continue;
            };
            let index = self.segments.partition_point(|segment| segment.first < reader.segment);
            let segment = self.segments.get(index)?;
            if segment.first != reader.segment {
                self.reader = Some(Reader::new(segment));
            } else if reader.is_at_end(segment) {
                self.reader = Some(Reader::new(self.segments.get(index + 1)?));
            } else {
                return Some(index);
            }
        }
    }

    /// Says whether it goes on.
    fn hand_over_next(&mut self, index: usize, to: &mut impl FnMut(Event<'_>) -> Handed) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let segment = &mut self.segments[index];
        let (position, kind, bytes, handed) = match reader.peek(self.folder.as_ref(), segment) {
            Next::Entry(entry, bytes) => {
                let (position, kind) = (entry.position, entry.kind);
                let is_noted = |noted: Acknowledged| noted.first == segment.first && position < noted.position;
                if self.acknowledged.is_some_and(is_noted) {
                    reader.advance(position, kind, bytes);
                    return true;
                }
                (position, kind, bytes, to(Event::Entry(entry, &segment.writer)))
            }
            Next::Damaged => {
                let (offset, written) = (reader.offset, segment.written_bytes());
                let counts = segment
                    .counts
                    .map(|written| std::array::from_fn(|kind| written[kind].saturating_sub(reader.counts[kind])));
                to(Event::Lost { writer: &segment.writer, bytes: written.saturating_sub(offset), counts });
                segment.readable_bytes = offset.min(written);
                if offset >= written {
                    // What is in memory was written here: this does not happen.
                    self.memory_bytes -= segment.memory.len();
                    segment.memory = Vec::new();
                } else if let Some(rest) = segment.split_off_memory() {
                    // What is in memory goes on behind it, in a segment that can be read.
                    self.segments.insert(index + 1, rest);
                }
                return true;
            }
        };
        if handed.messages > 0 || handed.is_complete {
            if self.pending.back().is_none_or(|(last, _)| *last != position) {
                self.pending.push_back((position, Pending { left: 0, is_complete: false }));
            }
            if let Some((_, pending)) = self.pending.back_mut() {
                // Without a folder there is nobody to keep it for.
                pending.left += if self.path.is_some() { handed.messages } else { 0 };
                pending.is_complete = handed.is_complete;
            }
        }
        if handed.is_complete {
            reader.advance(position, kind, bytes);
        }
        handed.is_complete
    }

    fn remove_front(&mut self) {
        let Some(front) = self.segments.pop_front() else { return };
        self.file_bytes -= front.file_bytes;
        self.memory_bytes -= front.memory.len();
        if let (true, Some(folder)) = (front.has_file(), &self.folder) {
            // One that stays is found at the next start; what is noted of it is that it was acknowledged.
            let _ = folder.remove(front.first);
        }
        if self.reader.as_ref().is_some_and(|reader| reader.segment == front.first) {
            self.reader = None;
        }
    }

    fn segment_bytes(&self) -> u64 {
        let on_disk = self.path.as_ref().map_or(SEGMENT_BYTES, |_| self.bytes_max / SEGMENTS_MIN);
        SEGMENT_BYTES.min(on_disk).min(self.memory_bytes_max as u64 / SEGMENTS_MIN)
    }
}

/// Where the entry with this position stands.
fn find(pending: &VecDeque<(u64, Pending)>, position: u64) -> Option<usize> {
    let (first, _) = pending.front()?;
    // Those of one run stand without a gap, nearly always.
    let guess = position.checked_sub(*first).and_then(|index| usize::try_from(index).ok());
    let is_there = |index: &usize| pending.get(*index).is_some_and(|(at, _)| *at == position);
    guess.filter(is_there).or_else(|| pending.binary_search_by_key(&position, |(at, _)| *at).ok())
}

/// Whether an entry that was handed over is acknowledged. It is forgotten once all before it are.
fn is_done(pending: &VecDeque<(u64, Pending)>, position: u64) -> bool {
    find(pending, position).is_none_or(|index| pending[index].1.is_done())
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

fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
impl Spool {
    pub fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("this one has a folder")
    }

    pub fn forget_failure(&mut self) {
        self.failure = None;
    }

    /// Positions of all that is in files.
    pub fn positions_in_files(&self) -> std::collections::BTreeSet<u64> {
        let mut all = std::collections::BTreeSet::new();
        for segment in self.segments.iter().filter(|segment| segment.has_file()) {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut self.folder().read(segment.first).expect("it is there"), &mut bytes)
                .expect("it can be read");
            all.extend(frames(&bytes[segment.head_bytes as usize..]));
        }
        all
    }
}

#[cfg(test)]
fn frames(mut bytes: &[u8]) -> Vec<u64> {
    let mut positions = Vec::new();
    while let crate::frame::Parsed::Entry(entry, length) = crate::frame::parse(bytes) {
        positions.push(entry.position);
        bytes = &bytes[length..];
    }
    positions
}
