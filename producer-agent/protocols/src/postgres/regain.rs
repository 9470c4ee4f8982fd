//! Losing track of where messages begin, and finding it again.
//!
//! In: what is asked and answered while nothing is known. Out: losses, until a whole unit shows where both directions stand: a call of
//! the client is whole messages, of which the last one ends a unit and no other does, after all that was asked has been answered as far
//! as can be seen; and the answer is whole messages of the kinds that these steps have, from the beginning of a call to the end of one,
//! before anything else is asked. Until then the unit is on probation, and its exchanges are held. A client that was seen to ask before
//! it was answered may have more open than shows: there this begins only after a second of silence.

use super::message::{Speaker, is_plausible};
use super::steps::{Step, Steps};
use super::{Phase, Postgres, requests};
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::statements::Names;
use crate::stream::Both;
use crate::{Direction, LossReason, Recognition, Sink};

/// So long nothing was said, where more may be open than shows.
const REST_NS: u64 = 1_000_000_000;

/// What a call of the client looks like if it begins with a message.
struct Call {
    /// Exchanges that it asks for, as far as can be seen; at least one.
    executed: u64,
    is_unit: bool,
}

impl Postgres {
    /// Whether both directions stand where this call begins.
    pub(super) fn regain(&mut self, cursor: &Cursor<'_>, was_answered: bool, sink: &mut Sink<'_>) -> bool {
        let Some(call) = look(cursor) else { return false };
        let is_read_up = self.at.response.position.is_none_or(|position| position == cursor.other_position);
        let silent_ns = cursor.at_ns.saturating_sub(self.at.response.last_ns.max(self.at.request.last_ns));
        self.pipelined |= !was_answered && self.at.request.last_ns > 0 && call.is_unit && self.asked_unit;
        self.asked_unit = call.is_unit;
        let is_at_rest = was_answered && is_read_up && (!self.pipelined || silent_ns >= REST_NS);
        if !(call.is_unit && is_at_rest) {
            for _ in 0..call.executed {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            return false;
        }
        (self.synced, self.on_probation) = (true, true);
        true
    }

    /// Counts what is asked behind a message at which track was lost.
    pub(super) fn count_unread(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        let executed = look(cursor).map_or(0, |call| call.executed);
        for _ in 0..executed {
            self.losses.lose(LossReason::Ambiguous, sink);
        }
    }

    /// The unit on probation is over. `is_at_end`: nothing follows in the same call.
    pub(super) fn end_probation(&mut self, is_at_end: bool, sink: &mut Sink<'_>) {
        if !is_at_end || !self.steps.is_empty() {
            return self.lose_track(LossReason::Ambiguous, sink);
        }
        self.on_probation = false;
        self.losses.recognise(sink);
        for done in std::mem::take(&mut self.held) {
            self.emit(&done, sink);
        }
    }

    /// Nothing is known of where the directions stand, nor what names stand for. What is open is lost.
    pub(super) fn lose_track(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        let steps = std::mem::take(&mut self.steps);
        let held = std::mem::take(&mut self.held).len();
        let presumed = usize::from(matches!(self.presumed.take(), Some(Some(_))));
        // An error of a group that asked for no execution is an exchange, too.
        let failed = usize::from(self.failed.take().is_some() && !steps.iter().any(Step::is_executed));
        let open = steps.iter().filter(|step| step.is_executed()).count();
        for _ in 0..held + presumed + failed + open {
            self.losses.lose(reason, sink);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.readers = Both::default();
        self.steps = Steps::default();
        self.statements = Names::new(self.options.statements_max);
        self.portals = Names::new(self.options.statements_max / 4 + 1);
        (self.group, self.answer, self.failed, self.blind) = (None, None, None, None);
        (self.synced, self.on_probation, self.copies_in, self.copy_unseen) = (false, false, false, false);
        self.held = Vec::new();
        self.presumed = None;
        self.phase = Phase::Messages;
        self.asked_unit = false;
    }

    pub(super) fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.database = Box::default();
        self.forget();
        debug_assert!(self.recognition() == Recognition::Foreign, "nothing more is read");
    }
}

/// Whether a connection that begins or goes on like this speaks the protocol.
pub(super) fn judge(opening: &Opening<'_>) -> Verdict {
    let bytes = opening.bytes;
    match (opening.is_start, opening.direction) {
        (true, Direction::Request) => requests::judge_first(bytes),
        // A server never speaks first.
        (true, Direction::Response) => Verdict::No,
        (false, direction) if is_unmistakable(bytes, direction) => Verdict::Yes,
        (false, _) => Verdict::No,
    }
}

/// Whole messages, of which the last one ends what was asked or answered.
fn is_unmistakable(mut bytes: &[u8], direction: Direction) -> bool {
    let (speaker, last_kinds) = match direction {
        Direction::Request => (Speaker::Client, &b"QS"[..]),
        Direction::Response => (Speaker::Server, &b"Z"[..]),
    };
    let mut is_last = false;
    while let Some(([kind, length @ ..], rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*length);
        let Some((body, behind)) = rest.split_at_checked((length as usize).saturating_sub(4)) else { return false };
        let is_text = *kind != b'Q' || memchr::memchr(0, body).is_some_and(|at| at + 1 == body.len());
        if !is_plausible(*kind, length, speaker) || !is_text {
            return false;
        }
        is_last = last_kinds.contains(kind) && (*kind != b'Z' || matches!(body, b"I" | b"T" | b"E"));
        bytes = behind;
    }
    is_last && bytes.is_empty()
}

/// Follows the messages of a call from its first byte on. None if it does not begin with one that asks for something.
fn look(cursor: &Cursor<'_>) -> Option<Call> {
    let length = cursor.end.since(cursor.position);
    let (mut place, mut executed) = (0, 0);
    loop {
        let header = usize::try_from(place).ok().and_then(|place| cursor.captured.get(place..));
        let Some(([kind, claimed @ ..], _)) = header.and_then(|bytes| bytes.split_first_chunk::<5>()) else {
            return (place > 0).then_some(Call { executed: executed.max(1), is_unit: false });
        };
        let claimed = u32::from_be_bytes(*claimed);
        let may_stand_here = if place == 0 { b"QPBDCEF".contains(kind) } else { b"QPBDCEFSH".contains(kind) };
        if !may_stand_here || !is_plausible(*kind, claimed, Speaker::Client) {
            return (place > 0).then_some(Call { executed: executed.max(1), is_unit: false });
        }
        executed += u64::from(matches!(kind, b'Q' | b'E' | b'F'));
        place += 1 + u64::from(claimed);
        if place > length {
            return Some(Call { executed: executed.max(1), is_unit: false });
        }
        if matches!(kind, b'Q' | b'S' | b'F') {
            return Some(Call { executed: executed.max(1), is_unit: place == length });
        }
    }
}
