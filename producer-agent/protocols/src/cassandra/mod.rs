//! Cassandra's native protocol, which carries CQL, on one connection; versions 3 to 5.
//!
//! In: the bytes of both directions. Out: each request with its answer, in any number at once, or a counted loss.
//!
//! An answer is found by the number of its stream. What a server says without being asked (EVENT) answers nothing. An operation is the shape of the
//! statement (`sql`); that of what was prepared is known by the id that the server gave it, on this connection, or on another one of the workload. The resource is the keyspace that the
//! connection uses, as far as it was seen to choose one. Rows and what statements are bound to are passed over by their lengths.
//!
//! Where something was missed, a direction is followed again from a call on that begins with a frame or a segment, if another frame follows that
//! (`lanes.rs`).
//!
//! Limits: nothing is decompressed. In versions 3 and 4 frames are compressed, each by itself, so that their heads can be read; in version 5 it is all that
//! follows, which is counted as upgraded. Bounds: [`Options`], and those of `reader.rs`; nothing is allocated by what a length claims.

mod answers;
mod errors;
mod exchanges;
mod frame;
mod prepared;
mod reader;
mod requests;
mod segment;

use std::sync::Arc;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::known::Known;
use crate::lanes::{Lane, Lanes, Reader as _, Sign};
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Pending;
use prepared::Prepared;
use reader::Reader;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Requests that wait for their answers. Those beyond it are counted.
    pub pending_exchanges_max: u32,
    /// Prepared statements that are known. The one used longest ago makes room.
    pub statements_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 2048, statements_max: 256 }
    }
}

/// Whether what follows can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    /// As far as the heads of frames go.
    None,
    OfSegments,
}

/// Cassandra on one connection.
#[derive(Debug)]
pub struct Cassandra {
    options: Options,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Reader>>,
    pending: Queue<Pending>,
    prepared: Prepared,
    keyspace: Arc<str>,
    compression: Compression,
    /// So many answers may come to requests that were lost.
    unknown_answers: u64,
    /// What an answer is beyond those.
    unknown: LossReason,
}

impl Cassandra {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            pending: Queue::default(),
            prepared: Prepared::new(options.statements_max, Known::default()),
            keyspace: "".into(),
            compression: Compression::None,
            unknown_answers: 0,
            unknown: LossReason::UnsolicitedResponse,
        }
    }

    fn give_up(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.pending) = (Both::default(), Queue::default());
        self.prepared.clear();
        self.keyspace = "".into();
    }
}

impl Lanes for Cassandra {
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
        Sign {
            proves: frame::is_unmistakable(reader.head(), direction, reader.is_in_segments()),
            asks: direction == Direction::Request,
        }
    }

    fn take(&mut self, direction: Direction, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.request(reader, ends, sink),
            Direction::Response => self.answer(reader, ends, sink),
        }
    }

    fn missed(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        self.miss(direction, sink);
    }

    fn become_foreign(&mut self) {
        self.give_up();
    }

    fn is_taken_over(&mut self, _: Direction, _: &Cursor<'_>, sink: &mut Sink<'_>) -> bool {
        let is_compressed = self.compression == Compression::OfSegments;
        if is_compressed {
            self.losses.lose(LossReason::Upgraded, sink);
            self.give_up();
        }
        is_compressed
    }
}

impl Protocol for Cassandra {
    const NAME: &'static str = "cassandra";

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, true) => frame::judge(opening.bytes),
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (direction, false) => judge_call(opening.bytes, direction),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.cassandra)
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

    fn share(&mut self, known: &Known) {
        self.prepared.known = known.clone();
    }

    fn resumed(&self) -> Self {
        let mut resumed = Self::new(self.options);
        (resumed.losses, resumed.unknown) = (Losses::recognised(), LossReason::StartedBeforeCapture);
        resumed.share(&self.prepared.known);
        resumed
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
            + self.prepared.heap_bytes()
            + self.lanes.request.reader.heap_bytes()
            + self.lanes.response.reader.heap_bytes()
    }
}

/// Whether a call in the middle of a connection begins with a frame that can be nothing else.
fn judge_call(bytes: &[u8], direction: Direction) -> Verdict {
    let segment = crate::Segment {
        position: Position(1),
        length: bytes.len() as u64,
        captured: bytes,
        at_ns: 0,
        other_position: Position::START,
    };
    let mut reader = Reader::default();
    reader.read(&mut Cursor::new(&segment), direction);
    if Cassandra::sign(&reader, direction).proves { Verdict::Yes } else { Verdict::No }
}
