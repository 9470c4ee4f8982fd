//! What waits for its answer on a channel in either direction, and what becomes of it.

use super::channels::Channel;
use super::codes::{Reason, done};
use super::methods::{Arguments, Method, Role};
use super::{Amqp, names};
use crate::asked::{Span, Waits};
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{Code, Direction, Event, Exchange, Failure, Kind, LossReason, Sink};

/// Where a frame begins and ends.
pub(super) type Ends = (Mark, Mark);

/// Something that was asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub name: &'static str,
    /// Class and method.
    pub call: (u16, u16),
    /// The method of the class that answers it.
    pub answer: u16,
    pub resource: Box<str>,
    /// Of a message: its number on the channel, or its place among those that were seen (`confirms.rs`).
    pub number: u64,
    /// What its confirmation says, as far as its place tells.
    pub confirmed: Option<Reason>,
    pub span: Span,
    pub asked_bytes: u64,
    pub answer_bytes: u64,
    pub is_of_server: bool,
    /// Told of by something else.
    pub is_told: bool,
    /// Its answer may have been missed.
    pub may_be_answered: bool,
    /// Of a call that asks for messages: they are not acknowledged.
    pub no_ack: bool,
    /// Of a message: whether it is acknowledged is not known.
    pub may_be_one_way: bool,
}

impl Waits for Asked {
    fn heap_bytes(&self) -> usize {
        self.resource.len()
    }
}

impl Asked {
    pub fn of(name: &'static str, resource: Box<str>, (start, end): Ends) -> Self {
        Self {
            name,
            call: (0, 0),
            answer: 0,
            resource,
            number: 0,
            confirmed: None,
            span: Span { start, end, answer: None },
            asked_bytes: end.position.since(start.position),
            answer_bytes: 0,
            is_of_server: false,
            is_told: false,
            may_be_answered: false,
            no_ack: false,
            may_be_one_way: false,
        }
    }

    /// One more frame asks it.
    pub fn asked_by(&mut self, (start, end): Ends) {
        self.span.end = end;
        self.asked_bytes += end.position.since(start.position);
    }

    /// One more frame answers it.
    pub fn answered_by(&mut self, (start, end): Ends) {
        let first = self.span.answer.map_or(start, |(first, _)| first);
        self.span.answer = Some((first, end));
        self.answer_bytes += end.position.since(start.position);
    }
}

impl Amqp {
    /// A method of a channel, from its first byte to its end.
    pub(super) fn take_method(
        &mut self,
        channel: u16,
        direction: Direction,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let is_client = direction == Direction::Request;
        self.weigh(channel, sink);
        match (method.class, method.number) {
            (20, 41) if is_client => {
                if let Some(channel) = self.channels.remove(channel) {
                    self.forget(&channel);
                    self.end_channel(channel, Code::default(), sink);
                }
            }
            (class, number) if is_client && (class, number) != (20, 10) && self.channels.is_ended(channel) => {}
            (10, 10..=49) => self.take_connecting(direction, method, arguments, ends, sink),
            (10, 50) if !is_client => self.server_closes(arguments, ends, sink),
            (10, 50) => self.call(channel, Asked { answer: 51, ..self.call_of(method, arguments, ends) }, sink),
            (20, 40) if !is_client => self.server_closes_channel(channel, arguments, ends, sink),
            (20, 40) => self.call(channel, Asked { answer: 41, ..self.call_of(method, arguments, ends) }, sink),
            (60, 40) => self.publish(channel, method, arguments, ends, sink),
            (60, 50 | 60) => self.begin_delivery(channel, method, arguments, ends, sink),
            (60, 71 | 72) => self.take_got(channel, method, arguments, ends, sink),
            (60, 80 | 90 | 120) if is_client => self.take_acknowledgement(channel, method, arguments, ends, sink),
            (60, 80 | 120) => self.take_confirmation(channel, method, arguments, ends, sink),
            _ => match method.role {
                // Nobody knows whether it is answered.
                Role::Call(_) if is_client && !arguments.is_whole => {
                    self.losses.lose(LossReason::HeadNotCaptured, sink);
                    self.lose_calls(LossReason::HeadNotCaptured, sink);
                    self.unknown_answers += 1;
                    if let Some(channel) = self.channels.get(channel) {
                        channel.miss_consumers();
                    }
                }
                Role::Call(answer) if is_client => {
                    self.prepare(channel, method, arguments);
                    let asked = Asked { answer, no_ack: arguments.no_ack, ..self.call_of(method, arguments, ends) };
                    if arguments.no_wait {
                        self.emit(&asked, Kind::OneWay, done(), None, sink);
                    } else {
                        self.call(channel, asked, sink);
                    }
                }
                Role::Answer if !is_client => self.take_answer(channel, method, arguments, ends, sink),
                _ => {}
            },
        }
    }

    pub(super) fn call_of(&self, method: &Method, arguments: &Arguments<'_>, ends: Ends) -> Asked {
        let resource = arguments.names[0].map(names::dotted).unwrap_or_default();
        Asked { call: (method.class, method.number), ..Asked::of(method.name, resource, ends) }
    }

    pub(super) fn forget(&mut self, channel: &Channel) {
        self.waiting -= channel.calls.len() + channel.published.len() + channel.delivered.len();
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting >= self.options.pending_exchanges_max as usize
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lanes.request.is_lost() || self.lanes.response.is_lost()
    }

    pub(super) fn emit(
        &self,
        asked: &Asked,
        kind: Kind,
        (outcome, code): Reason,
        failure: Option<Failure>,
        sink: &mut Sink<'_>,
    ) {
        let start = asked.span.start.position;
        sink(Event::Exchange(Exchange {
            request_position: if asked.is_of_server { start.of_server() } else { start },
            resource: &asked.resource,
            // Frames of other channels may stand between those of a message.
            request_bytes: asked.asked_bytes,
            response_bytes: asked.answer_bytes,
            kind,
            outcome,
            code,
            failure,
            ..asked.span.exchange(Self::NAME, asked.name, self.now_ns)
        }));
    }
}
