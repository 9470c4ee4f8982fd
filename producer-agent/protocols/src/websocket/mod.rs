//! WebSocket (RFC 6455) on one connection, which comes from HTTP/1.1.
//!
//! In: the bytes of both directions behind the answer that agrees to it. Out: each message as an exchange that nobody answers: `MESSAGE` of the client, `DELIVER` of
//! the server, named by [`Position::of_server`]; and what ends the connection with its code (`CLOSE`), of whoever says it first. A message may have several frames,
//! between which pings and pongs may come; these say nothing and are passed over, as is all that a message holds.
//!
//! Where something was missed, a direction is followed again as `lanes.rs` says; what is open then is lost and counted. Bounds: the path's, which the request had; nothing is allocated by what a length claims.

mod frame;

use crate::asked::Span;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::lanes::{Lane, Lanes, Sign};
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Mark, Reach};
use crate::{
    CloseReason, Code, Direction, Event, Exchange, Kind, LossReason, Options, Outcome, Position, Recognition, Side,
    Sink,
};
use frame::{Frame, Opcode};

/// What the client asked for, and where the server's first frame begins.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub path: Box<str>,
    pub path_is_cut: bool,
    pub host: Box<str>,
    /// Behind the answer that agrees.
    pub response_from: Position,
}

/// WebSocket on one connection.
#[derive(Debug)]
pub struct WebSocket {
    target: Target,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Frame>>,
    /// Messages that have begun and have further frames.
    messages: Both<Option<Message>>,
    /// Why there may be frames of messages whose beginning nobody saw.
    unknown: LossReason,
    is_closed: bool,
}

/// A message as far as it has come.
#[derive(Clone, Copy, Debug)]
struct Message {
    start: Mark,
    bytes: u64,
}

impl WebSocket {
    /// A connection that has been read up to there.
    pub(crate) fn behind(target: &Target, mut at: Both<Reach>) -> Self {
        at.response.position = Some(target.response_from);
        Self { at, ..Self::new(target.clone()) }
    }

    /// What comes first of each direction is a frame.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            losses: Losses::recognised(),
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            messages: Both::default(),
            unknown: LossReason::StartedBeforeCapture,
            is_closed: false,
        }
    }

    fn emit(
        &self,
        direction: Direction,
        message: Message,
        end: Mark,
        (method, outcome, code): (&str, Outcome, Code),
        sink: &mut Sink<'_>,
    ) {
        let span = Span { start: message.start, end, answer: None };
        let start = message.start.position;
        sink(Event::Exchange(Exchange {
            request_position: if direction == Direction::Response { start.of_server() } else { start },
            path: &self.target.path,
            path_truncated: self.target.path_is_cut,
            resource: &self.target.host,
            // Without what stands between its frames.
            request_bytes: message.bytes,
            kind: Kind::OneWay,
            outcome,
            code,
            ..span.exchange(Self::NAME, method, self.now_ns)
        }));
    }
}

impl Lanes for WebSocket {
    type Reader = Frame;

    fn lane(&mut self, direction: Direction) -> &mut Lane<Frame> {
        &mut self.lanes[direction]
    }

    fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    fn unknown(&mut self) -> &mut LossReason {
        &mut self.unknown
    }

    fn sign(reader: &Frame, _direction: Direction) -> Sign {
        let asks = reader.head().is_some_and(|head| head.opcode == Opcode::Data);
        Sign { proves: reader.is_likely(), asks }
    }

    fn take(&mut self, direction: Direction, frame: &Frame, (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(head) = frame.head() else { return };
        let bytes = head.frame_bytes();
        let begun = self.messages[direction];
        match head.opcode {
            Opcode::Sign => {}
            // The other side repeats it.
            Opcode::Close if std::mem::replace(&mut self.is_closed, true) => {}
            Opcode::Close => {
                let code = frame.code();
                let text = code.map_or(Code::default(), |code| Code::new(code.to_string().as_bytes()));
                let told = ("CLOSE", outcome(code, direction), text);
                self.emit(direction, Message { start, bytes }, end, told, sink);
            }
            Opcode::Data | Opcode::Continuation => {
                let message = match (head.opcode, begun) {
                    (Opcode::Continuation, Some(begun)) => {
                        Some(Message { bytes: begun.bytes.saturating_add(bytes), ..begun })
                    }
                    (Opcode::Continuation, None) => None,
                    (_, begun) => {
                        if begun.is_some() {
                            self.losses.lose(LossReason::Unfinished, sink);
                        }
                        Some(Message { start, bytes })
                    }
                };
                self.messages[direction] = message.filter(|_| !head.is_last);
                match message.filter(|_| head.is_last) {
                    Some(message) => {
                        let method = if direction == Direction::Request { "MESSAGE" } else { "DELIVER" };
                        self.emit(direction, message, end, (method, Outcome::Ok, Code::default()), sink);
                    }
                    // Its beginning was not seen.
                    None if message.is_none() && head.is_last => self.losses.lose(self.unknown, sink),
                    None => {}
                }
            }
        }
    }

    fn missed(&mut self, direction: Direction, _sink: &mut Sink<'_>) {
        // It is counted as what was missed.
        self.messages[direction] = None;
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.messages) = (Both::default(), Both::default());
    }
}

impl Protocol for WebSocket {
    const NAME: &'static str = "websocket";
    const INTEREST: Interest = Interest::Calls;

    /// It begins in HTTP/1.1, which says so.
    fn judge(_opening: &Opening<'_>) -> Verdict {
        Verdict::No
    }

    fn open(_options: &Options) -> Self {
        Self::new(Target::default())
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
        }
    }

    fn resumed(&self) -> Self {
        Self { unknown: self.unknown, ..Self::new(self.target.clone()) }
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

    fn close(&mut self, _how: CloseReason, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Recognised {
            for direction in [Direction::Request, Direction::Response] {
                let (has_begun, is_within) = (self.messages[direction].is_some(), self.lanes[direction].is_within());
                // What the client was in the midst of saying counts with its lane.
                let is_counted = is_within && direction == Direction::Request;
                if (has_begun || is_within) && !is_counted {
                    self.losses.lose(LossReason::Unfinished, sink);
                }
            }
            self.close_lanes(sink);
        }
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        let is_idle = |direction| self.messages[direction].is_none() && !self.lanes[direction].is_within();
        is_idle(Direction::Request) && is_idle(Direction::Response)
    }

    fn heap_bytes(&self) -> usize {
        self.target.path.len() + self.target.host.len()
    }
}

/// What a code says of the connection's end (RFC 6455, 7.4.1). From 3000 on, it is the program's own.
fn outcome(code: Option<u16>, by: Direction) -> Outcome {
    match code {
        None | Some(1000 | 1001 | 1005) => Outcome::Ok,
        Some(1011..=1014) if by == Direction::Response => Outcome::ServerError,
        Some(3000..) => Outcome::Unknown,
        Some(_) => Outcome::ClientError,
    }
}
