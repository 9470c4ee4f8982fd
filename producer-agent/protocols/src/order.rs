//! Brings the events of both directions into the order in which the bytes were moved, and finds what is missing.
//!
//! In: segments as their events come. Out: segments that follow each other without overlap within a direction, each
//! after those of the other direction that had been moved before it; and gaps where events are missing.
//!
//! The events of one connection can overtake each other by microseconds. The writer's call ends, and is reported,
//! after the bytes have left; by then another thread may have read the answer. So a segment is held while it speaks of
//! bytes of the other direction that have not been seen here. Either they come, or something behind them does, or the
//! bound is reached: then they are missing.

use std::fmt::Debug;

use crate::connection::Connection;
use crate::cursor::Cursor;
use crate::early::Early;
use crate::protocol::Protocol;
use crate::{Direction, Position, Recognition, Segment, Sink};

impl<P: Protocol + Debug> Connection<P> {
    /// Speaks of bytes of the other direction that have not been seen.
    pub(crate) fn is_early(&self, direction: Direction, other_position: Position) -> bool {
        other_position > self.position(direction.opposite()).unwrap_or(Position::START)
    }

    pub(crate) fn reorder(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        loop {
            let (held_at, waits_for) = match &self.early {
                Some(early) if early.direction() == direction => return self.hold_early(direction, segment, sink),
                Some(early) => early
                    .first()
                    .map_or((Position::START, Position::START), |first| (first.position, first.other_position)),
                None if self.is_early(direction, segment.other_position) => {
                    return self.hold_early(direction, segment, sink);
                }
                None => return self.process(direction, segment, sink),
            };
            if segment.position >= waits_for {
                // What the held segment waits for was skipped.
                self.gap(direction, waits_for, sink);
            } else if self.is_early(direction, segment.other_position) && !self.side.sends(direction) {
                // Each has seen the other. Only a writer's call can still be under way when its bytes are answered, so
                // the written segment, which is the held one, was first.
                self.locate_once(direction, segment.position);
                self.process_first_early(sink);
            } else {
                self.locate_once(direction.opposite(), held_at.min(segment.other_position));
                self.process(direction, segment, sink);
                return self.drain_early(sink);
            }
            self.drain_early(sink);
        }
    }

    fn hold_early(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        let segments_max = self.options.early_segments_max as usize;
        while self.early.as_ref().is_some_and(|early| early.len() >= segments_max) {
            self.release_first_early(sink);
            self.drain_early(sink);
        }
        if self.early.is_none() && !self.is_early(direction, segment.other_position) {
            return self.process(direction, segment, sink);
        }
        let early = self.early.get_or_insert_with(|| Box::new(Early::of(direction)));
        early.hold(segment, self.options.early_bytes_max as usize);
    }

    /// Processes held segments as long as nothing is missing before them.
    fn drain_early(&mut self, sink: &mut Sink<'_>) {
        while let Some(early) = &self.early
            && let Some(first) = early.first()
            && !self.is_early(early.direction(), first.other_position)
        {
            self.process_first_early(sink);
        }
    }

    /// Gives up waiting: what the held segments speak of is missing.
    pub(crate) fn release_early(&mut self, sink: &mut Sink<'_>) {
        while self.early.is_some() {
            self.release_first_early(sink);
        }
    }

    fn release_first_early(&mut self, sink: &mut Sink<'_>) {
        if let Some(early) = &self.early
            && let Some(first) = early.first()
        {
            let (direction, waits_for) = (early.direction().opposite(), first.other_position);
            if self.position(direction).is_none_or(|position| position < waits_for) {
                self.gap(direction, waits_for, sink);
            }
        }
        self.process_first_early(sink);
    }

    fn process_first_early(&mut self, sink: &mut Sink<'_>) {
        let Some(mut early) = self.early.take() else { return };
        let (direction, first) = (early.direction(), early.pop());
        if early.len() > 0 {
            self.early = Some(early);
        }
        if let Some(first) = first {
            self.process(direction, &first.segment(), sink);
        }
    }

    /// Reads a segment whose turn it is: cuts off what was read before, and notes what is missing before it.
    pub(crate) fn process(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        if self.protocol.recognition() == Recognition::Foreign {
            return;
        }
        let mut cursor = Cursor::new(segment);
        self.locate_once(direction.opposite(), segment.other_position);
        self.locate_once(direction, segment.position);
        match self.position(direction) {
            Some(expected) if expected < segment.position => self.gap(direction, segment.position, sink),
            expected => cursor.skip_to(expected.unwrap_or(Position::START)),
        }
        if cursor.is_done() {
            return;
        }
        let other = self.position(direction.opposite()).unwrap_or(Position::START);
        cursor.other_position = cursor.other_position.min(other);
        let (end, at_ns) = (cursor.end, cursor.at_ns);
        self.protocol.read(direction, cursor, sink);
        self.protocol.at_mut()[direction].read_to(end, at_ns);
    }

    /// The bytes up to `to` will not be seen.
    pub(crate) fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        if self.position(direction).is_none() {
            return self.locate_once(direction, to);
        }
        self.protocol.gap(direction, to, sink);
        self.protocol.at_mut()[direction].miss_to(to);
    }

    fn locate_once(&mut self, direction: Direction, position: Position) {
        if self.position(direction).is_none() {
            self.protocol.at_mut()[direction].position = Some(position);
            self.protocol.begin(direction, position);
        }
    }

    fn position(&self, direction: Direction) -> Option<Position> {
        self.protocol.at()[direction].position
    }
}
