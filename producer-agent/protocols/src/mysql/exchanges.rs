//! Exchanges that are over, and the end of the connection.
//!
//! In: commands with what was answered. Out: exchanges; one that is on probation waits until it has passed.

use std::borrow::Cow;
use std::sync::Arc;

use super::Mysql;
use super::commands::{Name, Pending, Shape};
use super::database::Change;
use crate::asked::Span;
use crate::operation::UNKNOWN;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{CloseReason, Code, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// An exchange that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub name: Name,
    pub resource: Arc<str>,
    pub start: Mark,
    pub end: Mark,
    /// From the first byte of the answer to its end.
    pub answer: Option<(Mark, Mark)>,
    pub kind: Kind,
    pub outcome: Outcome,
    pub code: Code,
    pub failure: Option<Failure>,
}

impl Done {
    /// What became of a command that was answered.
    pub fn of(pending: Pending, answer: (Mark, Mark)) -> Self {
        Self {
            name: pending.name,
            resource: pending.resource,
            start: pending.start,
            end: pending.end,
            answer: Some(answer),
            kind: Kind::Call,
            outcome: Outcome::Ok,
            code: Code::default(),
            failure: None,
        }
    }
}

impl Name {
    fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Fixed(name) => Cow::Borrowed(name),
            Self::Statement(Some(statement)) => Cow::Borrowed(statement),
            Self::Prepare(Some(statement)) => Cow::Owned(format!("PREPARE {statement}")),
            Self::Statement(None) | Self::Prepare(None) | Self::LastPrepared => Cow::Borrowed(UNKNOWN),
        }
    }
}

impl Mysql {
    pub(super) fn finish(&mut self, done: Done, sink: &mut Sink<'_>) {
        if self.on_probation {
            // One command is on probation at a time.
            self.held = Some(done);
        } else {
            self.emit(&done, sink);
        }
    }

    pub(super) fn emit(&self, done: &Done, sink: &mut Sink<'_>) {
        let name = done.name.shown();
        let span = Span { start: done.start, end: done.end, answer: done.answer };
        sink(Event::Exchange(Exchange {
            resource: &done.resource,
            kind: done.kind,
            outcome: done.outcome,
            code: done.code,
            failure: done.failure,
            ..span.exchange(Mysql::NAME, &name, self.now_ns)
        }));
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        let mut pending = self.pending.pop_front()?;
        self.pending_bytes -= pending.heap_bytes();
        // What was asked before it has been answered.
        pending.resource = match &pending.change {
            Change::To(name) => Arc::clone(name),
            Change::Nothing | Change::Unknown => Arc::clone(&self.database),
        };
        Some(pending)
    }

    /// A command is over that may have changed the database.
    pub(super) fn change_database(&mut self, change: Change, outcome: Outcome) {
        match (change, outcome) {
            (Change::Nothing, _) | (Change::To(_), Outcome::ClientError | Outcome::ServerError) => {}
            (Change::To(name), Outcome::Ok) => self.database = name,
            (Change::To(_) | Change::Unknown, _) => self.database = Arc::default(),
        }
    }

    /// The connection is over, or no longer watched.
    pub(super) fn close_open(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let is_known = self.recognition() == Recognition::Recognised;
        let is_over = how != CloseReason::Unobserved;
        if !self.synced {
            return;
        }
        if is_known && is_over && !self.on_probation {
            // Nothing came that could contradict where the last answer ended.
            if self.readers.response.is_at_start()
                && let Some(Some(done)) = self.presumed.take()
            {
                self.emit(&done, sink);
            }
            self.settle_definitions(sink);
            if self.blind.is_none() {
                self.close_pending(how, sink);
            }
        }
        let reason = if self.blind.is_some() { LossReason::HeadNotCaptured } else { LossReason::Unfinished };
        if !self.readers.request.is_at_start() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.lose_track(reason, sink);
    }

    fn close_pending(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        while let Some(pending) = self.pop() {
            let start = self.answer.take().map(|answer| answer.start);
            let Some((failure, outcome)) = how.of_open(start.is_some()) else { continue };
            let kind = if pending.shape == Shape::Stream { Kind::Stream } else { Kind::Call };
            let answer = start.map(|start| (start, self.at.response.reached()));
            let done = Done {
                name: pending.name,
                resource: pending.resource,
                start: pending.start,
                end: pending.end,
                answer,
                kind,
                outcome,
                code: Code::default(),
                failure: Some(failure),
            };
            self.emit(&done, sink);
        }
    }
}
