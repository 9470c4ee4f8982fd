//! AMQP 0-9-1 on one connection.
//!
//! In: the bytes of both directions. Out: what either side asks with what answers it, or a counted loss.
//!
//! Each channel stands for itself. What a client asks there (`queue.declare`) is answered in order. A message is published one-way, or confirmed by
//! its number if the client has asked for that on the channel. What the broker delivers is an exchange of its own (`basic.deliver`), named by
//! [`Position::of_server`]: one-way, or acknowledged by its number. An end that the broker makes of a channel or the connection is the answer to what was
//! wrong, if it says so, and else an exchange by itself. A message is its method, its header and its body, whatever stands between them. The resource is
//! the queue, or the exchange with the routing key, without identifiers; that of the beginning (`connection.open`) is the virtual host.
//!
//! Where something was missed, a direction is followed again from a call on that begins with a frame, if another one follows that (`lanes.rs`). What is
//! open then is lost and counted, since it may have been answered, and numbers may have begun anew.
//!
//! Limits: AMQP 1.0 is another protocol. Bounds: [`Options`], and those of `frame.rs` and `channels.rs`; nothing is allocated by what a size claims.

mod calls;
mod channels;
mod codes;
mod confirmed;
mod confirms;
mod contents;
mod ends;
mod exchanges;
mod frame;
mod methods;
mod names;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::lanes::{Lane, Lanes, Progress, Reader as _, Sign};
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Code, Direction, LossReason, Position, Recognition, Side, Sink};
use channels::Channels;
use codes::Reason;
use exchanges::Asked;
use frame::{Frame, Reader};

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What waits for its answer, on all channels and in both directions. What is beyond it is counted as lost.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 2048 }
    }
}

/// AMQP on one connection.
#[derive(Debug)]
pub struct Amqp {
    options: Options,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane<Reader>>,
    /// From the client's first bytes on.
    connecting: Option<Asked>,
    channels: Channels,
    /// What waits on all of them.
    waiting: usize,
    /// No call waits that nobody saw.
    calls_are_certain: bool,
    /// So many answers may come to calls that were lost.
    unknown_answers: u64,
    /// Time of the newest call or answer.
    called_ns: u64,
    /// Why the message comes back that is being moved.
    return_reason: Reason,
    /// Why there may be answers to what nobody saw.
    unknown: LossReason,
    /// Why the broker ended the connection.
    end_code: Code,
}

impl Amqp {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            connecting: None,
            channels: Channels::default(),
            waiting: 0,
            calls_are_certain: true,
            unknown_answers: 0,
            called_ns: 0,
            return_reason: codes::done(),
            unknown: LossReason::UnsolicitedResponse,
            end_code: Code::default(),
        }
    }
}

impl Lanes for Amqp {
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
        match reader.frame() {
            Frame::Method { class, method, .. } => {
                let method = methods::of(class, method, direction);
                let asks = method.is_some_and(|method| match direction {
                    Direction::Request => matches!(method.role, methods::Role::Call(_)) || method.number == 40,
                    Direction::Response => method.class == 60 && matches!(method.number, 50 | 60),
                });
                Sign { proves: method.is_some() && reader.ends_well(), asks }
            }
            Frame::Header { .. } | Frame::Body { .. } => Sign { proves: reader.ends_well(), asks: false },
            Frame::Preface | Frame::Heartbeat | Frame::Unknown { .. } => Sign::default(),
        }
    }

    fn take(&mut self, direction: Direction, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        match reader.frame() {
            Frame::Preface if direction == Direction::Request => {
                self.connecting = Some(Asked::of("connection.open", Box::default(), ends));
            }
            Frame::Preface => self.refused(ends, sink),
            Frame::Method { channel, class, method, arguments } => match methods::of(class, method, direction) {
                Some(method) => self.take_method(channel, direction, method, &method.read(arguments), ends, sink),
                None => self.misread(direction, sink),
            },
            Frame::Header { channel, body_bytes } => {
                self.take_content(channel, direction, body_bytes, true, ends, sink);
            }
            Frame::Body { channel, bytes } => {
                self.take_content(channel, direction, Some(bytes), false, ends, sink);
            }
            Frame::Heartbeat => self.weigh_all(sink),
            Frame::Unknown { .. } => self.lose_track(direction, LossReason::HeadNotCaptured, sink),
        }
    }

    fn missed(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        self.miss(direction, sink);
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        (self.lanes, self.connecting) = (Both::default(), None);
        (self.channels, self.waiting) = (Channels::default(), 0);
    }
}

impl Protocol for Amqp {
    const NAME: &'static str = "amqp";
    const INTEREST: Interest = Interest::Calls;

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, true) => frame::judge_preface(opening.bytes),
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (direction, false) => judge_call(opening.bytes, direction),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.amqp)
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
            (self.calls_are_certain, self.called_ns) = (false, self.now_ns);
            self.unknown = LossReason::StartedBeforeCapture;
        }
    }

    fn resumed(&self) -> Self {
        Self {
            losses: Losses::recognised(),
            calls_are_certain: false,
            unknown: LossReason::StartedBeforeCapture,
            ..Self::new(self.options)
        }
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

    fn is_idle(&self) -> bool {
        self.connecting.is_none() && self.channels.is_idle() && !self.lanes.request.is_within()
    }

    fn heap_bytes(&self) -> usize {
        self.channels.heap_bytes() + self.lanes.request.reader.heap_bytes() + self.lanes.response.reader.heap_bytes()
    }
}

/// Whether a call in the middle of a connection begins with a method that can be nothing else.
fn judge_call(bytes: &[u8], direction: Direction) -> Verdict {
    let segment = crate::Segment {
        position: Position::START,
        length: bytes.len() as u64,
        captured: bytes,
        at_ns: 0,
        other_position: Position::START,
    };
    let mut reader = Reader::default();
    let is_complete = reader.read(&mut Cursor::new(&segment), direction) == Progress::Complete;
    let is_method = matches!(reader.frame(), Frame::Method { .. }) && Amqp::sign(&reader, direction).proves;
    if is_complete && is_method { Verdict::Yes } else { Verdict::No }
}
