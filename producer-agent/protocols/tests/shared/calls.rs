//! The calls that move what both sides say, as the kernel would tell of them.

// Each test needs a part of it.
#![allow(dead_code)]

use headwater_protocols::{Both, Direction, Position, Segment};

/// How far both directions have come, and the time.
#[derive(Debug)]
pub struct Calls {
    pub at: Both<Position>,
    pub now_ns: u64,
    /// From one call to the next.
    pub step_ns: u64,
}

impl Calls {
    pub fn from(request: u64, response: u64) -> Calls {
        Calls { at: Both { request: Position(request), response: Position(response) }, now_ns: 0, step_ns: 10 }
    }

    /// One call moves these bytes, of which the first ones are captured.
    pub fn moved<'b>(&mut self, direction: Direction, bytes: &'b [u8], captured: usize) -> Segment<'b> {
        self.now_ns += self.step_ns;
        let position = self.at[direction];
        self.at[direction] = position.saturating_add(bytes.len() as u64);
        Segment {
            position,
            length: bytes.len() as u64,
            captured: &bytes[..captured.min(bytes.len())],
            at_ns: self.now_ns,
            other_position: self.at[direction.opposite()],
        }
    }

    /// Calls move so many bytes, and nothing is told of them.
    pub fn missed(&mut self, direction: Direction, bytes: u64) {
        self.now_ns += self.step_ns;
        self.at[direction] = self.at[direction].saturating_add(bytes);
    }
}
