//! Requests that wait for their answers, and what becomes of them.

use std::sync::Arc;

use super::answers;
use super::frame::{self, Header};
use super::reader::Reader;
use super::requests::{self, Request};
use super::{Cassandra, Compression};
use crate::asked::{Queue, Span, Waits};
use crate::lanes::Reader as _;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// One request, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    request: Request,
    stream: i16,
    is_startup: bool,
    /// The keyspace in which it is asked.
    keyspace: Arc<str>,
    span: Span,
    /// Its answer may have been missed.
    may_be_answered: bool,
}

impl Waits for Pending {
    fn heap_bytes(&self) -> usize {
        self.request.heap_bytes()
    }
}

impl Cassandra {
    /// A frame of the client.
    pub(super) fn request(&mut self, reader: &Reader, (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(header) = frame::header(reader.head(), Direction::Request) else { return };
        let request = requests::read(&header, reader.head(), &mut self.prepared, &self.keyspace);
        // A client gives a number again once it was answered; or it has given up.
        if let Some(before) = self.owner(header.stream).and_then(|at| self.pending.remove(at)) {
            let reason = if before.may_be_answered { self.unknown } else { LossReason::Ambiguous };
            self.losses.lose(reason, sink);
        }
        if self.pending.len() >= self.options.pending_exchanges_max as usize {
            self.losses.lose(LossReason::TooManyPipelined, sink);
            self.unknown_answers += 1;
            return;
        }
        self.pending.push(Pending {
            request,
            stream: header.stream,
            is_startup: header.opcode == frame::STARTUP,
            keyspace: Arc::clone(&self.keyspace),
            span: Span { start, end, answer: None },
            may_be_answered: self.lanes.response.is_lost(),
        });
    }

    fn owner(&self, stream: i16) -> Option<usize> {
        self.pending.position(|pending| pending.stream == stream)
    }

    /// A frame of the server.
    pub(super) fn answer(&mut self, reader: &Reader, (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(header) = frame::header(reader.head(), Direction::Response) else { return };
        if header.opcode == frame::EVENT || header.stream < 0 {
            return;
        }
        let Some(mut pending) = self.owner(header.stream).and_then(|at| self.pending.remove(at)) else {
            return self.unowned(sink);
        };
        self.losses.recognise(sink);
        pending.span.answer = Some((start, end));
        let answer = answers::read(&header, reader.head());
        if let Some(id) = answer.prepared {
            self.prepared.learn(id, pending.request.prepares.as_ref());
        }
        if let Some(keyspace) = answer.keyspace {
            self.keyspace = keyspace.into();
        }
        self.agree(&pending, &header);
        self.emit(&pending, (answer.outcome, answer.code), None, sink);
    }

    /// Whether what follows can be read.
    fn agree(&mut self, pending: &Pending, header: &Header) {
        let agrees = matches!(header.opcode, frame::READY | frame::AUTHENTICATE);
        if pending.is_startup && agrees && pending.request.compresses && header.version == 5 {
            self.compression = Compression::OfSegments;
        }
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

    /// Bytes of a direction were missed. What may have been answered is no longer known by its stream once a request may have been missed, which may
    /// have been given the same number.
    pub(super) fn miss(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.pending.iter_mut().for_each(|pending| pending.may_be_answered = true);
        }
        if direction == Direction::Request || self.lanes.request.is_lost() {
            while let Some(at) = self.pending.position(|pending| pending.may_be_answered) {
                self.pending.remove(at);
                self.losses.lose(self.unknown, sink);
            }
        }
    }

    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        let begun = self.begun();
        while let Some(mut pending) = self.pending.pop().filter(|_| is_known) {
            let answer = begun.filter(|(stream, _)| *stream == pending.stream).map(|(_, start)| start);
            pending.span.answer = answer.map(|start| (start, self.at.response.reached()));
            match how.of_open(answer.is_some()) {
                Some(_) if pending.may_be_answered => self.losses.lose(self.unknown, sink),
                Some((failure, outcome)) => self.emit(&pending, (outcome, Code::default()), Some(failure), sink),
                None => self.losses.lose(LossReason::Unfinished, sink),
            }
        }
        self.pending = Queue::default();
    }

    /// The answer of which a part has come: its stream, and where it begins.
    fn begun(&self) -> Option<(i16, Mark)> {
        let lane = &self.lanes.response;
        let start = lane.reader.start().filter(|_| lane.is_within())?;
        Some((frame::header(lane.reader.head(), Direction::Response)?.stream, start))
    }

    fn emit(
        &mut self,
        pending: &Pending,
        (outcome, code): (Outcome, Code),
        failure: Option<Failure>,
        sink: &mut Sink<'_>,
    ) {
        if pending.request.is_unknown {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        sink(Event::Exchange(Exchange {
            resource: &pending.keyspace,
            kind: Kind::Call,
            outcome,
            code,
            failure,
            ..pending.span.exchange(Self::NAME, &pending.request.operation, self.now_ns)
        }));
    }
}
