//! The client's commands.
//!
//! In: its packets. Out: commands that wait for their answers. Those that have none leave nothing.

use std::sync::Arc;

use super::database::Change;
use super::login::Capabilities;
use super::packet::{HEAD_BYTES_MAX, Packet, split_number};
use crate::sql::{self, Dialect};
use crate::statements::Operation;
use crate::stream::Mark;

/// Too little of a statement to name it.
const STATEMENT_BYTES_MIN: usize = 16;
/// Stands for the statement that was prepared last (MariaDB).
const LAST_PREPARED: [u8; 4] = [0xff; 4];
/// No statement has so many attributes.
const ATTRIBUTES_MAX: u64 = 256;

/// What a command is called.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Fixed(&'static str),
    Statement(Operation),
    /// The preparation of a statement.
    Prepare(Operation),
    /// The statement that will have been prepared last.
    LastPrepared,
}

/// What its answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One packet that says how it went.
    Single,
    /// One packet that says anything.
    Text,
    /// Results, each with or without rows.
    Results,
    /// The statement's id, then definitions of its parameters and columns.
    Prepared,
    Definitions,
    Rows,
    /// As many packets of both sides as it takes.
    Login,
    /// Packets without an end.
    Stream,
}

/// What the server forgets when it has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgets {
    Nothing,
    Statements,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub name: Name,
    pub shape: Shape,
    pub forgets: Forgets,
    pub change: Change,
    /// The database that it goes to, once all before it were answered.
    pub resource: Arc<str>,
    pub start: Mark,
    pub end: Mark,
    /// The answer's first packet has the next number.
    pub last_sequence: u8,
}

/// What a packet of the client is.
pub(super) enum Command {
    Asks(Name, Shape, Forgets),
    /// Nothing answers it. A statement may be given up by it.
    Silent {
        closes: Option<[u8; 4]>,
    },
    /// The statement with this id is executed.
    Executes([u8; 4]),
    /// It is none.
    Wrong,
}

impl Pending {
    pub fn heap_bytes(&self) -> usize {
        let name = match &self.name {
            Name::Statement(Some(name)) | Name::Prepare(Some(name)) => name.len(),
            _ => 0,
        };
        name + self.change.heap_bytes()
    }
}

impl Name {
    /// The operation of the statement that it is about.
    pub fn operation(&self) -> &Operation {
        match self {
            Self::Statement(operation) | Self::Prepare(operation) => operation,
            Self::Fixed(_) | Self::LastPrepared => &None,
        }
    }
}

/// Reads a packet that begins a command.
pub(super) fn read(packet: &Packet<'_>, capabilities: Option<Capabilities>) -> Command {
    let Some((kind, body)) = packet.head.split_first() else { return Command::Wrong };
    if packet.sequence != 0 || !is_plausible(*kind, packet.length) {
        return Command::Wrong;
    }
    let is_cut = (packet.head.len() as u64) < packet.length;
    let fixed = |name, shape| Command::Asks(Name::Fixed(name), shape, Forgets::Nothing);
    let forgetting = |name, shape| Command::Asks(Name::Fixed(name), shape, Forgets::Statements);
    match kind {
        // A farewell, and parts of parameters.
        0x01 | 0x18 => Command::Silent { closes: None },
        0x02 => fixed("INIT DB", Shape::Single),
        0x03 => {
            let statement = statement_of(body, capabilities);
            let operation = statement.and_then(|statement| operation(statement, is_cut));
            Command::Asks(Name::Statement(operation), Shape::Results, Forgets::Nothing)
        }
        0x04 => fixed("FIELD LIST", Shape::Definitions),
        0x05 => fixed("CREATE DB", Shape::Single),
        0x06 => fixed("DROP DB", Shape::Single),
        0x07 => fixed("REFRESH", Shape::Single),
        0x08 => fixed("SHUTDOWN", Shape::Single),
        0x09 => fixed("STATISTICS", Shape::Text),
        0x0a => fixed("PROCESS INFO", Shape::Results),
        0x0c => fixed("PROCESS KILL", Shape::Single),
        0x0d => fixed("DEBUG", Shape::Single),
        0x0e => fixed("PING", Shape::Single),
        0x11 => forgetting("CHANGE USER", Shape::Login),
        0x12 => fixed("BINLOG DUMP", Shape::Stream),
        0x15 => fixed("REGISTER REPLICA", Shape::Single),
        0x16 => Command::Asks(Name::Prepare(operation(body, is_cut)), Shape::Prepared, Forgets::Nothing),
        0x17 | 0xfa => match id(body) {
            Some(LAST_PREPARED) => Command::Asks(Name::LastPrepared, Shape::Results, Forgets::Nothing),
            Some(id) => Command::Executes(id),
            None => Command::Asks(Name::Statement(None), Shape::Results, Forgets::Nothing),
        },
        0x19 => Command::Silent { closes: id(body) },
        0x1a => fixed("RESET STATEMENT", Shape::Single),
        0x1b => fixed("SET OPTION", Shape::Single),
        0x1c => fixed("FETCH", Shape::Rows),
        0x1e => fixed("BINLOG DUMP", Shape::Stream),
        0x1f => forgetting("RESET CONNECTION", Shape::Single),
        _ => Command::Wrong,
    }
}

/// Whether a command of this kind can have this length.
pub(super) fn is_plausible(kind: u8, length: u64) -> bool {
    match kind {
        0x01 | 0x09 | 0x0a | 0x0d | 0x0e | 0x1f => length == 1,
        0x02 | 0x03 | 0x05 | 0x06 | 0x16 => length >= 1,
        0x04 | 0x07 | 0x11 => length >= 2,
        0x08 => length <= 2,
        0x0c | 0x19 | 0x1a => length == 5,
        0x12 | 0x1e => length >= 11,
        0x15 => length >= 18,
        0x17 => length >= 10,
        0x18 | 0xfa => length >= 7,
        0x1b => length == 3,
        0x1c => length == 9,
        _ => false,
    }
}

/// Whether a command of this kind is answered.
pub(super) fn is_answered(kind: u8) -> bool {
    !matches!(kind, 0x01 | 0x18 | 0x19)
}

fn id(body: &[u8]) -> Option<[u8; 4]> {
    body.first_chunk::<4>().copied()
}

/// The name of a statement whose first bytes these are.
fn operation(statement: &[u8], is_cut: bool) -> Operation {
    let is_too_short = is_cut && statement.len() < STATEMENT_BYTES_MIN;
    debug_assert!(statement.len() <= HEAD_BYTES_MAX, "no more is kept of a packet");
    (!is_too_short).then(|| Arc::from(sql::name(Dialect::MySql, statement, is_cut)))
}

/// The statement behind the attributes of a query; None where its beginning is not known.
pub(super) fn statement_of(body: &[u8], capabilities: Option<Capabilities>) -> Option<&[u8]> {
    match capabilities {
        Some(capabilities) if capabilities.has_query_attributes() => behind_attributes(body),
        Some(_) => Some(body),
        // No statement begins with a zero; what begins with another small number may be either.
        None => match body {
            [0, 1, rest @ ..] => Some(rest),
            [b'\t' | b'\n' | b'\r', ..] => None,
            [first, ..] if *first < b' ' => None,
            _ => Some(body),
        },
    }
}

fn behind_attributes(body: &[u8]) -> Option<&[u8]> {
    let (count, rest) = split_number(body)?;
    let (_sets, mut rest) = split_number(rest)?;
    if count == 0 {
        return Some(rest);
    }
    if count > ATTRIBUTES_MAX {
        return None;
    }
    let (nulls, behind) = rest.split_at_checked((count as usize).div_ceil(8))?;
    // Types are always sent along.
    rest = behind.strip_prefix(&[1])?;
    let mut kinds = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let ([kind, _flags], behind) = rest.split_first_chunk::<2>()?;
        let (name, behind) = split_number(behind)?;
        kinds.push(*kind);
        rest = behind.get(usize::try_from(name).ok()?..)?;
    }
    for (at, kind) in kinds.iter().enumerate() {
        let is_null = nulls[at / 8] >> (at % 8) & 1 == 1;
        if !is_null {
            rest = behind_value(*kind, rest)?;
        }
    }
    Some(rest)
}

/// What is behind a value in the binary form of its type.
fn behind_value(kind: u8, bytes: &[u8]) -> Option<&[u8]> {
    let length = match kind {
        0x01 => 1,
        0x02 | 0x0d => 2,
        0x03 | 0x04 | 0x09 => 4,
        0x05 | 0x08 => 8,
        0x06 => 0,
        // Times say how long they are.
        0x07 | 0x0a..=0x0c => usize::from(*bytes.first()?) + 1,
        _ => {
            let (length, behind) = split_number(bytes)?;
            return behind.get(usize::try_from(length).ok()?..);
        }
    };
    bytes.get(length..)
}
