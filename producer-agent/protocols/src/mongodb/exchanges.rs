//! Requests that wait for their answers, and what becomes of them.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::answers::{self, Answer};
use super::message::{self, Opcode};
use super::requests::{self, Answered, Request};
use super::{Mongodb, Reader};
use crate::asked::{Queue, Span, Waits};
use crate::lanes::Reader as _;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{
    CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Side, Sink,
};

/// Cursors whose waiting is known; the one that was opened first makes room.
const WAITING_CURSORS_MAX: usize = 32;

/// One request, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    request: Request,
    id: u32,
    span: Span,
    /// It was counted as lost; its answer is passed over.
    is_lost: bool,
    /// Its answer may have been missed.
    pub may_be_answered: bool,
}

impl Waits for Pending {
    fn heap_bytes(&self) -> usize {
        let operation = match &self.request.operation {
            Cow::Owned(name) => name.capacity(),
            Cow::Borrowed(_) => 0,
        };
        self.request.resource.len() + operation
    }
}

/// A request that has been answered, and is answered again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed {
    id: u32,
    /// Servers answer what they have answered before.
    last: u32,
}

/// What waits when it is asked for more.
#[derive(Debug, Default)]
pub(super) struct WaitingCursors {
    ids: VecDeque<i64>,
}

impl WaitingCursors {
    fn contains(&self, id: i64) -> bool {
        self.ids.contains(&id)
    }

    fn insert(&mut self, id: i64) {
        if self.contains(id) {
            return;
        }
        if self.ids.len() >= WAITING_CURSORS_MAX {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    fn remove(&mut self, id: i64) {
        self.ids.retain(|known| *known != id);
    }

    pub fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<i64>()
    }
}

impl Mongodb {
    /// A message of the client.
    pub(super) fn request(&mut self, reader: &Reader, (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(header) = message::header(reader.head()) else { return };
        let mut request = requests::read(header.opcode, reader.head(), reader.is_cut());
        request.waits |= request.cursor.is_some_and(|cursor| self.waiting_cursors.contains(cursor));
        let mut pending = Pending {
            id: header.id,
            span: Span { start, end, answer: None },
            is_lost: false,
            may_be_answered: self.lanes.response.is_lost(),
            request,
        };
        if pending.request.answered == Answered::Unknown && header.opcode == Opcode::Message {
            self.losses.lose(LossReason::HeadNotCaptured, sink);
            pending.is_lost = true;
        }
        if self.pending.len() >= self.options.pending_exchanges_max as usize {
            if !pending.is_lost {
                self.losses.lose(LossReason::TooManyPipelined, sink);
            }
            self.unknown_answers += u64::from(pending.request.answered != Answered::No);
            return;
        }
        self.pending.push(pending);
        self.tell_silent(sink);
    }

    /// Tells of requests that nothing answers.
    fn tell_silent(&mut self, sink: &mut Sink<'_>) {
        while self.recognition() == Recognition::Recognised
            && let Some(at) = self.pending.position(|pending| pending.request.answered == Answered::No)
            && let Some(pending) = self.pending.remove(at)
        {
            self.emit(&pending, Kind::OneWay, (Outcome::Ok, Code::default()), None, sink);
        }
    }

    fn owner(&self, id: u32) -> Option<usize> {
        self.pending.position(|pending| pending.id == id && pending.request.answered != Answered::No)
    }

    /// A message of the server.
    pub(super) fn answer(&mut self, reader: &Reader, (start, end): (Mark, Mark), sink: &mut Sink<'_>) {
        let Some(header) = message::header(reader.head()) else { return };
        let Some(at) = self.owner(header.answers) else {
            let answer = answers::read(header.opcode, reader.head(), true);
            return self.unowned((header.id, header.answers), answer.more_to_come, sink);
        };
        self.losses.recognise(sink);
        self.settle_compressed(at, sink);
        let Some(mut pending) = self.owner(header.answers).and_then(|at| self.pending.remove(at)) else { return };
        pending.span.answer = Some((start, end));
        let is_command = pending.request.operation.as_ref() != Opcode::Query.name()
            && pending.request.operation.as_ref() != Opcode::GetMore.name();
        let answer = answers::read(header.opcode, reader.head(), is_command);
        self.streamed = answer.more_to_come.then_some(Streamed { id: header.answers, last: header.id });
        self.learn_cursor(&pending.request, &answer);
        let kind = match () {
            () if pending.request.waits || answer.has_waited => Kind::Wait,
            () if answer.more_to_come => Kind::Stream,
            () => Kind::Call,
        };
        if !pending.is_lost {
            self.emit(&pending, kind, (answer.outcome, answer.code), None, sink);
        }
        self.tell_silent(sink);
    }

    /// Whether what is compressed is answered shows in what is answered behind it, since servers keep the order.
    fn settle_compressed(&mut self, before: usize, sink: &mut Sink<'_>) {
        let mut at = 0;
        for _ in 0..before {
            if self.pending[at].request.answered != Answered::Unknown || self.pending[at].is_lost {
                at += 1;
            } else if let Some(pending) = self.pending.remove(at) {
                if pending.may_be_answered {
                    self.losses.lose(self.unknown, sink);
                } else {
                    self.emit(&pending, Kind::OneWay, (Outcome::Ok, Code::default()), None, sink);
                }
            }
        }
    }

    fn learn_cursor(&mut self, request: &Request, answer: &Answer) {
        match (answer.cursor, request.cursor) {
            (Some(cursor), _) if request.makes_waiting || answer.has_waited => self.waiting_cursors.insert(cursor),
            (None, Some(cursor)) if answer.outcome != Outcome::Unknown => self.waiting_cursors.remove(cursor),
            _ => {}
        }
    }

    /// An answer to nothing that waits: one more of a stream, or to what was not seen.
    fn unowned(&mut self, (id, answers): (u32, u32), more_to_come: bool, sink: &mut Sink<'_>) {
        let of_stream = self.streamed.filter(|streamed| [streamed.id, streamed.last].contains(&answers));
        if of_stream.is_none() {
            if self.unknown_answers > 0 {
                self.unknown_answers -= 1;
            } else if self.recognition() == Recognition::Undecided && self.unknown == LossReason::UnsolicitedResponse {
                return self.give_up();
            } else {
                self.losses.lose(self.unknown, sink);
            }
        }
        self.streamed =
            more_to_come.then_some(Streamed { id: of_stream.map_or(answers, |streamed| streamed.id), last: id });
    }

    /// Bytes of a direction were missed.
    pub(super) fn miss(&mut self, direction: Direction) {
        if direction == Direction::Response {
            self.pending.iter_mut().for_each(|pending| pending.may_be_answered = true);
        }
    }

    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        let begun = self.begun();
        let by_client =
            matches!(how, CloseReason::Finished { by: Side::Client } | CloseReason::Reset { by: Side::Client });
        while let Some(mut pending) = self.pending.pop().filter(|_| is_known) {
            let answer = begun.filter(|(id, _)| *id == pending.id).map(|(_, start)| start);
            pending.span.answer = answer.map(|start| (start, self.at.response.reached()));
            let end = how.of_open(answer.is_some());
            match (pending.request.answered, end) {
                _ if pending.is_lost => {}
                (Answered::No, _) => {
                    self.emit(&pending, Kind::OneWay, (Outcome::Ok, Code::default()), None, sink);
                }
                (_, Some(_)) if pending.may_be_answered => self.losses.lose(self.unknown, sink),
                // It may be one that is not answered.
                (Answered::Unknown, Some(_)) if answer.is_none() => self.losses.lose(LossReason::Ambiguous, sink),
                (_, Some(_)) if pending.request.waits && by_client => {
                    let left = Some(Failure::ClientLeft);
                    self.emit(&pending, Kind::Wait, (Outcome::Unknown, Code::default()), left, sink);
                }
                (_, Some((failure, outcome))) => {
                    let kind = if pending.request.waits { Kind::Wait } else { Kind::Call };
                    self.emit(&pending, kind, (outcome, Code::default()), Some(failure), sink);
                }
                (_, None) => self.losses.lose(LossReason::Unfinished, sink),
            }
        }
        self.pending = Queue::default();
    }

    /// The answer of which a part has come: what it answers, and where it begins.
    fn begun(&self) -> Option<(u32, Mark)> {
        let lane = &self.lanes.response;
        let start = lane.reader.start().filter(|_| lane.is_within())?;
        Some((message::word(lane.reader.head(), 8)?, start))
    }

    fn emit(
        &mut self,
        pending: &Pending,
        kind: Kind,
        (outcome, code): (Outcome, Code),
        failure: Option<Failure>,
        sink: &mut Sink<'_>,
    ) {
        if pending.request.misses_name {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
        sink(Event::Exchange(Exchange {
            resource: &pending.request.resource,
            kind,
            outcome,
            code,
            failure,
            ..pending.span.exchange(Self::NAME, &pending.request.operation, self.now_ns)
        }));
    }
}
