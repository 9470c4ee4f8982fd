//! Directions that consist of messages, each followed for itself from its beginning on, and found again where something was missed.
//!
//! A direction is followed again from the first of two messages that stand one behind the other, if nothing but this protocol is likely to say them
//! and a call begins with the first. Where both are in one call nothing of them is lost.
//!
//! In: the bytes of both directions. Out: messages, and losses. Bounds: those of the protocol's reader.

use std::fmt::Debug;

use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{Direction, LossReason, Position, Recognition, Sink};

/// So many messages one behind the other prove a direction whose beginning was not seen.
const PROOF_MESSAGES: u8 = 2;

/// How far a message has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The segment has been read.
    More,
    /// All of the message has been moved.
    Complete,
    Malformed,
    /// What says where it ends was not captured.
    Blind,
}

/// Reads the messages of one direction.
pub trait Reader: Default + Debug {
    /// Reads up to the end of the message or of the segment. A complete one stays until [`reset`](Self::reset).
    fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress;

    /// The next message begins.
    fn reset(&mut self);

    /// Where the message begins that is being read.
    fn start(&self) -> Option<Mark>;

    /// Where the message ends, if that is known.
    fn end(&self) -> Option<Position>;

    fn is_at_start(&self) -> bool {
        self.start().is_none()
    }
}

/// How far one direction is understood.
#[derive(Debug, Default)]
pub struct Lane<R> {
    pub reader: R,
    pub standing: Standing,
    /// That something is not known of it has been counted since it was lost.
    is_counted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Followed,
    /// Passed over until the connection is recognised.
    PassedOver,
    /// Nothing is known; so many messages were found one behind the other, and so many of them begin an exchange.
    Lost { proofs: u8, asked: u8 },
}

const LOST: Standing = Standing::Lost { proofs: 0, asked: 0 };

impl<R: Reader> Lane<R> {
    /// The first that is seen of it is not its beginning.
    pub fn begin_in_the_middle(&mut self) {
        (self.standing, self.is_counted) = (LOST, false);
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.standing, Standing::Lost { .. })
    }

    /// A message has begun of which more has to come.
    pub fn is_within(&self) -> bool {
        self.standing == Standing::Followed && !self.reader.is_at_start()
    }
}

/// What a message is to a direction that is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sign {
    /// No other protocol says this.
    pub proves: bool,
    /// It begins an exchange.
    pub asks: bool,
}

/// A protocol whose directions are lanes.
pub trait Lanes: Protocol {
    type Reader: Reader;

    fn lane(&mut self, direction: Direction) -> &mut Lane<Self::Reader>;

    fn losses(&mut self) -> &mut Losses;

    /// Why there may be answers to what nobody saw, and questions without answers.
    fn unknown(&mut self) -> &mut LossReason;

    /// What a complete message says where nothing is known.
    fn sign(reader: &Self::Reader, direction: Direction) -> Sign;

    /// Takes a message of a direction that is followed, from its first byte to its end.
    fn take(&mut self, direction: Direction, reader: &Self::Reader, ends: (Mark, Mark), sink: &mut Sink<'_>);

    /// Bytes of a direction were missed.
    fn missed(&mut self, direction: Direction, sink: &mut Sink<'_>);

    fn become_foreign(&mut self);

    /// Whether what follows where a message should begin is known to be something else. Then the protocol has become foreign.
    fn is_taken_over(&mut self, _direction: Direction, _cursor: &Cursor<'_>, _sink: &mut Sink<'_>) -> bool {
        false
    }

    /// Whether nothing is missed if the rest of this call is passed over.
    fn may_pass_over(_reader: &Self::Reader) -> bool {
        false
    }

    fn read_lane(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let is_recognised = self.recognition() == Recognition::Recognised;
        let lane = self.lane(direction);
        match lane.standing {
            Standing::Followed => self.follow(direction, cursor, sink),
            Standing::Lost { .. } => self.try_again(direction, cursor, sink),
            Standing::PassedOver if is_recognised => {
                lane.standing = Standing::Followed;
                self.follow(direction, cursor, sink);
            }
            Standing::PassedOver => {}
        }
    }

    fn follow(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        while !cursor.is_done() && self.recognition() != Recognition::Foreign {
            if self.lane(direction).reader.is_at_start() && self.is_taken_over(direction, &cursor, sink) {
                return;
            }
            let lane = self.lane(direction);
            match lane.reader.read(&mut cursor, direction) {
                Progress::More => {}
                Progress::Complete => self.take_read(direction, &cursor, sink),
                Progress::Blind if Self::may_pass_over(&lane.reader) => {
                    lane.reader.reset();
                    lane.standing = Standing::PassedOver;
                    return;
                }
                Progress::Blind => return self.lose_track(direction, LossReason::HeadNotCaptured, sink),
                Progress::Malformed => return self.misread(direction, sink),
            }
        }
    }

    /// What follows is none of the protocol's messages.
    fn misread(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided {
            return self.become_foreign();
        }
        let reason = match direction {
            Direction::Request => LossReason::MalformedRequest,
            Direction::Response => LossReason::MalformedResponse,
        };
        self.lose_track(direction, reason, sink);
    }

    /// Takes the message that has been read up to here.
    fn take_read(&mut self, direction: Direction, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        let mut reader = std::mem::take(&mut self.lane(direction).reader);
        let end = cursor.mark();
        self.take(direction, &reader, (reader.start().unwrap_or(end), end), sink);
        reader.reset();
        self.lane(direction).reader = reader;
    }

    /// Looks for the place where a direction can be followed again.
    fn try_again(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let segment = cursor;
        let lane = self.lane(direction);
        let went_on = !lane.reader.is_at_start();
        let Standing::Lost { mut proofs, mut asked } = lane.standing else { return };
        let (is_all_here, asked_before) = (proofs == 0 && !went_on, asked);
        while !cursor.is_done() {
            let reader = &mut self.lane(direction).reader;
            match reader.read(&mut cursor, direction) {
                Progress::More => break,
                Progress::Complete => {
                    let sign = Self::sign(reader, direction);
                    proofs += u8::from(sign.proves);
                    if proofs >= PROOF_MESSAGES {
                        let here = is_all_here.then_some((segment, asked_before));
                        return self.proven(direction, here, (cursor, asked), sink);
                    }
                    asked = asked.saturating_add(u8::from(sign.asks));
                    reader.reset();
                }
                Progress::Malformed | Progress::Blind => {
                    self.give_up(direction, asked, sink);
                    if went_on {
                        // It may be this call that begins with a message.
                        self.try_again(direction, segment, sink);
                    }
                    return;
                }
            }
        }
        self.lane(direction).standing = Standing::Lost { proofs, asked };
    }

    /// What was tried cannot be followed.
    fn give_up(&mut self, direction: Direction, asked: u8, sink: &mut Sink<'_>) {
        let lane = self.lane(direction);
        lane.reader.reset();
        lane.standing = LOST;
        // It belongs to at least one exchange.
        let is_counted = std::mem::replace(&mut lane.is_counted, true);
        self.lose_tried(asked.max(u8::from(!is_counted)), sink);
    }

    /// The message that has been read proves the direction. What was read before is lost, unless all of it is here, from the beginning of the call on.
    fn proven(
        &mut self,
        direction: Direction,
        here: Option<(Cursor<'_>, u8)>,
        (cursor, asked): (Cursor<'_>, u8),
        sink: &mut Sink<'_>,
    ) {
        self.lane(direction).standing = Standing::Followed;
        self.lose_tried(here.map_or(asked, |(_, asked)| asked), sink);
        self.losses().recognise(sink);
        if let Some((segment, _)) = here {
            self.lane(direction).reader.reset();
            self.follow(direction, segment, sink);
        } else {
            self.take_read(direction, &cursor, sink);
            self.follow(direction, cursor, sink);
        }
    }

    /// Messages that were found before it was known that they are some.
    fn lose_tried(&mut self, asked: u8, sink: &mut Sink<'_>) {
        let reason = *self.unknown();
        for _ in 0..asked {
            self.losses().lose(reason, sink);
        }
    }

    /// Nothing is known of where a direction stands.
    fn lose_track(&mut self, direction: Direction, reason: LossReason, sink: &mut Sink<'_>) {
        self.losses().lose(reason, sink);
        *self.unknown() = reason;
        self.missed(direction, sink);
        let lane = self.lane(direction);
        lane.reader.reset();
        (lane.standing, lane.is_counted) = (LOST, true);
    }

    /// The bytes of a direction up to `to` will not be seen.
    fn miss_lane(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let lane = self.lane(direction);
        // What lies within a message is passed over.
        if lane.reader.end().is_some_and(|end| to < end) {
            return;
        }
        if let Standing::Lost { asked, .. } = lane.standing {
            self.give_up(direction, asked, sink);
        } else {
            self.lose_track(direction, LossReason::Gap, sink);
        }
    }

    /// Nothing follows: what has begun will not be complete.
    fn close_lanes(&mut self, sink: &mut Sink<'_>) {
        for direction in [Direction::Request, Direction::Response] {
            let lane = self.lane(direction);
            let is_begun = direction == Direction::Request && lane.is_within();
            if let Standing::Lost { asked, .. } = lane.standing {
                let is_counted = lane.is_counted || lane.reader.is_at_start();
                self.lose_tried(asked.max(u8::from(!is_counted)), sink);
            } else if is_begun {
                self.losses().lose(LossReason::Unfinished, sink);
            }
        }
    }
}
