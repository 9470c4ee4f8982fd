//! Frames of the native protocol, versions 3 to 5 (native_protocol_v4.spec, 2; in version 5 they are called envelopes): a header of nine bytes, of which the last
//! four say how long the body is.
//!
//! In: the first bytes of a frame. Out: what it is, and to which stream it belongs.

use crate::Direction;
use crate::choice::Verdict;

/// Version, flags, stream, opcode, length of the body.
pub const HEADER_BYTES: usize = 9;
/// Servers take no longer ones, unless told otherwise (`native_transport_max_frame_size`).
const BODY_BYTES_MAX: u32 = 256 << 20;
/// The bit of the version that answers have.
pub const ANSWER: u8 = 0x80;
const FLAG_COMPRESSED: u8 = 0x01;
const FLAG_TRACING: u8 = 0x02;
const FLAG_PAYLOAD: u8 = 0x04;
const FLAG_WARNING: u8 = 0x08;
/// With the one of versions that are not final.
const FLAGS: u8 = 0x1f;
/// Of what a client says first.
const STARTUP_BYTES_MAX: u32 = 64 << 10;

pub const ERROR: u8 = 0x00;
pub const STARTUP: u8 = 0x01;
pub const READY: u8 = 0x02;
pub const AUTHENTICATE: u8 = 0x03;
pub const OPTIONS: u8 = 0x05;
pub const QUERY: u8 = 0x07;
pub const RESULT: u8 = 0x08;
pub const PREPARE: u8 = 0x09;
pub const EXECUTE: u8 = 0x0a;
pub const REGISTER: u8 = 0x0b;
pub const EVENT: u8 = 0x0c;
pub const BATCH: u8 = 0x0d;
pub const AUTH_RESPONSE: u8 = 0x0f;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u8,
    flags: u8,
    /// Negative for what a server says without being asked.
    pub stream: i16,
    pub opcode: u8,
    pub body_bytes: u32,
}

impl Header {
    pub fn is_compressed(&self) -> bool {
        self.flags & FLAG_COMPRESSED != 0
    }
}

/// The header that the bytes begin with, if it is one of this direction.
pub fn header(bytes: &[u8], direction: Direction) -> Option<Header> {
    let fixed: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let header = Header {
        version: fixed[0] & !ANSWER,
        flags: fixed[1],
        stream: i16::from_be_bytes([fixed[2], fixed[3]]),
        opcode: fixed[4],
        body_bytes: u32::from_be_bytes([fixed[5], fixed[6], fixed[7], fixed[8]]),
    };
    let is_answer = direction == Direction::Response;
    let is_of = match header.opcode {
        ERROR | READY | AUTHENTICATE | 0x06 | RESULT | EVENT | 0x0e | 0x10 => is_answer,
        STARTUP | OPTIONS | QUERY | PREPARE | EXECUTE | REGISTER | BATCH | AUTH_RESPONSE => !is_answer,
        _ => false,
    };
    let is_right = (3..=5).contains(&header.version)
        && (fixed[0] & ANSWER != 0) == is_answer
        && header.flags <= FLAGS
        && (header.stream >= 0 || is_answer)
        && header.body_bytes <= BODY_BYTES_MAX;
    (is_of && is_right).then_some(header)
}

/// What stands in a body behind what the flags say, as far as it was captured.
pub fn body<'a>(head: &'a [u8], header: &Header, direction: Direction) -> Option<&'a [u8]> {
    let mut rest = head.get(HEADER_BYTES..)?;
    if header.is_compressed() {
        return None;
    }
    if direction == Direction::Response && header.flags & FLAG_TRACING != 0 {
        rest = rest.get(16..)?;
    }
    if direction == Direction::Response && header.flags & FLAG_WARNING != 0 {
        let (count, mut texts) = short(rest)?;
        for _ in 0..count {
            texts = split_short(texts)?.1;
        }
        rest = texts;
    }
    if header.flags & FLAG_PAYLOAD != 0 {
        let (count, mut pairs) = short(rest)?;
        for _ in 0..count {
            let (length, value) = int(split_short(pairs)?.1)?;
            pairs = value.get(usize::try_from(length).unwrap_or(0)..)?;
        }
        rest = pairs;
    }
    Some(rest)
}

/// A number of two bytes, and what is behind it.
pub fn short(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u16::from_be_bytes(*number), rest))
}

/// A number of four bytes, and what is behind it.
pub fn int(bytes: &[u8]) -> Option<(i32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (i32::from_be_bytes(*number), rest))
}

/// A text or bytes with their length in two bytes, and what is behind them.
pub fn split_short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = short(bytes)?;
    rest.split_at_checked(length.into())
}

/// Whether a connection begins so: with OPTIONS or STARTUP.
pub fn judge(bytes: &[u8]) -> Verdict {
    let begins = bytes.first().is_none_or(|version| (3..=5).contains(version))
        && bytes.get(1).is_none_or(|flags| *flags <= FLAGS)
        && bytes.get(2).is_none_or(|stream| stream & 0x80 == 0)
        && bytes.get(4).is_none_or(|opcode| matches!(*opcode, STARTUP | OPTIONS));
    if !begins {
        return Verdict::No;
    }
    if bytes.len() < HEADER_BYTES {
        return Verdict::Maybe;
    }
    let is_right = header(bytes, Direction::Request).is_some_and(|header| match header.opcode {
        // Nothing follows before it was answered.
        OPTIONS => header.body_bytes == 0 && bytes.len() == HEADER_BYTES,
        // One option at least.
        _ => (6..=STARTUP_BYTES_MAX).contains(&header.body_bytes),
    });
    if is_right { Verdict::Yes } else { Verdict::No }
}

/// Whether nothing but a frame of this protocol is likely to begin so. In a segment its header is enough.
pub fn is_unmistakable(head: &[u8], direction: Direction, is_in_segment: bool) -> bool {
    let Some(header) = header(head, direction) else { return false };
    if is_in_segment || header.is_compressed() {
        return is_in_segment;
    }
    let Some(body) = body(head, &header, direction) else { return false };
    match header.opcode {
        QUERY | PREPARE => int(body).is_some_and(|(length, text)| {
            let fits = u32::try_from(length).is_ok_and(|length| length > 0 && length < header.body_bytes);
            fits && text.first().is_some_and(|first| first.is_ascii_graphic() || first.is_ascii_whitespace())
        }),
        EXECUTE => short(body).is_some_and(|(length, rest)| length == 16 && rest.len() > 16),
        BATCH => body.first().is_some_and(|kind| *kind <= 2) && body.get(3).is_some_and(|kind| *kind <= 1),
        RESULT => int(body).is_some_and(|(kind, _)| match kind {
            1 => header.body_bytes == 4,
            _ => (2..=5).contains(&kind),
        }),
        ERROR => int(body).is_some_and(|(code, _)| super::errors::name(code).is_some()),
        _ => false,
    }
}
