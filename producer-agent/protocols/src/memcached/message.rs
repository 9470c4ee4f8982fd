//! Messages of both forms of the protocol: lines with data behind some of them, and headers of 24 bytes with a body.
//!
//! In: bytes in order. Out: each message once its last byte was moved. Data and bodies are passed over by position, so that they need not be
//! captured; keys are passed over unread. Lengths are claims, and nothing is allocated for them.

use crate::cursor::Cursor;
use crate::stream::Mark;
use crate::{Direction, Position};

/// Longer words are no commands, answers or numbers.
const WORD_BYTES_MAX: usize = 20;
/// Words of which it matters whether they are numbers.
const NUMBERS: usize = 5;
/// No server takes longer lines; only those that ask for many keys come near it.
const LINE_BYTES_MAX: u32 = 64 * 1024;
pub(super) const HEADER_BYTES: usize = 24;

/// The first byte of a message in binary.
pub(super) const REQUEST: u8 = 0x80;
pub(super) const RESPONSE: u8 = 0x81;

/// What a line says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    /// Its first word.
    first: Word,
    /// The first words as numbers, where they are.
    numbers: [Option<u64>; NUMBERS],
    pub words: u32,
    /// One of its words behind the first two is `q`.
    pub is_quiet: bool,
    /// Its last word is `noreply`.
    pub wants_no_reply: bool,
    word: Word,
    bytes: u32,
}

/// What stands in the header of a message in binary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub opcode: u8,
    pub key_bytes: u16,
    pub status: u16,
    pub body_bytes: u32,
    pub opaque: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Line(Line),
    Binary(Header),
}

#[derive(Debug)]
pub(super) enum Progress {
    /// A message from here on; the cursor stands behind it.
    Complete(Mark, Message),
    /// The segment is used up.
    More,
    /// A byte that is needed was not captured.
    Blind,
    /// Nothing that this protocol says.
    Malformed,
}

/// Why a line or a header is not read to its end.
enum Stop {
    More,
    Blind,
    Malformed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    length: u8,
    is_long: bool,
}

/// Reads one message after another.
#[derive(Debug, Default)]
pub(super) struct Reader {
    start: Option<Mark>,
    line: Line,
    header: [u8; HEADER_BYTES],
    header_length: u8,
    /// What is passed over, and the message that it belongs to.
    data: Option<(Position, Message)>,
}

impl Word {
    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.is_long = true,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        if self.is_long { b"" } else { &self.bytes[..usize::from(self.length)] }
    }
}

impl Line {
    pub fn first(&self) -> &[u8] {
        self.first.as_bytes()
    }

    pub fn number(&self, place: usize) -> Option<u64> {
        self.numbers.get(place).copied().flatten()
    }

    fn push(&mut self, byte: u8) {
        match byte {
            b' ' | b'\r' | b'\n' => self.end_word(),
            _ => self.word.push(byte),
        }
    }

    fn end_word(&mut self) {
        if self.word.length == 0 {
            return;
        }
        let word = std::mem::take(&mut self.word);
        if self.words == 0 {
            self.first = word;
        }
        let is_number = !word.is_long && word.as_bytes().iter().all(u8::is_ascii_digit);
        if let Some(number) = self.numbers.get_mut(self.words as usize).filter(|_| is_number) {
            *number = str::from_utf8(word.as_bytes()).ok().and_then(|digits| digits.parse().ok());
        }
        self.is_quiet |= self.words >= 2 && word.as_bytes() == b"q";
        self.wants_no_reply = self.words >= 1 && word.as_bytes() == b"noreply";
        self.words += 1;
    }

    /// How many bytes stand behind the line, its end included; None if it does not say what it has to.
    fn data_bytes(&self, direction: Direction) -> Option<u64> {
        let place = match (direction, self.first()) {
            (Direction::Request, b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas") => 4,
            (Direction::Request, b"ms") => 2,
            (Direction::Response, b"VALUE") => 3,
            (Direction::Response, b"VA") => 1,
            _ => return Some(0),
        };
        self.number(place)?.checked_add(2)
    }
}

impl Reader {
    /// Nothing of a message has been read.
    pub fn is_at_start(&self) -> bool {
        self.start.is_none()
    }

    /// Where the data ends that is passed over.
    pub fn data_end(&self) -> Option<Position> {
        self.data.map(|(end, _)| end)
    }

    pub fn read(&mut self, cursor: &mut Cursor<'_>, is_binary: bool, direction: Direction) -> Progress {
        let start = *self.start.get_or_insert(cursor.mark());
        if self.data.is_none() {
            let read = if is_binary { self.read_header(cursor, direction) } else { self.read_line(cursor, direction) };
            match read {
                Ok((data_bytes, message)) => match cursor.position.checked_add(data_bytes) {
                    Some(end) => self.data = Some((end, message)),
                    None => return Progress::Malformed,
                },
                Err(Stop::More) => return Progress::More,
                Err(Stop::Blind) => return Progress::Blind,
                Err(Stop::Malformed) => return Progress::Malformed,
            }
        }
        let Some((end, message)) = self.data else { return Progress::More };
        cursor.skip_to(end);
        if cursor.position < end {
            return Progress::More;
        }
        *self = Self::default();
        Progress::Complete(start, message)
    }

    fn read_line(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Result<(u64, Message), Stop> {
        while !cursor.is_done() {
            let Some(byte) = cursor.captured.first().copied() else { return Err(Stop::Blind) };
            cursor.skip(1);
            self.line.bytes += 1;
            let is_text = matches!(byte, b'\r' | b'\n' | b'\t') || (byte >= b' ' && byte != 0x7f);
            if !is_text || self.line.bytes > LINE_BYTES_MAX {
                return Err(Stop::Malformed);
            }
            self.line.push(byte);
            if byte == b'\n' {
                let line = self.line;
                let data_bytes = line.data_bytes(direction).filter(|_| line.words > 0);
                return data_bytes.map(|bytes| (bytes, Message::Line(line))).ok_or(Stop::Malformed);
            }
        }
        Err(Stop::More)
    }

    fn read_header(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Result<(u64, Message), Stop> {
        while usize::from(self.header_length) < HEADER_BYTES {
            if cursor.is_done() {
                return Err(Stop::More);
            }
            let Some(byte) = cursor.captured.first() else { return Err(Stop::Blind) };
            self.header[usize::from(self.header_length)] = *byte;
            self.header_length += 1;
            cursor.skip(1);
        }
        let magic = if direction == Direction::Request { REQUEST } else { RESPONSE };
        let header = header(&self.header, magic).ok_or(Stop::Malformed)?;
        Ok((u64::from(header.body_bytes), Message::Binary(header)))
    }
}

/// Reads a header; None if it is none.
pub(super) fn header(bytes: &[u8; HEADER_BYTES], magic: u8) -> Option<Header> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let header = Header {
        opcode: bytes[1],
        key_bytes: word(2),
        status: word(6),
        body_bytes: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        opaque: [bytes[12], bytes[13], bytes[14], bytes[15]],
    };
    let [first, _, _, _, extras, kind, ..] = *bytes;
    let is_header = first == magic && kind == 0 && u32::from(header.key_bytes) + u32::from(extras) <= header.body_bytes;
    is_header.then_some(header)
}
