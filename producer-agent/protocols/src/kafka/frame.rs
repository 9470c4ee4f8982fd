//! Messages as they stand in the stream: a length, a header, and what belongs to them.
//!
//! In: the bytes of one direction. Out: the first bytes of each message, and where it ends. Bound: [`HEAD_BYTES_MAX`] bytes are kept.

use crate::choice::Verdict;
use crate::cursor::Cursor;
use crate::stream::Mark;
use crate::{Position, kafka::apis::Api};

/// What is kept of a message. The topics of nearly all requests stand there.
const HEAD_BYTES_MAX: usize = 4096;
/// The length of what follows.
const LENGTH_BYTES: usize = 4;
/// Length and correlation id.
pub const ANSWER_HEAD_BYTES: usize = 8;
/// Length, key, version, correlation id and the length of the client's name.
const REQUEST_HEAD_BYTES: usize = 14;
/// Brokers refuse longer requests, unless told otherwise (`socket.request.max.bytes`).
const REQUEST_BYTES_MAX: i32 = 100 << 20;

/// One direction.
#[derive(Debug, Default)]
pub struct Reader {
    head: Vec<u8>,
    start: Option<Mark>,
    end: Option<Position>,
    /// What is not in the head was not captured, or found no room.
    is_cut: bool,
}

/// How far a message has been read.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The segment has been read.
    More,
    /// All of the message has been moved.
    Complete,
    Malformed,
    /// Its length was not captured.
    Blind,
}

impl Reader {
    pub fn is_at_start(&self) -> bool {
        self.start.is_none()
    }

    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn start(&self) -> Option<Mark> {
        self.start
    }

    /// The head is not all of the message.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Bytes up to `to` are missing. Whether they all lie within a message whose head is known.
    pub fn miss(&mut self, to: Position) -> bool {
        self.is_cut = true;
        self.end.is_some_and(|end| to < end)
    }

    pub fn reset(&mut self) {
        self.head.clear();
        (self.start, self.end, self.is_cut) = (None, None, false);
    }

    /// Gives back what is allocated.
    pub fn free(&mut self) {
        *self = Self::default();
    }

    pub fn heap_bytes(&self) -> usize {
        self.head.capacity()
    }

    /// Reads up to the end of the message or of the segment. A complete one stays until [`reset`](Self::reset).
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Progress {
        self.start.get_or_insert(cursor.mark());
        while self.end.is_none() {
            if self.head.len() >= LENGTH_BYTES {
                let length = self.head.first_chunk().map_or(-1, |length| i32::from_be_bytes(*length));
                let Some(end) = u64::try_from(length).ok().filter(|length| *length >= LENGTH_BYTES as u64) else {
                    return Progress::Malformed;
                };
                self.end = self.start.and_then(|start| start.position.checked_add(end + LENGTH_BYTES as u64));
                if self.end.is_none() {
                    return Progress::Malformed;
                }
            } else if cursor.is_done() {
                return Progress::More;
            } else if cursor.captured.is_empty() {
                return Progress::Blind;
            } else {
                self.keep(cursor, LENGTH_BYTES);
            }
        }
        let Some(end) = self.end else { return Progress::More };
        if !self.is_cut {
            let rest = usize::try_from(end.since(cursor.position)).unwrap_or(usize::MAX);
            let wanted = self.head.len().saturating_add(rest).min(HEAD_BYTES_MAX);
            self.keep(cursor, wanted);
            let is_captured = cursor.position >= end || cursor.is_done() || !cursor.captured.is_empty();
            self.is_cut = !is_captured || (self.head.len() >= HEAD_BYTES_MAX && cursor.position < end);
        }
        cursor.skip_to(end);
        if cursor.position < end { Progress::More } else { Progress::Complete }
    }

    /// Adds to the head until it has so many bytes.
    fn keep(&mut self, cursor: &mut Cursor<'_>, wanted: usize) {
        let added = wanted.saturating_sub(self.head.len()).min(cursor.captured.len());
        self.head.extend_from_slice(&cursor.captured[..added]);
        cursor.skip(added);
    }
}

/// What the header of a request says.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub key: i16,
    pub version: i16,
    pub correlation: i32,
    /// The fields of the request, as far as the head goes.
    pub body: &'a [u8],
}

/// The header that a head begins with; None if it is none, or not all of it is there.
pub fn header(head: &[u8]) -> Option<Header<'_>> {
    let (fixed, rest) = head.split_first_chunk::<REQUEST_HEAD_BYTES>()?;
    let word = |at: usize| i16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let name_bytes = usize::try_from(word(12)).unwrap_or(0);
    let (key, version) = (word(4), word(6));
    let api = Api::of(key)?;
    let body = rest.get(name_bytes..).unwrap_or_default();
    let body = if api.is_flexible(version) { super::layout::behind_tags(body).unwrap_or_default() } else { body };
    Some(Header { key, version, correlation: correlation(&fixed[LENGTH_BYTES + 4..])?, body })
}

/// What the first bytes of an answer behind its length say.
pub fn correlation(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Whether bytes begin with a request. In the middle of a stream only one with the name of a client is certain.
pub fn judge(bytes: &[u8], is_start: bool) -> Verdict {
    let word = |at: usize| Some(i16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let length = bytes.first_chunk().map(|length| i32::from_be_bytes(*length));
    let fits = |length: i32| (REQUEST_HEAD_BYTES as i32 - LENGTH_BYTES as i32..=REQUEST_BYTES_MAX).contains(&length);
    let begins = bytes.first().is_none_or(|first| *first <= (REQUEST_BYTES_MAX >> 24) as u8);
    if !begins || length.is_some_and(|length| !fits(length)) {
        return Verdict::No;
    }
    let (Some(length), Some(key), Some(version), Some(name_bytes)) = (length, word(4), word(6), word(12)) else {
        return Verdict::Maybe;
    };
    let Some(api) = Api::of(key).filter(|api| api.may_have(version)) else { return Verdict::No };
    let name = &bytes[REQUEST_HEAD_BYTES..];
    let name = &name[..name.len().min(usize::try_from(name_bytes).unwrap_or(0))];
    let has_room = i32::from(name_bytes) <= length - (REQUEST_HEAD_BYTES - LENGTH_BYTES) as i32;
    if name_bytes < -1 || !has_room || !name.iter().all(|byte| (b' '..0x7f).contains(byte)) {
        return Verdict::No;
    }
    let is_certain = is_start || (name_bytes > 0 && name.len() == name_bytes as usize && api.has_layout(version));
    if is_certain { Verdict::Yes } else { Verdict::Maybe }
}

/// Whether bytes go on with a request whose length was moved by the call before, as brokers read them.
///
/// Such a length is reason enough to look on: other protocols are still chosen as soon as a call is theirs without doubt.
pub fn goes_on(bytes: &[u8]) -> bool {
    if let [0, _, _, _] = bytes {
        return judge(bytes, false) == Verdict::Maybe;
    }
    let mut whole = [0; 96];
    let length = bytes.len().min(whole.len() - LENGTH_BYTES);
    whole[..LENGTH_BYTES].copy_from_slice(&(1i32 << 20).to_be_bytes());
    whole[LENGTH_BYTES..LENGTH_BYTES + length].copy_from_slice(&bytes[..length]);
    judge(&whole[..LENGTH_BYTES + length], false) == Verdict::Yes
}
