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
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::stream::{Both, Reach};
use crate::{CloseReason, Code, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Asked;
use message::{Message, Progress, Reader};
use subscriptions::Subscriptions;

/// So many messages one behind the other prove a direction whose beginning was not seen.
const PROOF_MESSAGES: u8 = 2;
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
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane>,
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

/// How far one direction is understood.
#[derive(Debug, Default)]
struct Lane {
    reader: Reader,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Followed,
    /// The server says at length what it is, until the client answers.
    Introduced,
    /// Nothing is known; so many messages were found one behind the other, and so many of them begin an exchange.
    Lost { proofs: u8, asked: u8 },
}

const LOST: Standing = Standing::Lost { proofs: 0, asked: 0 };

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

    fn follow(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        while !cursor.is_done() && self.recognition() != Recognition::Foreign {
            let reader = &mut self.lanes[direction].reader;
            if reader.is_at_start() && cursor.captured.first() == Some(&TLS) && direction == Direction::Request {
                self.losses.recognise(sink);
                self.losses.lose(LossReason::Upgraded, sink);
                return self.become_foreign();
            }
            match reader.read(&mut cursor, direction) {
                Progress::More => {}
                Progress::Complete => self.take_read(direction, &cursor, sink),
                Progress::Blind if is_first_info(reader) => {
                    reader.reset();
                    self.lanes[direction].standing = Standing::Introduced;
                    return;
                }
                Progress::Blind => return self.lose_track(direction, LossReason::HeadNotCaptured, sink),
                Progress::Malformed => {
                    if self.recognition() == Recognition::Undecided {
                        return self.become_foreign();
                    }
                    let reason = match direction {
                        Direction::Request => LossReason::MalformedRequest,
                        Direction::Response => LossReason::MalformedResponse,
                    };
                    return self.lose_track(direction, reason, sink);
                }
            }
        }
    }

    /// Takes the message that has been read up to here.
    fn take_read(&mut self, direction: Direction, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        let mut reader = std::mem::take(&mut self.lanes[direction].reader);
        let end = cursor.mark();
        self.take(direction, &reader, (reader.start().unwrap_or(end), end), sink);
        reader.reset();
        self.lanes[direction].reader = reader;
    }

    /// Looks for the place where a direction can be followed again.
    fn try_again(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let segment = cursor;
        let went_on = !self.lanes[direction].reader.is_at_start();
        let Standing::Lost { mut proofs, mut asked } = self.lanes[direction].standing else { return };
        let (is_all_here, asked_before) = (proofs == 0 && !went_on, asked);
        while !cursor.is_done() {
            let reader = &mut self.lanes[direction].reader;
            match reader.read(&mut cursor, direction) {
                Progress::More => break,
                Progress::Complete => {
                    let message = reader.message(direction);
                    proofs += u8::from(message.is_some_and(|message| message.is_unmistakable()));
                    if proofs >= PROOF_MESSAGES {
                        return self.proven(
                            direction,
                            is_all_here.then_some((segment, asked_before)),
                            (cursor, asked),
                            sink,
                        );
                    }
                    asked = asked.saturating_add(u8::from(message.is_some_and(|message| begins(&message, direction))));
                    reader.reset();
                }
                Progress::Malformed | Progress::Blind => {
                    reader.reset();
                    self.lanes[direction].standing = LOST;
                    self.lose_tried(asked, sink);
                    if went_on {
                        // It may be this call that begins with a message.
                        self.try_again(direction, segment, sink);
                    }
                    return;
                }
            }
        }
        self.lanes[direction].standing = Standing::Lost { proofs, asked };
    }

    /// The message that has been read proves the direction. What was read before is lost, unless all of it is here, from the beginning of the call on.
    fn proven(
        &mut self,
        direction: Direction,
        here: Option<(Cursor<'_>, u8)>,
        (cursor, asked): (Cursor<'_>, u8),
        sink: &mut Sink<'_>,
    ) {
        self.lanes[direction].standing = Standing::Followed;
        self.lose_tried(here.map_or(asked, |(_, asked)| asked), sink);
        self.losses.recognise(sink);
        if let Some((segment, _)) = here {
            self.lanes[direction].reader.reset();
            self.follow(direction, segment, sink);
        } else {
            self.take_read(direction, &cursor, sink);
            self.follow(direction, cursor, sink);
        }
    }

    /// Messages that were found before it was known that they are some.
    fn lose_tried(&mut self, asked: u8, sink: &mut Sink<'_>) {
        for _ in 0..asked {
            self.losses.lose(self.unknown, sink);
        }
    }

    /// Nothing is known of where a direction stands.
    fn lose_track(&mut self, direction: Direction, reason: LossReason, sink: &mut Sink<'_>) {
        self.losses.lose(reason, sink);
        self.unknown = reason;
        self.missed(direction, sink);
        self.lanes[direction].reader.reset();
        self.lanes[direction].standing = LOST;
    }

    fn is_followed(&self, direction: Direction) -> bool {
        !matches!(self.lanes[direction].standing, Standing::Lost { .. })
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.connecting) = (Both::default(), None);
        (self.confirmations, self.pings) = (InOrder::default(), InOrder::default());
        (self.requests, self.deliveries) = (Queue::default(), Queue::default());
        self.subscriptions = Subscriptions::none();
    }
}

impl Protocol for Nats {
    const NAME: &'static str = "nats";

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
            self.lanes[direction].standing = LOST;
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
        match self.lanes[direction].standing {
            Standing::Followed => self.follow(direction, cursor, sink),
            Standing::Lost { .. } => self.try_again(direction, cursor, sink),
            // A client answers when it has read all that the server says of itself.
            Standing::Introduced if self.recognition() == Recognition::Recognised => {
                self.lanes[direction].standing = Standing::Followed;
                self.follow(direction, cursor, sink);
            }
            Standing::Introduced => {}
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let lane = &mut self.lanes[direction];
        // What lies within a payload is passed over.
        if lane.reader.body_end().is_some_and(|end| to < end) {
            return;
        }
        match lane.standing {
            Standing::Followed => self.lose_track(direction, LossReason::Gap, sink),
            Standing::Introduced => {
                lane.standing = LOST;
                self.losses.lose(LossReason::Gap, sink);
                self.missed(direction, sink);
            }
            Standing::Lost { asked, .. } => {
                lane.reader.reset();
                lane.standing = LOST;
                self.lose_tried(asked, sink);
            }
        }
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        for direction in [Direction::Request, Direction::Response] {
            let Lane { reader, standing } = &self.lanes[direction];
            match standing {
                Standing::Followed if direction == Direction::Request && !reader.is_at_start() => {
                    self.losses.lose(LossReason::Unfinished, sink);
                }
                Standing::Lost { asked, .. } => self.lose_tried(*asked, sink),
                _ => {}
            }
        }
        self.close_open(how, sink);
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        let request = &self.lanes.request;
        self.connecting.is_none()
            && self.confirmations.is_empty()
            && self.pings.is_empty()
            && self.requests.is_empty()
            && self.deliveries.is_empty()
            && (request.standing != Standing::Followed || request.reader.is_at_start())
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

/// The server's first line, of which not all was captured.
fn is_first_info(reader: &Reader) -> bool {
    reader.start().is_some_and(|start| start.position == Position::START) && reader.line().starts_with(b"INFO ")
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
    let is_message = reader.body_end().is_some() || progress == Progress::Complete;
    let message = reader.message(direction).filter(|_| is_message && progress != Progress::Malformed);
    if message.is_some_and(|message| message.is_unmistakable()) { Verdict::Yes } else { Verdict::No }
}

/// Whether it begins an exchange.
fn begins(message: &Message<'_>, direction: Direction) -> bool {
    let is_asked = matches!(message, Message::Unsubscribe { .. } | Message::Connect { .. })
        || (*message == Message::Ping && direction == Direction::Request);
    message.is_unmistakable() || is_asked
}
