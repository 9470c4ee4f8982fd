//! Frames as they stand in the stream (AMQP 0-9-1, 4.2.3): a type, a channel, a size, a payload and an octet that ends it; before all of them the
//! client's header (4.2.2).
//!
//! In: the bytes of one direction. Out: the head of each frame, and where it ends. Bound: [`HEAD_BYTES_MAX`]; a size is believed only as far as bytes
//! are passed over by it.

use crate::choice::Verdict;
use crate::cursor::Cursor;
use crate::lanes::{self, Progress};
use crate::stream::Mark;
use crate::{Direction, Position};

/// What a client of 0-9-1 begins with.
const PREFACE: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// What all versions begin with.
const PREFACE_NAME: &[u8; 4] = b"AMQP";
const HEADER_BYTES: usize = 7;
const END: u8 = 0xce;
/// Peers agree on 128 KiB, mostly.
const PAYLOAD_BYTES_MAX: u32 = 16 << 20;
/// What is kept of a frame: all names of a message, which have at most 255 bytes each.
const HEAD_BYTES_MAX: usize = 1024;
/// What is kept from one frame to the next.
const HEAD_BYTES_KEPT: usize = 256;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The client begins.
    Preface,
    Method {
        channel: u16,
        class: u16,
        method: u16,
        /// As far as they were captured and kept.
        arguments: &'a [u8],
    },
    /// Of a message: so many bytes follow.
    Header {
        channel: u16,
        body_bytes: Option<u64>,
    },
    Body {
        channel: u16,
        bytes: u64,
    },
    Heartbeat,
    /// A method whose beginning was not captured.
    Unknown {
        channel: u16,
    },
}

/// One direction.
#[derive(Debug, Default)]
pub struct Reader {
    /// The header of the frame and the first bytes of its payload.
    head: Vec<u8>,
    start: Option<Mark>,
    /// Behind the octet that ends it.
    end: Option<Position>,
    is_preface: bool,
    /// The octet that ends it was captured.
    ends_well: bool,
}

impl Reader {
    /// The frame that has been read.
    pub fn frame(&self) -> Frame<'_> {
        if self.is_preface {
            return Frame::Preface;
        }
        let word = |at: usize| Some(u16::from_be_bytes([*self.head.get(at)?, *self.head.get(at + 1)?]));
        let channel = word(1).unwrap_or_default();
        match self.head.first() {
            Some(1) => match (word(HEADER_BYTES), word(HEADER_BYTES + 2)) {
                (Some(class), Some(method)) => {
                    Frame::Method { channel, class, method, arguments: &self.head[HEADER_BYTES + 4..] }
                }
                _ => Frame::Unknown { channel },
            },
            Some(2) => {
                let body = self.head.get(HEADER_BYTES + 4..).and_then(|rest| rest.first_chunk());
                Frame::Header { channel, body_bytes: body.map(|bytes| u64::from_be_bytes(*bytes)) }
            }
            Some(3) => Frame::Body { channel, bytes: self.payload_bytes() },
            _ => Frame::Heartbeat,
        }
    }

    fn payload_bytes(&self) -> u64 {
        let (start, end) = (self.start.map(|start| start.position), self.end);
        let all = end.zip(start).map_or(0, |(end, start)| end.since(start));
        all.saturating_sub(HEADER_BYTES as u64 + 1)
    }

    /// The octet that ends it was seen where it has to be.
    pub fn ends_well(&self) -> bool {
        self.ends_well
    }

    pub fn heap_bytes(&self) -> usize {
        self.head.capacity()
    }

    /// Adds to the head until it has so many bytes.
    fn keep(&mut self, cursor: &mut Cursor<'_>, wanted: usize) {
        let added = wanted.saturating_sub(self.head.len()).min(cursor.captured.len());
        self.head.extend_from_slice(&cursor.captured[..added]);
        cursor.skip(added);
    }

    fn read_header(&mut self, cursor: &mut Cursor<'_>) -> Result<Position, Progress> {
        let start = *self.start.get_or_insert(cursor.mark());
        loop {
            if let Some(end) = self.end {
                return Ok(end);
            }
            // The first byte says which it is.
            if self.head.first() == Some(&PREFACE_NAME[0]) {
                self.is_preface = true;
                if !PREFACE.starts_with(&self.head) {
                    return Err(Progress::Malformed);
                }
                if self.head.len() == PREFACE.len() {
                    self.end = Some(start.position.saturating_add(PREFACE.len() as u64));
                    continue;
                }
            } else if self.head.len() >= HEADER_BYTES {
                let payload_bytes = payload_bytes(&self.head).ok_or(Progress::Malformed)?;
                let bytes = HEADER_BYTES as u64 + u64::from(payload_bytes) + 1;
                self.end = Some(start.position.checked_add(bytes).ok_or(Progress::Malformed)?);
                continue;
            }
            if cursor.is_done() {
                return Err(Progress::More);
            }
            if cursor.captured.is_empty() {
                return Err(Progress::Blind);
            }
            let wanted = if self.is_preface {
                PREFACE.len()
            } else if self.head.is_empty() {
                1
            } else {
                HEADER_BYTES
            };
            self.keep(cursor, wanted);
        }
    }
}

impl lanes::Reader for Reader {
    fn read(&mut self, cursor: &mut Cursor<'_>, _: Direction) -> Progress {
        let end = match self.read_header(cursor) {
            Ok(end) => end,
            Err(progress) => return progress,
        };
        let start = self.start.map_or(cursor.position, |start| start.position);
        // What was not captured leaves a hole behind which nothing is of use.
        if !self.is_preface && cursor.position.since(start) == self.head.len() as u64 {
            let payload_end = usize::try_from(end.since(start)).unwrap_or(usize::MAX) - 1;
            self.keep(cursor, payload_end.min(HEAD_BYTES_MAX));
        }
        if !self.is_preface && cursor.position < end {
            let found = usize::try_from(end.since(cursor.position) - 1).ok().and_then(|at| cursor.captured.get(at));
            self.ends_well = found == Some(&END);
            if found.is_some_and(|found| *found != END) {
                return Progress::Malformed;
            }
        }
        cursor.skip_to(end);
        if cursor.position < end { Progress::More } else { Progress::Complete }
    }

    fn reset(&mut self) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head.shrink_to(HEAD_BYTES_KEPT);
        *self = Self { head, ..Self::default() };
    }

    fn start(&self) -> Option<Mark> {
        self.start
    }

    fn end(&self) -> Option<Position> {
        self.end
    }
}

/// The size that the header of a frame says, if it can be one.
fn payload_bytes(header: &[u8]) -> Option<u32> {
    let (fixed, _) = header.split_first_chunk::<HEADER_BYTES>()?;
    let channel = u16::from_be_bytes([fixed[1], fixed[2]]);
    let bytes = u32::from_be_bytes([fixed[3], fixed[4], fixed[5], fixed[6]]);
    let is_right = match fixed[0] {
        1 => bytes >= 4,
        2 => bytes >= 14 && channel > 0,
        3 => channel > 0,
        8 => bytes == 0,
        _ => false,
    };
    (is_right && bytes <= PAYLOAD_BYTES_MAX).then_some(bytes)
}

/// Whether a client begins with the header of this version.
pub(super) fn judge_preface(bytes: &[u8]) -> Verdict {
    match (bytes.len() < PREFACE.len(), PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())])) {
        (_, false) => Verdict::No,
        (true, _) => Verdict::Maybe,
        (false, _) => Verdict::Yes,
    }
}
