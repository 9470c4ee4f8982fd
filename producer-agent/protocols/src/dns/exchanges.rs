//! Questions that wait for their answers, and what becomes of them.

use std::net::IpAddr;

use super::message::{Header, Message};
use super::names::Name;
use super::{Dns, LENGTH_BYTES, answers, bytes_of, message};
use crate::asked::{Queue, Span, Waits};
use crate::lanes::Reader as _;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// One question, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    id: u16,
    operation: Name,
    resource: Box<str>,
    /// What is asked was not captured.
    is_unknown: bool,
    is_transfer: bool,
    /// It has been told of; what answers it further belongs to it.
    is_told: bool,
    span: Span,
    /// Its answer may have been missed.
    may_be_answered: bool,
}

impl Waits for Pending {
    fn heap_bytes(&self) -> usize {
        let operation = if let Name::Owned(name) = &self.operation { name.capacity() } else { 0 };
        self.resource.len() + operation
    }
}

impl Pending {
    /// Whether a message may answer this: by its id and by what it repeats of the question.
    fn is_asked_by(&self, answer: &Message<'_>) -> bool {
        let is_same = |name: &str, operation: &Name| *self.resource == *name && self.operation == *operation;
        self.id == answer.header.id
            && (self.is_unknown
                || answer.question.is_none_or(|question| is_same(&question.resource(), &answer.operation())))
    }
}

impl Dns {
    /// A message of the client.
    pub(super) fn request(&mut self, head: &[u8], (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(asked) = message(head, Direction::Request) else {
            return self.losses.lose(LossReason::MalformedRequest, sink);
        };
        // A client gives an id again once it was answered; or it has given up.
        if let Some(before) = self.pending.position(|pending| pending.id == asked.header.id)
            && let Some(before) = self.pending.remove(before)
            && !before.is_told
        {
            let reason = if before.may_be_answered { self.unknown } else { LossReason::Ambiguous };
            self.losses.lose(reason, sink);
        }
        if self.pending.len() >= self.options.pending_exchanges_max as usize {
            self.losses.lose(LossReason::TooManyPipelined, sink);
            self.unknown_answers += 1;
            return;
        }
        self.pending.push(Pending {
            id: asked.header.id,
            operation: asked.operation(),
            resource: asked.question.map(|question| question.resource()).unwrap_or_default().into(),
            is_unknown: asked.is_cut(),
            is_transfer: asked.is_transfer(),
            is_told: false,
            span: Span { start, end, answer: None },
            may_be_answered: self.lanes.response.is_lost(),
        });
    }

    /// A message of the server.
    pub(super) fn answer(&mut self, head: &[u8], (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(answer) = message(head, Direction::Response) else {
            return self.losses.lose(LossReason::MalformedResponse, sink);
        };
        let Some(at) = self.pending.position(|pending| pending.is_asked_by(&answer)) else {
            return self.unowned(sink);
        };
        self.losses.recognise(sink);
        if self.pending[at].is_told {
            return;
        }
        let (outcome, code) = answer.outcome();
        let addresses = bytes_of(head).map(|bytes| answers::addresses(bytes, &answer)).unwrap_or_default();
        if self.pending[at].is_transfer && outcome == Outcome::Ok {
            let pending = &mut self.pending[at];
            (pending.span.answer, pending.is_told) = (Some((start, end)), true);
            return self.emit(at, (outcome, code), None, &addresses, sink);
        }
        self.pending[at].span.answer = Some((start, end));
        self.emit(at, (outcome, code), None, &addresses, sink);
        self.pending.remove(at);
    }

    /// An answer to nothing that waits.
    fn unowned(&mut self, sink: &mut Sink<'_>) {
        if self.unknown_answers > 0 {
            self.unknown_answers -= 1;
        } else if self.recognition() == Recognition::Undecided && self.unknown == LossReason::UnsolicitedResponse {
            self.give_up();
        } else {
            self.losses.lose(self.unknown, sink);
        }
    }

    /// Bytes of a direction were missed. What may have been answered is no longer known by its id once a question may have been missed, which may
    /// have been given the same one.
    pub(super) fn miss(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.pending.iter_mut().for_each(|pending| pending.may_be_answered = true);
        }
        if direction == Direction::Request || self.lanes.request.is_lost() {
            while let Some(at) = self.pending.position(|pending| pending.may_be_answered) {
                let is_told = self.pending.remove(at).is_some_and(|pending| pending.is_told);
                if !is_told {
                    self.losses.lose(self.unknown, sink);
                }
            }
        }
    }

    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        let begun = self.begun();
        while is_known && !self.pending.is_empty() {
            let pending = &mut self.pending[0];
            let answer = begun.filter(|(id, _)| *id == pending.id).map(|(_, start)| start);
            pending.span.answer = answer.map(|start| (start, self.at.response.reached()));
            match how.of_open(answer.is_some()) {
                _ if pending.is_told => {}
                Some(_) if pending.may_be_answered => self.losses.lose(self.unknown, sink),
                Some((failure, outcome)) => self.emit(0, (outcome, Code::default()), Some(failure), &[], sink),
                None => self.losses.lose(LossReason::Unfinished, sink),
            }
            self.pending.pop();
        }
        self.pending = Queue::default();
    }

    /// The answer of which a part has come: its id, and where it begins.
    fn begun(&self) -> Option<(u16, Mark)> {
        let lane = &self.lanes.response;
        let start = lane.reader.start().filter(|_| lane.is_within())?;
        let header = Header::read(lane.reader.head().get(LENGTH_BYTES..)?, Direction::Response)?;
        Some((header.id, start))
    }

    fn emit(
        &mut self,
        at: usize,
        (outcome, code): (Outcome, Code),
        failure: Option<Failure>,
        addresses: &[IpAddr],
        sink: &mut Sink<'_>,
    ) {
        let pending = &self.pending[at];
        if pending.is_unknown {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        sink(Event::Exchange(Exchange {
            resource: &pending.resource,
            addresses,
            kind: if pending.is_told { Kind::Stream } else { Kind::Call },
            outcome,
            code,
            failure,
            ..pending.span.exchange(Self::NAME, &pending.operation, self.now_ns)
        }));
    }
}
