//! Commands that wait for their answers, and what becomes of them.

use super::Memcached;
use super::commands::{Command, Part, Reply, Shape};
use super::message::{Message, Progress};
use crate::asked::Span;
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// One command, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    pub command: Command,
    start: Mark,
    end: Mark,
    /// Where its answer begins.
    answer: Option<Mark>,
    /// Where it ends, of a quiet one.
    answer_end: Option<Mark>,
    /// Of one that is answered only sometimes.
    code: Code,
    outcome: Outcome,
}

/// Whose answer a message is.
enum Owner {
    /// Of the first command that is always answered.
    Certain(usize, Part),
    /// Of one of so many quiet commands among the first ones.
    Quiet {
        among: usize,
        count: usize,
        code: Code,
        outcome: Outcome,
    },
    /// Of either.
    Unclear,
    Nobody,
}

impl Pending {
    pub fn of(command: Command, start: Mark, end: Mark) -> Self {
        Self { command, start, end, answer: None, answer_end: None, code: Code::default(), outcome: Outcome::Ok }
    }

    /// What a message says, if it may answer this command though it is quiet.
    fn answers_quietly(&self, message: &Message) -> Option<(Code, Outcome)> {
        self.command.answers_quietly(message).filter(|_| self.answer.is_none())
    }
}

impl Memcached {
    pub(super) fn read_answers(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.answered = true;
        if !self.synced {
            // It answers what was asked before.
            if self.recognition() == Recognition::Undecided && self.at.request.last_ns == 0 {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            return;
        }
        let Some(is_binary) = self.is_binary else { return self.misread(LossReason::MalformedResponse, sink) };
        while !cursor.is_done() && self.synced && self.recognition() != Recognition::Foreign {
            match self.readers.response.read(&mut cursor, is_binary, Direction::Response) {
                Progress::More => {}
                Progress::Complete(start, message) => self.take_answer(&message, start, cursor.mark(), sink),
                Progress::Malformed => self.misread(LossReason::MalformedResponse, sink),
                Progress::Blind => self.unsync(LossReason::HeadNotCaptured, sink),
            }
        }
    }

    fn take_answer(&mut self, message: &Message, start: Mark, end: Mark, sink: &mut Sink<'_>) {
        match self.owner(message) {
            Owner::Certain(at, part) => {
                self.losses.recognise(sink);
                // What stands before it was not answered, as was asked for.
                for _ in 0..at {
                    self.tell_first(sink);
                }
                if let Some(front) = self.pending.front_mut() {
                    front.answer.get_or_insert(start);
                }
                if let Part::Last(code, outcome) = part {
                    self.end_command(end, (code, outcome), sink);
                }
            }
            Owner::Quiet { among, count, code, outcome } => {
                self.losses.recognise(sink);
                // Which of several it was is not known.
                let (code, outcome) = match (count, outcome) {
                    (1, _) => (code, outcome),
                    (_, Outcome::Ok) => return,
                    _ => (Code::default(), Outcome::Unknown),
                };
                for pending in self.pending.iter_mut().take(among) {
                    if pending.answers_quietly(message).is_some() {
                        (pending.code, pending.outcome) = (code, outcome);
                        if count == 1 {
                            (pending.answer, pending.answer_end) = (Some(start), Some(end));
                        }
                    }
                }
            }
            Owner::Unclear => self.unsync(LossReason::Ambiguous, sink),
            Owner::Nobody => {
                if self.pending.is_empty() && self.recognition() == Recognition::Recognised {
                    self.losses.lose(LossReason::UnsolicitedResponse, sink);
                }
                self.misread(LossReason::MalformedResponse, sink);
            }
        }
    }

    fn owner(&self, message: &Message) -> Owner {
        let certain = self.pending.iter().position(|pending| pending.command.reply == Reply::Always);
        let part = certain.map_or(Part::Foreign, |at| self.pending[at].command.part(message));
        let is_begun = certain.is_some_and(|at| self.pending[at].answer.is_some());
        let among = certain.unwrap_or(self.pending.len());
        let quiet = self.pending.iter().take(among).filter_map(|pending| pending.answers_quietly(message));
        let (count, first) = quiet.fold((0, None), |(count, first), answer| (count + 1, first.or(Some(answer))));
        match (part, first.filter(|_| !is_begun)) {
            (Part::Foreign, None) => Owner::Nobody,
            (Part::Foreign, Some((code, outcome))) => Owner::Quiet { among, count, code, outcome },
            (part, None) => Owner::Certain(certain.unwrap_or_default(), part),
            (_, Some(_)) => Owner::Unclear,
        }
    }

    fn end_command(&mut self, end: Mark, (code, outcome): (Code, Outcome), sink: &mut Sink<'_>) {
        let Some(mut pending) = self.pending.pop_front() else { return };
        (pending.code, pending.outcome) = (code, outcome);
        let takes_over = pending.command.shape == Shape::Stream && outcome == Outcome::Ok;
        self.tell(&pending, Some(end), None, sink);
        if self.pending.is_empty() {
            self.doubts = self.doubts.saturating_sub(1);
        }
        self.tell_silent(sink);
        if takes_over {
            self.unsync(LossReason::Upgraded, sink);
            self.become_foreign();
        }
    }

    /// Tells of commands that nothing will answer, once all before them were.
    pub(super) fn tell_silent(&mut self, sink: &mut Sink<'_>) {
        while self.recognition() == Recognition::Recognised
            && self.pending.front().is_some_and(|front| front.command.reply == Reply::Never)
        {
            self.tell_first(sink);
        }
    }

    fn tell_first(&mut self, sink: &mut Sink<'_>) {
        if let Some(pending) = self.pending.pop_front()
            && !matches!(pending.command.name, "QUIT" | "SHUTDOWN")
        {
            self.tell(&pending, None, None, sink);
        }
    }

    /// What is believed comes out, the rest is counted.
    fn tell(&mut self, pending: &Pending, end: Option<Mark>, failure: Option<Failure>, sink: &mut Sink<'_>) {
        if self.doubts > 0 {
            self.losses.lose(LossReason::StartedBeforeCapture, sink);
        } else {
            self.emit(pending, end, failure, sink);
        }
    }

    pub(super) fn close_pending(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        while let Some(mut pending) = self.pending.pop_front().filter(|_| is_known) {
            let open = how.of_open(pending.answer.is_some()).filter(|_| pending.command.reply == Reply::Always);
            let Some((failure, outcome)) = open else {
                if matches!(pending.command.name, "QUIT" | "SHUTDOWN") {
                    continue;
                }
                if pending.command.reply == Reply::Never {
                    self.tell(&pending, None, None, sink);
                } else if how == CloseReason::Unobserved {
                    self.losses.lose(LossReason::Unfinished, sink);
                } else {
                    pending.outcome = Outcome::Unknown;
                    self.tell(&pending, None, None, sink);
                }
                continue;
            };
            pending.outcome = outcome;
            self.tell(&pending, None, Some(failure), sink);
        }
    }

    fn misread(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided {
            return self.become_foreign();
        }
        self.unsync(reason, sink);
    }

    fn emit(&self, pending: &Pending, end: Option<Mark>, failure: Option<Failure>, sink: &mut Sink<'_>) {
        let end = end.or(pending.answer_end);
        let answer = pending.answer.map(|start| (start, end.unwrap_or(self.at.response.reached())));
        let kind = match (pending.command.reply, pending.command.shape) {
            (_, Shape::Stream) => Kind::Stream,
            (Reply::Always, _) => Kind::Call,
            // Somebody answered all the same.
            (Reply::Sometimes(_), _) if answer.is_some() => Kind::Call,
            (Reply::Sometimes(_) | Reply::Never, _) => Kind::OneWay,
        };
        let span = Span { start: pending.start, end: pending.end, answer };
        sink(Event::Exchange(Exchange {
            kind,
            outcome: pending.outcome,
            code: pending.code,
            failure,
            ..span.exchange(Memcached::NAME, pending.command.name, self.now_ns)
        }));
    }
}
