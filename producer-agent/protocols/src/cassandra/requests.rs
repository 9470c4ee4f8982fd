//! What a client asks, by the first bytes of its frame.

use std::sync::Arc;

use super::frame::{self, Header};
use super::prepared::{Prepared, Prepares};
use crate::Direction;
use crate::operation::UNKNOWN;
use crate::sql::{self, Dialect};
use crate::statements::Operation;

/// Too little of a statement to name it.
const STATEMENT_BYTES_MIN: usize = 16;
/// Of PREPARE: it names the keyspace.
const FLAG_KEYSPACE: i32 = 0x01;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub operation: Arc<str>,
    /// What is prepared, to be known by the id that the answer gives.
    pub prepares: Option<Prepares>,
    /// What it does was not captured, cannot be read, or was prepared unseen.
    pub is_unknown: bool,
    /// Of STARTUP: all that follows is to be compressed.
    pub compresses: bool,
}

impl Request {
    fn of(operation: impl Into<Arc<str>>) -> Self {
        Self { operation: operation.into(), prepares: None, is_unknown: false, compresses: false }
    }

    fn named(operation: Operation) -> Self {
        match operation {
            Some(operation) => Self::of(operation),
            None => Self { is_unknown: true, ..Self::of(UNKNOWN) },
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.operation.len() + self.prepares.as_ref().map_or(0, |prepares| prepares.operation.len())
    }
}

/// Reads a frame of a client. `prepared`: what is known of ids; `keyspace`: the one that the connection uses, as far as that is known.
pub fn read(header: &Header, head: &[u8], prepared: &mut Prepared, keyspace: &str) -> Request {
    let body = frame::body(head, header, Direction::Request);
    match header.opcode {
        frame::STARTUP => {
            // A map of options; that it names one is enough.
            let compresses = body.is_some_and(|body| memchr::memmem::find(body, b"\0\x0bCOMPRESSION").is_some());
            Request { compresses, ..Request::of("STARTUP") }
        }
        frame::OPTIONS => Request::of("OPTIONS"),
        frame::REGISTER => Request::of("REGISTER"),
        frame::AUTH_RESPONSE => Request::of("AUTH_RESPONSE"),
        frame::QUERY => Request::named(body.and_then(statement)),
        frame::PREPARE => match body.and_then(|body| prepares(body, header, keyspace)) {
            Some(prepares) => {
                let operation = format!("PREPARE {}", prepares.operation);
                Request { prepares: Some(prepares), ..Request::of(operation) }
            }
            None => Request { is_unknown: true, ..Request::of("PREPARE") },
        },
        frame::EXECUTE => {
            let id = body.and_then(frame::split_short).map(|(id, _)| id);
            Request::named(id.and_then(|id| prepared.get(id)))
        }
        frame::BATCH => match body.and_then(|body| first_of_batch(body, prepared)) {
            Some(first) => Request::of(format!("BATCH {first}")),
            None => Request { is_unknown: true, ..Request::of("BATCH") },
        },
        _ => Request::named(None),
    }
}

/// A statement behind its length of four bytes.
fn statement(body: &[u8]) -> Operation {
    let (length, text) = frame::int(body)?;
    let length = usize::try_from(length).ok()?;
    let is_cut = text.len() < length;
    let text = &text[..length.min(text.len())];
    let is_too_short = is_cut && text.len() < STATEMENT_BYTES_MIN;
    (!is_too_short).then(|| sql::name(Dialect::Cql, text, is_cut).into())
}

/// A statement that is to be prepared; in version 5, flags and a keyspace may stand behind it (native_protocol_v5.spec, 4.1.5).
fn prepares(body: &[u8], header: &Header, keyspace: &str) -> Option<Prepares> {
    let operation = statement(body)?;
    let (length, text) = frame::int(body)?;
    let text = text.split_at_checked(usize::try_from(length).ok()?);
    let own = text.filter(|_| header.version == 5).and_then(|(_, behind)| match frame::int(behind)? {
        (flags, behind) if flags & FLAG_KEYSPACE != 0 => Some(frame::split_short(behind)?.0),
        _ => None,
    });
    Some(Prepares::of(operation, text.map(|(text, _)| text), own.unwrap_or(keyspace.as_bytes())))
}

/// Its kind, how many there are, and each with what it is bound to.
fn first_of_batch(body: &[u8], prepared: &mut Prepared) -> Operation {
    let (count, rest) = frame::short(body.get(1..)?)?;
    let (kind, rest) = rest.split_first()?;
    match kind {
        _ if count == 0 => Some(sql::EMPTY.into()),
        0 => statement(rest),
        1 => prepared.get(frame::split_short(rest)?.0),
        _ => None,
    }
}
