//! The beginning and the end of the connection and of its channels, and what becomes then of what is open.

use super::Amqp;
use super::channels::Channel;
use super::codes::{self, Reason, done};
use super::confirms::Confirms;
use super::exchanges::{Asked, Ends};
use super::methods::{Arguments, Method};
use crate::asked::Queue;
use crate::protocol::Protocol;
use crate::{CloseReason, Code, Direction, Kind, LossReason, Outcome, Recognition, Sink};

impl Amqp {
    /// From the client's first bytes to what the server says to its wish for a virtual host.
    pub(super) fn take_connecting(
        &mut self,
        direction: Direction,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        if direction == Direction::Response {
            self.losses.recognise(sink);
        }
        let Some(connecting) = &mut self.connecting else { return };
        match direction {
            Direction::Request => connecting.asked_by(ends),
            Direction::Response => connecting.answered_by(ends),
        }
        match arguments.names[0] {
            Some(host) => connecting.resource = crate::resource::name(host).into(),
            None if method.number == 40 => self.losses.lose(LossReason::ValueUnknown, sink),
            None => {}
        }
        if method.number == 41
            && let Some(connecting) = self.connecting.take()
        {
            self.emit(&connecting, Kind::Call, done(), None, sink);
        }
    }

    /// The server speaks another version, and says which.
    pub(super) fn refused(&mut self, ends: Ends, sink: &mut Sink<'_>) {
        if let Some(mut connecting) = self.connecting.take() {
            self.losses.recognise(sink);
            connecting.answered_by(ends);
            self.emit(&connecting, Kind::Call, (Outcome::ClientError, Code::new(b"OTHER_VERSION")), None, sink);
        }
    }

    pub(super) fn server_closes(&mut self, arguments: &Arguments<'_>, ends: Ends, sink: &mut Sink<'_>) {
        let reason = codes::of(arguments.code.unwrap_or_default());
        self.end_code = reason.1;
        if let Some(mut connecting) = self.connecting.take() {
            connecting.answered_by(ends);
            self.emit(&connecting, Kind::Call, reason, None, sink);
        } else {
            self.server_says("connection.close", ends, reason, sink);
        }
    }

    pub(super) fn server_says(&mut self, name: &'static str, ends: Ends, reason: Reason, sink: &mut Sink<'_>) {
        let asked = Asked { is_of_server: true, ..Asked::of(name, Box::default(), ends) };
        self.emit(&asked, Kind::OneWay, reason, None, sink);
    }

    /// The server ends a channel, mostly since something that was asked there was wrong.
    pub(super) fn server_closes_channel(
        &mut self,
        number: u16,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let reason = codes::of(arguments.code.unwrap_or_default());
        let Some(mut channel) = self.channels.remove(number) else {
            return self.server_says("channel.close", ends, reason, sink);
        };
        self.forget(&channel);
        let failed = channel.calls.pop_if(|call| Some(call.call) == arguments.failed);
        match failed {
            Some(mut asked) => {
                asked.answered_by(ends);
                self.emit(&asked, Kind::Call, reason, None, sink);
            }
            None => self.server_says("channel.close", ends, reason, sink),
        }
        self.end_channel(channel, reason.1, sink);
        if let Some(channel) = self.channels.get(number) {
            channel.is_ended = true;
        }
    }

    /// What is open on a channel that has ended will not be answered.
    pub(super) fn end_channel(&mut self, mut channel: Channel, code: Code, sink: &mut Sink<'_>) {
        for asked in channel.calls.iter_mut() {
            self.emit(asked, Kind::Call, (Outcome::Unanswered, code), None, sink);
        }
        self.give_up_published(&mut channel, sink);
        for asked in channel.published.iter_mut() {
            self.end_message(asked, Kind::Call, code, sink);
        }
        for asked in channel.delivered.iter_mut() {
            self.end_message(asked, Kind::Wait, code, sink);
        }
        if channel.contents.request.is_some() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
    }

    /// A message that nobody has confirmed or acknowledged may have come all the same.
    pub(super) fn end_message(&mut self, asked: &Asked, kind: Kind, code: Code, sink: &mut Sink<'_>) {
        if asked.is_told {
        } else if asked.may_be_answered {
            self.losses.lose(self.unknown, sink);
        } else if asked.may_be_one_way {
            self.emit(asked, Kind::OneWay, done(), None, sink);
        } else {
            self.emit(asked, kind, (Outcome::Unknown, code), None, sink);
        }
    }

    /// Bytes were missed: what is open may have been answered in them, and numbers may have begun anew.
    pub(super) fn miss(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        let reason = self.unknown;
        self.lose_calls(reason, sink);
        self.give_up_unconfirmed(sink);
        let mut lost = usize::from(self.connecting.take().is_some());
        for channel in self.channels.each() {
            let [published, delivered] = [&mut channel.published, &mut channel.delivered].map(std::mem::take);
            self.waiting -= published.len() + delivered.len();
            lost += [published, delivered].iter_mut().flat_map(Queue::iter_mut).filter(|asked| !asked.is_told).count();
            lost += usize::from(channel.contents[direction].take().is_some());
            if direction == Direction::Request {
                (channel.is_known, channel.is_ended) = (false, false);
                // That the client has asked for confirmations shows in the other direction.
                if !matches!(channel.confirms, Confirms::No) {
                    channel.confirms = Confirms::default();
                }
            }
            channel.miss_consumers();
        }
        for _ in 0..lost {
            self.losses.lose(reason, sink);
        }
    }

    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let is_known = self.recognition() == Recognition::Recognised;
        self.waiting = 0;
        let (connecting, channels) = (self.connecting.take(), self.channels.take());
        // Before it was recognised there is nothing to tell.
        if !is_known {
            return;
        }
        for asked in connecting.iter() {
            self.close_call(asked, how, sink);
        }
        for mut channel in channels {
            for asked in std::mem::take(&mut channel.calls).iter_mut() {
                self.close_call(asked, how, sink);
            }
            self.give_up_published(&mut channel, sink);
            for asked in std::mem::take(&mut channel.published).iter_mut() {
                if asked.may_be_answered {
                    self.losses.lose(self.unknown, sink);
                } else {
                    self.close_call(asked, how, sink);
                }
            }
            if how == CloseReason::Unobserved {
                for asked in std::mem::take(&mut channel.delivered).iter_mut().filter(|asked| !asked.is_told) {
                    let is_told = asked.may_be_one_way && !asked.may_be_answered;
                    if is_told {
                        self.emit(asked, Kind::OneWay, done(), None, sink);
                    } else {
                        self.losses.lose(LossReason::Unfinished, sink);
                    }
                }
            }
            self.end_channel(channel, Code::default(), sink);
        }
    }

    pub(super) fn close_call(&mut self, asked: &Asked, how: CloseReason, sink: &mut Sink<'_>) {
        match how.of_open(asked.span.answer.is_some()) {
            Some((failure, outcome)) => {
                self.emit(asked, Kind::Call, (outcome, self.end_code), Some(failure), sink);
            }
            None => self.losses.lose(LossReason::Unfinished, sink),
        }
    }
}
