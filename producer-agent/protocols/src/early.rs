//! Segments that came before what they speak of: those of one direction, in their order, until the other direction has caught up.
//!
//! Bounded by bytes here, and by their number by whoever holds them.

use std::collections::VecDeque;

use crate::{Direction, Position, Segment};

/// Segments that wait for the other direction; all are of the same one.
#[derive(Debug)]
pub struct Early {
    direction: Direction,
    segments: VecDeque<HeldSegment>,
    bytes: usize,
}

/// A segment with its own bytes.
#[derive(Debug)]
pub struct HeldSegment {
    pub position: Position,
    pub other_position: Position,
    length: u64,
    captured: Box<[u8]>,
    at_ns: u64,
}

impl Early {
    pub fn of(direction: Direction) -> Self {
        Self { direction, segments: VecDeque::new(), bytes: 0 }
    }

    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// What is allocated for it.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Early>() + self.segments.capacity() * size_of::<HeldSegment>() + self.bytes
    }

    pub fn len(&self) -> usize {
        self.segments.len()
    }

    pub fn first(&self) -> Option<&HeldSegment> {
        self.segments.front()
    }

    /// Keeps a segment. Bytes that find no room are bytes that were not captured: the segment itself is not lost.
    pub fn hold(&mut self, segment: &Segment<'_>, bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.bytes);
        let held = HeldSegment::of(segment, room);
        self.bytes += held.captured.len();
        self.segments.push_back(held);
    }

    pub fn pop(&mut self) -> Option<HeldSegment> {
        let first = self.segments.pop_front()?;
        self.bytes -= first.captured.len();
        Some(first)
    }
}

impl HeldSegment {
    /// Keeps at most so many of its bytes.
    pub fn of(segment: &Segment<'_>, bytes_max: usize) -> Self {
        Self {
            position: segment.position,
            other_position: segment.other_position,
            length: segment.length,
            captured: segment.captured[..segment.captured.len().min(bytes_max)].into(),
            at_ns: segment.at_ns,
        }
    }

    pub fn segment(&self) -> Segment<'_> {
        Segment {
            position: self.position,
            length: self.length,
            captured: &self.captured,
            at_ns: self.at_ns,
            other_position: self.other_position,
        }
    }
}
