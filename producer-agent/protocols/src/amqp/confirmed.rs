//! What becomes of messages that are published: they are told of as one-way, or with their confirmations.

use super::Amqp;
use super::channels::Channel;
use super::codes::{Reason, done};
use super::confirms::{Confirms, Found, SILENCE_NS, Unproven};
use super::exchanges::{Asked, Ends};
use super::methods::{Arguments, Method};
use crate::{Code, Kind, LossReason, Outcome, Sink};

impl Channel {
    /// Nothing that was published waits, as far as is known. What may have been confirmed unseen says nothing.
    pub(super) fn is_settled(&self) -> bool {
        self.published.iter().all(|asked| asked.confirmed.is_some() || asked.may_be_answered)
    }

    /// The server confirms a number, or all up to it, on a channel whose beginning was not seen. Returns what was taken for confirmed wrongly.
    fn confirm(&mut self, arguments: &Arguments<'_>, said: u64, (reason, ends): (Reason, Ends), now_ns: u64) -> usize {
        let is_coming = self.contents.request.is_some();
        let Confirms::Unproven(unproven) = &mut self.confirms else { return 0 };
        let moved = unproven.published().saturating_sub(is_coming.into());
        let is_wrong = unproven.confirm(said, moved, now_ns);
        let place = unproven.place(said);
        let wrong = if is_wrong { self.published.take(|asked| asked.confirmed.is_some()).len() } else { 0 };
        let is_it = |asked: &Asked| match arguments.multiple {
            true => Some(asked.number) <= place,
            false => Some(asked.number) == place,
        };
        for asked in self.published.iter_mut().filter(|asked| asked.confirmed.is_none() && is_it(asked)) {
            asked.answered_by(ends);
            asked.confirmed = Some(reason);
        }
        wrong
    }
}

impl Amqp {
    /// The server has taken what was published, or not.
    pub(super) fn take_confirmation(
        &mut self,
        number: u16,
        method: &Method,
        arguments: &Arguments<'_>,
        ends: Ends,
        sink: &mut Sink<'_>,
    ) {
        let reason = if method.number == 80 { done() } else { (Outcome::ServerError, Code::new(b"NACK")) };
        let now_ns = self.now_ns;
        let said = arguments.number.filter(|said| arguments.is_whole && *said > 0);
        if let (Some(said), Some(channel)) = (said, self.channels.get(number)) {
            match channel.confirms {
                Confirms::No if !channel.is_known => {
                    channel.confirms = Confirms::Unproven(Unproven::behind(said));
                    return;
                }
                Confirms::Unproven(_) => {
                    let wrong = channel.confirm(arguments, said, (reason, ends), now_ns);
                    self.waiting -= wrong;
                    (0..wrong).for_each(|_| self.losses.lose(self.unknown, sink));
                    return;
                }
                // More was published than was counted: the numbers were taken for lower ones than they are.
                Confirms::From(next) if said >= next && !channel.is_known => {
                    let wrong = channel.published.take(|_| true).len();
                    channel.confirms = Confirms::Unproven(Unproven::behind(said));
                    self.waiting -= wrong;
                    (0..wrong).for_each(|_| self.losses.lose(self.unknown, sink));
                    return;
                }
                Confirms::No | Confirms::From(_) => {}
            }
        }
        self.settle(number, arguments, |channel| &mut channel.published, (Kind::Call, reason), ends, sink);
    }

    /// Tells of what was published on a channel whose beginning was not seen, as far as it has shown what it is.
    pub(super) fn weigh(&mut self, number: u16, sink: &mut Sink<'_>) {
        let now_ns = self.now_ns;
        let Some(channel) = self.channels.known(number) else { return };
        let Confirms::Unproven(unproven) = &channel.confirms else { return };
        match unproven.weigh(channel.is_settled(), now_ns) {
            Found::Nothing { is_confirmed: true } => {}
            Found::Nothing { is_confirmed: false } => {
                let is_late = |asked: &Asked| now_ns.saturating_sub(asked.span.end.at_ns) >= SILENCE_NS;
                while let Some(asked) =
                    self.channels.known(number).and_then(|channel| channel.published.pop_if(is_late))
                {
                    self.waiting -= 1;
                    self.tell_of_unknown(asked, sink);
                }
            }
            Found::NoConfirmations => {
                channel.confirms = Confirms::No;
                let all = channel.published.take(|_| true);
                self.waiting -= all.len();
                all.iter().for_each(|asked| self.emit(asked, Kind::OneWay, done(), None, sink));
            }
            Found::Numbers { first, next } => {
                channel.confirms = Confirms::From(next);
                let settled = channel.published.take(|asked| asked.confirmed.is_some());
                let lost = channel.published.take(|asked| asked.may_be_answered).len();
                let coming = channel.contents.request.as_mut().map(|content| &mut content.asked);
                for asked in channel.published.iter_mut().chain(coming) {
                    asked.number = first.saturating_add(asked.number.saturating_sub(1));
                }
                self.waiting -= settled.len() + lost;
                (0..lost).for_each(|_| self.losses.lose(self.unknown, sink));
                for asked in settled {
                    self.emit(&asked, Kind::Call, asked.confirmed.unwrap_or(done()), None, sink);
                }
            }
        }
    }

    /// The same of all channels.
    pub(super) fn weigh_all(&mut self, sink: &mut Sink<'_>) {
        for number in self.channels.numbers() {
            self.weigh(number, sink);
        }
    }

    /// Nothing will show any more what becomes of what waits on a channel whose beginning was not seen.
    pub(super) fn give_up_published(&mut self, channel: &mut Channel, sink: &mut Sink<'_>) {
        let Confirms::Unproven(unproven) = &channel.confirms else { return };
        for asked in channel.published.take(|_| true) {
            if unproven.is_confirmed() {
                self.losses.lose(self.unknown, sink);
            } else {
                self.tell_of_unknown(asked, sink);
            }
        }
    }

    /// The same where nothing was confirmed yet: those messages have been moved, whatever was missed since.
    pub(super) fn give_up_unconfirmed(&mut self, sink: &mut Sink<'_>) {
        for number in self.channels.numbers() {
            if !self.is_confirmed(number) {
                let all =
                    self.channels.known(number).map(|channel| channel.published.take(|_| true)).unwrap_or_default();
                self.waiting -= all.len();
                all.into_iter().for_each(|asked| self.tell_of_unknown(asked, sink));
            }
        }
    }

    /// The server says that it confirms from now on what is published on a channel.
    pub(super) fn selected(&mut self, number: u16, sink: &mut Sink<'_>) {
        let Some(channel) = self.channels.get(number).filter(|channel| !channel.is_known) else { return };
        let is_new = match &channel.confirms {
            Confirms::No => true,
            Confirms::From(_) => false,
            Confirms::Unproven(unproven) => !unproven.is_confirmed(),
        };
        if is_new {
            let before = channel.published.take(|_| true);
            channel.confirms = Confirms::Unproven(Unproven::behind(0));
            self.waiting -= before.len();
            before.into_iter().for_each(|asked| self.tell_of_unknown(asked, sink));
        }
    }

    /// Whether a message that waits on the channel is one that is confirmed.
    pub(super) fn is_confirmed(&mut self, number: u16) -> bool {
        let channel = self.channels.known(number);
        channel.is_some_and(
            |channel| !matches!(&channel.confirms, Confirms::Unproven(unproven) if !unproven.is_confirmed()),
        )
    }

    /// A message of which it is not known whether it is confirmed.
    pub(super) fn tell_of_unknown(&mut self, asked: Asked, sink: &mut Sink<'_>) {
        self.losses.lose(LossReason::ValueUnknown, sink);
        self.emit(&asked, Kind::OneWay, (Outcome::Unknown, Code::default()), None, sink);
    }
}
