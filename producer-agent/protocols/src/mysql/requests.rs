//! The client's packets.
//!
//! In: its bytes in order. Out: commands that wait for their answers.

use std::sync::Arc;

use super::commands::{self, Command, Forgets, Name, Pending, Shape};
use super::database::{self, Change};
use super::login::{self, Login};
use super::packet::{HEAD_BYTES_MAX, Packet, Progress, Reader};
use super::{File, Mysql, Phase};
use crate::cursor::Cursor;
use crate::protocol::Protocol;
use crate::{LossReason, Recognition, Sink};

impl Mysql {
    pub(super) fn read_commands(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        if self.phase == Phase::Greeting && self.synced {
            // The server speaks first.
            return self.become_foreign();
        }
        if self.blind.is_some() {
            self.presume_end(sink);
        }
        self.settle_definitions(sink);
        let was_answered = std::mem::replace(&mut self.answered, false);
        if !self.synced && !self.regain_at(&cursor, was_answered, sink) {
            return;
        }
        if self.file == File::Unseen {
            return;
        }
        let mut reader = std::mem::take(&mut self.readers.request);
        while !cursor.is_done() && self.synced && self.recognition() != Recognition::Foreign {
            match reader.read(&mut cursor, HEAD_BYTES_MAX) {
                Progress::More(_) => {}
                Progress::Complete(packet) => self.take_packet(&packet, sink),
                Progress::Malformed if self.recognition() == Recognition::Undecided => return self.become_foreign(),
                Progress::Malformed => {
                    self.losses.lose(LossReason::MalformedRequest, sink);
                    return self.lose_track(LossReason::Ambiguous, sink);
                }
                Progress::Blind if self.file == File::Sent => {
                    (self.file, reader) = (File::Unseen, Reader::default());
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

    fn take_packet(&mut self, packet: &Packet<'_>, sink: &mut Sink<'_>) {
        match self.phase {
            Phase::Greeting => return,
            Phase::Login(server) => return self.take_login(login::login(packet, server), packet, sink),
            Phase::Commands => {}
        }
        let is_answer = self.file == File::Sent
            || (packet.sequence != 0 && self.pending.front().is_some_and(|front| front.shape == Shape::Login));
        if is_answer {
            if let Some(front) = self.pending.front_mut() {
                front.end = packet.end;
            }
            if let Some(answer) = &mut self.answer {
                answer.next_sequence = packet.last_sequence.wrapping_add(1);
            }
            if packet.length == 0 {
                self.file = File::None;
            }
            return;
        }
        match commands::read(packet, self.capabilities) {
            Command::Asks(name, shape, forgets) => self.push(name, shape, forgets, None, packet, sink),
            Command::Executes(id) => {
                let operation = self.statements.get(&id);
                self.push(Name::Statement(operation), Shape::Results, Forgets::Nothing, None, packet, sink);
            }
            Command::Silent { closes: Some(id) } => self.statements.remove(&id),
            Command::Silent { closes: None } => {}
            Command::Wrong if self.recognition() == Recognition::Undecided => self.become_foreign(),
            Command::Wrong => {
                self.losses.lose(LossReason::MalformedRequest, sink);
                self.lose_track(LossReason::Ambiguous, sink);
            }
        }
    }

    fn take_login(&mut self, login: Login, packet: &Packet<'_>, sink: &mut Sink<'_>) {
        match login {
            Login::Plain(capabilities) => {
                self.losses.recognise(sink);
                self.capabilities = Some(capabilities);
                self.deprecates_eof = Some(capabilities.deprecates_eof());
                self.phase = Phase::Commands;
                let change = database::of_login(packet, capabilities);
                self.push(Name::Fixed("CONNECT"), Shape::Login, Forgets::Nothing, Some(change), packet, sink);
            }
            Login::Encrypted => {
                self.begins_tls = true;
                self.losses.recognise(sink);
                self.losses.lose(LossReason::Upgraded, sink);
                self.become_foreign();
            }
            Login::Foreign => self.become_foreign(),
        }
    }

    /// `change`: what it does to the database, where its packet is no command.
    fn push(
        &mut self,
        name: Name,
        shape: Shape,
        forgets: Forgets,
        change: Option<Change>,
        packet: &Packet<'_>,
        sink: &mut Sink<'_>,
    ) {
        let change = change.unwrap_or_else(|| database::of_command(packet, name.operation(), self.capabilities));
        let (last_sequence, resource) = (packet.last_sequence, Arc::default());
        let (start, end) = (packet.start, packet.end);
        let pending = Pending { name, shape, forgets, change, resource, start, end, last_sequence };
        let is_ahead = !self.pending.is_empty();
        self.pipelined |= is_ahead;
        if self.on_probation && (is_ahead || self.held.is_some()) {
            self.losses.lose(LossReason::Ambiguous, sink);
            return self.lose_track(LossReason::Ambiguous, sink);
        }
        let bytes = self.pending_bytes + pending.heap_bytes();
        if self.pending.len() >= self.options.pending_commands_max as usize
            || bytes > self.options.pending_bytes_max as usize
        {
            self.losses.lose(LossReason::TooManyPipelined, sink);
            return self.lose_track(LossReason::TooManyPipelined, sink);
        }
        self.pending_bytes = bytes;
        self.pending.push_back(pending);
    }
}
