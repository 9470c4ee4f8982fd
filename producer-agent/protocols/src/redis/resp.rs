//! RESP2 and RESP3: where a value ends, and the few words in it that matter.
//!
//! In: bytes in order. Out: the end of each value, its type, and its first words. Contents of strings are passed over by position, so
//! that they need not be captured; lengths are claims, and nothing is allocated for them.

use crate::Position;
use crate::choice::Verdict;
use crate::cursor::Cursor;

/// Longer than any command or code.
const WORD_BYTES_MAX: usize = 32;
/// Digits and a sign, of a length or of a number of values.
const LENGTH_BYTES_MAX: usize = 20;

/// Digits of what tells the protocol: enough for any array that is a command.
const FIRST_DIGITS_MAX: usize = 10;

/// Reads one value after another.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// The type of the value as a whole: its first byte.
    pub kind: u8,
    /// Values that are still to come, this one included.
    left: u64,
    /// The first two strings of the value, or the line of a simple one.
    pub words: [Word; 2],
    strings: u8,
    line: Word,
}

#[derive(Debug, Default)]
enum State {
    /// The next byte is the type of a value.
    #[default]
    Type,
    /// Within a line that began with this type.
    Line(u8),
    /// Within a string that ends here, without its line end.
    String { end: Position },
    /// Before the line end of a string: so many bytes of it are left.
    LineEnd(u8),
}

/// The first bytes of a string, as far as they were captured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    length: u8,
    /// A byte of those that find room was not captured.
    pub is_hidden: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The cursor stands behind a value.
    Complete,
    /// The segment is used up.
    More,
    /// A byte that is needed was not captured.
    Blind,
    /// Nothing that RESP says.
    Malformed,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }

    /// In capital letters; None if it is no word of a command.
    pub fn command(&self) -> Option<Word> {
        let mut word = *self;
        word.bytes.make_ascii_uppercase();
        let is_command = !word.is_hidden
            && word.as_str().starts_with(|first: char| first.is_ascii_alphabetic())
            && word.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        is_command.then_some(word)
    }

    pub fn of(text: &str) -> Self {
        let mut word = Self::default();
        text.bytes().for_each(|byte| word.push(byte));
        word
    }

    /// Leaves the first of two words.
    pub fn cut_second(&mut self) {
        let first = self.as_str().find(' ').unwrap_or(usize::from(self.length));
        self.length = first as u8;
    }

    /// Adds another word behind a space.
    pub fn join(&mut self, other: &Word) {
        self.push(b' ');
        other.as_str().bytes().for_each(|byte| self.push(byte));
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl Reader {
    /// Nothing of a value has been read.
    pub fn is_at_start(&self) -> bool {
        self.left == 0
    }

    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Progress {
        if self.is_at_start() {
            *self = Self { left: 1, ..Self::default() };
        }
        while !cursor.is_done() {
            if let State::String { end } = self.state {
                self.read_string(cursor, end);
                continue;
            }
            let byte = match (cursor.captured.first(), &self.state) {
                (Some(byte), _) => *byte,
                // What ends a string is fixed, so it need not be seen.
                (None, State::LineEnd(2)) => b'\r',
                (None, State::LineEnd(_)) => b'\n',
                (None, _) => return Progress::Blind,
            };
            cursor.skip(1);
            if self.step(byte, cursor.position).is_none() {
                return Progress::Malformed;
            }
            if self.left == 0 {
                return Progress::Complete;
            }
        }
        Progress::More
    }

    /// Takes one byte outside of strings; `next` is the position behind it. None if it may not stand there.
    fn step(&mut self, byte: u8, next: Position) -> Option<()> {
        match self.state {
            State::Type if b"+-:$*_#,(!=%~>|".contains(&byte) => {
                if self.kind == 0 {
                    self.kind = byte;
                }
                self.line = Word::default();
                self.state = State::Line(byte);
            }
            State::Line(kind) if byte == b'\n' => self.end_line(kind, next)?,
            State::Line(b'$' | b'*' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|')
                if usize::from(self.line.length) >= LENGTH_BYTES_MAX =>
            {
                return None;
            }
            State::Line(_) if byte == b'\r' => {}
            State::Line(_) => self.line.push(byte),
            State::LineEnd(2) if byte == b'\r' => self.state = State::LineEnd(1),
            State::LineEnd(1) if byte == b'\n' => self.end_value(1, 0)?,
            _ => return None,
        }
        Some(())
    }

    fn end_line(&mut self, kind: u8, next: Position) -> Option<()> {
        let line = self.line;
        match kind {
            b'$' | b'!' | b'=' => match length(&line)? {
                None => self.end_value(1, 0),
                Some(bytes) => {
                    self.state = State::String { end: next.checked_add(bytes)? };
                    Some(())
                }
            },
            b'*' | b'~' | b'>' => self.end_value(1, length(&line)?.unwrap_or(0)),
            b'%' => self.end_value(1, length(&line)?.unwrap_or(0).checked_mul(2)?),
            // Attributes stand before the value that they belong to.
            b'|' => self.end_value(0, length(&line)?.unwrap_or(0).checked_mul(2)?),
            _ => {
                self.take_word(line);
                self.end_value(1, 0)
            }
        }
    }

    /// `ended` values have ended, and `more` begin in their place.
    fn end_value(&mut self, ended: u64, more: u64) -> Option<()> {
        self.left = self.left.checked_sub(ended)?.checked_add(more)?;
        self.state = State::Type;
        Some(())
    }

    fn read_string(&mut self, cursor: &mut Cursor<'_>, end: Position) {
        if let Some(word) = self.words.get_mut(usize::from(self.strings)) {
            let here = usize::try_from(end.since(cursor.position)).unwrap_or(usize::MAX);
            let moved = usize::try_from(cursor.end.since(cursor.position)).unwrap_or(usize::MAX).min(here);
            let room = WORD_BYTES_MAX - usize::from(word.length);
            word.is_hidden |= cursor.captured.len() < moved.min(room);
            cursor.captured.iter().take(moved).for_each(|byte| word.push(*byte));
        }
        cursor.skip_to(end);
        if cursor.position == end {
            self.strings = self.strings.saturating_add(1);
            self.state = State::LineEnd(2);
        }
    }

    fn take_word(&mut self, line: Word) {
        if let Some(word) = self.words.get_mut(usize::from(self.strings)) {
            *word = line;
        }
        self.strings = self.strings.saturating_add(1);
    }

    /// A string that goes on beyond this position: what lies before it need not be seen.
    pub fn string_end(&self) -> Option<Position> {
        match self.state {
            State::String { end } => Some(end),
            _ => None,
        }
    }
}

/// Whether bytes begin with an array of strings: `*2`, `$3`.
pub(super) fn begins_command(bytes: &[u8]) -> Verdict {
    match line(bytes, b"*") {
        Err(verdict) => verdict,
        Ok(rest) => match rest.first() {
            None => Verdict::Maybe,
            Some(b'$') => Verdict::Yes,
            Some(_) => Verdict::No,
        },
    }
}

/// Whether bytes begin with a whole first line of a reply that nothing else says.
pub(super) fn begins_reply(bytes: &[u8]) -> Verdict {
    let word = |word: &[u8]| bytes.starts_with(word).then_some(Verdict::Yes);
    let known =
        [b"+OK\r\n" as &[u8], b"+PONG\r\n", b"+QUEUED\r\n", b"-ERR ", b"-WRONGTYPE ", b"$-1\r\n", b"*-1\r\n", b"_\r\n"];
    known.iter().find_map(|known| word(known)).unwrap_or_else(|| match line(bytes, b"$*:%~") {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    })
}

/// What stands behind a first line of one of these types and a number.
fn line<'a>(bytes: &'a [u8], types: &[u8]) -> Result<&'a [u8], Verdict> {
    let Some((first, rest)) = bytes.split_first() else { return Err(Verdict::Maybe) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match &rest[digits..] {
        _ if !types.contains(first) || digits > FIRST_DIGITS_MAX => Err(Verdict::No),
        [] | [b'\r'] if digits > 0 => Err(Verdict::Maybe),
        [b'\r', b'\n', behind @ ..] if digits > 0 => Ok(behind),
        [] => Err(Verdict::Maybe),
        _ => Err(Verdict::No),
    }
}

/// A length or a number; an inner None is the null of RESP2. The outer one: it is neither.
fn length(line: &Word) -> Option<Option<u64>> {
    match line.as_str() {
        "-1" => Some(None),
        digits => digits.parse().ok().map(Some),
    }
}
