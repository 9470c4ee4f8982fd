//! Bodies: following them to their end.
//!
//! In: the bytes that follow a head. Out: where the body ends, or that it cannot be told from what was captured. Only chunk
//! sizes, chunk extensions and trailers are read; data is skipped by position.

use super::exchanges::Pending;
use crate::Position;
use crate::cursor::Cursor;
use crate::named::Named;

/// Chunk extensions of one chunk, or all trailers together. Servers bound both far below that.
const CHUNK_LINE_BYTES_MAX: u32 = 16 * 1024;

/// A body whose end is told by its framing.
#[derive(Debug)]
pub(super) enum Body {
    Length {
        end: Position,
    },
    /// By itself, since most bodies are not, and each connection has room for two.
    Chunked(Box<Chunked>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The cursor stands behind the last byte.
    Complete,
    /// The segment is used up.
    More,
    /// A byte that is needed was not captured.
    Blind,
    Malformed,
}

impl Body {
    /// None if the length goes beyond what a stream can have.
    pub fn with_length(position: Position, length: u64) -> Option<Self> {
        position.checked_add(length).map(|end| Self::Length { end })
    }

    pub fn chunked() -> Self {
        Self::Chunked(Box::new(Chunked { state: Chunk::Size { digits: 0 }, size: 0, line_bytes: 0 }))
    }

    /// What is allocated for it.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Length { .. } => 0,
            Self::Chunked(chunked) => size_of_val(&**chunked),
        }
    }

    /// The same of a request's body, which may name what is asked for, in the first bytes that are seen of it.
    pub fn consume_named(&mut self, cursor: &mut Cursor<'_>, request: Option<&mut Pending>) -> Progress {
        if let (Self::Length { end }, Some(request)) = (&self, request)
            && request.names != Named::Nothing
        {
            let names = std::mem::take(&mut request.names);
            request.named = names.find(cursor.captured, end.since(cursor.position)).map(Box::from);
        }
        self.consume(cursor)
    }

    pub fn consume(&mut self, cursor: &mut Cursor<'_>) -> Progress {
        match self {
            Self::Length { end } => {
                cursor.skip_to(*end);
                if cursor.position == *end { Progress::Complete } else { Progress::More }
            }
            Self::Chunked(chunked) => chunked.consume(cursor),
        }
    }
}

/// The chunked transfer coding (RFC 9112, 7.1).
#[derive(Debug)]
pub(super) struct Chunked {
    state: Chunk,
    size: u64,
    line_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size {
        digits: u8,
    },
    /// From the first byte after the size to the end of the line.
    SizeLineRest,
    Data {
        end: Position,
    },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerLineRest,
    LastLf,
}

impl Chunked {
    fn consume(&mut self, cursor: &mut Cursor<'_>) -> Progress {
        while !cursor.is_done() {
            if let Chunk::Data { end } = self.state {
                cursor.skip_to(end);
                if cursor.position == end {
                    self.state = Chunk::DataCr;
                }
                continue;
            }
            let (byte, next) = match (cursor.captured.first(), self.state) {
                (Some(byte), _) => (*byte, cursor.position.saturating_add(1)),
                // What ends the data is fixed, so it need not be seen.
                (None, Chunk::DataCr) => (b'\r', cursor.position.saturating_add(1)),
                (None, Chunk::DataLf) => (b'\n', cursor.position.saturating_add(1)),
                (None, _) => return Progress::Blind,
            };
            cursor.skip(1);
            match self.step(byte, next) {
                Some(true) => return Progress::Complete,
                Some(false) => {}
                None => return Progress::Malformed,
            }
        }
        Progress::More
    }

    /// Takes one byte outside of the data; `next` is the position after it. True at the end of the body, None if the
    /// byte may not stand there.
    fn step(&mut self, byte: u8, next: Position) -> Option<bool> {
        self.state = match (self.state, byte) {
            (Chunk::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = char::from(byte).to_digit(16)?;
                self.size = self.size << 4 | u64::from(digit);
                Chunk::Size { digits: digits + 1 }
            }
            (Chunk::Size { digits: 1.. }, b'\n') => self.size_line_end(next)?,
            (Chunk::Size { digits: 1.. }, b'\r' | b';' | b' ' | b'\t') => Chunk::SizeLineRest,
            (Chunk::SizeLineRest, b'\n') => self.size_line_end(next)?,
            (Chunk::SizeLineRest, _) => self.long_line(Chunk::SizeLineRest)?,
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::Size { digits: 0 },
            (Chunk::TrailerStart, b'\r') => Chunk::LastLf,
            (Chunk::TrailerStart | Chunk::LastLf, b'\n') => return Some(true),
            (Chunk::TrailerStart, _) => self.long_line(Chunk::TrailerLineRest)?,
            (Chunk::TrailerLineRest, b'\n') => Chunk::TrailerStart,
            (Chunk::TrailerLineRest, _) => self.long_line(Chunk::TrailerLineRest)?,
            _ => return None,
        };
        Some(false)
    }

    fn size_line_end(&mut self, next: Position) -> Option<Chunk> {
        let size = std::mem::take(&mut self.size);
        self.line_bytes = 0;
        if size == 0 {
            return Some(Chunk::TrailerStart);
        }
        next.checked_add(size).map(|end| Chunk::Data { end })
    }

    fn long_line(&mut self, state: Chunk) -> Option<Chunk> {
        self.line_bytes += 1;
        (self.line_bytes <= CHUNK_LINE_BYTES_MAX).then_some(state)
    }
}
