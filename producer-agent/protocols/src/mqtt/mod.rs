//! MQTT 3.1, 3.1.1 and 5 on one connection.
//!
//! In: the bytes of both directions. Out: what either side asks with what answers it, or a counted loss.
//!
//! A client connects, publishes, subscribes and pings. A broker asks, too: what it publishes to a subscriber is an exchange of its own
//! (`DELIVER`), named by [`Position::of_server`]. Answers repeat the number of what they answer (packet id), and each side has numbers of its own. A
//! message that has to come exactly once is one exchange, from its PUBLISH to PUBCOMP. The resource is the topic without its identifiers.
//!
//! Where something was missed, a direction is followed again once two packets that can be nothing else, one behind the other, end where a call ends.
//! What is open then is lost and counted.
//!
//! Bounds: [`Options`], and the topics' numbers of each direction; nothing is allocated by what a length claims.

mod exchanges;
mod packet;
mod reasons;
mod topics;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Code, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Pending;
use packet::{Kind, Packet, Progress, Reader, Version};
use topics::Aliases;

/// So many packets prove a direction whose beginning was not seen.
const PROOF_PACKETS: u8 = 2;
/// After so many calls without any packet, nobody speaks MQTT there.
const TRIALS_MAX: u8 = 64;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What waits for its answer, in both directions. What is beyond it is counted as lost.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024 }
    }
}

/// MQTT on one connection.
#[derive(Debug)]
pub struct Mqtt {
    options: Options,
    losses: Losses,
    version: Option<Version>,
    now_ns: u64,
    at: Both<Reach>,
    lanes: Both<Lane>,
    aliases: Both<Aliases>,
    pending: Queue<Pending>,
    /// So many answers will come to what was counted as lost.
    unknown_answers: u64,
    /// What an answer is beyond those.
    unknown: LossReason,
    /// Why the broker ended the connection.
    end_code: Code,
    /// Calls that were no packets, before the protocol was recognised.
    trials: u8,
}

/// How far one direction is understood.
#[derive(Debug)]
struct Lane {
    reader: Reader,
    is_followed: bool,
    /// Packets since it is tried to follow it again.
    proofs: u8,
    /// It is tried: the reader stands within what may be a packet.
    is_tried: bool,
}

impl Default for Lane {
    fn default() -> Self {
        Self { reader: Reader::new(), is_followed: true, proofs: 0, is_tried: false }
    }
}

impl Mqtt {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            version: None,
            now_ns: 0,
            at: Both::default(),
            lanes: Both::default(),
            aliases: Both::default(),
            pending: Queue::default(),
            unknown_answers: 0,
            unknown: LossReason::UnsolicitedResponse,
            end_code: Code::default(),
            trials: 0,
        }
    }

    fn follow(&mut self, direction: Direction, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        while !cursor.is_done() && self.lanes[direction].is_followed && self.recognition() != Recognition::Foreign {
            match self.lanes[direction].reader.read(cursor, direction) {
                Progress::More => {}
                Progress::Complete => {
                    let packet = self.lanes[direction].reader.packet;
                    let may_be = self.recognition() == Recognition::Recognised
                        || (packet.kind(direction) == Some(Kind::Connect) && packet.version().is_some());
                    let is_right = may_be && packet.is_well_formed(self.version, direction);
                    if is_right { self.take(direction, &packet, sink) } else { self.misread(direction, sink) }
                }
                Progress::Malformed => self.misread(direction, sink),
                Progress::Blind => self.lose_track(direction, LossReason::HeadNotCaptured, sink),
            }
        }
    }

    /// Looks for the place where a direction can be followed again.
    fn try_again(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let lane = &mut self.lanes[direction];
        if !lane.is_tried {
            (lane.reader, lane.is_tried, lane.proofs) = (Reader::new(), true, 0);
        }
        while !cursor.is_done() {
            let lane = &mut self.lanes[direction];
            match lane.reader.read(&mut cursor, direction) {
                Progress::More => {}
                Progress::Complete if proves(&lane.reader.packet, direction) => {
                    lane.proofs = lane.proofs.saturating_add(1);
                    self.trials = 0;
                    if is_asked(&lane.reader.packet, direction) {
                        self.losses.lose(self.unknown, sink);
                    }
                }
                Progress::Complete | Progress::Malformed | Progress::Blind => {
                    // The next call may begin with a packet.
                    lane.is_tried = false;
                    self.trials = self.trials.saturating_add(1);
                    if self.recognition() == Recognition::Undecided && self.trials > TRIALS_MAX {
                        self.become_foreign();
                    }
                    return;
                }
            }
        }
        let lane = &mut self.lanes[direction];
        if lane.reader.is_at_start() && lane.proofs >= PROOF_PACKETS {
            (lane.is_followed, lane.is_tried) = (true, false);
            // Recognised by answers alone: what they answer was not seen.
            if self.recognition() == Recognition::Undecided && !self.losses.are_held_back() {
                self.losses.lose(self.unknown, sink);
            }
            self.losses.recognise(sink);
            self.lose_all(self.unknown, sink);
        }
    }

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

    /// Nothing is known of where a direction stands. What is open is lost.
    fn lose_track(&mut self, direction: Direction, reason: LossReason, sink: &mut Sink<'_>) {
        self.losses.lose(reason, sink);
        self.lose_all(reason, sink);
        self.unknown = reason;
        self.aliases[direction].forget();
        self.lanes[direction] = Lane { is_followed: false, ..Lane::default() };
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.pending = Queue::default();
        self.aliases = Both::default();
        self.lanes = Both::default();
    }
}

impl Protocol for Mqtt {
    const NAME: &'static str = "mqtt";
    const INTEREST: Interest = Interest::Calls;

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            (Direction::Request, true) => judge_connect(opening.bytes),
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (direction, false) => judge_call(opening.bytes, direction),
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.mqtt)
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
            self.lanes[direction].is_followed = false;
            self.unknown = LossReason::StartedBeforeCapture;
        }
    }

    fn resumed(&self) -> Self {
        Self { losses: Losses::recognised(), version: self.version, unknown: self.unknown, ..Self::new(self.options) }
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.follow(direction, &mut cursor, sink);
        // Where the direction was lost within this call, the next one may begin with a packet.
        if !self.lanes[direction].is_followed && cursor.position == self.at[direction].reached().position {
            self.try_again(direction, cursor, sink);
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let lane = &mut self.lanes[direction];
        // What lies within a packet is passed over.
        if lane.reader.body_end().is_some_and(|end| to < end) {
            return;
        }
        if lane.is_followed {
            self.lose_track(direction, LossReason::Gap, sink);
        } else {
            lane.is_tried = false;
        }
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let request = &self.lanes.request;
        if request.is_followed && !request.reader.is_at_start() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.close_pending(how, sink);
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && (!self.lanes.request.is_followed || self.lanes.request.reader.is_at_start())
    }

    fn heap_bytes(&self) -> usize {
        let aliases = self.aliases.request.heap_bytes() + self.aliases.response.heap_bytes();
        self.pending.heap_bytes() + aliases
    }
}

/// Whether a connection begins with CONNECT: its type, its length, and the protocol's name with a version.
fn judge_connect(bytes: &[u8]) -> Verdict {
    let Some((0x10, behind)) = bytes.split_first().map(|(first, behind)| (*first, behind)) else {
        return if bytes.is_empty() { Verdict::Maybe } else { Verdict::No };
    };
    let Some((_, length_bytes)) = packet::number_of_variable_length(behind) else {
        return if behind.len() < 4 { Verdict::Maybe } else { Verdict::No };
    };
    let name = &behind[length_bytes..];
    let begins = |expected: &[u8]| expected.starts_with(name) || name.starts_with(expected);
    match (name.len(), begins(b"\0\x04MQTT"), begins(b"\0\x06MQIsdp")) {
        (_, false, false) => Verdict::No,
        (..7, true, _) | (..9, _, true) => Verdict::Maybe,
        (_, true, _) if matches!(name[6], 4 | 5) => Verdict::Yes,
        (_, _, true) if name[8] == 3 => Verdict::Yes,
        _ => Verdict::No,
    }
}

/// Whether a call in the middle of a connection consists of packets that can be nothing else, up to its end.
fn judge_call(bytes: &[u8], direction: Direction) -> Verdict {
    let segment = crate::Segment {
        position: Position::START,
        length: bytes.len() as u64,
        captured: bytes,
        at_ns: 0,
        other_position: Position::START,
    };
    let (mut cursor, mut reader) = (Cursor::new(&segment), Reader::new());
    while !cursor.is_done() {
        match reader.read(&mut cursor, direction) {
            Progress::Complete if proves(&reader.packet, direction) => {}
            _ => return Verdict::No,
        }
    }
    if bytes.is_empty() { Verdict::No } else { Verdict::Yes }
}

/// Whether nothing but a packet is likely to look like this.
fn proves(packet: &Packet, direction: Direction) -> bool {
    let is_short = match packet.kind(direction) {
        Some(Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp) => packet.remaining <= 4,
        Some(Kind::Publish) => packet.topic().is_some_and(|topic| !topic.is_empty()),
        // Nobody connects in the middle.
        Some(Kind::Connect | Kind::Connack | Kind::Auth) => false,
        _ => true,
    };
    is_short && packet.is_well_formed(None, direction)
}

/// Whether it begins an exchange.
fn is_asked(packet: &Packet, direction: Direction) -> bool {
    matches!(packet.kind(direction), Some(Kind::Publish | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq))
}
