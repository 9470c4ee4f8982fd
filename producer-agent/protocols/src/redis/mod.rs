//! Redis and what speaks like it (RESP2 and RESP3) on one connection.
//!
//! In: the bytes of both directions. Out: each command with its reply, in any depth of pipelining, or a counted loss.
//!
//! A connection is recognised by both directions: a command that is an array of strings, as all clients send it, and a value that
//! answers it. Replies come in the order of their commands; what a server pushes in between (RESP3) answers none. An operation is the
//! command, with its second word where that says what is done (`CONFIG GET`). Keys and values are never looked at.
//!
//! Where something was missed, nothing is known until a turn: a call begins with a command after all that was asked has been answered
//! as far as can be seen. Commands that nobody saw may still wait then, and each reply would be taken for the next one's: so that turn
//! is believed after a silence, or after many turns without a reply too many. What is asked until then is counted as lost.
//!
//! After SUBSCRIBE, MONITOR and the like the server speaks as it likes, so the connection is another protocol's from there on.
//!
//! How long a command waits that was asked to wait (BLPOP) is no latency: it is of the kind [`Wait`](crate::Kind::Wait). XREAD and
//! XREADGROUP are taken for such, whether they wait or not.
//!
//! Limits: commands typed as plain lines are not recognised. A client that keeps exactly so many commands under way, all the time and
//! since before the capture, looks like one that waits for each reply. Bounds: [`Options`]; nothing is allocated by what a length claims.

mod replies;
mod resp;

use std::collections::VecDeque;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::{OpenRequest, Protocol};
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use replies::Pending;
pub use replies::is_one_of_many;
use resp::{Progress, Reader};

/// Nobody waits for a reply any more after such a silence, but for commands that were asked to wait.
const SILENCE_NS: u64 = 1_000_000_000;
/// Turns after which what was found in the middle of a busy connection is believed.
const DOUBTS: u8 = 16;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Commands that wait for their replies. Those beyond it are counted, and their replies passed over.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024 }
    }
}

/// Redis on one connection.
#[derive(Debug)]
pub struct Redis {
    options: Options,
    losses: Losses,
    /// Each direction stands where its reader says.
    synced: bool,
    /// Bytes of a reply came after the newest bytes of a command.
    answered: bool,
    /// So many more turns have to end with the last reply before what was found in the middle is believed.
    doubts: u8,
    /// A call in the middle began as only this protocol's do.
    plain: Both<bool>,
    now_ns: u64,
    at: Both<Reach>,
    readers: Both<Reader>,
    /// Where the command begins that is being read.
    command_start: Option<Mark>,
    pending: VecDeque<Pending>,
    /// Commands behind those, beyond the bound.
    beyond: u64,
}

impl Redis {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            synced: true,
            answered: false,
            doubts: 0,
            plain: Both::default(),
            now_ns: 0,
            at: Both::default(),
            readers: Both::default(),
            command_start: None,
            pending: VecDeque::new(),
            beyond: 0,
        }
    }

    fn read_commands(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        if !self.synced && !self.sync(&cursor, sink) {
            self.answered = false;
            return;
        }
        self.answered = false;
        while !cursor.is_done() {
            let start = *self.command_start.get_or_insert(cursor.mark());
            match self.readers.request.read(&mut cursor) {
                Progress::More => {}
                Progress::Complete if self.readers.request.kind == b'*' => {
                    self.take_command(start, cursor.mark(), sink);
                    if !self.synced {
                        return;
                    }
                }
                Progress::Complete | Progress::Malformed if self.recognition() == Recognition::Undecided => {
                    return self.become_foreign();
                }
                Progress::Complete | Progress::Malformed => {
                    self.losses.lose(LossReason::MalformedRequest, sink);
                    return self.unsync(LossReason::Ambiguous, sink);
                }
                Progress::Blind => {
                    self.losses.lose(LossReason::HeadNotCaptured, sink);
                    return self.unsync(LossReason::Ambiguous, sink);
                }
            }
        }
    }

    fn take_command(&mut self, start: Mark, end: Mark, sink: &mut Sink<'_>) {
        self.command_start = None;
        let words = self.readers.request.words;
        let Some(command) = words[0].command() else {
            if self.recognition() == Recognition::Undecided {
                return self.become_foreign();
            }
            self.losses.lose(LossReason::HeadNotCaptured, sink);
            return self.push(Pending::lost(start, end), sink);
        };
        let pending = Pending::of(command, &words[1], start, end);
        if pending.may_silence() {
            self.losses.lose(LossReason::HeadNotCaptured, sink);
            return self.unsync(LossReason::Ambiguous, sink);
        }
        self.push(pending, sink);
    }

    fn push(&mut self, pending: Pending, sink: &mut Sink<'_>) {
        if self.beyond > 0 || self.pending.len() >= self.options.pending_exchanges_max as usize {
            if !pending.is_lost {
                self.losses.lose(LossReason::TooManyPipelined, sink);
            }
            self.beyond += 1;
        } else {
            self.pending.push_back(pending);
        }
    }

    /// Whether a call begins with a command after all before it was answered: then both directions stand where a value begins.
    fn sync(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) -> bool {
        let is_read_up = self.at.response.position.is_none_or(|position| position == cursor.other_position);
        let is_plain = resp::begins_command(cursor.captured) == Verdict::Yes;
        self.look(Direction::Request, is_plain, sink);
        if !is_plain || !self.answered || !is_read_up {
            for _ in 0..commands_in(*cursor) {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            return false;
        }
        let silent_ns = cursor.at_ns.saturating_sub(self.at.request.last_ns.max(self.at.response.last_ns));
        self.doubts = if silent_ns >= SILENCE_NS { 0 } else { DOUBTS };
        self.readers = Both::default();
        self.synced = true;
        true
    }

    /// One that is found in its middle is recognised by how calls of both directions begin, whichever comes first: what was asked and what is
    /// answered need not belong together for that.
    fn look(&mut self, direction: Direction, is_plain: bool, sink: &mut Sink<'_>) {
        self.plain[direction] |= is_plain;
        if self.plain.request && self.plain.response {
            self.losses.recognise(sink);
        }
    }

    /// Nothing is known of where the directions stand.
    fn unsync(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.lose_all(reason, sink);
        self.synced = false;
        self.answered = false;
        self.command_start = None;
    }

    fn lose_all(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        for pending in std::mem::take(&mut self.pending) {
            if !pending.is_lost {
                self.losses.lose(reason, sink);
            }
        }
        self.beyond = 0;
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.command_start = None;
        self.pending = VecDeque::new();
        self.beyond = 0;
    }
}

impl Protocol for Redis {
    const NAME: &'static str = "redis";

    fn judge(opening: &Opening<'_>) -> Verdict {
        match opening.direction {
            Direction::Request => resp::begins_command(opening.bytes),
            // A server speaks first only to send somebody away.
            Direction::Response if opening.is_start => Verdict::No,
            Direction::Response => resp::begins_reply(opening.bytes),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.redis)
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
        Self { losses: Losses::recognised(), ..Self::new(self.options) }
    }

    fn opened(&mut self, open: &OpenRequest<'_>) {
        self.pending.push_back(Pending::opened(open));
        self.at.request.last_ns = open.at_ns;
    }

    fn is_settled(&self) -> bool {
        self.synced
            && self.doubts == 0
            && self.pending.is_empty()
            && self.beyond == 0
            && self.command_start.is_none()
            && self.readers.response.is_at_start()
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.read_commands(cursor, sink),
            Direction::Response => self.read_replies(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        // What lies within a string is passed over.
        if self.synced && self.readers[direction].string_end().is_none_or(|end| to > end) {
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
        if self.synced && self.command_start.is_some() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.close_pending(how, sink);
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && (!self.synced || self.command_start.is_none())
    }

    fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>()
    }
}

/// How many commands a call holds that begins with one, as far as can be seen, and one that goes on behind it.
fn commands_in(mut cursor: Cursor<'_>) -> u64 {
    let (mut reader, mut count) = (Reader::default(), 0);
    while resp::begins_command(cursor.captured) == Verdict::Yes {
        count += 1;
        if reader.read(&mut cursor) != Progress::Complete {
            break;
        }
    }
    count
}
