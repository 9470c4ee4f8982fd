//! Messages of the protocol's version 3: where each begins and ends, and the first bytes of those that matter.
//!
//! In: bytes in order. Out: each message once its last byte was moved. Bodies are passed over by position, so that they need not be
//! captured. A length is a claim: it only says where to look next, and one that no server or client sends is refused.
//!
//! Bound: [`HEAD_BYTES_MAX`] are kept of a message that comes in pieces.

use crate::Position;
use crate::cursor::Cursor;
use crate::stream::Mark;

/// What is kept of a message.
pub(super) const HEAD_BYTES_MAX: usize = 1024;
/// Of messages that hold names: the server takes 63 bytes of each.
const NAMES_BYTES_MAX: usize = 256;
/// What the server takes as the first message.
const STARTUP_LENGTH_MAX: u32 = 10_000;
/// What both take for messages that hold no data. libpq's is the larger one.
const SHORT_LENGTH_MAX: u32 = 30_000;
/// No message is longer: the server's memory for one has this bound.
const LONG_LENGTH_MAX: u32 = 0x3fff_ffff;

/// Who speaks: the same letter means different messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Client,
    /// A client whose messages have no letter yet.
    NewClient,
    Server,
}

/// A message that has been moved to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'m> {
    /// Its letter; 0 for a client's first ones.
    pub kind: u8,
    pub start: Mark,
    pub end: Mark,
    /// What was captured of its first bytes behind the length.
    pub body: &'m [u8],
    /// The body goes on.
    pub is_cut: bool,
}

#[derive(Debug)]
pub(super) enum Progress<'m> {
    Complete(Message<'m>),
    /// The segment is used up.
    More,
    /// A byte that is needed was not captured.
    Blind,
    /// Nothing that this protocol says.
    Malformed,
}

/// Reads one message after another.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; 5],
    header_length: u8,
    /// Where the header began.
    started: Option<Mark>,
    message: Option<Open>,
    /// What was captured of the body of a message that comes in pieces.
    kept: Vec<u8>,
}

/// A message whose length is known.
#[derive(Clone, Copy, Debug)]
struct Open {
    kind: u8,
    start: Mark,
    body: Position,
    end: Position,
}

impl Reader {
    /// Nothing of a message has been read.
    pub fn is_at_start(&self) -> bool {
        self.header_length == 0
    }

    /// The end of the message that is being read, if it is known.
    pub fn end(&self) -> Option<Position> {
        self.message.map(|message| message.end)
    }

    pub fn heap_bytes(&self) -> usize {
        self.kept.capacity()
    }

    pub fn read<'m, 'c: 'm>(&'m mut self, cursor: &mut Cursor<'c>, speaker: Speaker) -> Progress<'m> {
        let open = match self.message {
            Some(open) => open,
            None => match self.read_header(cursor, speaker) {
                Ok(open) => open,
                Err(progress) => return progress,
            },
        };
        self.read_body(cursor, open)
    }

    fn read_header<'m>(&mut self, cursor: &mut Cursor<'_>, speaker: Speaker) -> Result<Open, Progress<'m>> {
        if self.header_length == 0 {
            self.kept = Vec::new();
        }
        let length = if speaker == Speaker::NewClient { 4 } else { 5 };
        let start = match self.started {
            Some(started) if self.header_length > 0 => started,
            _ => cursor.mark(),
        };
        self.started = Some(start);
        while self.header_length < length {
            if cursor.is_done() {
                return Err(Progress::More);
            }
            let Some(byte) = cursor.captured.first() else { return Err(Progress::Blind) };
            self.header[usize::from(self.header_length)] = *byte;
            self.header_length += 1;
            cursor.skip(1);
        }
        let [first, rest @ ..] = self.header;
        let (kind, claimed) = match speaker {
            Speaker::NewClient => (0, u32::from_be_bytes([first, rest[0], rest[1], rest[2]])),
            _ => (first, u32::from_be_bytes(rest)),
        };
        if !is_plausible(kind, claimed, speaker) {
            return Err(Progress::Malformed);
        }
        let body = cursor.position;
        let Some(end) = body.checked_add(u64::from(claimed) - 4) else { return Err(Progress::Malformed) };
        let open = Open { kind, start, body, end };
        self.message = Some(open);
        Ok(open)
    }

    fn read_body<'m, 'c: 'm>(&'m mut self, cursor: &mut Cursor<'c>, open: Open) -> Progress<'m> {
        let body_bytes = open.end.since(open.body);
        let wanted = wanted_bytes(open.kind).min(body_bytes) as usize;
        let captured: &'c [u8] = &cursor.captured[..cursor.captured.len().min(wanted)];
        let (from, at_body) = (cursor.position, cursor.position == open.body);
        cursor.skip_to(open.end);
        if cursor.position < open.end {
            self.keep(captured, wanted, from.since(open.body));
            return Progress::More;
        }
        if !at_body {
            self.keep(captured, wanted, from.since(open.body));
        }
        self.header_length = 0;
        self.message = None;
        let body = if at_body { captured } else { &self.kept[..] };
        let is_cut = (body.len() as u64) < body_bytes;
        Progress::Complete(Message { kind: open.kind, start: open.start, end: cursor.mark(), body, is_cut })
    }

    /// Adds what was captured from this place of the body on, if it follows what is kept.
    fn keep(&mut self, captured: &[u8], wanted: usize, place: u64) {
        if place == self.kept.len() as u64 {
            let room = wanted.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(&captured[..captured.len().min(room)]);
        }
    }
}

/// How much of a body is of use.
fn wanted_bytes(kind: u8) -> u64 {
    let bytes = match kind {
        b'Q' | b'P' | 0 => HEAD_BYTES_MAX,
        b'B' | b'E' | b'C' | b'D' | b'R' | b'Z' => NAMES_BYTES_MAX,
        _ => 0,
    };
    bytes as u64
}

/// Whether a message of this kind can have this length, which counts itself.
pub(super) fn is_plausible(kind: u8, length: u32, speaker: Speaker) -> bool {
    let lengths = match (speaker, kind) {
        (Speaker::NewClient, _) => 8..=STARTUP_LENGTH_MAX,
        (Speaker::Client, b'S' | b'H' | b'X' | b'c') => 4..=4,
        (Speaker::Client, b'Q') => 5..=LONG_LENGTH_MAX,
        (Speaker::Client, b'P') => 8..=LONG_LENGTH_MAX,
        (Speaker::Client, b'B') => 12..=LONG_LENGTH_MAX,
        (Speaker::Client, b'F') => 14..=LONG_LENGTH_MAX,
        (Speaker::Client, b'd') => 4..=LONG_LENGTH_MAX,
        (Speaker::Client, b'D' | b'C') => 6..=SHORT_LENGTH_MAX,
        (Speaker::Client, b'E') => 9..=SHORT_LENGTH_MAX,
        (Speaker::Client, b'f') => 5..=SHORT_LENGTH_MAX,
        // Tickets of Kerberos are long.
        (Speaker::Client, b'p') => 4..=65_535,
        (Speaker::Server, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => 4..=4,
        (Speaker::Server, b'Z') => 5..=5,
        (Speaker::Server, b'R') => 8..=65_535,
        (Speaker::Server, b'K') => 9..=268,
        (Speaker::Server, b'T' | b't') => 6..=LONG_LENGTH_MAX,
        (Speaker::Server, b'D') => 6..=LONG_LENGTH_MAX,
        (Speaker::Server, b'd') => 4..=LONG_LENGTH_MAX,
        (Speaker::Server, b'V') => 8..=LONG_LENGTH_MAX,
        (Speaker::Server, b'E' | b'N') => 5..=LONG_LENGTH_MAX,
        (Speaker::Server, b'A') => 10..=SHORT_LENGTH_MAX,
        (Speaker::Server, b'S') => 6..=SHORT_LENGTH_MAX,
        (Speaker::Server, b'C') => 5..=SHORT_LENGTH_MAX,
        (Speaker::Server, b'G' | b'H' | b'W') => 7..=SHORT_LENGTH_MAX,
        (Speaker::Server, b'v') => 12..=SHORT_LENGTH_MAX,
        _ => return false,
    };
    lengths.contains(&length)
}

/// The string that begins here and the bytes behind its zero; None if its end is missing.
pub(super) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The SQLSTATE of an ErrorResponse, if it was captured.
pub(super) fn sqlstate(mut fields: &[u8]) -> Option<[u8; 5]> {
    while let Some((kind, rest)) = fields.split_first() {
        let (value, behind) = split_string(rest)?;
        if *kind == b'C' {
            let is_code = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            return value.try_into().ok().filter(|code: &[u8; 5]| code.iter().all(is_code));
        }
        fields = behind;
    }
    None
}
