//! Heads of frames (RFC 9113, 4.1 and 6): what may stand in them.

use crate::{Direction, Opening, Verdict};

pub const HEAD_BYTES: usize = 9;
/// RFC 9113, 3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113, 4.2: what every endpoint takes, and the most that one can allow.
pub const LENGTH_MAX_DEFAULT: u32 = 1 << 14;
pub const LENGTH_MAX_EVER: u32 = (1 << 24) - 1;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Also the acknowledgement of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    has_reserved_bit: bool,
}

impl Head {
    pub fn of(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        let stream = u32::from_be_bytes(stream);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: stream & (u32::MAX >> 1),
            has_reserved_bit: stream >> 31 == 1,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// It carries a header block, or a part of one.
    pub fn has_block(&self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION)
    }

    /// How many bytes stand before the content; the first of them is the length of the padding, if there is one.
    pub fn prefix_bytes(&self) -> u8 {
        let padded = u8::from(self.has(PADDED));
        match self.kind {
            kind::DATA => padded,
            kind::HEADERS => padded + if self.has(PRIORITY) { 5 } else { 0 },
            kind::PUSH_PROMISE => padded + 4,
            _ => 0,
        }
    }

    pub fn is_padded(&self) -> bool {
        self.has(PADDED) && matches!(self.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE)
    }

    /// No endpoint sends a frame that this does not hold for.
    pub fn is_valid(&self, length_max: u32) -> bool {
        let (length, of_connection) = (self.length, self.stream == 0);
        length <= length_max
            && length >= u32::from(self.prefix_bytes())
            && match self.kind {
                kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => !of_connection,
                kind::PRIORITY => !of_connection && length == 5,
                kind::RST_STREAM => !of_connection && length == 4,
                kind::SETTINGS => of_connection && length.is_multiple_of(6) && (length == 0 || !self.has(ACK)),
                kind::PING => of_connection && length == 8,
                kind::GOAWAY => of_connection && length >= 8,
                kind::WINDOW_UPDATE => length == 4,
                _ => true,
            }
    }

    /// Such frames are sent in this direction, without anything that is allowed and that nobody does: used where it is not certain that a
    /// frame begins.
    pub fn is_plausible(&self, direction: Direction, length_max: u32) -> bool {
        let flags = match self.kind {
            kind::DATA => END_STREAM | PADDED,
            kind::HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            kind::SETTINGS | kind::PING => ACK,
            kind::CONTINUATION => END_HEADERS,
            kind::PRIORITY | kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => 0,
            kind::PUSH_PROMISE if direction == Direction::Response => END_HEADERS | PADDED,
            _ => return false,
        };
        self.is_valid(length_max)
            && self.flags & !flags == 0
            && !self.has_reserved_bit
            && (self.stream == 0 || self.stream % 2 == 1)
    }

    /// The first frame of a connection in each direction.
    pub fn is_first(&self) -> bool {
        self.kind == kind::SETTINGS && !self.has(ACK)
    }
}

/// Whether frames fill a call from its first byte to its last: `captured` are the first bytes of the `length` that it moved.
pub fn fill(captured: &[u8], length: u64, direction: Direction, length_max: u32) -> bool {
    let mut at = 0u64;
    let mut block_of = None;
    while at < length {
        let rest = usize::try_from(at).ok().and_then(|at| captured.get(at..)).unwrap_or_default();
        let Some(head) = rest.first_chunk().map(Head::of) else { return false };
        // Parts of a header block follow each other.
        let continues = (head.kind == kind::CONTINUATION).then_some(head.stream);
        if !head.is_plausible(direction, length_max) || continues != block_of {
            return false;
        }
        block_of = (head.has_block() && !head.has(END_HEADERS)).then_some(head.stream);
        at += HEAD_BYTES as u64 + u64::from(head.length);
    }
    at == length && block_of.is_none()
}

/// Whether a connection begins as HTTP/2 does, or goes on with whole frames that say more than data.
pub fn judge(opening: &Opening<'_>) -> Verdict {
    let bytes = opening.bytes;
    if !opening.is_start {
        let head = bytes.first_chunk().map(Head::of);
        let says_more = head.is_some_and(|head| head.kind != kind::DATA && head.length > 0);
        let is_whole = says_more && fill(bytes, bytes.len() as u64, opening.direction, LENGTH_MAX_EVER);
        return if is_whole { Verdict::Yes } else { Verdict::No };
    }
    match opening.direction {
        Direction::Request if bytes.starts_with(PREFACE) => Verdict::Yes,
        Direction::Request if PREFACE.starts_with(bytes) => Verdict::Maybe,
        // A server may speak first: its settings are short.
        Direction::Response => match bytes.first_chunk().map(Head::of) {
            Some(head) if head.is_first() && head.is_plausible(opening.direction, LENGTH_MAX_DEFAULT) => Verdict::Yes,
            None if bytes.iter().take(2).all(|byte| *byte == 0) => Verdict::Maybe,
            _ => Verdict::No,
        },
        Direction::Request => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: u32, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
        let ([_, a, b, c], [d, e, f, g]) = (length.to_be_bytes(), stream.to_be_bytes());
        [a, b, c, kind, flags, d, e, f, g]
    }

    fn is_valid(length: u32, kind: u8, flags: u8, stream: u32) -> bool {
        Head::of(&head(length, kind, flags, stream)).is_valid(LENGTH_MAX_DEFAULT)
    }

    #[test]
    fn what_no_endpoint_sends() {
        assert!(
            is_valid(0, kind::SETTINGS, ACK, 0) && is_valid(18, kind::SETTINGS, 0, 0) && is_valid(1, 0xfa, 0xff, 9)
        );
        assert!(is_valid(6, kind::HEADERS, PADDED | PRIORITY, 1));
        for (length, kind, flags, stream) in [
            (16_385, kind::DATA, 0, 1),
            (5, kind::DATA, 0, 0),
            (5, kind::HEADERS, PADDED | PRIORITY, 1),
            (5, kind::SETTINGS, 0, 0),
            (6, kind::SETTINGS, ACK, 0),
            (6, kind::SETTINGS, 0, 1),
            (5, kind::RST_STREAM, 0, 1),
            (7, kind::PING, 0, 0),
            (7, kind::GOAWAY, 0, 0),
            (0, kind::WINDOW_UPDATE, 0, 0),
        ] {
            assert!(!is_valid(length, kind, flags, stream), "{length} {kind} {flags} {stream}");
        }
    }

    #[test]
    fn frames_fill_a_call_exactly() {
        let fill = |captured: &[u8], length| fill(captured, length, Direction::Request, LENGTH_MAX_EVER);
        let mut call = head(4, kind::WINDOW_UPDATE, 0, 0).to_vec();
        call.extend([0; 4]);
        assert!(fill(&call, 13) && !fill(&call, 14) && !fill(&call[..8], 13));
        call.extend(head(1_000, kind::DATA, END_STREAM, 3));
        assert!(fill(&call, 1_022) && !fill(&call, 1_021) && !fill(&call, 1_023));
        // The next head was not captured.
        assert!(!fill(&call, 1_022 + 9));
        call.extend([0; 1_000]);
        call.extend(head(0, kind::HEADERS, 0, 5));
        assert!(!fill(&call, call.len() as u64), "a header block that goes on");
        call.extend(head(0, kind::CONTINUATION, END_HEADERS, 5));
        assert!(fill(&call, call.len() as u64));
    }
}
