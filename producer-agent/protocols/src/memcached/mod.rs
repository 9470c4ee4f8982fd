//! Memcached on one connection: text with its meta commands, and binary.
//!
//! In: the bytes of both directions. Out: each command with its answer, in any depth of pipelining, or a counted loss.
//!
//! The first byte says which form a connection has. Answers come in the order of the commands; in binary they repeat the command's code
//! and what the client chose (opaque). An operation is the command (`GET`, `MG`, `GETKQ`); keys and values are passed over unread.
//!
//! Commands that ask for no answer (`noreply`) are one-way. So are quiet ones (the flag `q`, `GETKQ` and its like), which are answered only
//! if they did not go as they mostly do: they come out once a later command is answered. What came of a quiet one that failed is known if it
//! was the only one; else all of them are `Unknown`. Where a line may be the answer of a quiet command or of the one behind it, nothing is
//! taken for certain, and what is open is counted as lost.
//!
//! Where something was missed, nothing is known until a turn: a call begins with a command after all that was asked has been answered as far
//! as can be seen. That is believed after a silence, or after many turns without an answer too many (as with Redis).
//!
//! Bounds: [`Options`]; nothing is allocated by what a length claims.

mod answers;
mod commands;
mod message;

use std::collections::VecDeque;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use answers::Pending;
use commands::Reply;
use message::{HEADER_BYTES, Progress, REQUEST, Reader};

/// Nobody waits for an answer any more after such a silence.
const SILENCE_NS: u64 = 1_000_000_000;
/// Turns after which what was found in the middle of a busy connection is believed.
const DOUBTS: u8 = 16;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Commands that wait for their answers. Past it nothing is followed until the connection has come to rest.
    pub pending_commands_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_commands_max: 1024 }
    }
}

/// Memcached on one connection.
#[derive(Debug)]
pub struct Memcached {
    options: Options,
    losses: Losses,
    is_binary: Option<bool>,
    /// Each direction stands where its reader says.
    synced: bool,
    /// Bytes of an answer came after the newest bytes of a command.
    answered: bool,
    /// So many more turns have to end with the last answer before what was found in the middle is believed.
    doubts: u8,
    now_ns: u64,
    at: Both<Reach>,
    readers: Both<Reader>,
    pending: VecDeque<Pending>,
}

impl Memcached {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            is_binary: None,
            synced: true,
            answered: false,
            doubts: 0,
            now_ns: 0,
            at: Both::default(),
            readers: Both::default(),
            pending: VecDeque::new(),
        }
    }

    fn read_commands(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        if !self.synced && !self.sync(&cursor, sink) {
            self.answered = false;
            return;
        }
        self.answered = false;
        let is_binary = match (self.is_binary, cursor.captured.first()) {
            (Some(is_binary), _) => is_binary,
            (None, Some(first)) => *first == REQUEST,
            (None, None) => return self.become_foreign(),
        };
        self.is_binary = Some(is_binary);
        while !cursor.is_done() && self.synced && self.recognition() != Recognition::Foreign {
            match self.readers.request.read(&mut cursor, is_binary, Direction::Request) {
                Progress::More => {}
                Progress::Complete(start, message) => match commands::of(&message) {
                    Some(Some(command)) if self.has_room() => {
                        self.push(Pending::of(command, start, cursor.mark()), sink)
                    }
                    Some(Some(_)) => {
                        self.losses.lose(LossReason::TooManyPipelined, sink);
                        self.unsync(LossReason::TooManyPipelined, sink);
                        self.count(cursor, LossReason::TooManyPipelined, sink);
                    }
                    Some(None) => {}
                    None => self.misunderstand(LossReason::MalformedRequest, sink),
                },
                Progress::Malformed => self.misunderstand(LossReason::MalformedRequest, sink),
                Progress::Blind => self.misunderstand(LossReason::HeadNotCaptured, sink),
            }
        }
    }

    fn misunderstand(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided && reason == LossReason::MalformedRequest {
            return self.become_foreign();
        }
        self.losses.lose(reason, sink);
        self.unsync(LossReason::Ambiguous, sink);
    }

    fn has_room(&self) -> bool {
        self.pending.len() < self.options.pending_commands_max as usize
    }

    fn push(&mut self, pending: Pending, sink: &mut Sink<'_>) {
        let is_silent = pending.command.reply == Reply::Never;
        self.pending.push_back(pending);
        if is_silent {
            self.tell_silent(sink);
        }
    }

    /// Whether a call begins with a command after all before it was answered: then both directions stand where a message begins.
    fn sync(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) -> bool {
        let is_read_up = self.at.response.position.is_none_or(|position| position == cursor.other_position);
        if judge_request(cursor.captured, false) != Verdict::Yes || !self.answered || !is_read_up {
            self.count(*cursor, LossReason::StartedBeforeCapture, sink);
            return false;
        }
        let silent_ns = cursor.at_ns.saturating_sub(self.at.request.last_ns.max(self.at.response.last_ns));
        self.doubts = if silent_ns >= SILENCE_NS { 0 } else { DOUBTS };
        self.readers = Both::default();
        self.synced = true;
        true
    }

    /// Counts what is asked in the rest of a call that is followed no further.
    fn count(&mut self, rest: Cursor<'_>, reason: LossReason, sink: &mut Sink<'_>) {
        for _ in 0..commands_in(rest) {
            self.losses.lose(reason, sink);
        }
    }

    /// Nothing is known of where the directions stand. What is open is lost.
    fn unsync(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        for _ in std::mem::take(&mut self.pending) {
            self.losses.lose(reason, sink);
        }
        self.synced = false;
        self.answered = false;
        self.readers = Both::default();
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.pending = VecDeque::new();
        self.readers = Both::default();
    }
}

impl Protocol for Memcached {
    const NAME: &'static str = "memcached";
    /// Commands that nobody answers may come at any time, and faster than it could be said that they are to be seen.
    const INTEREST: Interest = Interest::Calls;

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, is_start) => judge_request(opening.bytes, is_start),
            // The client speaks first.
            (Direction::Response, _) => Verdict::No,
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.memcached)
    }

    fn recognition(&self) -> Recognition {
        self.losses.recognition()
    }

    fn at(&self) -> &Both<Reach> {
        &self.at
    }

    fn at_mut(&mut self) -> &mut Both<Reach> {
        &mut self.at
    }

    fn begin(&mut self, _: Direction, position: Position) {
        self.synced &= position == Position::START;
    }

    fn resumed(&self) -> Self {
        Self { losses: Losses::recognised(), is_binary: self.is_binary, ..Self::new(self.options) }
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.read_commands(cursor, sink),
            Direction::Response => self.read_answers(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        // What lies within data is passed over.
        if self.synced && self.readers[direction].data_end().is_none_or(|end| to >= end) {
            if direction == Direction::Request || self.pending.is_empty() {
                self.losses.lose(LossReason::Gap, sink);
            }
            self.unsync(LossReason::Gap, sink);
        }
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        if self.synced && !self.readers.request.is_at_start() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.close_pending(how, sink);
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && (!self.synced || self.readers.request.is_at_start())
    }

    fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>()
    }
}

/// How many commands a call holds that begins with one, as far as can be seen, and one that goes on behind it.
fn commands_in(mut cursor: Cursor<'_>) -> u64 {
    let is_binary = cursor.captured.first() == Some(&REQUEST);
    let (mut reader, mut count) = (Reader::default(), 0);
    if judge_request(cursor.captured, true) != Verdict::Yes {
        return 0;
    }
    while !cursor.is_done() {
        match reader.read(&mut cursor, is_binary, Direction::Request) {
            Progress::Complete(_, message) => match commands::of(&message) {
                Some(command) => count += u64::from(command.is_some()),
                None => return count,
            },
            Progress::More | Progress::Blind => count += 1,
            Progress::Malformed => return count,
        }
        if !reader.is_at_start() {
            break;
        }
    }
    count
}

/// Whether bytes begin with a command.
fn judge_request(bytes: &[u8], is_start: bool) -> Verdict {
    match bytes.first() {
        None => Verdict::Maybe,
        Some(&REQUEST) => match bytes.first_chunk::<HEADER_BYTES>() {
            // Nothing else begins with these bytes, as far as they go.
            None if is_start => Verdict::Maybe,
            None => Verdict::No,
            Some(first) => match message::header(first, REQUEST) {
                Some(header) if header.opcode <= commands::OPCODE_MAX && header.status == 0 => Verdict::Yes,
                _ => Verdict::No,
            },
        },
        Some(_) => judge_line(bytes, is_start),
    }
}

fn judge_line(bytes: &[u8], is_start: bool) -> Verdict {
    let is_text = |byte: &u8| *byte >= b' ' && *byte != 0x7f;
    match memchr::memchr(b'\n', bytes) {
        Some(end) => {
            let line = bytes[..end].trim_ascii_end();
            // Requests of HTTP/1 can begin alike.
            let is_http = line.windows(6).any(|window| window == b" HTTP/");
            let is_command = commands::begins_command(line) && line.iter().all(is_text) && !is_http;
            // In the middle any text may begin with such a word.
            let is_command = is_command && (is_start || commands::is_unmistakable(line));
            if is_command { Verdict::Yes } else { Verdict::No }
        }
        None if !is_start => Verdict::No,
        None if commands::may_begin_command(bytes) => Verdict::Maybe,
        None if commands::begins_command(bytes) && bytes.iter().all(|byte| is_text(byte) || *byte == b'\r') => {
            // A long line of keys.
            if bytes.len() >= crate::choice::OPENING_BYTES_MAX { Verdict::Yes } else { Verdict::Maybe }
        }
        None => Verdict::No,
    }
}
