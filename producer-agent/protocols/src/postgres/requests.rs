//! The client's messages.
//!
//! In: its bytes in order. Out: steps that wait for their answers.

use std::sync::Arc;

use super::message::{HEAD_BYTES_MAX, Message, Progress, Reader, Speaker, is_plausible, split_string};
use super::steps::{Step, What};
use super::{Phase, Postgres};
use crate::choice::Verdict;
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::sql::{self, Dialect};
use crate::statements::{Name, Operation, name_of};
use crate::{LossReason, Recognition, Sink, resource};

const VERSION_3: u32 = 3;
const CANCEL_REQUEST: u32 = 80_877_102;
/// With a key of 4 to 256 bytes.
const CANCEL_LENGTHS: std::ops::RangeInclusive<u64> = 16..=268;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

impl Postgres {
    pub(super) fn read_requests(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        if self.blind.is_some() {
            self.presume_end(sink);
        }
        let was_answered = std::mem::replace(&mut self.answered, false);
        if !self.synced && !self.regain(&cursor, was_answered, sink) {
            return;
        }
        if self.copy_unseen {
            // What ends the data was not seen either: the answer will tell.
            return;
        }
        let mut reader = std::mem::take(&mut self.readers.request);
        while !cursor.is_done() && self.synced && self.recognition() != Recognition::Foreign {
            let speaker = match self.phase {
                Phase::Start => Speaker::NewClient,
                // Who asks waits for the answer.
                Phase::EncryptionAsked => return self.become_foreign(),
                Phase::Messages => Speaker::Client,
            };
            match reader.read(&mut cursor, speaker) {
                Progress::More => {}
                Progress::Complete(message) if speaker == Speaker::NewClient => self.take_first(&message, sink),
                Progress::Complete(message) => self.take_request(&message, sink),
                Progress::Malformed if self.recognition() == Recognition::Undecided => return self.become_foreign(),
                Progress::Malformed => {
                    self.losses.lose(LossReason::MalformedRequest, sink);
                    return self.lose_track(LossReason::Ambiguous, sink);
                }
                Progress::Blind if self.copies_in && self.steps.iter().filter(|step| step.ends_unit()).count() == 1 => {
                    (self.copy_unseen, reader) = (true, Reader::default());
                    break;
                }
                Progress::Blind => {
                    self.losses.lose(LossReason::HeadNotCaptured, sink);
                    return self.lose_track(LossReason::Ambiguous, sink);
                }
            }
        }
        if self.synced {
            self.readers.request = reader;
        } else {
            self.count_unread(&cursor, sink);
        }
    }

    /// Takes one of the messages that come before there are letters.
    fn take_first(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let Some((code, parameters)) = message.body.split_first_chunk::<4>() else { return self.become_foreign() };
        let length = message.end.position.since(message.start.position);
        match (u32::from_be_bytes(*code), length) {
            (SSL_REQUEST | GSS_REQUEST, 8) => self.phase = Phase::EncryptionAsked,
            (CANCEL_REQUEST, length) if CANCEL_LENGTHS.contains(&length) => {
                self.losses.recognise(sink);
                self.emit_cancel(message, sink);
                self.become_foreign();
            }
            (version, _) if is_startup(version, parameters) => {
                self.phase = Phase::Messages;
                self.database = if message.is_cut { Box::default() } else { database(parameters).into() };
                self.push(What::Startup, message, sink);
            }
            _ => self.become_foreign(),
        }
    }

    fn take_request(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let body = message.body;
        let what = match message.kind {
            b'Q' => What::Query(operation(body, message.is_cut)),
            b'F' => What::FunctionCall,
            b'P' => {
                let (name, statement) = split_string(body).unzip();
                let operation = statement.and_then(|statement| operation(statement, message.is_cut));
                What::Parse { name: name.map(name_of), operation }
            }
            b'B' => {
                let (portal, rest) = split_string(body).unzip();
                let statement = rest.and_then(split_string).map(|(statement, _)| name_of(statement));
                What::Bind { portal: portal.map(name_of), statement }
            }
            b'D' | b'C' => {
                let (is_portal, name) = match body.split_first() {
                    Some((kind @ (b'S' | b'P'), name)) => (*kind == b'P', name_in(name)),
                    Some(_) => return self.misunderstand(sink),
                    None => (false, None),
                };
                match message.kind {
                    b'D' => What::Describe { is_portal, name },
                    _ => What::Close { is_portal, name },
                }
            }
            b'E' => What::Execute { portal: name_in(body) },
            b'S' => What::Sync,
            b'd' => What::CopyData,
            b'c' | b'f' => What::CopyEnd,
            // What comes next stands for itself.
            b'H' => {
                self.group = None;
                return;
            }
            // Passwords are answered by the start's own messages, and a farewell by none.
            _ => return,
        };
        self.push(what, message, sink);
    }

    fn push(&mut self, what: What, message: &Message<'_>, sink: &mut Sink<'_>) {
        let mut step = Step { what, group: message.start, end: message.end };
        if step.is_copied() {
            // One step stands for all data that follow each other.
            match self.steps.back_mut() {
                Some(last) if matches!((&last.what, &step.what), (What::CopyData, What::CopyData)) => {
                    last.end = step.end;
                }
                // Data that nobody takes any more.
                None => {}
                Some(_) => self.steps.push(step),
            }
            return;
        }
        let is_ahead = self.steps.iter().next_back().is_some_and(Step::ends_unit) && !self.copies_in;
        self.pipelined |= is_ahead;
        if self.on_probation && is_ahead {
            return self.lose_track(LossReason::Ambiguous, sink);
        }
        if !step.ends_unit() {
            step.group = *self.group.get_or_insert(message.start);
        }
        if step.is_executed() || step.ends_unit() {
            self.group = None;
        }
        let bytes = self.steps.held_bytes() + step.heap_bytes();
        if self.steps.len() >= self.options.pending_messages_max as usize
            || bytes > self.options.pending_bytes_max as usize
        {
            if step.is_executed() {
                self.losses.lose(LossReason::TooManyPipelined, sink);
            }
            return self.lose_track(LossReason::TooManyPipelined, sink);
        }
        self.steps.push(step);
    }

    fn misunderstand(&mut self, sink: &mut Sink<'_>) {
        self.losses.lose(LossReason::MalformedRequest, sink);
        self.lose_track(LossReason::Ambiguous, sink);
    }
}

/// Whether the client's first bytes are those of a message without a letter.
pub(super) fn judge_first(bytes: &[u8]) -> Verdict {
    let Some(([length @ .., a, b, c, d], parameters)) = bytes.split_first_chunk::<8>() else {
        return if bytes.first().is_none_or(|first| *first == 0) { Verdict::Maybe } else { Verdict::No };
    };
    let length = u32::from_be_bytes(*length);
    let code = u32::from_be_bytes([*a, *b, *c, *d]);
    let is_first = match code {
        SSL_REQUEST | GSS_REQUEST => length == 8,
        CANCEL_REQUEST => CANCEL_LENGTHS.contains(&u64::from(length)),
        _ if code >> 16 == VERSION_3 && parameters.is_empty() => return Verdict::Maybe,
        _ => is_startup(code, parameters) && is_plausible(0, length, Speaker::NewClient),
    };
    if is_first { Verdict::Yes } else { Verdict::No }
}

/// Behind the version stands the name of a parameter. A first request of Kafka can look the same up to there.
fn is_startup(version: u32, parameters: &[u8]) -> bool {
    version >> 16 == VERSION_3 && parameters.first().is_some_and(|first| first.is_ascii_lowercase() || *first == b'_')
}

/// The name of a statement whose first bytes these are.
fn operation(statement: &[u8], is_cut: bool) -> Operation {
    let is_cut = is_cut && !statement.contains(&0);
    // Too little of it was seen to name it.
    let is_too_short = is_cut && statement.len() < 16;
    debug_assert!(statement.len() <= HEAD_BYTES_MAX, "no more is kept of a message");
    (!is_too_short).then(|| Arc::from(sql::name(Dialect::PostgreSql, statement, is_cut)))
}

/// The first string, if it was captured to its end.
fn name_in(bytes: &[u8]) -> Option<Name> {
    split_string(bytes).map(|(name, _)| name_of(name))
}

/// Which database names and values, one after the other, ask for: the user's, if they name none.
fn database(parameters: &[u8]) -> &str {
    let mut words = parameters.split(|byte| *byte == 0);
    let (mut user, mut database) = ("", "");
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            b"user" => user = resource::name(value),
            b"database" => database = resource::name(value),
            _ => {}
        }
    }
    if database.is_empty() { user } else { database }
}
