//! A head that comes in several segments.
//!
//! In: the captured bytes of segments that follow each other. Out: all of them in one piece, up to a bound.

use crate::Position;
use crate::cursor::Cursor;
use crate::stream::Mark;

#[derive(Debug)]
pub struct PartialHead {
    pub bytes: Vec<u8>,
    pub beginning: Beginning,
}

/// What a segment added to a [`PartialHead`].
pub struct Growth {
    /// Bytes that were there before.
    pub known: usize,
    /// All that was captured found room.
    pub fits: bool,
    /// Nothing of the segment is missing from the head.
    pub whole: bool,
}

impl PartialHead {
    /// What is allocated for it, itself included.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Adds what was captured of a segment, up to `bytes_max` in all. The cursor stays where it is.
    pub fn grow(&mut self, cursor: &Cursor<'_>, bytes_max: u32) -> Growth {
        let known = self.bytes.len();
        let room = (bytes_max as usize).saturating_sub(known);
        let added = cursor.captured.len().min(room);
        self.bytes.extend_from_slice(&cursor.captured[..added]);
        let fits = added == cursor.captured.len();
        Growth { known, fits, whole: fits && cursor.captured_whole() }
    }
}

/// Where and when a message began.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    pub position: Position,
    pub at_ns: u64,
    /// The position of the opposite direction at that time.
    pub other_position: Position,
    /// It is the first byte of a segment.
    pub at_segment_start: bool,
    /// The message before it is known to end here.
    pub certain: bool,
}

impl Beginning {
    pub fn mark(&self) -> Mark {
        Mark { position: self.position, at_ns: self.at_ns }
    }
}
