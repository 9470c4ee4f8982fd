//! Losing track of where packets begin, and finding it again.
//!
//! In: what is asked and answered while nothing is known. Out: losses, until a command shows where both directions stand: a call of the
//! client is whole packets, of which the last one is a command with an answer and no other is, after all that was asked has been
//! answered as far as can be seen; and the answer is packets of the numbers and kinds that this command has, from the beginning of a call to
//! the end of one, before anything else is asked. Until then the command is on probation. A client that was seen to ask before it was
//! answered may have more open than shows: there this begins only after a second of silence. MariaDB's server reads the header of a packet
//! by a call of its own, so that such a call and the next one are taken together.

use std::sync::Arc;

use super::commands::{is_answered, is_plausible, statement_of};
use super::packet::{Reader, split_number};
use super::{File, Mysql, Phase, login};
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::statements::Names;
use crate::stream::{Both, Mark};
use crate::{Direction, LossReason, Position, Sink};

/// So long nothing was said, where more may be open than shows.
const REST_NS: u64 = 1_000_000_000;
/// How statements begin that are asked often.
const VERBS: [&[u8]; 22] = [
    b"SELECT",
    b"INSERT",
    b"UPDATE",
    b"DELETE",
    b"REPLACE",
    b"SET",
    b"SHOW",
    b"BEGIN",
    b"START",
    b"COMMIT",
    b"ROLLBACK",
    b"CALL",
    b"WITH",
    b"CREATE",
    b"DROP",
    b"ALTER",
    b"USE",
    b"TRUNCATE",
    b"DESCRIBE",
    b"EXPLAIN",
    b"LOAD",
    b"ANALYZE",
];

/// What a call of the client looks like if it begins with a packet.
struct Call {
    /// Commands with an answer in it, as far as can be seen.
    asked: u64,
    is_unit: bool,
}

/// A call that may be the header of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parted {
    header: [u8; 4],
    start: Mark,
    other_position: Position,
    was_answered: bool,
    /// Nothing had been said since then.
    silent_since_ns: u64,
}

impl Mysql {
    /// Whether both directions stand where this call begins, or the header that came before it.
    pub(super) fn regain_at(&mut self, cursor: &Cursor<'_>, was_answered: bool, sink: &mut Sink<'_>) -> bool {
        let silent_since_ns = self.at.response.last_ns.max(self.at.request.last_ns);
        let parted = self.parted.take().filter(|parted| parted.start.position.saturating_add(4) == cursor.position);
        if let Some(header) = header_alone(cursor) {
            let (start, other_position) = (cursor.mark(), cursor.other_position);
            self.parted = Some(Parted { header, start, other_position, was_answered, silent_since_ns });
            return false;
        }
        let Some(parted) = parted else { return self.regain(cursor, was_answered, silent_since_ns, sink) };
        let bytes = [&parted.header, cursor.captured].concat();
        let Mark { position, at_ns } = parted.start;
        let whole = Cursor { position, at_ns, captured: &bytes, other_position: parted.other_position, ..*cursor };
        let stands = self.regain(&whole, parted.was_answered, parted.silent_since_ns, sink);
        if stands {
            self.readers.request = Reader::behind_header(parted.header, parted.start);
        }
        stands
    }

    /// The same for a call that begins with a header.
    fn regain(&mut self, cursor: &Cursor<'_>, was_answered: bool, silent_since_ns: u64, sink: &mut Sink<'_>) -> bool {
        let Some(call) = look(cursor) else { return false };
        if call.asked == 0 {
            // Nothing will answer it.
            self.answered = was_answered;
            return false;
        }
        let is_read_up = self.at.response.position.is_none_or(|position| position == cursor.other_position);
        let silent_ns = cursor.at_ns.saturating_sub(silent_since_ns);
        self.pipelined |= !was_answered && self.at.request.last_ns > 0 && call.is_unit && self.asked_unit;
        self.asked_unit = call.is_unit;
        let is_at_rest = was_answered && is_read_up && (!self.pipelined || silent_ns >= REST_NS);
        if !(call.is_unit && is_at_rest) {
            for _ in 0..call.asked {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            return false;
        }
        (self.synced, self.on_probation) = (true, true);
        true
    }

    /// Counts what is asked behind a packet at which track was lost.
    pub(super) fn count_unread(&mut self, cursor: &Cursor<'_>, sink: &mut Sink<'_>) {
        for _ in 0..look(cursor).map_or(0, |call| call.asked) {
            self.losses.lose(LossReason::Ambiguous, sink);
        }
    }

    /// The command on probation is answered. `is_at_end`: nothing follows in the same call.
    pub(super) fn end_probation(&mut self, is_at_end: bool, sink: &mut Sink<'_>) {
        if !is_at_end || !self.pending.is_empty() {
            return self.lose_track(LossReason::Ambiguous, sink);
        }
        self.on_probation = false;
        self.losses.recognise(sink);
        if let Some(done) = self.held.take() {
            self.emit(&done, sink);
        }
    }

    /// Nothing is known of where the directions stand, nor what ids stand for. What is open is lost.
    pub(super) fn lose_track(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        let held = usize::from(self.held.take().is_some());
        let presumed = usize::from(matches!(self.presumed.take(), Some(Some(_))));
        for _ in 0..held + presumed + self.pending.len() {
            self.losses.lose(reason, sink);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.readers = Both { request: Reader::default(), response: Reader::default() };
        (self.pending, self.pending_bytes) = Default::default();
        self.statements = Names::new(self.options.statements_max);
        (self.answer, self.blind, self.held, self.presumed, self.last_prepared) = (None, None, None, None, None);
        (self.synced, self.on_probation, self.asked_unit, self.parted) = (false, false, false, None);
        (self.file, self.phase, self.database) = (File::None, Phase::Commands, Arc::default());
    }

    pub(super) fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.forget();
    }
}

/// Whether a connection that begins or goes on like this speaks the protocol.
pub(super) fn judge(opening: &Opening<'_>) -> Verdict {
    match (opening.is_start, opening.direction) {
        (true, Direction::Response) => login::judge_greeting(opening.bytes),
        // The server speaks first.
        (true, Direction::Request) => Verdict::No,
        (false, Direction::Request) if is_unmistakable(opening.bytes) => Verdict::Yes,
        (false, Direction::Response) if begins_rows(opening.bytes) || is_done(opening.bytes) => Verdict::Yes,
        (false, _) => Verdict::No,
    }
}

/// A whole command that asks for something in SQL, or executes a statement.
fn is_unmistakable(bytes: &[u8]) -> bool {
    let Some(([low, middle, high, 0], payload)) = bytes.split_first_chunk::<4>() else { return false };
    let Some((kind, body)) = payload.split_first() else { return false };
    let length = u64::from(u32::from_le_bytes([*low, *middle, *high, 0]));
    if length != payload.len() as u64 || !is_plausible(*kind, length) {
        return false;
    }
    match kind {
        0x03 => statement_of(body, None).is_some_and(begins_with_verb),
        0x16 => begins_with_verb(body),
        // Flags, and that it is executed once.
        0x17 => matches!(body, [_, _, _, _, 0..=15, 1, 0, 0, 0, ..]),
        _ => false,
    }
}

/// The number of columns, known or told of anew, and the first of their definitions.
fn begins_rows(bytes: &[u8]) -> bool {
    let behind = match bytes {
        [1, 0, 0, 1, 1..=250, rest @ ..] | [2, 0, 0, 1, 1..=250, 1, rest @ ..] => rest,
        _ => return false,
    };
    matches!(behind, [_, _, 0, 2, b'\x03', b'd', b'e', b'f', ..])
}

/// An OK without a text, of a session that is in a transaction or commits by itself, which is all there is.
fn is_done(bytes: &[u8]) -> bool {
    let Some(([length @ 7..=25, 0, 0, 1, 0], numbers)) = bytes.split_first_chunk::<5>() else { return false };
    let status = split_number(numbers).and_then(|(_changed_rows, rest)| split_number(rest)).map(|(_id, rest)| rest);
    usize::from(*length) == numbers.len() + 1 && matches!(status, Some([low, _, _, _]) if low & 3 != 0)
}

fn begins_with_verb(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii_start();
    VERBS.iter().any(|verb| {
        statement.split_at_checked(verb.len()).is_some_and(|(word, behind)| {
            word.eq_ignore_ascii_case(verb) && behind.first().is_none_or(|byte| !byte.is_ascii_alphanumeric())
        })
    })
}

/// The header of a command, if the call is no more than that.
fn header_alone(cursor: &Cursor<'_>) -> Option<[u8; 4]> {
    let header = <[u8; 4]>::try_from(cursor.captured).ok().filter(|_| cursor.captured_whole())?;
    let is_any = header[3] == 0 && header[..3] != [0; 3];
    is_any.then_some(header)
}

/// What a call looks like that begins with a command; None if it does not.
fn look(cursor: &Cursor<'_>) -> Option<Call> {
    let (mut position, mut rest) = (cursor.position, cursor.captured);
    let mut call = Call { asked: 0, is_unit: false };
    while position < cursor.end {
        let header = rest.split_first_chunk::<4>();
        let Some(([low, middle, high, sequence], payload)) = header else { break };
        let length = u64::from(u32::from_le_bytes([*low, *middle, *high, 0]));
        let Some(kind) = payload.first() else { break };
        if *sequence != 0 || !is_plausible(*kind, length) {
            break;
        }
        call.asked += u64::from(is_answered(*kind));
        position = position.saturating_add(4 + length);
        call.is_unit = call.asked == 1 && is_answered(*kind) && position == cursor.end;
        let behind = usize::try_from(length).ok().and_then(|length| payload.get(length..));
        rest = behind.unwrap_or_default();
    }
    let is_first = position > cursor.position;
    is_first.then_some(Call { is_unit: call.is_unit && position == cursor.end, ..call })
}
