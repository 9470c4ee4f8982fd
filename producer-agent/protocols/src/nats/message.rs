//! Messages as they stand in the stream: a line of text, and behind some of them a payload of as many bytes as the line says.
//!
//! In: the bytes of one direction. Out: the line of each message, the first bytes of its payload, and where it ends. Bounds: [`LINE_BYTES_MAX`] and
//! [`HEAD_BYTES_MAX`]; a size is believed only as far as bytes are passed over by it.

use crate::cursor::Cursor;
use crate::lanes::{self, Progress};
use crate::stream::Mark;
use crate::{Direction, Position};

/// Servers take no longer line, unless told otherwise (`max_control_line`).
const LINE_BYTES_MAX: usize = 4096;
/// What is kept from one message to the next.
const LINE_BYTES_KEPT: usize = 256;
/// What is kept of a payload: a status, or the beginning of what JetStream says.
const HEAD_BYTES_MAX: usize = 192;
/// Servers take no larger payload, whatever they are told (`max_payload`).
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;
/// `NATS/1.0` and the empty line behind it.
const HEADERS_BYTES_MIN: u64 = 12;
/// Behind each line and each payload.
const END: [u8; 2] = *b"\r\n";

/// What a message is, with what its line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Info,
    /// The line is cut off if it is very long.
    Connect {
        options: &'a [u8],
    },
    Ping,
    Pong,
    Ok,
    Error(&'a [u8]),
    /// PUB and HPUB.
    Publish(Publish<'a>),
    Subscribe {
        subject: &'a [u8],
        id: &'a [u8],
    },
    Unsubscribe {
        id: &'a [u8],
        /// After so many messages.
        max: Option<u64>,
    },
    /// MSG and HMSG.
    Deliver {
        id: &'a [u8],
        message: Publish<'a>,
    },
    /// What servers say among each other.
    OfServers,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    /// Where the answer is to go; empty if none is asked for.
    pub reply: &'a [u8],
    /// Of its payload, at the beginning.
    pub header_bytes: u64,
    /// Headers included.
    pub payload_bytes: u64,
}

impl Message<'_> {
    fn payload_bytes(&self) -> Option<u64> {
        match self {
            Self::Publish(message) | Self::Deliver { message, .. } => Some(message.payload_bytes),
            _ => None,
        }
    }

    /// No other protocol says this.
    pub fn is_unmistakable(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Deliver { .. } | Self::Subscribe { .. })
    }
}

/// One direction.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// Of the payload.
    head: Vec<u8>,
    start: Option<Mark>,
    /// Where the payload begins, and where what ends it does.
    body: Option<(Position, Position)>,
}

impl Reader {
    /// What has come of the line.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The first bytes of the payload, its headers included.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The message whose line has been read.
    pub fn message(&self, direction: Direction) -> Option<Message<'_>> {
        parse(&self.line, direction)
    }

    pub fn heap_bytes(&self) -> usize {
        self.line.capacity() + self.head.capacity()
    }

    /// Gives the place of the payload, if there is one.
    fn read_line(
        &mut self,
        cursor: &mut Cursor<'_>,
        direction: Direction,
    ) -> Result<Option<(Position, Position)>, Progress> {
        let found = memchr::memchr(b'\n', cursor.captured);
        let added = found.map_or(cursor.captured.len(), |at| at + 1);
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&cursor.captured[..added.min(room)]);
        // What clients and servers say of themselves may be longer than other lines.
        if added > room && !is_introduction(&self.line) {
            return Err(Progress::Malformed);
        }
        cursor.skip(added);
        if found.is_none() {
            return Err(if cursor.is_done() { Progress::More } else { Progress::Blind });
        }
        let message = parse(&self.line, direction).ok_or(Progress::Malformed)?;
        let Some(payload_bytes) = message.payload_bytes() else { return Ok(None) };
        let end = cursor.position.checked_add(payload_bytes).ok_or(Progress::Malformed)?;
        Ok(Some((cursor.position, end)))
    }

    fn keep(&mut self, cursor: &Cursor<'_>, begin: Position, end: Position) {
        // What was not captured leaves a hole behind which nothing is of use.
        if cursor.position.since(begin) == self.head.len() as u64 {
            let left = usize::try_from(end.since(cursor.position)).unwrap_or(usize::MAX);
            let wanted = HEAD_BYTES_MAX.saturating_sub(self.head.len()).min(left).min(cursor.captured.len());
            self.head.extend_from_slice(&cursor.captured[..wanted]);
        }
    }
}

impl lanes::Reader for Reader {
    fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress {
        self.start.get_or_insert(cursor.mark());
        let (begin, end) = match self.body {
            Some(body) => body,
            None => match self.read_line(cursor, direction) {
                Ok(Some(body)) => body,
                Ok(None) => return Progress::Complete,
                Err(progress) => return progress,
            },
        };
        self.body = Some((begin, end));
        self.keep(cursor, begin, end);
        for (at, expected) in END.iter().enumerate() {
            let skipped = end.saturating_add(at as u64).since(cursor.position);
            let found = usize::try_from(skipped).ok().and_then(|at| cursor.captured.get(at));
            let is_behind = cursor.position > end.saturating_add(at as u64);
            if !is_behind && found.is_some_and(|found| found != expected) {
                return Progress::Malformed;
            }
        }
        let end = end.saturating_add(END.len() as u64);
        cursor.skip_to(end);
        if cursor.position < end { Progress::More } else { Progress::Complete }
    }

    fn reset(&mut self) {
        self.line.clear();
        self.line.shrink_to(LINE_BYTES_KEPT);
        self.head.clear();
        (self.start, self.body) = (None, None);
    }

    fn start(&self) -> Option<Mark> {
        self.start
    }

    fn end(&self) -> Option<Position> {
        self.body.map(|(_, end)| end.saturating_add(END.len() as u64))
    }
}

fn is_introduction(line: &[u8]) -> bool {
    let begins = |word: &[u8]| line.get(..word.len()).is_some_and(|line| line.eq_ignore_ascii_case(word));
    begins(b"INFO ") || begins(b"CONNECT ")
}

/// What a line says that ends with `\n`; None if it is none of the protocol in that direction.
pub(super) fn parse(line: &[u8], direction: Direction) -> Option<Message<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let verb_bytes = line.iter().position(is_space).unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb_bytes);
    let is = |word: &[u8]| verb.eq_ignore_ascii_case(word);
    let is_alone = || rest.iter().all(is_space);
    let is_json = || rest.trim_ascii().first() == Some(&b'{');
    let is_client = direction == Direction::Request;
    match verb.first()?.to_ascii_uppercase() {
        b'P' if is(b"PUB") && is_client => published(rest, false, false).map(|(_, message)| Message::Publish(message)),
        b'H' if is(b"HPUB") && is_client => published(rest, false, true).map(|(_, message)| Message::Publish(message)),
        b'M' if is(b"MSG") && !is_client => {
            published(rest, true, false).map(|(id, message)| Message::Deliver { id, message })
        }
        b'H' if is(b"HMSG") && !is_client => {
            published(rest, true, true).map(|(id, message)| Message::Deliver { id, message })
        }
        b'P' if is(b"PING") && is_alone() => Some(Message::Ping),
        b'P' if is(b"PONG") && is_alone() => Some(Message::Pong),
        b'+' if is(b"+OK") && is_alone() && !is_client => Some(Message::Ok),
        b'-' if is(b"-ERR") && !is_client => Some(Message::Error(rest.trim_ascii())),
        b'I' if is(b"INFO") && is_json() && !is_client => Some(Message::Info),
        b'C' if is(b"CONNECT") && is_json() && is_client => Some(Message::Connect { options: rest }),
        b'S' if is(b"SUB") && is_client => {
            let ([subject, first, second], count) = words(rest)?;
            let id = if count == 3 { second } else { first };
            ((2..=3).contains(&count) && is_subject(subject)).then_some(Message::Subscribe { subject, id })
        }
        b'U' if is(b"UNSUB") && is_client => {
            let ([id, max], count) = words(rest)?;
            let max = if count == 2 { Some(number(max)?) } else { None };
            (count > 0).then_some(Message::Unsubscribe { id, max })
        }
        b'R' | b'A' | b'L'
            if [&b"RS+"[..], b"RS-", b"RMSG", b"A+", b"A-", b"LS+", b"LS-", b"LMSG"].iter().any(|word| is(word)) =>
        {
            Some(Message::OfServers)
        }
        _ => None,
    }
}

/// `subject [id] [reply] [headers] payload`, where the number of words says whether there is a reply.
fn published(rest: &[u8], has_id: bool, has_headers: bool) -> Option<(&[u8], Publish<'_>)> {
    let (words, count) = words::<5>(rest)?;
    let fixed = 2 + usize::from(has_id) + usize::from(has_headers);
    let sizes_at = count - 1 - usize::from(has_headers && count > 0);
    let has_reply = count == fixed + 1;
    if count != fixed && !has_reply {
        return None;
    }
    let id = if has_id { words[1] } else { b"" };
    let reply = if has_reply { words[1 + usize::from(has_id)] } else { b"" };
    let header_bytes = if has_headers { number(words[sizes_at])? } else { 0 };
    let payload_bytes = number(words[count - 1])?;
    let headers_fit = !has_headers || (HEADERS_BYTES_MIN..=payload_bytes).contains(&header_bytes);
    let is_right = is_subject(words[0]) && payload_bytes <= PAYLOAD_BYTES_MAX && headers_fit;
    is_right.then_some((id, Publish { subject: words[0], reply, header_bytes, payload_bytes }))
}

/// The words of a line, and how many they are; None if they are more, or there is none.
fn words<const MAX: usize>(rest: &[u8]) -> Option<([&[u8]; MAX], usize)> {
    let mut words: [&[u8]; MAX] = [b""; MAX];
    let mut count = 0;
    for word in rest.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    (count > 0).then_some((words, count))
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn is_subject(subject: &[u8]) -> bool {
    subject.iter().all(|byte| *byte > b' ' && *byte != 0x7f) && subject.first() != Some(&b'.') && !subject.is_empty()
}
