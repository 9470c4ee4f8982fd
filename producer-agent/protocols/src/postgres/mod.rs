//! PostgreSQL (its protocol's version 3) on one connection.
//!
//! In: the bytes of both directions. Out: an exchange for each simple query, each Execute of the extended protocol and each call of a
//! function, in any depth of pipelining, or a counted loss.
//!
//! * **Operation:** the statement's shape ([`sql`](crate::sql)); for an Execute that of the statement that its Bind names, learnt from
//!   Parse. A statement that was prepared before anybody looked is [`UNKNOWN`](crate::operation::UNKNOWN). Several statements in one query are named by the first.
//! * **Outcome:** the SQLSTATE, judged by `sqlstate.rs`. What the server skips after an error, up to the next Sync, was never executed
//!   and leaves no exchange. An error of Parse, Bind or Describe is one of the Execute that follows in the same group; if none does it is
//!   an exchange by itself, since it would show nowhere else. A Sync whose commit fails is an exchange of its own, too.
//! * **Resource:** the database that the client named when it began, or that of its user's name.
//! * **No exchange:** the start with its authentication, a Parse that succeeds without being executed, notices, notifications.
//! * **Taken over:** after SSLRequest or GSSENCRequest is granted nothing more can be read (counted as `upgraded`); after CopyBoth
//!   (replication) both sides speak as they like. A cancel request is a one-way exchange on a connection of its own.
//!
//! Only the first bytes of each call are seen. Where the lengths of messages lead behind them, the rest of an answer is passed over until
//! its end shows (`blind.rs`). An end that no message tells makes an outcome of `Unknown`. Where something was missed,
//! nothing is taken for certain until a whole unit was followed from its first byte to its last (`regain.rs`); what is asked until then
//! is counted as lost, at least once.
//!
//! Limits: a client that keeps the same number of statements in flight for ever, and was first seen in the middle of that, is taken for
//! one that waits for each answer, if all of its statements look the same.
//! Bounds: [`Options`]; nothing is allocated by what a length claims.

mod answers;
mod blind;
mod exchanges;
mod message;
mod regain;
mod requests;
mod sqlstate;
mod steps;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::losses::Losses;
use crate::protocol::Protocol;
use crate::statements::Names;
use crate::stream::{Both, Mark, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use blind::Blind;
use exchanges::{Done, Failed};
use message::Reader;
use steps::Steps;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages that wait for their answers. Past it nothing is followed until the connection has come to rest.
    pub pending_messages_max: u32,
    /// What the statements and names in them may take.
    pub pending_bytes_max: u32,
    /// Prepared statements whose operation is known; the one used longest ago makes room. Of portals, a quarter as many.
    pub statements_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_messages_max: 4096, pending_bytes_max: 128 * 1024, statements_max: 256 }
    }
}

/// What the client's messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Without a letter.
    Start,
    /// Encryption was asked for, and one byte will answer.
    EncryptionAsked,
    Messages,
}

/// PostgreSQL on one connection.
#[derive(Debug)]
pub struct Postgres {
    options: Options,
    losses: Losses,
    /// The server has granted TLS.
    begins_tls: bool,
    phase: Phase,
    /// Each direction stands where its reader says.
    synced: bool,
    /// In sync by what it looks like: the next unit has to prove it.
    on_probation: bool,
    /// Bytes of an answer came after the newest bytes of a request.
    answered: bool,
    /// Something was asked before the unit before was answered. It may be so again.
    pipelined: bool,
    /// While nothing is known: the call of the client before this one was a whole unit.
    asked_unit: bool,
    now_ns: u64,
    at: Both<Reach>,
    readers: Both<Reader>,
    steps: Steps,
    statements: Names,
    portals: Names,
    /// Where the group begins that is being asked.
    group: Option<Mark>,
    /// What the client said when it began; empty if that was not seen.
    database: Box<str>,
    /// The group that is being answered, and where its answer begins.
    answer: Option<(Position, Mark)>,
    /// The first error of the unit that is being answered.
    failed: Option<Failed>,
    /// The front step takes data from the client.
    copies_in: bool,
    /// Data is moved to the server in messages that were not all seen.
    copy_unseen: bool,
    blind: Option<Blind>,
    /// The answer before is taken to have ended where the next one begins.
    presumed: Option<Option<Done>>,
    /// Exchanges of the unit that is on probation.
    held: Vec<Done>,
}

impl Postgres {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            begins_tls: false,
            phase: Phase::Start,
            synced: true,
            on_probation: false,
            answered: false,
            pipelined: false,
            asked_unit: false,
            now_ns: 0,
            at: Both::default(),
            readers: Both::default(),
            steps: Steps::default(),
            statements: Names::new(options.statements_max),
            portals: Names::new(options.statements_max / 4 + 1),
            group: None,
            database: Box::default(),
            answer: None,
            failed: None,
            copies_in: false,
            copy_unseen: false,
            blind: None,
            presumed: None,
            held: Vec::new(),
        }
    }
}

impl Protocol for Postgres {
    const NAME: &'static str = "postgresql";

    fn judge(opening: &Opening<'_>) -> Verdict {
        regain::judge(opening)
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.postgres)
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
            (self.synced, self.phase) = (false, Phase::Messages);
        }
    }

    fn resumed(&self) -> Self {
        let database = self.database.clone();
        Self { losses: Losses::recognised(), phase: Phase::Messages, database, ..Self::new(self.options) }
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.read_requests(cursor, sink),
            Direction::Response => self.read_answers(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        // What was asked in it was not answered before.
        self.answered &= direction == Direction::Response;
        let lies_within = self.readers[direction].end().is_some_and(|end| to < end) && self.blind.is_none();
        // What lies within a message is passed over.
        if self.synced && !lies_within {
            if direction == Direction::Request || self.steps.is_empty() {
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
        self.steps.is_empty()
            && self.failed.is_none()
            && self.held.is_empty()
            && !matches!(self.presumed, Some(Some(_)))
            && (!self.synced || self.readers.request.is_at_start())
    }

    fn heap_bytes(&self) -> usize {
        self.steps.heap_bytes()
            + self.database.len()
            + self.statements.heap_bytes()
            + self.portals.heap_bytes()
            + self.readers.request.heap_bytes()
            + self.readers.response.heap_bytes()
            + self.held.capacity() * size_of::<Done>()
    }
}
