//! Exchanges that are over, and the end of the connection.
//!
//! In: steps with what was answered. Out: exchanges; those of a unit on probation wait until it has passed.

use super::Postgres;
use super::message::Message;
use super::steps::{Step, What};
use crate::asked::Span;
use crate::operation::UNKNOWN;
use crate::protocol::Protocol;
use crate::statements::Operation;
use crate::stream::Mark;
use crate::{CloseReason, Code, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// Exchanges of one unit that wait for it to pass.
const HELD_EXCHANGES_MAX: usize = 256;

/// An exchange that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub operation: Operation,
    pub start: Mark,
    pub end: Mark,
    /// From the first byte of the answer to its end.
    pub answer: Option<(Mark, Mark)>,
    pub kind: Kind,
    pub outcome: Outcome,
    pub code: Code,
    pub failure: Option<Failure>,
}

/// An error that ends the unit.
#[derive(Debug)]
pub(super) struct Failed {
    pub code: Code,
    pub outcome: Outcome,
    pub operation: Operation,
    /// Of the step that failed.
    pub group: Mark,
    pub end: Mark,
    pub answer: (Mark, Mark),
    /// It failed while data came in, before which a Sync counts for nothing.
    pub copied_in: bool,
}

impl Done {
    /// What became of a step that was answered.
    pub fn of(step: &Step, operation: Operation, answer: (Mark, Mark)) -> Self {
        Self {
            operation,
            start: step.group,
            end: step.end,
            answer: Some(answer),
            kind: Kind::Call,
            outcome: Outcome::Ok,
            code: Code::default(),
            failure: None,
        }
    }
}

impl Failed {
    pub fn done(self, end: Mark) -> Done {
        Done {
            operation: self.operation,
            start: self.group,
            end,
            answer: Some(self.answer),
            kind: Kind::Call,
            outcome: self.outcome,
            code: self.code,
            failure: None,
        }
    }
}

impl Postgres {
    pub(super) fn finish(&mut self, done: Done, sink: &mut Sink<'_>) {
        if !self.on_probation {
            self.emit(&done, sink);
        } else if self.held.len() < HELD_EXCHANGES_MAX {
            self.held.push(done);
        } else {
            self.losses.lose(LossReason::TooManyPipelined, sink);
        }
    }

    pub(super) fn emit_cancel(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let done = Done {
            operation: Some("CANCEL".into()),
            start: message.start,
            end: message.end,
            answer: None,
            kind: Kind::OneWay,
            outcome: Outcome::Ok,
            code: Code::default(),
            failure: None,
        };
        self.emit(&done, sink);
    }

    pub(super) fn emit(&self, done: &Done, sink: &mut Sink<'_>) {
        let span = Span { start: done.start, end: done.end, answer: done.answer };
        sink(Event::Exchange(Exchange {
            resource: &self.database,
            kind: done.kind,
            outcome: done.outcome,
            code: done.code,
            failure: done.failure,
            ..span.exchange(Postgres::NAME, shown(&done.operation), self.now_ns)
        }));
    }

    /// What a step that is executed is called, as the names stand now.
    pub(super) fn operation_of(&mut self, step: &What) -> Operation {
        match step {
            What::Query(operation) | What::Parse { operation, .. } => operation.clone(),
            What::FunctionCall => Some("FUNCTION CALL".into()),
            What::Execute { portal } => self.portals.get(portal.as_ref()?),
            What::Bind { statement, .. } => self.statements.get(statement.as_ref()?),
            What::Describe { is_portal: true, name } => self.portals.get(name.as_ref()?),
            What::Describe { is_portal: false, name } => self.statements.get(name.as_ref()?),
            What::Sync => Some("SYNC".into()),
            What::Close { .. } => Some("CLOSE".into()),
            What::Startup | What::CopyData | What::CopyEnd => None,
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
            if let Some(Some(done)) = self.presumed.take() {
                self.emit(&done, sink);
            }
            if let Some(failed) = self.failed.take() {
                self.close_failed(failed, sink);
            } else if self.blind.is_none() {
                self.close_steps(how, sink);
            }
        }
        let reason = if self.blind.is_some() { LossReason::HeadNotCaptured } else { LossReason::Unfinished };
        if !self.readers.request.is_at_start() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.lose_track(reason, sink);
    }

    /// The server has said why, and then it has ended the connection: what stood behind was never executed.
    fn close_failed(&mut self, failed: Failed, sink: &mut Sink<'_>) {
        let done = self.resolve(failed);
        self.finish(done, sink);
        while self.steps.pop().is_some() {}
    }

    fn close_steps(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        while let Some(step) = self.steps.pop() {
            self.settle_names(&step);
            if !step.is_executed() {
                continue;
            }
            let start = self.answer.take().filter(|(group, _)| *group == step.group.position).map(|(_, start)| start);
            let Some((failure, outcome)) = how.of_open(start.is_some()) else { continue };
            let operation = self.operation_of(&step.what);
            let answer = start.map(|start| (start, self.at.response.reached()));
            let done = Done {
                operation,
                start: step.group,
                end: step.end,
                answer,
                kind: Kind::Call,
                outcome,
                code: Code::default(),
                failure: Some(failure),
            };
            self.emit(&done, sink);
        }
    }

    /// Takes the names that an unanswered step would have set as if it had succeeded: that is what the steps behind it were to run.
    fn settle_names(&mut self, step: &Step) {
        match &step.what {
            What::Parse { name: Some(name), operation } => self.statements.insert(name, operation.clone()),
            What::Bind { portal: Some(portal), statement } => {
                let operation = statement.as_ref().and_then(|name| self.statements.get(name));
                self.portals.insert(portal, operation);
            }
            _ => {}
        }
    }
}

/// Drivers number the statements that they give up: that is no other operation each time.
fn shown(operation: &Operation) -> &str {
    match operation.as_deref() {
        Some(text) if text.starts_with("DEALLOCATE") => "DEALLOCATE",
        Some(text) => text,
        None => UNKNOWN,
    }
}
