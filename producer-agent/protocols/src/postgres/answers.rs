//! The server's messages.
//!
//! In: its bytes in order. Out: what became of each step, in the order of the steps.

use super::exchanges::{Done, Failed};
use super::message::{Message, Progress, Reader, Speaker, split_string, sqlstate as code_of};
use super::steps::{Step, What};
use super::{Phase, Postgres, sqlstate};
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::statements::Names;
use crate::stream::Mark;
use crate::{Code, Kind, LossReason, Outcome, Recognition, Sink};

/// What a message of the server does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// More of the same step's answer follows.
    GoesOn,
    /// The step is done.
    Done,
    Failed,
    /// The unit is over.
    Ready,
    /// From here on both sides speak as they like.
    TakesOver,
    /// It is no answer to what was asked.
    Wrong,
}

impl Postgres {
    pub(super) fn read_answers(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.answered = true;
        if !self.synced {
            // It answers what was asked before.
            if self.recognition() == Recognition::Undecided && self.at.request.last_ns == 0 {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            return;
        }
        if self.blind.is_some() {
            return self.read_blindly(&cursor, sink);
        }
        let mut reader = std::mem::take(&mut self.readers.response);
        while !cursor.is_done() && self.synced && self.recognition() != Recognition::Foreign {
            if self.phase != Phase::Messages {
                self.take_first_answer(&mut cursor, sink);
                continue;
            }
            match reader.read(&mut cursor, Speaker::Server) {
                Progress::More => {}
                Progress::Complete(message) => {
                    let is_ready = self.take_answer(&message, sink);
                    if is_ready && self.on_probation && self.synced {
                        self.end_probation(cursor.is_done(), sink);
                    }
                }
                Progress::Malformed => return self.misread(sink),
                Progress::Blind => {
                    self.go_blind(Mark { position: cursor.end, at_ns: cursor.at_ns }, sink);
                    reader = Reader::default();
                    break;
                }
            }
        }
        if self.synced {
            self.readers.response = reader;
        }
    }

    /// The byte that says whether what follows is encrypted.
    fn take_first_answer(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        match (self.phase, cursor.captured.first()) {
            (Phase::EncryptionAsked, Some(answer @ (b'S' | b'G'))) => {
                // The other one is Kerberos's own.
                self.begins_tls = *answer == b'S';
                self.losses.recognise(sink);
                self.losses.lose(LossReason::Upgraded, sink);
                self.become_foreign();
            }
            (Phase::EncryptionAsked, Some(b'N')) => {
                self.phase = Phase::Start;
                cursor.skip(1);
            }
            _ => self.become_foreign(),
        }
    }

    /// Says whether a unit has ended.
    fn take_answer(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) -> bool {
        // These come at any time and answer nothing.
        if matches!(message.kind, b'N' | b'A' | b'S') {
            return false;
        }
        while self.steps.front().is_some_and(Step::is_copied) {
            self.steps.pop();
        }
        let Some(front) = self.steps.front() else {
            match message.kind {
                // The server says why it will go.
                b'E' if self.recognition() == Recognition::Recognised => {
                    self.confirm(sink);
                    self.losses.lose(LossReason::UnsolicitedResponse, sink);
                }
                _ => self.misread(sink),
            }
            return false;
        };
        let effect = if self.failed.is_some() && !matches!(front.what, What::Query(_) | What::FunctionCall) {
            if message.kind == b'Z' { Effect::Ready } else { Effect::Wrong }
        } else {
            effect(&front.what, message.kind)
        };
        // Rows can be the rest of the answer before.
        let is_doubtful = self.presumed.is_some()
            && (matches!(message.kind, b'D' | b'd') || (message.kind == b'Z' && front.is_executed()));
        let is_expected = effect != Effect::Wrong
            && !is_doubtful
            && !(self.on_probation && message.kind == b'C' && !tag_fits(front, &mut self.portals, message));
        if !is_expected {
            self.misread(sink);
            return false;
        }
        let (group, is_start) = (front.group.position, matches!(front.what, What::Startup));
        self.confirm(sink);
        if is_start {
            self.losses.recognise(sink);
        }
        if self.answer.is_none_or(|(answered, _)| answered != group) {
            self.answer = Some((group, message.start));
        }
        self.follow_copying(message);
        match effect {
            Effect::GoesOn => {}
            Effect::Done => self.end_step(message, sink),
            Effect::Failed => self.fail(message),
            Effect::Ready => self.end_unit(message.end, message.body.first() == Some(&b'I'), sink),
            Effect::TakesOver => self.take_over(message, sink),
            Effect::Wrong => {}
        }
        effect == Effect::Ready
    }

    /// Data from the client begins, or is over.
    fn follow_copying(&mut self, message: &Message<'_>) {
        match message.kind {
            b'G' => self.copies_in = true,
            b'C' if self.copies_in => {
                self.copies_in = false;
                let reached = self.at.request.reached();
                let Some(mut front) = self.steps.pop() else { return };
                front.end = if self.copy_unseen { reached } else { front.end };
                // What was sent while the data came counts for nothing.
                while !self.copy_unseen
                    && let Some(step) = self.steps.pop()
                {
                    if matches!(step.what, What::CopyEnd) {
                        front.end = step.end;
                        break;
                    }
                }
                self.steps.push_front(front);
            }
            _ => {}
        }
        if message.kind == b'C' {
            self.follow_deallocation(tag(message));
        }
    }

    /// Statements that were prepared can be given up by one in SQL, too.
    fn follow_deallocation(&mut self, tag: Option<&[u8]>) {
        match tag {
            Some(b"DEALLOCATE") => {}
            Some(b"DEALLOCATE ALL" | b"DISCARD ALL") => return self.statements.clear(),
            _ => return,
        }
        // One Execute runs one statement. Which of several in a query this is cannot be told.
        let front = self.steps.front().map(|front| &front.what);
        let operation = match front {
            Some(What::Execute { portal: Some(portal) }) => self.portals.get(portal),
            _ => None,
        };
        match operation.as_deref().and_then(|operation| operation.strip_prefix("DEALLOCATE ")) {
            Some(name) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                self.statements.remove(name.to_ascii_lowercase().as_bytes());
            }
            _ => self.statements.clear(),
        }
    }

    fn end_step(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let Some(step) = self.steps.pop() else { return };
        match &step.what {
            What::Parse { name: Some(name), operation } => self.statements.insert(name, operation.clone()),
            What::Parse { name: None, .. } => self.statements.clear(),
            What::Bind { portal: Some(portal), statement } => {
                let operation = statement.as_ref().and_then(|name| self.statements.get(name));
                self.portals.insert(portal, operation);
            }
            What::Bind { portal: None, .. } => self.portals.clear(),
            What::Close { is_portal: false, name: Some(name) } => self.statements.remove(name),
            What::Close { is_portal: true, name: Some(name) } => self.portals.remove(name),
            What::Execute { .. } => {
                let operation = self.operation_of(&step.what);
                if let Some((_, start)) = self.answer.take() {
                    self.finish(Done::of(&step, operation, (start, message.end)), sink);
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self, message: &Message<'_>) {
        let Some(mut front) = self.steps.pop() else { return };
        // Of a query's errors the first one counts.
        if self.failed.is_none() && !matches!(front.what, What::Startup) {
            let code = code_of(message.body);
            let start = self.answer.map_or(message.start, |(_, start)| start);
            self.failed = Some(Failed {
                code: code.map_or(Code::default(), |code| Code::new(&code)),
                outcome: code.map_or(Outcome::Unknown, |code| sqlstate::outcome(&code)),
                operation: self.operation_of(&front.what),
                group: front.group,
                end: front.end,
                answer: (start, message.end),
                copied_in: self.copies_in,
            });
        }
        if let What::Parse { name, .. } = &front.what {
            // The server forgets the unnamed statement first; a named one stays.
            match name {
                Some(name) if !name.is_empty() => {}
                Some(name) => self.statements.remove(name),
                None => self.statements.clear(),
            }
        }
        if self.copy_unseen {
            front.end = self.at.request.reached();
        }
        self.copies_in = false;
        self.steps.push_front(front);
    }

    /// The server is ready for what comes next.
    fn end_unit(&mut self, end: Mark, is_outside_of_transaction: bool, sink: &mut Sink<'_>) {
        if is_outside_of_transaction {
            self.portals.clear();
        }
        let start = self.answer.take().map(|(_, start)| start);
        let failed = self.failed.take();
        self.copies_in = false;
        let is_single = self.steps.front().is_some_and(|front| !matches!(front.what, What::Sync) && front.ends_unit());
        if is_single {
            if let Some(front) = self.steps.pop().filter(Step::is_executed) {
                self.end_query(&front, failed, (start.unwrap_or(end), end), sink);
            }
        } else if let Some(failed) = failed {
            self.end_failed(failed, sink);
        } else {
            self.steps.pop();
        }
        if std::mem::take(&mut self.copy_unseen) {
            while self.steps.pop().is_some() {}
            self.readers.request = Reader::default();
        }
    }

    fn end_query(&mut self, front: &Step, failed: Option<Failed>, answer: (Mark, Mark), sink: &mut Sink<'_>) {
        if matches!(front.what, What::Query(_)) {
            self.statements.remove(b"");
            self.portals.remove(b"");
        }
        let operation = self.operation_of(&front.what);
        let mut done = Done::of(front, operation, answer);
        if let Some(failed) = failed {
            (done.outcome, done.code) = (failed.outcome, failed.code);
        }
        self.finish(done, sink);
    }

    /// What stands up to the Sync was never executed.
    fn end_failed(&mut self, failed: Failed, sink: &mut Sink<'_>) {
        let copied_in = failed.copied_in;
        let done = self.resolve(failed);
        self.finish(done, sink);
        let data = self.steps.iter().position(Step::is_copied).filter(|_| copied_in);
        let is_sync = |step: &Step| matches!(step.what, What::Sync);
        let after_data = data.filter(|data| self.steps.iter().skip(*data).any(is_sync));
        for _ in 0..after_data.unwrap_or_default() {
            self.steps.pop();
        }
        while let Some(step) = self.steps.pop() {
            if matches!(step.what, What::Sync) {
                return;
            }
        }
        self.misread(sink);
    }

    /// The exchange that an error belongs to: that of the Execute of its group, if there is one.
    pub(super) fn resolve(&mut self, failed: Failed) -> Done {
        let of_group = self.steps.iter().take_while(|step| step.group.position == failed.group.position);
        let executed = of_group.clone().find(|step| step.is_executed()).or(of_group.last());
        let end = executed.map_or(failed.end, |step| step.end);
        failed.done(end)
    }

    fn take_over(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let Some(front) = self.steps.pop() else { return };
        let start = self.answer.take().map_or(message.start, |(_, start)| start);
        let operation = self.operation_of(&front.what);
        let done = Done { kind: Kind::Stream, ..Done::of(&front, operation, (start, message.end)) };
        self.losses.recognise(sink);
        self.emit(&done, sink);
        self.become_foreign();
    }

    /// A message that cannot stand here.
    pub(super) fn misread(&mut self, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided && !self.on_probation {
            return self.become_foreign();
        }
        if self.steps.is_empty() {
            self.losses.lose(LossReason::UnsolicitedResponse, sink);
        }
        // The next request came before the answer was over.
        self.pipelined |= self.presumed.is_some();
        self.lose_track(if self.on_probation { LossReason::Ambiguous } else { LossReason::MalformedResponse }, sink);
    }
}

/// What a message of this kind does to the step that is to be answered.
fn effect(step: &What, kind: u8) -> Effect {
    match (step, kind) {
        (What::Startup, b'R' | b'K' | b'v') => Effect::GoesOn,
        (What::Startup, b'E') => Effect::Failed,
        (What::Startup | What::Query(_) | What::FunctionCall | What::Sync, b'Z') => Effect::Ready,
        (What::Query(_) | What::Execute { .. }, b'W') => Effect::TakesOver,
        (What::Query(_), b'T' | b'D' | b'C' | b'I' | b'G' | b'H' | b'd' | b'c') => Effect::GoesOn,
        (What::FunctionCall, b'V') => Effect::GoesOn,
        (What::Parse { .. }, b'1') | (What::Bind { .. }, b'2') | (What::Close { .. }, b'3') => Effect::Done,
        (What::Describe { is_portal: false, .. }, b't') => Effect::GoesOn,
        (What::Describe { .. }, b'T' | b'n') => Effect::Done,
        (What::Execute { .. }, b'D' | b'G' | b'H' | b'd' | b'c') => Effect::GoesOn,
        (What::Execute { .. }, b'C' | b'I' | b's') => Effect::Done,
        (What::Startup | What::CopyData | What::CopyEnd, _) => Effect::Wrong,
        (_, b'E') => Effect::Failed,
        _ => Effect::Wrong,
    }
}

/// What a CommandComplete says was done.
fn tag<'m>(message: &Message<'m>) -> Option<&'m [u8]> {
    split_string(message.body).map(|(tag, _)| tag)
}

/// Whether the server says that it did what the statement asks for. Only of statements that are always called alike.
fn tag_fits(step: &Step, portals: &mut Names, message: &Message<'_>) -> bool {
    let operation = match &step.what {
        What::Query(operation) => operation.clone(),
        What::Execute { portal: Some(portal) } => portals.get(portal),
        _ => None,
    };
    let (Some(operation), Some(tag)) = (operation, tag(message)) else { return true };
    let verb = operation.split(' ').next().unwrap_or_default();
    let is_plain = matches!(verb, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "BEGIN");
    !is_plain || tag.starts_with(verb.as_bytes())
}
