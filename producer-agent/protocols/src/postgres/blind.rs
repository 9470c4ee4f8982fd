//! An answer of which a message's beginning was not captured: where the messages behind it begin is not known.
//!
//! In: the rest of the answer. Out: its end, in one of two ways, as long as nothing but its own unit is asked:
//!
//! 1. **The last call was seen whole**, and ends in ReadyForQuery behind a message that tells how it went.
//! 2. **The next request** comes. The end is *presumed*, what became of it is not known, and the exchange waits until the server's next
//!    byte turns out to begin the answer to that request. If another thing stands there, it is lost and counted.

use super::exchanges::Done;
use super::message::{Speaker, is_plausible, sqlstate as code_of};
use super::steps::{Step, What};
use super::{Postgres, sqlstate};
use crate::cursor::Cursor;
use crate::stream::Mark;
use crate::{Code, LossReason, Outcome, Sink};

/// ReadyForQuery.
const READY_BYTES: usize = 6;
/// A CommandComplete is no longer, nor is it shorter.
const COMPLETE_BYTES: std::ops::RangeInclusive<usize> = 6..=80;

/// The answer that is passed over.
#[derive(Debug)]
pub(super) struct Blind {
    /// Where its bytes ended so far.
    end: Mark,
}

impl Postgres {
    /// Goes on with the unit that is being answered, if it is the only one. `end` is that of the segment.
    pub(super) fn go_blind(&mut self, end: Mark, sink: &mut Sink<'_>) {
        let units = self.steps.iter().filter(|step| step.ends_unit()).count();
        let is_alone = units == 1 && self.steps.ends_with_unit() && self.readers.request.is_at_start();
        if !is_alone || self.failed.is_some() || self.copies_in {
            if self.steps.is_empty() {
                self.losses.lose(LossReason::HeadNotCaptured, sink);
            }
            return self.lose_track(LossReason::HeadNotCaptured, sink);
        }
        // A description may be what was not seen; what stands before it was answered in sight, or it is not known how.
        while self.steps.front().is_some_and(|step| matches!(step.what, What::Describe { .. })) {
            self.steps.pop();
        }
        let executed = self.steps.iter().filter(|step| step.is_executed()).count();
        let is_next = self.steps.front().is_some_and(Step::is_executed);
        if executed > 0 && !(executed == 1 && is_next) {
            self.drop_executed(sink);
        }
        self.blind = Some(Blind { end });
    }

    /// Of several exchanges in one unit it is not known where each ended.
    fn drop_executed(&mut self, sink: &mut Sink<'_>) {
        let mut last = None;
        while let Some(step) = self.steps.pop() {
            if step.is_executed() {
                self.losses.lose(LossReason::HeadNotCaptured, sink);
            }
            self.forget_names(&step);
            last = Some(step);
        }
        if let Some(sync) = last.filter(|step| matches!(step.what, What::Sync)) {
            self.steps.push(sync);
        }
        self.answer = None;
    }

    /// Whether the step has succeeded is not known.
    fn forget_names(&mut self, step: &Step) {
        match &step.what {
            What::Parse { name: Some(name), .. } | What::Close { is_portal: false, name: Some(name) } => {
                self.statements.remove(name);
            }
            What::Bind { portal: Some(name), .. } | What::Close { is_portal: true, name: Some(name) } => {
                self.portals.remove(name);
            }
            What::Parse { name: None, .. } | What::Close { is_portal: false, name: None } => self.statements.clear(),
            What::Bind { portal: None, .. } | What::Close { is_portal: true, name: None } => self.portals.clear(),
            _ => {}
        }
    }

    pub(super) fn read_blindly(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        let end = Mark { position: cursor.end, at_ns: cursor.at_ns };
        let is_whole = cursor.captured_whole();
        if is_whole && is_of_no_answer(cursor.captured) {
            return;
        }
        if let Some(blind) = &mut self.blind {
            blind.end = end;
        }
        if is_whole && let Some((outcome, code, is_outside)) = tail(cursor.captured) {
            let done = self.end_blind(outcome, code);
            if is_outside {
                self.portals.clear();
            }
            if let Some(done) = done {
                self.finish(done, sink);
            }
            if self.on_probation {
                self.end_probation(true, sink);
            }
        }
    }

    /// The next request comes: then the answer before it is over.
    pub(super) fn presume_end(&mut self, sink: &mut Sink<'_>) {
        if self.pipelined || self.on_probation {
            return self.lose_track(LossReason::HeadNotCaptured, sink);
        }
        self.presumed = Some(self.end_blind(Outcome::Unknown, Code::default()));
    }

    /// The answer began where it was taken to begin, so the one before is over.
    pub(super) fn confirm(&mut self, sink: &mut Sink<'_>) {
        if let Some(Some(done)) = self.presumed.take() {
            self.finish(done, sink);
        }
    }

    fn end_blind(&mut self, outcome: Outcome, code: Code) -> Option<Done> {
        let end = self.blind.take()?.end;
        let start = self.answer.take().map(|(_, start)| start);
        let mut done = None;
        while let Some(step) = self.steps.pop() {
            self.forget_names(&step);
            if step.is_executed() {
                let operation = self.operation_of(&step.what);
                if matches!(step.what, What::Query(_)) {
                    self.statements.remove(b"");
                }
                // Without its first byte it is not known when it began.
                done = start.map(|start| Done { outcome, code, ..Done::of(&step, operation, (start, end)) });
            }
        }
        done
    }
}

/// Whether these bytes are whole messages that answer nothing.
fn is_of_no_answer(mut bytes: &[u8]) -> bool {
    while let Some(([kind, length @ ..], _)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*length);
        if !matches!(kind, b'N' | b'A' | b'S') || !is_plausible(*kind, length, Speaker::Server) {
            return false;
        }
        let Some(behind) = bytes.get(1 + length as usize..) else { return false };
        bytes = behind;
    }
    bytes.is_empty()
}

/// How a unit went whose answer ends in these bytes, and whether it left no transaction open; None if they do not end one.
fn tail(bytes: &[u8]) -> Option<(Outcome, Code, bool)> {
    let (before, ready) = bytes.split_at_checked(bytes.len().checked_sub(READY_BYTES)?)?;
    let [b'Z', 0, 0, 0, 5, state @ (b'I' | b'T' | b'E')] = ready else { return None };
    let is_outside = *state == b'I';
    let begins = |start: &usize, kind: u8| {
        before[*start] == kind
            && before[start + 1..]
                .split_first_chunk::<4>()
                .is_some_and(|(length, _)| u64::from(u32::from_be_bytes(*length)) + 1 == (before.len() - start) as u64)
    };
    let is_tag = |tag: &[u8]| {
        tag.split_last().is_some_and(|(zero, tag)| {
            *zero == 0 && tag.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
        })
    };
    let shortest = before.len().saturating_sub(*COMPLETE_BYTES.start() - 1);
    let longest = before.len().saturating_sub(*COMPLETE_BYTES.end());
    let mut starts = longest..shortest;
    if starts.any(|start| begins(&start, b'C') && is_tag(&before[start + 5..])) {
        return Some((Outcome::Ok, Code::default(), is_outside));
    }
    let error = (0..shortest).rev().find(|start| begins(start, b'E') && before.get(start + 5) == Some(&b'S'));
    let code = error.and_then(|start| code_of(&before[start + 5..]));
    let outcome = code.map_or(Outcome::Unknown, |code| sqlstate::outcome(&code));
    Some((outcome, code.map_or(Code::default(), |code| Code::new(&code)), is_outside))
}
