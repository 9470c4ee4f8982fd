//! The server's packets.
//!
//! In: its bytes in order. Out: what became of each command, in the order of the commands.

use super::commands::{Forgets, Name, Shape};
use super::exchanges::Done;
use super::login;
use super::packet::{Packet, Progress, Reader};
use super::walk::{self, Effect, Then, Walk};
use super::{File, Mysql, Phase};
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{Code, Kind, LossReason, Outcome, Recognition, Sink};

/// What matters of a greeting.
const GREETING_BYTES: usize = 256;
/// What matters of any other packet: OK with its numbers is the longest.
const PACKET_BYTES: usize = 32;

/// What was read of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub start: Mark,
    pub walk: Walk,
    /// The number of its next packet.
    pub next_sequence: u8,
}

impl Mysql {
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
        let end = Mark { position: cursor.end, at_ns: cursor.at_ns };
        let mut reader = std::mem::take(&mut self.readers.response);
        while !cursor.is_done() && self.synced && self.blind.is_none() && self.recognition() != Recognition::Foreign {
            let wanted = if self.phase == Phase::Greeting { GREETING_BYTES } else { PACKET_BYTES };
            match reader.read(&mut cursor, wanted) {
                // It need not be read to its end to tell that it cannot stand here.
                Progress::More(Some(sequence)) if !self.is_next(sequence) => return self.misread(sink),
                Progress::More(_) => {}
                Progress::Complete(packet) => {
                    self.take_answer(&packet, end, sink);
                    if self.on_probation && self.held.is_some() {
                        self.end_probation(cursor.is_done(), sink);
                    }
                }
                Progress::Malformed => return self.misread(sink),
                Progress::Blind => self.go_blind(end, sink),
            }
        }
        if self.blind.is_some() {
            reader = Reader::default();
        }
        if self.synced {
            self.readers.response = reader;
        }
    }

    fn take_answer(&mut self, packet: &Packet<'_>, segment_end: Mark, sink: &mut Sink<'_>) {
        if self.phase == Phase::Greeting {
            return self.take_greeting(packet, sink);
        }
        let Some(front) = self.pending.front() else {
            match packet.head.first() {
                // The server says why it will go.
                Some(0xff) if self.recognition() == Recognition::Recognised => {
                    self.confirm(sink);
                    self.losses.lose(LossReason::UnsolicitedResponse, sink);
                }
                _ => self.misread(sink),
            }
            return;
        };
        if !self.is_next(packet.sequence) {
            return self.misread(sink);
        }
        let walk = self.answer.as_ref().map_or(Walk::First, |answer| answer.walk);
        let effect = walk::step((front.shape, walk), packet, self.capabilities, &mut self.deprecates_eof);
        if effect == Effect::Wrong {
            return self.misread(sink);
        }
        self.confirm(sink);
        let next_sequence = packet.last_sequence.wrapping_add(1);
        let answer = self.answer.get_or_insert(Answer { start: packet.start, walk, next_sequence });
        answer.next_sequence = next_sequence;
        match effect {
            Effect::GoesOn(walk) => answer.walk = walk,
            Effect::Done => self.end_command(packet.end, (Outcome::Ok, Code::default()), sink),
            Effect::Failed(code, outcome) => self.end_command(packet.end, (outcome, code), sink),
            Effect::Prepared(id, walk) => self.take_prepared(id, walk, packet.end, sink),
            Effect::Interactive => {}
            Effect::WantsFile if self.pending.len() == 1 && self.readers.request.is_at_start() => {
                answer.walk = Walk::First;
                self.file = File::Sent;
            }
            Effect::WantsFile => self.lose_track(LossReason::Ambiguous, sink),
            Effect::TakesOver => self.take_over(packet.end, sink),
            Effect::Unclear => self.go_blind(segment_end, sink),
            Effect::Wrong => {}
        }
    }

    /// Whether the next packet of the server can have this number.
    fn is_next(&self, sequence: u8) -> bool {
        match (&self.answer, self.pending.front()) {
            // What the client sent in between was not seen.
            (Some(_), _) if self.file == File::Unseen => true,
            (Some(answer), _) => sequence == answer.next_sequence,
            (None, Some(front)) => sequence == front.last_sequence.wrapping_add(1),
            (None, None) => true,
        }
    }

    fn take_greeting(&mut self, packet: &Packet<'_>, sink: &mut Sink<'_>) {
        if let Some(capabilities) = login::greeting(packet) {
            self.phase = Phase::Login(capabilities);
        } else if packet.head.first() == Some(&0xff) && packet.sequence == 0 {
            // It sends the client away before anything was asked.
            self.phase = Phase::Commands;
            self.losses.recognise(sink);
            self.losses.lose(LossReason::UnsolicitedResponse, sink);
        } else {
            self.become_foreign();
        }
    }

    fn take_prepared(&mut self, id: [u8; 4], walk: Option<Walk>, end: Mark, sink: &mut Sink<'_>) {
        if let Some(front) = self.pending.front()
            && let Name::Prepare(operation) = &front.name
        {
            self.statements.insert(&id.into(), operation.clone());
            self.last_prepared = operation.clone();
        }
        match (walk, &mut self.answer) {
            (Some(walk), Some(answer)) => answer.walk = walk,
            _ => self.end_command(end, (Outcome::Ok, Code::default()), sink),
        }
    }

    pub(super) fn end_command(&mut self, end: Mark, (outcome, code): (Outcome, Code), sink: &mut Sink<'_>) {
        let (Some(mut pending), Some(answer)) = (self.pop(), self.answer.take()) else { return };
        if std::mem::replace(&mut self.file, File::None) != File::None {
            // Where the file ends tells where the answer begins, seen or not.
            pending.end = self.at.request.reached();
            self.readers.request = Reader::default();
        }
        self.resolve(&mut pending.name, outcome);
        if outcome == Outcome::Ok && pending.forgets == Forgets::Statements {
            self.statements.clear();
            self.last_prepared = None;
        }
        let is_login = pending.shape == Shape::Login;
        self.change_database(std::mem::take(&mut pending.change), outcome);
        let done = Done { outcome, code, ..Done::of(pending, (answer.start, end)) };
        self.finish(done, sink);
        if is_login && outcome == Outcome::Ok && self.capabilities.is_some_and(|both| both.compresses()) {
            self.losses.lose(LossReason::Upgraded, sink);
            self.lose_track(LossReason::Upgraded, sink);
            self.become_foreign();
        }
    }

    /// What was prepared last is known now.
    pub(super) fn resolve(&mut self, name: &mut Name, outcome: Outcome) {
        match name {
            Name::LastPrepared => *name = Name::Statement(self.last_prepared.clone()),
            Name::Prepare(_) if outcome != Outcome::Ok => self.last_prepared = None,
            _ => {}
        }
    }

    /// Where it is not known whether a packet ends the definitions of a statement, the next command tells that none does.
    pub(super) fn settle_definitions(&mut self, sink: &mut Sink<'_>) {
        let is_over = self.answer.as_ref().is_some_and(|answer| answer.walk == Walk::DefinitionsEnd(Then::Nothing))
            && self.deprecates_eof.is_none()
            && self.readers.response.is_at_start();
        if !is_over || !self.synced || self.pending.len() != 1 {
            return;
        }
        self.deprecates_eof = Some(true);
        let end = self.at.response.reached();
        self.end_command(end, (Outcome::Ok, Code::default()), sink);
        if self.on_probation {
            self.end_probation(true, sink);
        }
    }

    fn take_over(&mut self, end: Mark, sink: &mut Sink<'_>) {
        let (Some(pending), Some(answer)) = (self.pop(), self.answer.take()) else { return };
        let done = Done { kind: Kind::Stream, ..Done::of(pending, (answer.start, end)) };
        self.losses.recognise(sink);
        self.emit(&done, sink);
        self.lose_track(LossReason::Upgraded, sink);
        self.become_foreign();
    }

    /// A packet that cannot stand here.
    pub(super) fn misread(&mut self, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided && !self.on_probation {
            return self.become_foreign();
        }
        if self.pending.is_empty() {
            self.losses.lose(LossReason::UnsolicitedResponse, sink);
        }
        // The next command came before the answer was over.
        self.pipelined |= self.presumed.is_some();
        self.lose_track(if self.on_probation { LossReason::Ambiguous } else { LossReason::MalformedResponse }, sink);
    }
}
