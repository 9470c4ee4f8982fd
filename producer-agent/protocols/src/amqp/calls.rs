//! What a client asks on a channel, and what the server answers in the order in which it was asked.

use super::Amqp;
use super::codes::done;
use super::confirms::{Confirms, SILENCE_NS};
use super::exchanges::{Asked, Ends};
use super::methods::{Arguments, Method};
use crate::{Code, Kind, LossReason, Sink};

impl Amqp {
    /// What a call changes of the channel.
    pub(super) fn prepare(&mut self, number: u16, method: &Method, arguments: &Arguments<'_>) {
        let is_opened = (method.class, method.number) == (20, 10);
        if is_opened && let Some(before) = self.channels.remove(number) {
            self.forget(&before);
        }
        let Some(channel) = self.channels.get(number) else { return };
        match (method.class, method.number) {
            (20, 10) => (channel.is_known, channel.confirms) = (true, Confirms::No),
            (85, 10) if matches!(channel.confirms, Confirms::No) && channel.is_known => {
                channel.confirms = Confirms::From(1);
            }
            (60, 20) => match arguments.tag {
                Some(b"") => {}
                Some(tag) => channel.consume(tag, arguments.no_ack),
                None => channel.miss_consumers(),
            },
            _ => {}
        }
    }

    /// What the server answers in the order in which it is asked.
    pub(super) fn call(&mut self, number: u16, asked: Asked, sink: &mut Sink<'_>) {
        let silent_ns = self.now_ns.saturating_sub(self.called_ns);
        self.called_ns = self.now_ns;
        if self.is_lost() || (!self.calls_are_certain && silent_ns < SILENCE_NS) {
            self.calls_are_certain = false;
            self.unknown_answers += 1;
            return self.losses.lose(self.unknown, sink);
        }
        (self.calls_are_certain, self.unknown_answers) = (true, 0);
        let is_full = self.is_full();
        match self.channels.get(number).filter(|_| !is_full) {
            Some(channel) => {
                channel.calls.push(asked);
                self.waiting += 1;
            }
            None => {
                self.losses.lose(LossReason::TooManyPipelined, sink);
                self.lose_calls(LossReason::TooManyPipelined, sink);
                self.unknown_answers += 1;
            }
        }
    }

    /// Whose answer is whose is not known any more.
    pub(super) fn lose_calls(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        (self.calls_are_certain, self.called_ns) = (false, self.now_ns);
        for channel in self.channels.each() {
            self.waiting -= channel.calls.len();
            self.unknown_answers += channel.calls.len() as u64;
            for _ in std::mem::take(&mut channel.calls).iter_mut() {
                self.losses.lose(reason, sink);
            }
        }
    }

    /// The first call of a channel, if such a method answers it.
    pub(super) fn answered(&mut self, number: u16, method: &Method, answer: u16, sink: &mut Sink<'_>) -> Option<Asked> {
        self.called_ns = self.now_ns;
        if !self.calls_are_certain {
            // It may be that of a call that nobody saw.
            match self.unknown_answers.checked_sub(1) {
                Some(left) => self.unknown_answers = left,
                None => self.losses.lose(self.unknown, sink),
            }
            return None;
        }
        let is_it = |asked: &Asked| (asked.call.0, asked.answer) == (method.class, answer);
        let asked = self.channels.get(number).and_then(|channel| channel.calls.pop_if(is_it));
        match asked {
            Some(_) => self.waiting -= 1,
            None => {
                self.losses.lose(self.unknown, sink);
                self.lose_calls(LossReason::Ambiguous, sink);
            }
        }
        asked
    }

    pub(super) fn take_answer(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        if (method.class, method.number) == (85, 11) {
            self.selected(number, sink);
        }
        let answer = if method.class == 90 { self.answer_of_transaction(number) } else { method.number };
        if let Some(mut asked) = self.answered(number, method, answer, sink) {
            asked.answered_by(ends);
            if let (Some(tag), Some(channel)) = (arguments.tag, self.channels.get(number)) {
                channel.consume(tag, asked.no_ack);
            }
            self.emit(&asked, Kind::Call, done(), None, sink);
        } else if let (Some(_), Some(channel)) = (arguments.tag, self.channels.get(number)) {
            channel.miss_consumers();
        }
        if (method.class, method.number) == (20, 41)
            && let Some(channel) = self.channels.remove(number)
        {
            self.forget(&channel);
            self.end_channel(channel, Code::default(), sink);
        }
    }

    /// They are answered one like the other.
    pub(super) fn answer_of_transaction(&mut self, number: u16) -> u16 {
        let first = self.channels.get(number).and_then(|channel| channel.calls.first());
        first.filter(|call| call.call.0 == 90).map_or(0, |call| call.answer)
    }
}
