//! What waits for its answer in either direction, and what becomes of it.

use super::packet::{Kind, Packet};
use super::reasons::Reason;
use super::{Mqtt, reasons, topics};
use crate::asked::{Span, Waits};
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{
    CloseReason, Code, Direction, Event, Exchange, Failure, Kind as ExchangeKind, LossReason, Outcome, Recognition,
    Sink,
};

/// Something that was asked, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    kind: Kind,
    /// The direction in which it was asked.
    asked: Direction,
    /// What its answers repeat; 0 where they have no such number.
    id: u16,
    quality: u8,
    pub topic: Box<str>,
    start: Mark,
    /// Behind the last byte of what was asked so far.
    end: Mark,
    asked_bytes: u64,
    /// Of its answers: the first byte of the first, the end of the last, and the bytes of all.
    answer: Option<(Mark, Mark, u64)>,
    /// Of what has to come exactly once: the second half was asked.
    is_released: bool,
    /// Told of on another connection, or counted as lost: it will not come out.
    is_told: bool,
}

impl Pending {
    fn of(kind: Kind, asked: Direction, packet: &Packet) -> Self {
        Self {
            kind,
            asked,
            id: packet.id().unwrap_or_default(),
            quality: 0,
            topic: Box::default(),
            start: packet.start,
            end: packet.end,
            asked_bytes: packet.bytes(),
            answer: None,
            is_released: false,
            is_told: false,
        }
    }

    fn answered_by(&mut self, packet: &Packet) {
        let (first, _, bytes) = self.answer.unwrap_or((packet.start, packet.end, 0));
        self.answer = Some((first, packet.end, bytes + packet.bytes()));
    }

    /// Whether such a packet of the other direction answers it.
    fn is_answered_by(&self, kind: Kind) -> bool {
        match self.kind {
            Kind::Connect => kind == Kind::Connack,
            Kind::Subscribe => kind == Kind::Suback,
            Kind::Unsubscribe => kind == Kind::Unsuback,
            Kind::Pingreq => kind == Kind::Pingresp,
            _ if self.quality == 2 => matches!(kind, Kind::Pubrec | Kind::Pubcomp),
            _ => kind == Kind::Puback,
        }
    }
}

impl Waits for Pending {
    fn heap_bytes(&self) -> usize {
        self.topic.len()
    }
}

impl Mqtt {
    /// Takes a packet of a direction that is followed.
    pub(super) fn take(&mut self, direction: Direction, packet: &Packet, sink: &mut Sink<'_>) {
        let Some(kind) = packet.kind(direction) else { return };
        match kind {
            Kind::Connect => {
                self.version = packet.version();
                self.losses.recognise(sink);
                self.push(Pending { id: 0, ..Pending::of(kind, direction, packet) }, sink);
            }
            Kind::Publish => self.take_publish(direction, packet, sink),
            Kind::Subscribe | Kind::Unsubscribe => match packet.id() {
                Some(_) => {
                    let topic = packet.filter(self.version).map(topics::name);
                    if topic.is_none() {
                        self.losses.lose(LossReason::ValueUnknown, sink);
                    }
                    self.push(
                        Pending { topic: topic.unwrap_or_default(), ..Pending::of(kind, direction, packet) },
                        sink,
                    );
                }
                None => self.lose_head(sink),
            },
            Kind::Pingreq => self.push(Pending { id: 0, ..Pending::of(kind, direction, packet) }, sink),
            Kind::Pubrel => self.take_release(direction, packet, sink),
            Kind::Connack
            | Kind::Puback
            | Kind::Pubrec
            | Kind::Pubcomp
            | Kind::Suback
            | Kind::Unsuback
            | Kind::Pingresp => {
                self.take_answer(direction, kind, packet, sink);
            }
            // Why the broker ends the connection.
            Kind::Disconnect if direction == Direction::Response => {
                self.end_code = packet.head().first().map_or(Code::default(), |reason| reasons::named(*reason).1);
            }
            Kind::Disconnect | Kind::Auth => {}
        }
    }

    fn take_publish(&mut self, direction: Direction, packet: &Packet, sink: &mut Sink<'_>) {
        let quality = packet.quality();
        if packet.topic().is_none() || (quality > 0 && packet.id().is_none()) {
            if quality > 0 {
                return self.lose_head(sink);
            }
            return self.losses.lose(LossReason::HeadNotCaptured, sink);
        }
        let may_have_number = self.version == Some(super::packet::Version::Five);
        let topic = self.aliases[direction].name(packet, may_have_number);
        if topic.is_none() {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        let id = if quality > 0 { packet.id().unwrap_or_default() } else { 0 };
        let pending =
            Pending { id, quality, topic: topic.unwrap_or_default(), ..Pending::of(Kind::Publish, direction, packet) };
        if quality == 0 {
            return self.emit(&pending, None, (Outcome::Ok, Code::default()), sink);
        }
        let same = self.pending.position(|other| other.asked == direction && other.id == id);
        match same {
            // Sent again on the same connection, as before 3.1.1: it is the same message.
            Some(_) if packet.is_again() => return,
            // Its answer was not seen, and the number is free again.
            Some(at) => {
                if let Some(earlier) = self.pending.remove(at)
                    && !earlier.is_told
                {
                    self.losses.lose(LossReason::Ambiguous, sink);
                }
            }
            None => {}
        }
        self.push(pending, sink);
    }

    /// The second half of what has to come exactly once.
    fn take_release(&mut self, direction: Direction, packet: &Packet, sink: &mut Sink<'_>) {
        let id = packet.id();
        let of = |pending: &&mut Pending| pending.asked == direction && Some(pending.id) == id && pending.quality == 2;
        if let Some(pending) = self.pending.iter_mut().find(of) {
            pending.end = packet.end;
            pending.asked_bytes += packet.bytes();
            pending.is_released = true;
        } else if id.is_some() && !self.absorb(sink) {
            // It was begun on another connection, or before.
            self.push(Pending { quality: 2, is_told: true, ..Pending::of(Kind::Publish, direction, packet) }, sink);
        }
    }

    fn take_answer(&mut self, direction: Direction, kind: Kind, packet: &Packet, sink: &mut Sink<'_>) {
        let has_id = !matches!(kind, Kind::Connack | Kind::Pingresp);
        let id = if has_id { packet.id() } else { Some(0) };
        let Some(id) = id else { return self.losses.lose(LossReason::HeadNotCaptured, sink) };
        let is_it = |pending: &Pending| pending.asked != direction && pending.id == id && pending.is_answered_by(kind);
        let Some(at) = self.pending.position(is_it) else {
            self.absorb(sink);
            return;
        };
        let (outcome, code) = reasons::of(packet, kind, self.version);
        // Whoever subscribes may refuse a message: that is no fault of the broker.
        let is_refused = direction == Direction::Request && outcome == Outcome::ServerError;
        let reason = (if is_refused { Outcome::ClientError } else { outcome }, code);
        let pending = &mut self.pending[at];
        // That a call was missed in between, or not captured, shows here: how many bytes it had is not known.
        let misses_half = kind == Kind::Pubcomp && (!pending.is_released || pending.answer.is_none());
        pending.answered_by(packet);
        let goes_on = kind == Kind::Pubrec && matches!(reason.0, Outcome::Ok | Outcome::Unknown);
        if !goes_on && let Some(pending) = self.pending.remove(at) {
            self.losses.recognise(sink);
            match (pending.is_told, misses_half) {
                (true, _) => {}
                (false, true) => self.losses.lose(LossReason::Gap, sink),
                (false, false) => self.emit(&pending, None, reason, sink),
            }
        }
    }

    /// An answer whose question is not known: lost before, or asked before the capture. Says whether it is counted already.
    fn absorb(&mut self, sink: &mut Sink<'_>) -> bool {
        if self.unknown_answers > 0 {
            self.unknown_answers -= 1;
            return true;
        }
        self.losses.lose(self.unknown, sink);
        false
    }

    /// What answers it will not find what it answers.
    fn lose_head(&mut self, sink: &mut Sink<'_>) {
        self.unknown_answers += 1;
        self.losses.lose(LossReason::HeadNotCaptured, sink);
    }

    fn push(&mut self, pending: Pending, sink: &mut Sink<'_>) {
        if self.pending.len() >= self.options.pending_exchanges_max as usize {
            self.unknown_answers += 1;
            return self.losses.lose(LossReason::TooManyPipelined, sink);
        }
        self.pending.push(pending);
    }

    /// All that is open is lost. Its answers may still come.
    pub(super) fn lose_all(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        while let Some(pending) = self.pending.pop() {
            if !pending.is_told {
                self.unknown_answers += 1;
                self.losses.lose(reason, sink);
            }
        }
    }

    pub(super) fn close_pending(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        while let Some(pending) = self.pending.pop().filter(|_| is_known) {
            if pending.is_told {
                continue;
            }
            let Some((failure, outcome)) = how.of_open(pending.answer.is_some()) else {
                self.losses.lose(LossReason::Unfinished, sink);
                continue;
            };
            // Who has not acknowledged a message may have it, and the broker asked, which is not to blame.
            let outcome = if pending.asked == Direction::Response { Outcome::Unknown } else { outcome };
            let code = if pending.asked == Direction::Request { self.end_code } else { Code::default() };
            self.emit(&pending, Some(failure), (outcome, code), sink);
        }
    }

    fn emit(&self, pending: &Pending, failure: Option<Failure>, (outcome, code): Reason, sink: &mut Sink<'_>) {
        let is_delivery = pending.asked == Direction::Response;
        let answer = pending.answer;
        let span = Span { start: pending.start, end: pending.end, answer: answer.map(|(start, end, _)| (start, end)) };
        sink(Event::Exchange(Exchange {
            request_position: if is_delivery { pending.start.position.of_server() } else { pending.start.position },
            resource: &pending.topic,
            // A message that comes exactly once is more than what lies between its ends.
            request_bytes: pending.asked_bytes,
            response_bytes: answer.map_or(0, |(_, _, bytes)| bytes),
            kind: match (pending.kind, pending.quality, is_delivery) {
                (Kind::Publish, 0, _) => ExchangeKind::OneWay,
                // How long a subscriber takes is no latency of the broker.
                (_, _, true) => ExchangeKind::Wait,
                _ => ExchangeKind::Call,
            },
            outcome,
            code,
            failure,
            ..span.exchange(Self::NAME, operation(pending.kind, is_delivery), self.now_ns)
        }));
    }
}

fn operation(kind: Kind, is_delivery: bool) -> &'static str {
    match kind {
        Kind::Connect => "CONNECT",
        Kind::Subscribe => "SUBSCRIBE",
        Kind::Unsubscribe => "UNSUBSCRIBE",
        Kind::Pingreq => "PINGREQ",
        _ if is_delivery => "DELIVER",
        _ => "PUBLISH",
    }
}
