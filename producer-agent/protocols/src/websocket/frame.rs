//! The heads of frames (RFC 6455, 5.2), as their bytes come.

use crate::cursor::Cursor;
use crate::lanes::{Progress, Reader};
use crate::stream::Mark;
use crate::{Direction, Position};

/// A head has two bytes, up to eight of a length, and the client's have four of a key.
const HEAD_BYTES_MAX: usize = 14;
/// Of what ends a connection, the code is kept.
const CODE_BYTES: usize = 2;

/// What a frame is (RFC 6455, 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Data,
    Close,
    /// Ping and pong.
    Sign,
}

/// A frame whose head is complete.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub opcode: Opcode,
    /// The last one of its message.
    pub is_last: bool,
    bytes: u8,
    payload_bytes: u64,
    /// Of the client's frames.
    key: [u8; 4],
}

impl Head {
    /// Of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        self.payload_bytes.saturating_add(self.bytes.into())
    }
}

/// Reads one frame after the other.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: [u8; HEAD_BYTES_MAX],
    read: u8,
    start: Option<Mark>,
    head: Option<Head>,
    code: [u8; CODE_BYTES],
    /// It ends where its call does.
    ends_call: bool,
}

impl Frame {
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Hardly anything else looks like this: what follows a call's first byte up to its end.
    pub fn is_likely(&self) -> bool {
        self.ends_call && self.head.is_some_and(|head| head.is_last && head.opcode != Opcode::Continuation)
    }

    /// Why the connection ends, if this says so.
    pub fn code(&self) -> Option<u16> {
        let has_one = |head: &&Head| head.opcode == Opcode::Close && head.payload_bytes >= CODE_BYTES as u64;
        self.head.as_ref().filter(has_one).map(|_| u16::from_be_bytes(self.code)).filter(|code| *code != 0)
    }
}

impl Reader for Frame {
    fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress {
        while self.head.is_none() {
            if cursor.is_done() {
                return Progress::More;
            }
            self.start.get_or_insert(cursor.mark());
            let Some(byte) = cursor.captured.first() else { return Progress::Blind };
            self.bytes[usize::from(self.read)] = *byte;
            self.read += 1;
            cursor.skip(1);
            match self.complete_head(direction) {
                Ok(head) => self.head = head,
                Err(NoFrame) => return Progress::Malformed,
            }
        }
        let (Some(head), Some(end)) = (self.head, self.end()) else { return Progress::Malformed };
        if head.opcode == Opcode::Close {
            self.keep_code(&head, cursor);
        }
        cursor.skip_to(end);
        self.ends_call = cursor.is_done();
        if cursor.position < end { Progress::More } else { Progress::Complete }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn start(&self) -> Option<Mark> {
        self.start
    }

    fn end(&self) -> Option<Position> {
        Some(self.start?.position.saturating_add(self.head?.frame_bytes()))
    }
}

impl Frame {
    fn keep_code(&mut self, head: &Head, cursor: &Cursor<'_>) {
        let read = self.start.map_or(u64::MAX, |start| cursor.position.since(start.position));
        let from = usize::try_from(read.saturating_sub(head.bytes.into())).unwrap_or(usize::MAX);
        for (place, byte) in (from..CODE_BYTES).zip(cursor.captured) {
            self.code[place] = byte ^ head.key[place];
        }
    }

    /// The head, once it is complete.
    fn complete_head(&self, direction: Direction) -> Result<Option<Head>, NoFrame> {
        let (head, read) = (&self.bytes, usize::from(self.read));
        let is_last = head[0] & 0x80 != 0;
        let opcode = match head[0] & 15 {
            0 => Opcode::Continuation,
            1 | 2 => Opcode::Data,
            8 => Opcode::Close,
            9 | 10 => Opcode::Sign,
            _ => return Err(NoFrame),
        };
        // Only the first reserved bit has a meaning, that of compression (RFC 7692, 6), which is one of a message's first frame.
        let is_control = matches!(opcode, Opcode::Close | Opcode::Sign);
        let may_be_compressed = opcode == Opcode::Data;
        if head[0] & 0x30 != 0 || (head[0] & 0x40 != 0 && !may_be_compressed) || (is_control && !is_last) {
            return Err(NoFrame);
        }
        if read < 2 {
            return Ok(None);
        }
        let (is_masked, length) = (head[1] & 0x80 != 0, u64::from(head[1] & 0x7f));
        // Whatever a client sends has a key, and what a server sends has none (RFC 6455, 5.1).
        if is_masked != (direction == Direction::Request) || (is_control && length > 125) {
            return Err(NoFrame);
        }
        let length_bytes = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let key_at = 2 + length_bytes;
        let head_bytes = key_at + if is_masked { 4 } else { 0 };
        if read < head_bytes {
            return Ok(None);
        }
        let payload_bytes = match length_bytes {
            0 => length,
            _ => head[2..key_at].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        // The shortest way to say it is the only one.
        let is_shortest = match length_bytes {
            2 => payload_bytes >= 126,
            8 => (1 << 16..1 << 63).contains(&payload_bytes),
            _ => true,
        };
        if !is_shortest {
            return Err(NoFrame);
        }
        let mut key = [0; 4];
        if is_masked {
            key.copy_from_slice(&head[key_at..head_bytes]);
        }
        Ok(Some(Head { opcode, is_last, bytes: head_bytes as u8, payload_bytes, key }))
    }
}

struct NoFrame;
