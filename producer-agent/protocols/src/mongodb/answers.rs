//! What a server answers, by the first bytes of its message.

use super::bson::{self, Elements};
use super::codes;
use super::message::{self, HEADER_BYTES, Opcode};
use crate::{Code, Outcome};

/// Of a reply (OP_REPLY): there is no such cursor.
const REPLY_CURSOR_NOT_FOUND: u32 = 1;
/// Of a reply (OP_REPLY): its document says what failed.
const REPLY_QUERY_FAILURE: u32 = 1 << 1;
/// Flags, a cursor, where it stands and how many documents follow.
const REPLY_HEAD_BYTES: usize = 20;

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub code: Code,
    /// The cursor that is open behind it.
    pub cursor: Option<i64>,
    /// A cursor gave nothing, but it may have more later.
    pub has_waited: bool,
    /// Another answer follows without having been asked for.
    pub more_to_come: bool,
}

impl Answer {
    fn of((outcome, code): (Outcome, Code)) -> Self {
        Self { outcome, code, cursor: None, has_waited: false, more_to_come: false }
    }
}

const UNKNOWN: fn() -> Answer = || Answer::of((Outcome::Unknown, Code::default()));

/// Reads a message of a server.
pub fn read(opcode: Opcode, head: &[u8], is_command: bool) -> Answer {
    match opcode {
        Opcode::Message => {
            let more_to_come = message::more_to_come(head).unwrap_or_default();
            let answer = message::body(head).map_or_else(UNKNOWN, |body| document(bson::elements(body)));
            Answer { more_to_come, ..answer }
        }
        Opcode::Reply => reply(head, is_command),
        _ => UNKNOWN(),
    }
}

fn reply(head: &[u8], is_command: bool) -> Answer {
    let Some(flags) = message::word(head, HEADER_BYTES) else { return UNKNOWN() };
    let documents = head.get(HEADER_BYTES + REPLY_HEAD_BYTES..).unwrap_or_default();
    if flags & REPLY_CURSOR_NOT_FOUND != 0 {
        return Answer::of((Outcome::ClientError, Code::new(b"CursorNotFound")));
    }
    if flags & REPLY_QUERY_FAILURE != 0 {
        let number = bson::elements(documents).find(|element| element.name == b"code");
        return Answer::of(match number.and_then(|number| number.integer()) {
            Some(number) => codes::error(number, None),
            None => (Outcome::ClientError, Code::new(b"QueryFailure")),
        });
    }
    if is_command { document(bson::elements(documents)) } else { Answer::of((Outcome::Ok, Code::default())) }
}

/// What an error says.
#[derive(Clone, Copy, Debug, Default)]
struct Error<'a> {
    number: Option<i64>,
    name: Option<&'a [u8]>,
}

impl<'a> Error<'a> {
    fn of(elements: Elements<'a>) -> Self {
        let mut error = Self::default();
        elements.for_each(|element| error.read(element.name, element.integer(), element.text()));
        error
    }

    fn read(&mut self, name: &[u8], integer: Option<i64>, text: Option<&'a [u8]>) {
        match name {
            b"code" => self.number = integer,
            b"codeName" => self.name = text,
            _ => {}
        }
    }

    fn outcome(self) -> (Outcome, Code) {
        match self.number {
            Some(number) => codes::error(number, self.name),
            // Whose fault it is stands behind what was captured.
            None => (Outcome::Unknown, self.name.map(Code::new).unwrap_or_default()),
        }
    }
}

/// The document that answers a command. It fails as a whole (`ok`), in some of its writes, or in what it promises of them.
fn document(elements: Elements<'_>) -> Answer {
    let mut answer = UNKNOWN();
    let (mut is_ok, mut error, mut partial) = (None, Error::default(), None);
    for element in elements {
        match element.name {
            b"ok" => is_ok = element.is_true(),
            b"cursor" => {
                // Only what has succeeded gives one. Its documents may hide all that is behind them.
                is_ok = is_ok.or(element.elements().map(|_| true));
                element.elements().into_iter().for_each(|cursor| read_cursor(cursor, &mut answer));
            }
            b"writeErrors" => {
                let first = element.elements().and_then(|mut errors| errors.next()?.elements());
                partial = partial.or(first.map(Error::of));
            }
            b"writeConcernError" => partial = partial.or(element.elements().map(Error::of)),
            name => error.read(name, element.integer(), element.text()),
        }
    }
    (answer.outcome, answer.code) = match (is_ok, partial) {
        (Some(false), _) => error.outcome(),
        (_, Some(partial)) => partial.outcome(),
        (Some(true), None) => (Outcome::Ok, Code::default()),
        (None, None) => (Outcome::Unknown, Code::default()),
    };
    answer
}

fn read_cursor(elements: Elements<'_>, answer: &mut Answer) {
    let mut is_empty = false;
    for element in elements {
        match element.name {
            b"id" => answer.cursor = element.integer().filter(|id| *id != 0),
            b"nextBatch" => {
                is_empty = element.is_whole() && element.elements().is_some_and(|mut batch| batch.next().is_none())
            }
            _ => {}
        }
    }
    answer.has_waited = is_empty && answer.cursor.is_some();
}
