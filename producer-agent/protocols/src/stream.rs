//! The two directions of a connection: how far each has been read, and what a protocol keeps of each.

use std::ops::{Index, IndexMut};

use crate::{Direction, Position};

/// One of a kind for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    pub request: T,
    pub response: T,
}

impl<T> Index<Direction> for Both<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

/// The end of a message: the position behind its last byte, and the time of the call that moved that byte.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub position: Position,
    pub at_ns: u64,
}

/// How far a direction has been read. [`Connection`](crate::Connection) keeps it up to date: a protocol sees where the segment before ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// The position up to which it has been read, or given up as missing; None before its first segment.
    pub position: Option<Position>,
    /// The time of the newest segment.
    pub last_ns: u64,
    /// The bytes just before `position` were never seen, so the time of the last of them is not known.
    pub tail_missing: bool,
}

impl Reach {
    /// The end of what has been read.
    pub fn reached(&self) -> Mark {
        Mark { position: self.position.unwrap_or(Position::START), at_ns: self.last_ns }
    }

    pub(crate) fn read_to(&mut self, end: Position, at_ns: u64) {
        *self = Self { position: Some(end), last_ns: at_ns, tail_missing: false };
    }

    pub(crate) fn miss_to(&mut self, end: Position) {
        (self.position, self.tail_missing) = (Some(end), true);
    }
}
