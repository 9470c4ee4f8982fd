//! An answer of which a packet's beginning was not captured: where the packets behind it begin is not known.
//!
//! In: the rest of the answer. Out: its end, in one of two ways, as long as nothing but its own command is asked:
//!
//! 1. **The last call was seen whole**, and ends in the packet that ends the rows of the last result.
//! 2. **The next command** comes. The end is *presumed*, what became of it is not known, and the exchange waits until the server's next
//!    packet turns out to begin the answer to that command, by its number too. If another thing stands there, it is lost and counted.

use super::File;
use super::Mysql;
use super::commands::{Name, Shape};
use super::exchanges::Done;
use super::walk::{Walk, ends_rows};
use crate::cursor::Cursor;
use crate::stream::Mark;
use crate::{Code, LossReason, Outcome, Sink};

/// The answer that is passed over.
#[derive(Debug)]
pub(super) struct Blind {
    /// Where its bytes ended so far.
    end: Mark,
    /// What ends rows would be seen as that: nothing else that is to come ends alike.
    is_in_rows: bool,
}

impl Mysql {
    /// Goes on with the command that is being answered, if it is the only one. `end` is that of the segment.
    pub(super) fn go_blind(&mut self, end: Mark, sink: &mut Sink<'_>) {
        let front = self.pending.front().map(|front| front.shape);
        let is_long = matches!(front, Some(Shape::Results | Shape::Rows | Shape::Prepared | Shape::Definitions));
        let is_alone = self.pending.len() == 1 && self.readers.request.is_at_start() && self.file == File::None;
        if !(is_long && is_alone) {
            if self.pending.is_empty() {
                self.losses.lose(LossReason::HeadNotCaptured, sink);
            }
            return self.lose_track(LossReason::HeadNotCaptured, sink);
        }
        let walk = self.answer.as_ref().map(|answer| answer.walk);
        let is_in_rows = walk == Some(Walk::Rows) || (walk.is_some() && self.deprecates_eof == Some(true));
        self.blind = Some(Blind { end, is_in_rows });
    }

    pub(super) fn read_blindly(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        let Some(blind) = &mut self.blind else { return };
        blind.end = Mark { position: cursor.end, at_ns: cursor.at_ns };
        let is_over = blind.is_in_rows
            && cursor.captured_whole()
            && self.deprecates_eof.is_some_and(|deprecates_eof| ends_rows(cursor.captured, deprecates_eof));
        if is_over {
            let done = self.end_blind(Outcome::Ok, sink);
            if let Some(done) = done {
                self.finish(done, sink);
            }
            if self.on_probation {
                self.end_probation(true, sink);
            }
        }
    }

    /// The next command comes: then the answer before it is over.
    pub(super) fn presume_end(&mut self, sink: &mut Sink<'_>) {
        if self.pipelined || self.on_probation {
            return self.lose_track(LossReason::HeadNotCaptured, sink);
        }
        self.presumed = Some(self.end_blind(Outcome::Unknown, sink));
    }

    /// The answer began where it was taken to begin, so the one before is over.
    pub(super) fn confirm(&mut self, sink: &mut Sink<'_>) {
        if let Some(Some(done)) = self.presumed.take() {
            self.finish(done, sink);
        }
    }

    fn end_blind(&mut self, outcome: Outcome, sink: &mut Sink<'_>) -> Option<Done> {
        let end = self.blind.take()?.end;
        let mut pending = self.pop()?;
        let Some(answer) = self.answer.take() else {
            // Without its first byte it is not known when it began.
            self.losses.lose(LossReason::HeadNotCaptured, sink);
            self.change_database(pending.change, Outcome::Unknown);
            if matches!(pending.name, Name::Prepare(_)) {
                self.last_prepared = None;
            }
            return None;
        };
        // A statement whose id was seen is prepared.
        let outcome =
            if pending.shape == Shape::Prepared && answer.walk != Walk::First { Outcome::Ok } else { outcome };
        self.resolve(&mut pending.name, outcome);
        self.change_database(std::mem::take(&mut pending.change), outcome);
        Some(Done { outcome, code: Code::default(), ..Done::of(pending, (answer.start, end)) })
    }
}
