//! NATS, with what JetStream says over it, on one connection of a client.
//!
//! In: the bytes of both directions. Out: what either side asks with what answers it, or a counted loss.
//!
//! A message is one-way. Where it names a subject for its answer and the client has subscribed to that, it is a `REQUEST`, answered by the message that
//! comes to that subject. What a server passes on to a subscriber is an exchange of its own (`DELIVER`), named by [`Position::of_server`]: one-way, or
//! answered by what the subscriber publishes to the subject that it names. PING is answered by PONG in order, and all else by `+OK` in order if the client
//! has asked for that (`verbose`). An error that answers nothing is an exchange `ERROR`. The resource is the subject without its identifiers.
//!
//! Where something was missed, a direction is followed again from a call on that begins with a message, if another one follows that. What may have been
//! answered in between is lost and counted.
//!
//! Limits: routes and leaf nodes are connections among servers, of which only CONNECT is told. Bounds: [`Options`], and those of `message.rs` and
//! `subscriptions.rs`; nothing is allocated by what a size claims.

mod exchanges;
mod message;
mod reasons;
mod subjects;
mod subscriptions;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::lanes::{Lane, Lanes, Progress, Reader as _, Sign};
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Code, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Asked;
use message::{Message, Reader};
use subscriptions::Subscriptions;

/// The first byte of a client that goes on with TLS.
const TLS: u8 = 0x16;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What waits for its answer, of each kind: by a message, by PONG, by `+OK`, by a subscriber. What is beyond it is counted as lost.
    pub pending_exchanges_max: u32,
    /// What those that wait for a message may take.
    pub pending_bytes_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024, pending_bytes_max: 256 * 1024 }
    }
}

/// Whether what is asked is answered with `+OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirms {
    None,
    InOrder,
    /// It may be, and it is not known which answer is whose.
    PassedOver,
}

/// NATS on one connection.
#[derive(Debug)]
pub struct Nats {
    options: Options,
    losses: Losses,
    /// The client has begun TLS.
    begins_tls: bool,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Reader>>,
    confirms: Confirms,
    subscriptions: Subscriptions,
    /// Nothing answers it if all is well.
    connecting: Option<Asked>,
    confirmations: InOrder,
    pings: InOrder,
    /// No PING waits that nobody saw.
    pings_are_certain: bool,
    /// Time of the newest PING or PONG.
    pinged_ns: u64,
    requests: Queue<Asked>,
    deliveries: Queue<Asked>,
    /// So many answers may come to requests that were told of or lost.
    unknown_answers: u64,
    /// What an answer is beyond those.
    unknown: LossReason,
    /// Why the server ended the connection.
    end_code: Code,
}

/// What is answered in the order in which it is asked.
#[derive(Debug, Default)]
struct InOrder {
    queue: Queue<Asked>,
    /// Behind those, beyond the bound.
    beyond: u64,
}

impl InOrder {
    /// False if there is no room, so that it will not come out.
    fn push(&mut self, asked: Asked, max: u32) -> bool {
        if self.beyond > 0 || self.queue.len() >= max as usize {
            self.beyond += 1;
            return false;
        }
        self.queue.push(asked);
        true
    }

    /// What is answered first; `Some(None)` if that was beyond the bound.
    fn pop(&mut self) -> Option<Option<Asked>> {
        if let Some(asked) = self.queue.pop() {
            return Some(Some(asked));
        }
        self.beyond = self.beyond.checked_sub(1)?;
        Some(None)
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.beyond == 0
    }

    fn take(&mut self) -> Queue<Asked> {
        std::mem::take(self).queue
    }
}

impl Nats {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            begins_tls: false,
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            confirms: Confirms::None,
            subscriptions: Subscriptions::none(),
            connecting: None,
            confirmations: InOrder::default(),
            pings: InOrder::default(),
            pings_are_certain: true,
            pinged_ns: 0,
            requests: Queue::default(),
            deliveries: Queue::default(),
            unknown_answers: 0,
            unknown: LossReason::UnsolicitedResponse,
            end_code: Code::default(),
        }
    }

    fn is_followed(&self, direction: Direction) -> bool {
        !self.lanes[direction].is_lost()
    }
}

impl Lanes for Nats {
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
        let message = reader.message(direction);
        Sign {
            proves: message.is_some_and(|message| message.is_unmistakable()),
            asks: message.is_some_and(|message| begins(&message, direction)),
        }
    }

    fn take(&mut self, direction: Direction, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        self.take_message(direction, reader, ends, sink);
    }

    fn missed(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        self.miss(direction, sink);
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.connecting) = (Both::default(), None);
        (self.confirmations, self.pings) = (InOrder::default(), InOrder::default());
        (self.requests, self.deliveries) = (Queue::default(), Queue::default());
        self.subscriptions = Subscriptions::none();
    }

    fn is_taken_over(&mut self, direction: Direction, cursor: &Cursor<'_>, sink: &mut Sink<'_>) -> bool {
        let is_tls = direction == Direction::Request && cursor.captured.first() == Some(&TLS);
        if is_tls {
            self.begins_tls = true;
            self.losses.recognise(sink);
            self.losses.lose(LossReason::Upgraded, sink);
            self.become_foreign();
        }
        is_tls
    }

    /// The server's first line may be long, and the client answers when it has read all of it.
    fn may_pass_over(reader: &Reader) -> bool {
        reader.start().is_some_and(|start| start.position == Position::START) && reader.line().starts_with(b"INFO ")
    }
}

impl Protocol for Nats {
    const NAME: &'static str = "nats";
    const INTEREST: Interest = Interest::Calls;

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Response, true) => judge_introduction(opening.bytes),
            // The server speaks first.
            (Direction::Request, true) => Verdict::No,
            (direction, false) => judge_call(opening.bytes, direction),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.nats)
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
            self.confirms = Confirms::PassedOver;
            self.pings_are_certain = false;
            self.pinged_ns = self.now_ns;
            self.subscriptions.miss();
            self.unknown = LossReason::StartedBeforeCapture;
        }
    }

    fn resumed(&self) -> Self {
        let mut resumed = Self { losses: Losses::recognised(), ..Self::new(self.options) };
        resumed.confirms = Confirms::PassedOver;
        resumed.pings_are_certain = false;
        resumed.subscriptions.miss();
        resumed.unknown = LossReason::StartedBeforeCapture;
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
        self.become_foreign();
    }

    fn begins_tls(&self) -> bool {
        self.begins_tls
    }

    fn is_idle(&self) -> bool {
        self.connecting.is_none()
            && self.confirmations.is_empty()
            && self.pings.is_empty()
            && self.requests.is_empty()
            && self.deliveries.is_empty()
            && !self.lanes.request.is_within()
    }

    fn heap_bytes(&self) -> usize {
        self.confirmations.queue.heap_bytes()
            + self.pings.queue.heap_bytes()
            + self.requests.heap_bytes()
            + self.deliveries.heap_bytes()
            + self.subscriptions.heap_bytes()
            + self.lanes.request.reader.heap_bytes()
            + self.lanes.response.reader.heap_bytes()
    }
}

/// Whether a server begins with what it is.
fn judge_introduction(bytes: &[u8]) -> Verdict {
    const BEGINS: &[u8] = b"INFO {";
    match bytes.len() < BEGINS.len() {
        true if BEGINS.starts_with(bytes) => Verdict::Maybe,
        false if bytes.starts_with(BEGINS) => Verdict::Yes,
        _ => Verdict::No,
    }
}

/// Whether a call in the middle of a connection begins with a message that can be nothing else.
fn judge_call(bytes: &[u8], direction: Direction) -> Verdict {
    let segment = crate::Segment {
        position: Position::START,
        length: bytes.len() as u64,
        captured: bytes,
        at_ns: 0,
        other_position: Position::START,
    };
    let mut reader = Reader::default();
    let progress = reader.read(&mut Cursor::new(&segment), direction);
    let is_message = reader.end().is_some() || progress == Progress::Complete;
    let message = reader.message(direction).filter(|_| is_message && progress != Progress::Malformed);
    if message.is_some_and(|message| message.is_unmistakable()) { Verdict::Yes } else { Verdict::No }
}

/// Whether it begins an exchange.
fn begins(message: &Message<'_>, direction: Direction) -> bool {
    let is_asked = matches!(message, Message::Unsubscribe { .. } | Message::Connect { .. })
        || (*message == Message::Ping && direction == Direction::Request);
    message.is_unmistakable() || is_asked
}
