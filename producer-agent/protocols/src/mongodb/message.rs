//! Messages of the wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>): a header of four numbers, the lowest byte
//! first, and what the last of them says.
//!
//! In: the first bytes of a message. Out: what kind it is, whose answer, and the document that says what is asked or answered.

use super::bson::{self, DOCUMENT_BYTES_MIN};
use super::commands::Command;
use crate::choice::Verdict;
use crate::framed::{self, Framed};
use crate::{Direction, resource};

/// Length, id, the id that is answered, opcode.
pub const HEADER_BYTES: usize = 16;
/// Servers refuse longer ones (`maxMessageSizeBytes`).
const MESSAGE_BYTES_MAX: usize = 48_000_000;
/// What is kept of a message: nearly all commands but for the documents to be written.
const HEAD_BYTES_MAX: usize = 4096;
/// The last four bytes are a checksum.
const CHECKSUM_PRESENT: u32 = 1;
/// Of a request: nobody answers it. Of an answer: another one follows.
const MORE_TO_COME: u32 = 1 << 1;
/// The lower half of the bits has to be understood.
const FLAGS_REQUIRED: u32 = 0xffff;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Reply,
    Update,
    Insert,
    Query,
    GetMore,
    Delete,
    KillCursors,
    Compressed,
    Message,
}

impl Opcode {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Reply,
            2001 => Self::Update,
            2002 => Self::Insert,
            2004 => Self::Query,
            2005 => Self::GetMore,
            2006 => Self::Delete,
            2007 => Self::KillCursors,
            2012 => Self::Compressed,
            2013 => Self::Message,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "OP_REPLY",
            Self::Update => "OP_UPDATE",
            Self::Insert => "OP_INSERT",
            Self::Query => "OP_QUERY",
            Self::GetMore => "OP_GET_MORE",
            Self::Delete => "OP_DELETE",
            Self::KillCursors => "OP_KILL_CURSORS",
            Self::Compressed => "OP_COMPRESSED",
            Self::Message => "OP_MSG",
        }
    }

    fn is_of(self, direction: Direction) -> bool {
        match self {
            Self::Compressed | Self::Message => true,
            Self::Reply => direction == Direction::Response,
            _ => direction == Direction::Request,
        }
    }

    /// Of the shortest message of its kind.
    fn bytes_min(self) -> usize {
        HEADER_BYTES
            + match self {
                Self::Reply => 20,
                Self::Update | Self::Delete => 9 + DOCUMENT_BYTES_MIN,
                Self::Insert => 5 + DOCUMENT_BYTES_MIN,
                Self::Query => 13 + DOCUMENT_BYTES_MIN,
                Self::GetMore => 17,
                Self::KillCursors => 8,
                Self::Compressed => 9,
                Self::Message => 5 + DOCUMENT_BYTES_MIN,
            }
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub length: usize,
    pub id: u32,
    pub answers: u32,
    pub opcode: Opcode,
}

/// Of the reader: how messages begin.
#[derive(Debug, Default)]
pub struct Start;

/// One direction.
pub type Reader = Framed<Start>;

impl framed::Header for Start {
    const BYTES: usize = HEADER_BYTES;
    const HEAD_BYTES_MAX: usize = HEAD_BYTES_MAX;

    fn message_bytes(header: &[u8], direction: Direction) -> Option<u64> {
        self::header(header).filter(|header| header.opcode.is_of(direction)).map(|header| header.length as u64)
    }
}

/// The header that the bytes begin with, if it is one.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let length = bson::number(bytes)?;
    let opcode = Opcode::of(word(bytes, 12)?)?;
    let is_right = (opcode.bytes_min()..=MESSAGE_BYTES_MAX).contains(&length);
    is_right.then_some(Header { length, id: word(bytes, 4)?, answers: word(bytes, 8)?, opcode })
}

pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Whether a message of the kind [`Opcode::Message`] says so; None if that was not captured.
pub fn more_to_come(head: &[u8]) -> Option<bool> {
    Some(word(head, HEADER_BYTES)? & MORE_TO_COME != 0)
}

/// The document of the section that says what is asked or answered, as far as it was captured: what is to be written may stand before it.
pub fn body(head: &[u8]) -> Option<&[u8]> {
    let mut rest = head.get(HEADER_BYTES + 4..)?;
    loop {
        let (kind, section) = rest.split_first()?;
        match kind {
            0 => return Some(section),
            1 => rest = section.get(bson::number(section).filter(|bytes| *bytes >= 4)?..)?,
            _ => return None,
        }
    }
}

/// The name of a namespace, if it can be one, as far as it may stand in records.
pub fn namespace(database: &[u8], collection: &[u8]) -> Box<str> {
    let mut name = String::new();
    for part in [database, collection].into_iter().filter(|part| !part.is_empty()) {
        let Some(part) = str::from_utf8(part).ok().filter(|part| !part.chars().any(char::is_control)) else {
            return Box::default();
        };
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(part);
    }
    while name.len() > resource::BYTES_MAX {
        name.pop();
    }
    name.into()
}

/// Whether a connection begins with a message.
pub fn judge(bytes: &[u8]) -> Verdict {
    // The highest byte of the length, the id that is answered, and the upper half of the opcode.
    let length_fits = bytes.get(3).is_none_or(|byte| usize::from(*byte) <= MESSAGE_BYTES_MAX >> 24);
    let answers_nothing = bytes.iter().skip(8).take(4).all(|byte| *byte == 0);
    if !length_fits || !answers_nothing {
        return Verdict::No;
    }
    if bytes.len() < HEADER_BYTES {
        return Verdict::Maybe;
    }
    if header(bytes).is_some_and(|header| header.opcode.is_of(Direction::Request)) { Verdict::Yes } else { Verdict::No }
}

/// Whether nothing but a message of MongoDB is likely to begin so.
pub fn is_unmistakable(head: &[u8], direction: Direction) -> bool {
    let Some(header) = header(head).filter(|header| header.opcode.is_of(direction)) else { return false };
    let is_answer = direction == Direction::Response;
    if (header.answers != 0) != is_answer {
        return false;
    }
    match header.opcode {
        // Servers read the header by itself.
        Opcode::Message | Opcode::Compressed if head.len() == HEADER_BYTES => true,
        Opcode::Message => has_right_body(head, &header, is_answer),
        Opcode::Compressed => {
            let compressed =
                word(head, HEADER_BYTES).and_then(Opcode::of).is_some_and(|opcode| opcode.is_of(direction));
            compressed && head.get(HEADER_BYTES + 8).is_some_and(|compressor| *compressor <= 3)
        }
        _ => false,
    }
}

fn has_right_body(head: &[u8], header: &Header, is_answer: bool) -> bool {
    let Some(bits) = word(head, HEADER_BYTES) else { return false };
    let checksum_bytes = if bits & CHECKSUM_PRESENT != 0 { 4 } else { 0 };
    let room = (header.length - HEADER_BYTES - 5).checked_sub(checksum_bytes);
    let is_known = bits & FLAGS_REQUIRED & !(CHECKSUM_PRESENT | MORE_TO_COME) == 0;
    // What is to be written may stand first.
    let Some(document) = head.get(HEADER_BYTES + 4..).and_then(|sections| sections.strip_prefix(&[0])) else {
        return false;
    };
    let fits = bson::number(document).is_some_and(|length| length >= DOCUMENT_BYTES_MIN && Some(length) <= room);
    let mut elements = bson::elements(document);
    let begins = elements.next().is_some_and(|first| is_answer || Command::of(first.name).is_some());
    is_known && fits && begins
}
