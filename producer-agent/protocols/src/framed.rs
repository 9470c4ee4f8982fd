//! Messages whose header says how long they are: the part that is alike in all protocols that speak so.
//!
//! In: the bytes of one direction. Out: the first bytes of each message, and where it ends. Bound: [`Header::HEAD_BYTES_MAX`]; a length is believed only
//! as far as bytes are passed over by it.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::cursor::Cursor;
use crate::lanes::{self, Progress};
use crate::stream::Mark;
use crate::{Direction, Position};

/// What is kept from one message to the next.
const HEAD_BYTES_KEPT: usize = 256;

/// How a protocol's messages begin.
pub trait Header: Debug + Default {
    /// The bytes of a header.
    const BYTES: usize;
    /// What is kept of a message, its header included.
    const HEAD_BYTES_MAX: usize;

    /// How long the message is, its header included, by `BYTES` bytes; None if they are no header of this direction.
    fn message_bytes(header: &[u8], direction: Direction) -> Option<u64>;
}

/// One direction.
#[derive(Debug, Default)]
pub struct Framed<H> {
    head: Vec<u8>,
    start: Option<Mark>,
    end: Option<Position>,
    header: PhantomData<H>,
}

impl<H: Header> Framed<H> {
    /// The first bytes of the message, its header included, as far as they were captured without a hole.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The head is not all of the message.
    pub fn is_cut(&self) -> bool {
        let start = self.start.map_or(Position::START, |start| start.position);
        self.end.is_none_or(|end| end.since(start) > self.head.len() as u64)
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

    fn read_header(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Result<(Position, Position), Progress> {
        let start = self.start.get_or_insert(cursor.mark()).position;
        if let Some(end) = self.end {
            return Ok((start, end));
        }
        self.keep(cursor, H::BYTES);
        if self.head.len() < H::BYTES {
            return Err(if cursor.is_done() { Progress::More } else { Progress::Blind });
        }
        let bytes = H::message_bytes(&self.head, direction).ok_or(Progress::Malformed)?;
        let end = start.checked_add(bytes).ok_or(Progress::Malformed)?;
        self.end = Some(end);
        Ok((start, end))
    }
}

impl<H: Header> lanes::Reader for Framed<H> {
    fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress {
        let (start, end) = match self.read_header(cursor, direction) {
            Ok(ends) => ends,
            Err(progress) => return progress,
        };
        // What was not captured leaves a hole behind which nothing is of use.
        if cursor.position.since(start) == self.head.len() as u64 {
            let bytes = usize::try_from(end.since(start)).unwrap_or(usize::MAX);
            self.keep(cursor, bytes.min(H::HEAD_BYTES_MAX));
        }
        cursor.skip_to(end);
        if cursor.position < end { Progress::More } else { Progress::Complete }
    }

    fn reset(&mut self) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head.shrink_to(HEAD_BYTES_KEPT);
        *self = Self { head, start: None, end: None, header: PhantomData };
    }

    fn start(&self) -> Option<Mark> {
        self.start
    }

    fn end(&self) -> Option<Position> {
        self.end
    }
}
