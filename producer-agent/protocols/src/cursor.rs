//! The part of a segment that a protocol has still to read.

use crate::stream::Mark;
use crate::{Position, Segment};

/// The part of a segment that is still to be read.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    pub position: Position,
    pub end: Position,
    /// What was captured from `position` on.
    pub captured: &'a [u8],
    pub at_ns: u64,
    /// What the opposite direction had reached, as far as that has been processed here.
    pub other_position: Position,
}

impl<'a> Cursor<'a> {
    pub fn new(segment: &Segment<'a>) -> Self {
        let end = segment.position.saturating_add(segment.length);
        let length = usize::try_from(end.since(segment.position)).unwrap_or(usize::MAX);
        Self {
            position: segment.position,
            end,
            captured: &segment.captured[..segment.captured.len().min(length)],
            at_ns: segment.at_ns,
            other_position: segment.other_position,
        }
    }

    pub fn is_done(&self) -> bool {
        self.position >= self.end
    }

    /// Nothing of the rest is missing.
    pub fn captured_whole(&self) -> bool {
        self.captured.len() as u64 == self.end.since(self.position)
    }

    pub fn skip_to(&mut self, position: Position) {
        let position = position.min(self.end);
        let bytes = usize::try_from(position.since(self.position)).unwrap_or(usize::MAX);
        self.captured = self.captured.get(bytes..).unwrap_or_default();
        self.position = position.max(self.position);
    }

    pub fn skip(&mut self, bytes: usize) {
        self.skip_to(self.position.saturating_add(bytes as u64));
    }

    pub fn skip_rest(&mut self) {
        self.skip_to(self.end);
    }

    /// The position and time of the next byte.
    pub fn mark(&self) -> Mark {
        Mark { position: self.position, at_ns: self.at_ns }
    }
}
