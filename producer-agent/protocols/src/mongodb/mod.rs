//! MongoDB's wire protocol on one connection.
//!
//! In: the bytes of both directions. Out: each request with its answer, in any depth of pipelining, or a counted loss.
//!
//! A request is known by its id, its answer by the id that it answers. An operation is the name of the command (`find`), if the manual lists it; that of a
//! message older than OP_MSG is its opcode, with the command where it holds one (`OP_QUERY isMaster`). The resource is the database with the
//! collection. Documents are passed over but for the first elements of a command and an answer, of which names and numbers of errors leave.
//!
//! A request may say that it is not answered (`moreToCome`): it is one-way. An answer may say that others follow: then the exchange is a stream, which is told
//! of with its first answer. What waits for something to tell is of the kind [`Wait`](crate::Kind::Wait): `hello` with a time to wait, and what asks a cursor for
//! more that waits, as far as that shows.
//!
//! Where something was missed, a direction is followed again from a call on that begins with a message, if another one follows that (`lanes.rs`).
//!
//! Limits: nothing is decompressed, so that OP_COMPRESSED is all that is known of such a request. Bounds: [`Options`], and those of `message.rs`
//! and `exchanges.rs`; nothing is allocated by what a length claims.

mod answers;
mod bson;
mod codes;
mod commands;
mod exchanges;
mod message;
mod requests;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::lanes::{Lane, Lanes, Sign};
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::{Pending, Streamed, WaitingCursors};
use message::Reader;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Requests that wait for their answers. Those beyond it are counted.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024 }
    }
}

/// MongoDB on one connection.
#[derive(Debug)]
pub struct Mongodb {
    options: Options,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Reader>>,
    pending: Queue<Pending>,
    /// What is answered again and again.
    streamed: Option<Streamed>,
    waiting_cursors: WaitingCursors,
    /// So many answers may come to requests that were lost.
    unknown_answers: u64,
    /// What an answer is beyond those.
    unknown: LossReason,
}

impl Mongodb {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            pending: Queue::default(),
            streamed: None,
            waiting_cursors: WaitingCursors::default(),
            unknown_answers: 0,
            unknown: LossReason::UnsolicitedResponse,
        }
    }

    fn give_up(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.pending) = (Both::default(), Queue::default());
        (self.streamed, self.waiting_cursors) = (None, WaitingCursors::default());
    }
}

impl Lanes for Mongodb {
    type Reader = Reader;

    fn lane(&mut self, direction: Direction) -> &mut Lane<Reader> {
        &mut self.lanes[direction]
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn unknown(&mut self) -> &mut LossReason {
        &mut self.unknown
    }

    fn sign(reader: &Reader, direction: Direction) -> Sign {
        Sign { proves: message::is_unmistakable(reader.head(), direction), asks: direction == Direction::Request }
    }

    fn take(&mut self, direction: Direction, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.request(reader, ends, sink),
            Direction::Response => self.answer(reader, ends, sink),
        }
    }

    fn missed(&mut self, direction: Direction, _: &mut Sink<'_>) {
        self.miss(direction);
    }

    fn become_foreign(&mut self) {
        self.give_up();
    }
}

impl Protocol for Mongodb {
    const NAME: &'static str = "mongodb";

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, true) => message::judge(opening.bytes),
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (direction, false) if message::is_unmistakable(opening.bytes, direction) => Verdict::Yes,
            (_, false) => Verdict::No,
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.mongodb)
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

    fn begin(&mut self, direction: Direction, position: Position) {
        if position != Position::START {
            self.lanes[direction].begin_in_the_middle();
            self.unknown = LossReason::StartedBeforeCapture;
        }
    }

    fn resumed(&self) -> Self {
        Self { losses: Losses::recognised(), unknown: LossReason::StartedBeforeCapture, ..Self::new(self.options) }
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.read_lane(direction, cursor, sink);
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        self.miss_lane(direction, to, sink);
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        self.close_lanes(sink);
        self.close_open(how, sink);
        self.give_up();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && !self.lanes.request.is_within()
    }

    fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
            + self.waiting_cursors.heap_bytes()
            + self.lanes.request.reader.heap_bytes()
            + self.lanes.response.reader.heap_bytes()
    }
}
