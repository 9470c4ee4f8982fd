//! The log: segments in the order of their positions, and how far they were read and acknowledged.

mod acknowledge;
mod read;
mod write;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use self::acknowledge::Pending;
use crate::KINDS;
use crate::folder::{Acknowledged, Folder, OWN_BYTES};
use crate::frame::{Entry, Head};
use crate::reader::Reader;
use crate::segment::{Segment, Writer};

/// Positions of one run lie within so many.
const RUN_POSITIONS: u64 = 1 << 40;

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
