//! Frames as they stand in the stream: one behind the other, or in segments.
//!
//! In: the bytes of one direction. Out: the first bytes of each frame, and where it ends. Bound: [`HEAD_BYTES_MAX`]; a length is believed only as far as
//! bytes are passed over by it. Places are positions in the stream, so that bytes within a frame or a payload may be missing.

use super::frame::{self, HEADER_BYTES};
use super::segment::{self, Judged};
use crate::cursor::Cursor;
use crate::lanes::{self, Progress};
use crate::stream::Mark;
use crate::{Direction, Position};

/// What is kept of a frame: the longest name of a statement, and what it is bound to is not read.
const HEAD_BYTES_MAX: usize = 4096;
/// What is kept from one frame to the next.
const HEAD_BYTES_KEPT: usize = 256;

/// One direction.
#[derive(Debug, Default)]
pub struct Reader {
    framing: Framing,
    /// The bytes of a segment's header that is being read, and where it begins.
    header: Vec<u8>,
    header_start: Option<Mark>,
    segment: Option<Segment>,
    /// The header and the first bytes of the body.
    head: Vec<u8>,
    start: Option<Mark>,
    /// Where the bytes stand that are still to come, once the header was read.
    body: Option<Body>,
    is_complete: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    /// The first bytes will tell.
    #[default]
    Unknown,
    Frames,
    Segments,
}

/// A segment whose header has been read.
#[derive(Clone, Copy, Debug)]
struct Segment {
    payload: Position,
    payload_end: Position,
    /// Behind the checksum.
    end: Position,
}

/// From here on so many bytes of a frame are to come, as far as the payload goes.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// None: the next payload goes on with it.
    from: Option<Position>,
    left: u64,
}

impl Reader {
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn is_in_segments(&self) -> bool {
        self.framing == Framing::Segments
    }

    pub fn heap_bytes(&self) -> usize {
        self.head.capacity() + self.header.capacity()
    }

    /// Comes to where bytes of frames stand.
    fn find_payload(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Progress> {
        if self.framing == Framing::Unknown && self.header.is_empty() && cursor.position == Position::START {
            self.framing = Framing::Frames;
        }
        loop {
            if self.framing == Framing::Frames {
                return Ok(());
            }
            if let Some(segment) = self.segment {
                if (segment.payload..segment.payload_end).contains(&cursor.position) {
                    return Ok(());
                }
                if (segment.payload_end..segment.end).contains(&cursor.position) {
                    cursor.skip_to(segment.end);
                }
                if cursor.is_done() && cursor.position < segment.end && cursor.position >= segment.payload {
                    return Err(Progress::More);
                }
                self.segment = None;
            }
            if cursor.is_done() {
                return Err(Progress::More);
            }
            self.read_segment(cursor)?;
        }
    }

    fn read_segment(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Progress> {
        let start = *self.header_start.get_or_insert(cursor.mark());
        loop {
            match segment::judge(&self.header) {
                Judged::Header(header) if header.is_compressed => return Err(Progress::Malformed),
                Judged::Header(header) => {
                    let payload = start.position.saturating_add(header.bytes as u64);
                    let payload_end = payload.saturating_add(header.payload_bytes);
                    let end = payload_end.saturating_add(segment::TRAILER_BYTES);
                    self.segment = Some(Segment { payload, payload_end, end });
                    self.framing = Framing::Segments;
                    self.forget_header();
                    return Ok(());
                }
                Judged::More => {
                    let wanted = if self.header.len() < segment::PLAIN_BYTES {
                        segment::PLAIN_BYTES
                    } else {
                        segment::COMPRESSED_BYTES
                    };
                    let added = (wanted - self.header.len()).min(cursor.captured.len());
                    if added == 0 {
                        return Err(if cursor.is_done() { Progress::More } else { Progress::Blind });
                    }
                    self.header.extend_from_slice(&cursor.captured[..added]);
                    cursor.skip(added);
                }
                Judged::No if self.framing == Framing::Unknown => {
                    self.framing = Framing::Frames;
                    self.head = std::mem::take(&mut self.header);
                    self.start = Some(start);
                    self.forget_header();
                    return Ok(());
                }
                Judged::No => return Err(Progress::Malformed),
            }
        }
    }

    fn forget_header(&mut self) {
        self.header.clear();
        self.header_start = None;
    }

    /// Adds to the head until it has so many bytes, no further than here.
    fn keep(&mut self, cursor: &mut Cursor<'_>, wanted: usize, end: Position) {
        let room = usize::try_from(end.since(cursor.position)).unwrap_or(usize::MAX);
        let added = wanted.saturating_sub(self.head.len()).min(cursor.captured.len()).min(room);
        self.head.extend_from_slice(&cursor.captured[..added]);
        cursor.skip(added);
    }

    /// Where the bytes end that belong together here.
    fn payload_end(&self) -> Position {
        self.segment.map_or(Position(u64::MAX), |segment| segment.payload_end)
    }

    /// Reads what is here of a frame. True if that is all of it.
    fn read_frame(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Result<bool, Progress> {
        self.start.get_or_insert(cursor.mark());
        let payload_end = self.payload_end();
        let body = match self.body {
            Some(body) => body,
            None => {
                self.keep(cursor, HEADER_BYTES, payload_end);
                if self.head.len() < HEADER_BYTES {
                    let goes_on = cursor.is_done() || cursor.position >= payload_end;
                    return if goes_on { Ok(false) } else { Err(Progress::Blind) };
                }
                let header = frame::header(&self.head, direction).ok_or(Progress::Malformed)?;
                Body { from: Some(cursor.position), left: header.body_bytes.into() }
            }
        };
        let from = body.from.unwrap_or(cursor.position);
        let end = from.saturating_add(body.left).min(payload_end);
        let header = frame::header(&self.head, direction).ok_or(Progress::Malformed)?;
        let passed = u64::from(header.body_bytes) - body.left + cursor.position.since(from);
        // What was not captured leaves a hole behind which nothing is of use.
        if HEADER_BYTES as u64 + passed == self.head.len() as u64 {
            self.keep(cursor, HEAD_BYTES_MAX, end);
        }
        cursor.skip_to(end);
        self.body = Some(Body { from: Some(from), ..body });
        if cursor.position < end {
            return Ok(false);
        }
        let left = body.left - end.since(from);
        self.body = Some(Body { from: None, left });
        Ok(left == 0)
    }

    /// In version 5 segments follow what both sides say of the version.
    fn follow_agreement(&mut self) {
        let is_answer = self.head.first().is_some_and(|version| version & frame::ANSWER != 0);
        let direction = if is_answer { Direction::Response } else { Direction::Request };
        let Some(header) = frame::header(&self.head, direction) else { return };
        let agrees = matches!(header.opcode, frame::STARTUP | frame::READY | frame::AUTHENTICATE);
        if header.version == 5 && agrees {
            self.framing = Framing::Segments;
        }
    }
}

impl lanes::Reader for Reader {
    fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress {
        loop {
            if let Err(progress) = self.find_payload(cursor) {
                return progress;
            }
            // A frame without a body may end where the segment does.
            match self.read_frame(cursor, direction) {
                Ok(true) => {
                    self.is_complete = true;
                    return Progress::Complete;
                }
                Ok(false) if cursor.is_done() => return Progress::More,
                Ok(false) => {}
                Err(progress) => return progress,
            }
        }
    }

    fn reset(&mut self) {
        if self.is_complete {
            self.follow_agreement();
        } else {
            // It is found again by what a call begins with.
            (self.framing, self.segment) = (Framing::Unknown, None);
            self.forget_header();
        }
        self.head.clear();
        self.head.shrink_to(HEAD_BYTES_KEPT);
        (self.start, self.body, self.is_complete) = (None, None, false);
    }

    fn start(&self) -> Option<Mark> {
        self.start
    }

    fn end(&self) -> Option<Position> {
        let body = self.body?;
        Some(body.from?.saturating_add(body.left).min(self.payload_end()))
    }
}
