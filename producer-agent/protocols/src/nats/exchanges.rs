//! What waits for its answer in either direction, and what becomes of it.

use super::message::{Message, Publish, Reader};
use super::reasons::{self, Reason, done};
use super::subscriptions::Awaited;
use super::{Confirms, Nats, subjects};
use crate::asked::{Span, Waits};
use crate::lanes::Lanes;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// Whoever asks by a message has given up after this time, or will not be told of the answer.
const PATIENCE_NS: u64 = 30_000_000_000;
/// Nobody waits for a PONG any more after such a silence.
const SILENCE_NS: u64 = 1_000_000_000;
/// Longer subjects are not looked for among answers.
const REPLY_BYTES_MAX: usize = 256;

/// Something that was asked.
#[derive(Debug)]
pub(super) struct Asked {
    method: &'static str,
    resource: Box<str>,
    /// Where its answer goes; empty if that is not how it is answered.
    reply: Box<[u8]>,
    span: Span,
    /// Told of by something else, or counted as lost: what answers it answers nothing else.
    is_told: bool,
    /// The answer comes on this connection, as far as is known.
    is_awaited: bool,
    /// Its answer may have been missed.
    may_be_answered: bool,
}

impl Waits for Asked {
    fn heap_bytes(&self) -> usize {
        self.resource.len() + self.reply.len()
    }
}

impl Asked {
    fn of(method: &'static str, subject: &[u8], (start, end): (Mark, Mark)) -> Self {
        Self {
            method,
            resource: subjects::name(subject),
            reply: Box::default(),
            span: Span { start, end, answer: None },
            is_told: false,
            is_awaited: true,
            may_be_answered: false,
        }
    }
}

impl Nats {
    /// Takes a message of a direction that is followed.
    pub(super) fn take_message(
        &mut self,
        direction: Direction,
        reader: &Reader,
        ends: (Mark, Mark),
        sink: &mut Sink<'_>,
    ) {
        let Some(message) = reader.message(direction) else { return };
        match (message, direction) {
            (Message::Connect { options }, _) => self.take_connect(options, ends, sink),
            (Message::Ping, Direction::Request) => self.take_ping(ends, sink),
            (Message::Pong, Direction::Response) => self.take_pong(ends, sink),
            (Message::Ok, _) => self.take_confirmation(done(), ends, sink),
            (Message::Error(text), _) => self.take_error(text, ends, sink),
            (Message::Publish(message), _) => self.take_publish(&message, reader, ends, sink),
            (Message::Subscribe { subject, id }, _) => {
                self.subscriptions.add(id, subject);
                self.confirm(Asked::of("SUB", subject, ends), sink);
            }
            (Message::Unsubscribe { id, max }, _) => {
                let asked = Asked::of("UNSUB", self.subscriptions.subject(id).unwrap_or_default(), ends);
                self.subscriptions.end(id, max);
                self.confirm(asked, sink);
            }
            (Message::Deliver { id, message }, _) => self.take_delivery(id, &message, reader, ends, sink),
            (Message::OfServers, _) => {
                self.losses.recognise(sink);
                self.losses.lose(LossReason::Upgraded, sink);
                self.become_foreign();
            }
            // What the server says of itself, and asks to see whether the client lives.
            (Message::Info, _) | (Message::Ping, Direction::Response) | (Message::Pong, Direction::Request) => {}
        }
    }

    fn take_connect(&mut self, options: &[u8], ends: (Mark, Mark), sink: &mut Sink<'_>) {
        self.losses.recognise(sink);
        self.confirms = match verbose(options) {
            Some(true) => Confirms::InOrder,
            Some(false) => Confirms::None,
            None => Confirms::PassedOver,
        };
        let asked = Asked::of("CONNECT", b"", ends);
        if self.confirms == Confirms::InOrder {
            self.confirm(asked, sink);
        } else {
            self.connecting = Some(asked);
        }
    }

    /// The server has taken the client, since it goes on.
    fn settle_connect(&mut self, sink: &mut Sink<'_>) {
        if let Some(asked) = self.connecting.take() {
            self.emit(&asked, Kind::OneWay, done(), None, sink);
        }
    }

    /// What is answered with `+OK` if the client wants it so, and else not at all.
    fn confirm(&mut self, asked: Asked, sink: &mut Sink<'_>) {
        if self.confirms != Confirms::InOrder {
            if !asked.is_told {
                self.emit(&asked, Kind::OneWay, done(), None, sink);
            }
        } else if !self.confirmations.push(asked, self.options.pending_exchanges_max) {
            self.losses.lose(LossReason::TooManyPipelined, sink);
        }
    }

    fn take_confirmation(&mut self, reason: Reason, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        if self.confirms != Confirms::InOrder {
            return self.confirms = Confirms::PassedOver;
        }
        self.answered(|nats| &mut nats.confirmations, reason, ends, sink);
    }

    fn take_ping(&mut self, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        let silent_ns = self.now_ns.saturating_sub(self.pinged_ns);
        self.pinged_ns = self.now_ns;
        if self.is_followed(Direction::Response) && (self.pings_are_certain || silent_ns >= SILENCE_NS) {
            self.pings_are_certain = true;
            if !self.pings.push(Asked::of("PING", b"", ends), self.options.pending_exchanges_max) {
                self.losses.lose(LossReason::TooManyPipelined, sink);
            }
        } else {
            self.losses.lose(self.unknown, sink);
        }
    }

    fn take_pong(&mut self, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        self.settle_connect(sink);
        self.pinged_ns = self.now_ns;
        if self.pings_are_certain {
            self.answered(|nats| &mut nats.pings, done(), ends, sink);
        }
    }

    /// The first that waits there was answered.
    fn answered(
        &mut self,
        queue: fn(&mut Self) -> &mut super::InOrder,
        reason: Reason,
        (start, end): (Mark, Mark),
        sink: &mut Sink<'_>,
    ) {
        match queue(self).pop() {
            Some(Some(mut asked)) if !asked.is_told => {
                asked.span.answer = Some((start, end));
                self.emit(&asked, Kind::Call, reason, None, sink);
            }
            Some(_) => {}
            None => self.losses.lose(self.unknown, sink),
        }
    }

    /// The server says what is wrong. That may be the answer to something, and is told of by itself where it is not.
    fn take_error(&mut self, text: &[u8], ends: (Mark, Mark), sink: &mut Sink<'_>) {
        let error = reasons::of_error(text);
        if let Some(mut asked) = self.connecting.take() {
            asked.span.answer = Some(ends);
            self.emit(&asked, Kind::Call, error.reason, None, sink);
        } else if self.confirms == Confirms::InOrder && error.is_answer && !self.confirmations.is_empty() {
            self.take_confirmation(error.reason, ends, sink);
        } else {
            let asked = Asked::of("ERROR", b"", ends);
            self.emit(&asked, Kind::OneWay, error.reason, None, sink);
        }
        self.end_code = error.reason.1;
    }

    fn take_publish(&mut self, message: &Publish<'_>, reader: &Reader, ends: (Mark, Mark), sink: &mut Sink<'_>) {
        self.give_up_old(sink);
        let is_answer = self.deliveries.position(|delivery| *delivery.reply == *message.subject);
        if let Some(mut delivery) = is_answer.and_then(|at| self.deliveries.remove(at)) {
            delivery.span.answer = Some(ends);
            // Whoever serves may fail: that is no fault of the broker.
            let (outcome, code) = reasons::of_answer(headers(message, reader), b"");
            let outcome = if outcome == Outcome::Ok { outcome } else { Outcome::ClientError };
            self.emit(&delivery, Kind::Wait, (outcome, code), None, sink);
            return self.confirm(Asked { is_told: true, ..Asked::of("", b"", ends) }, sink);
        }
        let acknowledges = message.subject.starts_with(subjects::ACKNOWLEDGES);
        let reason = if acknowledges { reasons::of_acknowledgement(reader.head()) } else { done() };
        // What comes then is messages.
        let asks_for_messages = message.subject.starts_with(subjects::ASKS_FOR_MESSAGES) || reason.1.as_str() == "NXT";
        let awaited = match message.reply {
            b"" => Awaited::Elsewhere,
            _ if asks_for_messages => Awaited::Elsewhere,
            reply => self.subscriptions.awaited(reply),
        };
        let is_request = awaited != Awaited::Elsewhere;
        let method = match (acknowledges, is_request || asks_for_messages) {
            (true, _) => "ACK",
            (_, true) => "REQUEST",
            _ => "PUB",
        };
        let asked = Asked::of(method, message.subject, ends);
        if !is_request {
            return match self.confirms {
                Confirms::InOrder => self.confirm(asked, sink),
                _ => self.emit(&asked, Kind::OneWay, reason, None, sink),
            };
        }
        self.confirm(Asked { is_told: true, ..Asked::of("", b"", ends) }, sink);
        if message.reply.len() > REPLY_BYTES_MAX {
            return self.losses.lose(LossReason::HeadTooLarge, sink);
        }
        if self.is_full(self.requests.len(), self.requests.heap_bytes()) {
            // Its answer answers nothing that is known.
            self.unknown_answers += 1;
            return self.losses.lose(LossReason::TooManyPipelined, sink);
        }
        self.requests.push(Asked {
            reply: message.reply.into(),
            is_awaited: awaited == Awaited::Here,
            may_be_answered: !self.is_followed(Direction::Response),
            ..asked
        });
    }

    fn is_full(&self, length: usize, bytes: usize) -> bool {
        length >= self.options.pending_exchanges_max as usize || bytes >= self.options.pending_bytes_max as usize
    }

    fn take_delivery(
        &mut self,
        id: &[u8],
        message: &Publish<'_>,
        reader: &Reader,
        ends: (Mark, Mark),
        sink: &mut Sink<'_>,
    ) {
        self.settle_connect(sink);
        self.subscriptions.delivered(id);
        let headers = headers(message, reader);
        if let Some(mut asked) =
            self.requests.position(|asked| *asked.reply == *message.subject).and_then(|at| self.requests.remove(at))
        {
            asked.span.answer = Some(ends);
            let body = usize::try_from(message.header_bytes).ok().and_then(|at| reader.head().get(at..));
            let reason = reasons::of_answer(headers, body.unwrap_or_default());
            return self.emit(&asked, Kind::Call, reason, None, sink);
        }
        // What JetStream says to whoever waits for messages, and to whoever gets them.
        let is_status = reasons::status(headers).is_some() && message.header_bytes == message.payload_bytes;
        if is_status {
            return;
        }
        if message.subject.starts_with(subjects::INBOX) {
            // One more answer, or one that comes late.
            if self.unknown_answers > 0 {
                self.unknown_answers -= 1;
            } else {
                self.losses.lose(self.unknown, sink);
            }
            return;
        }
        self.give_up_old(sink);
        let asked = Asked::of("DELIVER", message.subject, ends);
        let is_answered = !message.reply.is_empty()
            && !message.reply.starts_with(subjects::ACKNOWLEDGES)
            && message.reply.len() <= REPLY_BYTES_MAX;
        if !is_answered {
            return self.emit(&asked, Kind::OneWay, done(), None, sink);
        }
        if self.is_full(self.deliveries.len(), self.deliveries.heap_bytes()) {
            self.give_up_delivery(sink);
        }
        let may_be_answered = !self.is_followed(Direction::Request);
        self.deliveries.push(Asked { reply: message.reply.into(), may_be_answered, ..asked });
    }

    /// What has waited for too long will not be answered here.
    fn give_up_old(&mut self, sink: &mut Sink<'_>) {
        let now_ns = self.now_ns;
        let is_old = |asked: &Asked| now_ns.saturating_sub(asked.span.end.at_ns) >= PATIENCE_NS;
        while let Some(asked) = self.requests.pop_if(is_old) {
            self.unknown_answers += 1;
            if asked.may_be_answered {
                self.losses.lose(self.unknown, sink);
            } else if asked.is_awaited {
                self.emit(&asked, Kind::Call, (Outcome::Unanswered, Code::default()), Some(Failure::TimedOut), sink);
            } else {
                self.emit(&asked, Kind::Call, (Outcome::Unknown, Code::default()), None, sink);
            }
        }
        while self.deliveries.first().is_some_and(is_old) {
            self.give_up_delivery(sink);
        }
    }

    /// Nobody answers on this connection: others may.
    fn give_up_delivery(&mut self, sink: &mut Sink<'_>) {
        let Some(asked) = self.deliveries.pop() else { return };
        if asked.may_be_answered {
            self.losses.lose(self.unknown, sink);
        } else {
            self.emit(&asked, Kind::OneWay, done(), None, sink);
        }
    }

    /// Bytes of a direction were missed: what is known of what goes in it is not all.
    pub(super) fn miss(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        let answered_in_it = match direction {
            Direction::Request => {
                self.subscriptions.miss();
                &mut self.deliveries
            }
            Direction::Response => &mut self.requests,
        };
        answered_in_it.iter_mut().for_each(|asked| asked.may_be_answered = true);
        if self.confirms == Confirms::InOrder {
            self.confirms = Confirms::PassedOver;
        }
        self.pings_are_certain = false;
        self.pinged_ns = self.now_ns;
        for asked in [self.pings.take(), self.confirmations.take()].iter_mut().flat_map(|queue| queue.iter_mut()) {
            if !asked.is_told {
                self.losses.lose(self.unknown, sink);
            }
        }
        if self.connecting.take().is_some() {
            self.losses.lose(self.unknown, sink);
        }
    }

    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        if self.recognition() != Recognition::Recognised {
            return;
        }
        while !self.deliveries.is_empty() {
            self.give_up_delivery(sink);
        }
        let mut open = [self.confirmations.take(), self.pings.take(), std::mem::take(&mut self.requests)];
        let connecting = self.connecting.take();
        for asked in connecting.iter().chain(open.iter_mut().flat_map(|queue| queue.iter_mut().map(|asked| &*asked))) {
            let end = how.of_open(false).filter(|_| !asked.may_be_answered);
            match end {
                _ if asked.is_told => {}
                Some((failure, outcome)) if asked.is_awaited => {
                    self.emit(asked, Kind::Call, (outcome, self.end_code), Some(failure), sink);
                }
                Some(_) => self.emit(asked, Kind::Call, (Outcome::Unknown, Code::default()), None, sink),
                None if asked.may_be_answered => self.losses.lose(self.unknown, sink),
                None => self.losses.lose(LossReason::Unfinished, sink),
            }
        }
    }

    fn emit(&self, asked: &Asked, kind: Kind, (outcome, code): Reason, failure: Option<Failure>, sink: &mut Sink<'_>) {
        let start = asked.span.start.position;
        let is_of_server = matches!(asked.method, "DELIVER" | "ERROR");
        sink(Event::Exchange(Exchange {
            request_position: if is_of_server { start.of_server() } else { start },
            resource: &asked.resource,
            kind,
            outcome,
            code,
            failure,
            ..asked.span.exchange(Self::NAME, asked.method, self.now_ns)
        }));
    }
}

/// As far as they are known.
fn headers<'r>(message: &Publish<'_>, reader: &'r Reader) -> &'r [u8] {
    let head = reader.head();
    &head[..usize::try_from(message.header_bytes).unwrap_or(usize::MAX).min(head.len())]
}

/// Whether CONNECT asks for `+OK`; None if that was not captured.
fn verbose(options: &[u8]) -> Option<bool> {
    let at = memchr::memmem::find(options, b"\"verbose\"");
    let Some(at) = at else {
        // A client that does not say it gets them, as the protocol has it.
        return options.trim_ascii_end().ends_with(b"}").then_some(true);
    };
    let value = options[at + b"\"verbose\"".len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    match value.first()? {
        b't' => Some(true),
        b'f' => Some(false),
        _ => None,
    }
}
