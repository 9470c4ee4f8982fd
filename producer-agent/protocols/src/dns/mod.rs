//! DNS over TCP (RFC 7766) on one connection: each message stands behind its length in two bytes.
//!
//! In: the bytes of both directions. Out: each question with its answer, in any number at once and in any order, or a counted loss.
//!
//! An answer is found by its id and, if it repeats it, by the question. The operation is the type that is asked for, of which there are few; the
//! resource is the name, of which there is no end. Of an answer what says how it went is read, and which addresses it gives (`answers.rs`).
//!
//! Where something was missed, a direction is followed again from a call on that begins with a message, if another message follows that
//! (`lanes.rs`).
//!
//! Over UDP there are no connections: [`datagrams`] says which answer is whose.
//!
//! Bounds: [`Options`], and `answers::BYTES_MAX` of a message; nothing is allocated by what a length claims.

mod answers;
pub mod datagrams;
mod exchanges;
mod message;
mod names;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::framed::{self, Framed};
use crate::lanes::{Lane, Lanes, Sign};
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Pending;
use message::{HEADER_BYTES, Header, Message};

/// The length before each message.
const LENGTH_BYTES: usize = 2;
/// A question has no more: names are short, and what stands beside it (a cookie, a signature, prerequisites) seldom is long.
const OPENING_BYTES_MAX: u16 = 4096;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Questions that wait for their answers. Those beyond it are counted.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024 }
    }
}

/// DNS on one connection.
#[derive(Debug)]
pub struct Dns {
    options: Options,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Reader>>,
    pending: Queue<Pending>,
    /// So many answers may come to questions that were lost.
    unknown_answers: u64,
    /// What an answer is beyond those.
    unknown: LossReason,
}

type Reader = Framed<Framing>;

/// How messages stand in the stream.
#[derive(Debug, Default)]
pub struct Framing;

impl framed::Header for Framing {
    const BYTES: usize = LENGTH_BYTES + HEADER_BYTES;
    const HEAD_BYTES_MAX: usize = LENGTH_BYTES + answers::BYTES_MAX;

    fn message_bytes(bytes: &[u8], direction: Direction) -> Option<u64> {
        let (length, header) = bytes.split_first_chunk()?;
        let length = u16::from_be_bytes(*length);
        let is_one = usize::from(length) >= HEADER_BYTES && Header::read(header, direction).is_some();
        is_one.then(|| LENGTH_BYTES as u64 + u64::from(length))
    }
}

/// The message in the first bytes of what was framed.
fn message(head: &[u8], direction: Direction) -> Option<Message<'_>> {
    Message::read(bytes_of(head)?, direction)
}

/// The same as bytes, from its header on.
fn bytes_of(head: &[u8]) -> Option<&[u8]> {
    let (length, bytes) = head.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    Some(&bytes[..length.min(bytes.len())])
}

impl Dns {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            pending: Queue::default(),
            unknown_answers: 0,
            unknown: LossReason::UnsolicitedResponse,
        }
    }

    fn give_up(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.pending) = (Both::default(), Queue::default());
    }
}

impl Lanes for Dns {
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
        let proves = message(reader.head(), direction).is_some_and(|message| message.is_unmistakable());
        Sign { proves, asks: direction == Direction::Request }
    }

    fn take(&mut self, direction: Direction, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.request(reader.head(), ends, sink),
            Direction::Response => self.answer(reader.head(), ends, sink),
        }
    }

    fn missed(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        self.miss(direction, sink);
    }

    fn become_foreign(&mut self) {
        self.give_up();
    }
}

impl Protocol for Dns {
    const NAME: &'static str = "dns";

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, true) => judge_opening(opening.bytes),
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (direction, false) => judge_call(opening.bytes, direction),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.dns)
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
        self.pending.heap_bytes() + self.lanes.request.reader.heap_bytes() + self.lanes.response.reader.heap_bytes()
    }
}

/// Whether a connection begins so: with one question of few bytes.
fn judge_opening(bytes: &[u8]) -> Verdict {
    let Some((length, behind)) = bytes.split_first_chunk() else {
        let is_short = bytes.first().is_none_or(|byte| u16::from(*byte) <= OPENING_BYTES_MAX >> 8);
        return if is_short { Verdict::Maybe } else { Verdict::No };
    };
    let length = u16::from_be_bytes(*length);
    // The shortest question is that for the root.
    if !(HEADER_BYTES as u16 + 5..=OPENING_BYTES_MAX).contains(&length) {
        return Verdict::No;
    }
    if behind.len() < HEADER_BYTES {
        // Its flags, and that there is one question, as far as they are there.
        let fits = |at: usize, may: fn(u8) -> bool| behind.get(at).is_none_or(|byte| may(*byte));
        let is_right = fits(2, |byte| byte & 0x82 == 0 && names::of_opcode(byte >> 3).is_some())
            && fits(3, |byte| byte & 0x4f == 0)
            && fits(4, |byte| byte == 0)
            && fits(5, |byte| byte == 1);
        return if is_right { Verdict::Maybe } else { Verdict::No };
    }
    match Message::read(&behind[..behind.len().min(length.into())], Direction::Request) {
        Some(message) if message.is_unmistakable() => Verdict::Yes,
        Some(message) if message.is_cut() && behind.len() < usize::from(length) => {
            // A name may be longer than what decides.
            let has_begun = behind.len() > HEADER_BYTES && message.begins_a_query();
            if has_begun { Verdict::Yes } else { Verdict::Maybe }
        }
        _ => Verdict::No,
    }
}

/// Whether a call in the middle of a connection begins with a message that can be nothing else.
fn judge_call(bytes: &[u8], direction: Direction) -> Verdict {
    let is_one = <Framing as framed::Header>::message_bytes(bytes, direction).is_some()
        && message(bytes, direction).is_some_and(|message| message.is_unmistakable());
    if is_one { Verdict::Yes } else { Verdict::No }
}
