//! Messages in either direction: their frames, and what settles them by their numbers.

use super::channels::{Channel, Content, Then};
use super::codes::{self, Reason, done};
use super::exchanges::{Asked, Ends};
use super::methods::{Arguments, Method};
use super::{Amqp, names};
use crate::asked::Queue;
use crate::lanes::Lanes;
use crate::{Code, Direction, Kind, LossReason, Outcome, Sink};

impl Amqp {
    pub(super) fn publish(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let mut asked = Asked::of(method.name, names::destination(arguments), ends);
        if !arguments.is_whole {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        let now_ns = self.now_ns;
        let Some(channel) = self.channels.get(number) else {
            return self.losses.lose(LossReason::TooManyPipelined, sink);
        };
        let is_settled = channel.is_settled();
        asked.number = channel.confirms.number(is_settled, now_ns);
        self.begin(number, Direction::Request, Content { asked, then: Then::Published, left: None }, sink);
    }

    pub(super) fn begin_delivery(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let mut asked = Asked { is_of_server: true, ..Asked::of(method.name, names::destination(arguments), ends) };
        if !arguments.is_whole {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        let then = if method.number == 50 { Then::Returned } else { Then::Delivered };
        if then == Then::Returned {
            self.return_reason = codes::of(arguments.code.unwrap_or_default());
        } else {
            let may_be_answered = self.lane(Direction::Request).is_lost();
            let Some(channel) = self.channels.get(number) else {
                return self.losses.lose(LossReason::TooManyPipelined, sink);
            };
            let acknowledges = arguments.tag.and_then(|tag| channel.acknowledges(tag));
            asked.no_ack = acknowledges == Some(false) || arguments.number.is_none();
            asked.may_be_one_way = acknowledges.is_none();
            asked.may_be_answered = may_be_answered;
            asked.number = arguments.number.unwrap_or_default();
        }
        self.begin(number, Direction::Response, Content { asked, then, left: None }, sink);
    }

    /// A message begins. One before of which more should have come is lost.
    pub(super) fn begin(&mut self, number: u16, direction: Direction, content: Content, sink: &mut Sink<'_>) {
        let Some(channel) = self.channels.get(number) else {
            return self.losses.lose(LossReason::TooManyPipelined, sink);
        };
        if channel.contents[direction].replace(content).is_some() {
            self.losses.lose(malformed(direction), sink);
        }
    }

    /// What answers a basic.get: a message, or that there is none.
    pub(super) fn take_got(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let Some(mut asked) = self.answered(number, method, 71, sink) else { return };
        asked.answered_by(ends);
        if method.number == 72 {
            return self.emit(&asked, Kind::Call, (Outcome::Ok, Code::new(b"EMPTY")), None, sink);
        }
        asked.number = arguments.number.unwrap_or_default();
        self.begin(number, Direction::Response, Content { asked, then: Then::Got, left: None }, sink);
    }

    /// The header of a message, or a part of its body.
    pub(super) fn take_content(
        &mut self,
        number: u16,
        direction: Direction,
        bytes: Option<u64>,
        is_header: bool,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let Some(channel) = self.channels.get(number) else { return };
        let Some(mut content) = channel.contents[direction].take() else { return };
        if content.then == Then::Got {
            content.asked.answered_by(ends)
        } else {
            content.asked.asked_by(ends)
        }
        let left = match (is_header, content.left, bytes) {
            (true, None, Some(bytes)) => Some(bytes),
            (false, Some(left), Some(bytes)) => left.checked_sub(bytes),
            (true, None, None) => return self.losses.lose(LossReason::HeadNotCaptured, sink),
            _ => None,
        };
        match left {
            None => self.losses.lose(malformed(direction), sink),
            Some(0) => self.end_content(number, content, sink),
            Some(left) => {
                content.left = Some(left);
                channel.contents[direction] = Some(content);
            }
        }
    }

    /// All of a message has been moved.
    pub(super) fn end_content(&mut self, number: u16, content: Content, sink: &mut Sink<'_>) {
        let mut asked = content.asked;
        match content.then {
            Then::Published if asked.number == 0 => self.emit(&asked, Kind::OneWay, done(), None, sink),
            Then::Published if self.is_full() && !self.is_confirmed(number) => self.tell_of_unknown(asked, sink),
            Then::Published => {
                asked.may_be_answered = self.lane(Direction::Response).is_lost();
                self.wait(number, asked, |channel| &mut channel.published, sink);
            }
            Then::Returned => self.emit(&asked, Kind::OneWay, self.return_reason, None, sink),
            Then::Delivered if asked.no_ack || (asked.may_be_one_way && self.is_full()) => {
                self.emit(&asked, Kind::OneWay, done(), None, sink);
            }
            Then::Delivered => self.wait(number, asked, |channel| &mut channel.delivered, sink),
            Then::Got => {
                self.emit(&asked, Kind::Call, done(), None, sink);
                if !asked.no_ack && asked.number > 0 && !self.is_full() {
                    asked.is_told = true;
                    self.wait(number, asked, |channel| &mut channel.delivered, sink);
                }
            }
        }
    }

    pub(super) fn wait(
        &mut self,
        number: u16,
        asked: Asked,
        queue: fn(&mut Channel) -> &mut Queue<Asked>,
        sink: &mut Sink<'_>,
    ) {
        let is_full = self.is_full();
        match self.channels.get(number).filter(|_| !is_full) {
            Some(channel) => {
                queue(channel).push(asked);
                self.waiting += 1;
            }
            None => self.losses.lose(LossReason::TooManyPipelined, sink),
        }
    }

    /// The client has done with what was delivered, or gives it back.
    pub(super) fn take_acknowledgement(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let reason = match method.number {
            80 => done(),
            90 => (Outcome::ClientError, Code::new(b"REJECT")),
            _ => (Outcome::ClientError, Code::new(b"NACK")),
        };
        self.settle(number, arguments, |channel| &mut channel.delivered, (Kind::Wait, reason), ends, sink);
    }

    /// A number settles a message, or all up to it.
    pub(super) fn settle(
        &mut self,
        number: u16,
        arguments: &Arguments<'_>,
        queue: fn(&mut Channel) -> &mut Queue<Asked>,
        (kind, reason): (Kind, Reason),
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let Some(settled) = arguments.number.filter(|_| arguments.is_whole) else {
            // It may be any of them.
            if let Some(channel) = self.channels.get(number) {
                queue(channel).iter_mut().for_each(|asked| asked.may_be_answered = true);
            }
            return;
        };
        let is_it = |asked: &Asked| match arguments.multiple {
            true => settled == 0 || asked.number <= settled,
            false => asked.number == settled,
        };
        while let Some(channel) = self.channels.get(number)
            && let Some(at) = queue(channel).position(is_it)
            && let Some(mut asked) = queue(channel).remove(at)
        {
            self.waiting -= 1;
            asked.answered_by(ends);
            if !asked.is_told {
                self.emit(&asked, kind, reason, None, sink);
            }
        }
    }
}

fn malformed(direction: Direction) -> LossReason {
    match direction {
        Direction::Request => LossReason::MalformedRequest,
        Direction::Response => LossReason::MalformedResponse,
    }
}
