//! MySQL and MariaDB (version 10 of the handshake) on one connection.
//!
//! In: the bytes of both directions. Out: an exchange for each command that is answered, in any depth of pipelining, or a counted loss.
//!
//! * **Operation:** of a query and of the execution of a prepared statement its shape ([`sql`](crate::sql)), learnt by the statement's
//!   id; `PREPARE` and the shape; of other commands their name (`PING`). A statement that was prepared before anybody looked is
//!   [`UNKNOWN`](crate::operation::UNKNOWN). Several statements in one query are named by the first.
//! * **Resource:** the database, as the login, COM_INIT_DB, COM_CHANGE_USER or a plain `USE` names it (`database.rs`).
//! * **Outcome:** the number and SQLSTATE of an error, judged by `errors.rs`. An error of a later result is the command's.
//! * **No exchange:** commands that nothing answers (COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA, COM_QUIT). The login is one, `CONNECT`.
//! * **Taken over:** after the client asked for TLS or both agreed on compression nothing more can be read (counted as `upgraded`); a
//!   dump of the binary log is a stream, told of when it begins.
//!
//! What a packet means stands in `walk.rs`, and depends on what both sides agreed upon at the login (`login.rs`). Only the first bytes of
//! each call are seen. Where packets begin behind them, the rest of an answer is passed over until its end shows (`blind.rs`). Where
//! something was missed, nothing is taken for certain until a whole command was followed to the end of its answer (`regain.rs`): the
//! numbers of packets tell where an answer begins. What is asked until then is counted as lost, at least once.
//!
//! Limits: a client that keeps the same number of commands in flight for ever, and was first seen in the middle of that, is taken for
//! one that waits for each answer. Bounds: [`Options`]; nothing is allocated by what a length claims.

mod answers;
mod blind;
mod commands;
mod database;
mod errors;
mod exchanges;
mod login;
mod packet;
mod regain;
mod requests;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::statements::{Names, Operation};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use answers::Answer;
use blind::Blind;
use commands::Pending;
use exchanges::Done;
use login::Capabilities;
use packet::Reader;
use regain::Parted;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Commands that wait for their answers. Past it nothing is followed until the connection has come to rest.
    pub pending_commands_max: u32,
    /// What the names of their statements may take.
    pub pending_bytes_max: u32,
    /// Prepared statements whose operation is known; the one used longest ago makes room.
    pub statements_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_commands_max: 1024, pending_bytes_max: 128 * 1024, statements_max: 256 }
    }
}

/// How far the beginning of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server speaks first.
    Greeting,
    /// The client has to answer the server, which has these.
    Login(Capabilities),
    Commands,
}

/// A file that the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    None,
    Sent,
    /// What ends it was not seen: the answer will tell.
    Unseen,
}

/// MySQL on one connection.
#[derive(Debug)]
pub struct Mysql {
    options: Options,
    losses: Losses,
    /// The client has asked for TLS, which the server had offered.
    begins_tls: bool,
    phase: Phase,
    /// Each direction stands where its reader says.
    synced: bool,
    /// In sync by what it looks like: the next command has to prove it.
    on_probation: bool,
    /// Bytes of an answer came after the newest bytes of a command.
    answered: bool,
    /// Something was asked before the command before was answered. It may be so again.
    pipelined: bool,
    /// While nothing is known: the call of the client before this one was a whole command.
    asked_unit: bool,
    /// While nothing is known: the call of the client before this one may have been the header of a packet, and no more.
    parted: Option<Parted>,
    now_ns: u64,
    at: Both<Reach>,
    readers: Both<Reader>,
    /// What both sides agreed upon; None if that was before anybody looked.
    capabilities: Option<Capabilities>,
    /// Definitions end without a packet of their own, if that is known.
    deprecates_eof: Option<bool>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// What was read of the front command's answer.
    answer: Option<Answer>,
    statements: Names,
    last_prepared: Operation,
    /// What the commands that are answered next go to; empty if there is none, or it is not known.
    database: Arc<str>,
    file: File,
    blind: Option<Blind>,
    /// The answer before is taken to have ended where the next one begins.
    presumed: Option<Option<Done>>,
    /// The exchange that is on probation.
    held: Option<Done>,
}

impl Mysql {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            begins_tls: false,
            phase: Phase::Greeting,
            synced: true,
            on_probation: false,
            answered: false,
            pipelined: false,
            asked_unit: false,
            parted: None,
            now_ns: 0,
            at: Both::default(),
            readers: Both::default(),
            capabilities: None,
            deprecates_eof: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            answer: None,
            statements: Names::new(options.statements_max),
            last_prepared: None,
            database: Arc::default(),
            file: File::None,
            blind: None,
            presumed: None,
            held: None,
        }
    }
}

impl Protocol for Mysql {
    const NAME: &'static str = "mysql";

    fn judge(opening: &Opening<'_>) -> Verdict {
        regain::judge(opening)
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.mysql)
    }

    fn recognition(&self) -> Recognition {
        self.losses.recognition()
    }

    fn at(&self) -> &Both<Reach> {
        &self.at
    }

    fn at_mut(&mut self) -> &mut Both<Reach> {
        &mut self.at
    }

    fn begin(&mut self, _: Direction, position: Position) {
        if position != Position::START {
            (self.synced, self.phase) = (false, Phase::Commands);
        }
    }

    fn resumed(&self) -> Self {
        Self {
            losses: Losses::recognised(),
            phase: Phase::Commands,
            capabilities: self.capabilities,
            deprecates_eof: self.deprecates_eof,
            ..Self::new(self.options)
        }
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.read_commands(cursor, sink),
            Direction::Response => self.read_answers(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        // What was asked in it was not answered before.
        self.answered &= direction == Direction::Response;
        let lies_within = self.readers[direction].end().is_some_and(|end| to < end) && self.blind.is_none();
        // What lies within a packet is passed over.
        if self.synced && !lies_within {
            if direction == Direction::Request || self.pending.is_empty() {
                self.losses.lose(LossReason::Gap, sink);
            }
            self.lose_track(LossReason::Gap, sink);
        }
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        self.close_open(how, sink);
        self.become_foreign();
    }

    fn begins_tls(&self) -> bool {
        self.begins_tls
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.held.is_none()
            && !matches!(self.presumed, Some(Some(_)))
            && (!self.synced || self.readers.request.is_at_start())
    }

    fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Pending>()
            + self.pending_bytes
            + self.statements.heap_bytes()
            + self.readers.request.heap_bytes()
            + self.readers.response.heap_bytes()
    }
}
