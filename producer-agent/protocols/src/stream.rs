//! How far one direction of a connection has been read.

use crate::Position;
use crate::cursor::Cursor;

/// The end of a message: the position behind its last byte, and the time of the call that moved that byte.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub position: Position,
    pub at_ns: u64,
}

/// One direction.
#[derive(Debug)]
pub struct Stream<S> {
    /// The position up to which it has been read; None before its first segment.
    pub position: Option<Position>,
    /// The time of the newest segment.
    pub last_ns: u64,
    /// The bytes just before `position` were never seen, so the time of the last of them is not known.
    pub tail_missing: bool,
    pub state: S,
}

impl<S> Stream<S> {
    pub fn new(state: S) -> Self {
        Self { position: None, last_ns: 0, tail_missing: false, state }
    }

    /// The end of what has been read.
    pub fn reached(&self) -> Mark {
        Mark { position: self.position.unwrap_or(Position::START), at_ns: self.last_ns }
    }

    pub fn read(&mut self, cursor: &Cursor<'_>) {
        self.reach(cursor.end, cursor.at_ns);
    }

    pub fn reach(&mut self, end: Position, at_ns: u64) {
        self.position = Some(end);
        self.last_ns = at_ns;
        self.tail_missing = false;
    }
}
