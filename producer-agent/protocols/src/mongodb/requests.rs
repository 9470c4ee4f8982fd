//! What a client asks, by the first bytes of its message.

use std::borrow::Cow;

use super::bson::{self, Element, Elements};
use super::commands::{About, Command};
use super::message::{self, HEADER_BYTES, Opcode};
use crate::operation::UNKNOWN;

/// Ends the namespace of what is a command (OP_QUERY).
const COMMAND_SUFFIX: &[u8] = b".$cmd";
/// Of a query (OP_QUERY): answers follow each other.
const QUERY_EXHAUST: u32 = 1 << 6;
/// Of a query (OP_QUERY): its cursor waits for what comes.
const QUERY_AWAITS_DATA: u32 = 1 << 5;

/// What is asked.
#[derive(Debug)]
pub struct Request {
    pub operation: Cow<'static, str>,
    /// Database and collection.
    pub resource: Box<str>,
    /// A name that belongs to the resource was not captured.
    pub misses_name: bool,
    pub answered: Answered,
    /// The answer may take as long as is asked for, since there may be nothing to tell.
    pub waits: bool,
    /// The cursor that is asked for more.
    pub cursor: Option<i64>,
    /// The cursor that this makes will wait.
    pub makes_waiting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    Yes,
    No,
    /// What says it is compressed, or was not captured.
    Unknown,
}

impl Request {
    fn of(operation: impl Into<Cow<'static, str>>) -> Self {
        Self {
            operation: operation.into(),
            resource: Box::default(),
            misses_name: false,
            answered: Answered::Yes,
            waits: false,
            cursor: None,
            makes_waiting: false,
        }
    }
}

/// Reads a message of a client.
pub fn read(opcode: Opcode, head: &[u8], is_cut: bool) -> Request {
    match opcode {
        Opcode::Message => {
            let mut request = match message::body(head) {
                Some(body) => command(bson::elements(body), None, is_cut),
                None => Request { misses_name: true, ..Request::of(UNKNOWN) },
            };
            request.answered = match message::more_to_come(head) {
                None => Answered::Unknown,
                Some(true) => Answered::No,
                Some(false) => Answered::Yes,
            };
            request
        }
        Opcode::Query => query(head, is_cut),
        Opcode::Compressed => Request { answered: Answered::Unknown, ..Request::of(opcode.name()) },
        Opcode::KillCursors => Request { answered: Answered::No, ..Request::of(opcode.name()) },
        Opcode::GetMore => namespaced(opcode, head, Answered::Yes),
        Opcode::Insert | Opcode::Update | Opcode::Delete | Opcode::Reply => namespaced(opcode, head, Answered::No),
    }
}

/// Four bytes, then a namespace.
fn namespaced(opcode: Opcode, head: &[u8], answered: Answered) -> Request {
    let namespace = head.get(HEADER_BYTES + 4..).and_then(bson::split_text);
    let resource = namespace.map(|(name, _)| message::namespace(name, b"")).unwrap_or_default();
    Request { resource, misses_name: namespace.is_none(), answered, ..Request::of(opcode.name()) }
}

fn query(head: &[u8], is_cut: bool) -> Request {
    let named = namespaced(Opcode::Query, head, Answered::Yes);
    let flags = message::word(head, HEADER_BYTES).unwrap_or_default();
    let Some((namespace, rest)) = head.get(HEADER_BYTES + 4..).and_then(bson::split_text) else { return named };
    let Some(database) = namespace.strip_suffix(COMMAND_SUFFIX) else {
        let awaits = flags & QUERY_AWAITS_DATA != 0;
        return Request { makes_waiting: awaits && flags & QUERY_EXHAUST == 0, ..named };
    };
    // How many to skip and how many to give stand between.
    let document = rest.get(8..).unwrap_or_default();
    let request = command(bson::elements(document), Some(database), is_cut);
    let operation = format!("{} {}", Opcode::Query.name(), request.operation).into();
    let resource = if request.resource.is_empty() { message::namespace(database, b"") } else { request.resource };
    Request { operation, resource, ..request }
}

/// A command, whose first element is its name. The database is named within it (`$db`), unless it is known.
fn command<'a>(elements: Elements<'a>, database: Option<&'a [u8]>, is_cut: bool) -> Request {
    let mut rest = elements;
    let Some(first) = rest.next() else { return Request { misses_name: is_cut, ..Request::of(UNKNOWN) } };
    if matches!(first.name, b"$query" | b"query")
        && let Some(wrapped) = first.elements()
    {
        return command(wrapped, database, is_cut);
    }
    let Some(command) = Command::of(first.name) else { return Request::of(UNKNOWN) };
    let mut request = Request::of(command.name);
    let mut names = Names { database, collection: None };
    if command.about == About::Collection {
        names.collection = first.text();
    }
    if command.about == About::Cursor {
        request.cursor = first.integer();
    }
    for element in rest {
        names.read(&element, command);
        read_waiting(&element, command, &mut request);
    }
    // What is about the whole database has another value there.
    let has_collection = match command.about {
        About::Collection => first.is_whole() && (names.collection.is_some() || first.text().is_none()),
        About::Cursor => names.collection.is_some(),
        About::Database => true,
    };
    match names.database.filter(|_| has_collection) {
        Some(database) => request.resource = message::namespace(database, names.collection.unwrap_or_default()),
        None => request.misses_name = true,
    }
    request
}

struct Names<'a> {
    database: Option<&'a [u8]>,
    collection: Option<&'a [u8]>,
}

impl<'a> Names<'a> {
    fn read(&mut self, element: &Element<'a>, command: Command) {
        match element.name {
            b"$db" => self.database = self.database.or(element.text()),
            b"collection" if command.about == About::Cursor => self.collection = element.text(),
            _ => {}
        }
    }
}

/// What says that an answer may wait, or those for its cursor.
fn read_waiting(element: &Element<'_>, command: Command, request: &mut Request) {
    match element.name {
        b"maxAwaitTimeMS" if command.is_hello() => request.waits = element.integer().is_some_and(|ms| ms > 0),
        // Only cursors that wait are asked for more with a time.
        b"maxTimeMS" if command.about == About::Cursor => request.waits = element.integer().is_some_and(|ms| ms > 0),
        b"awaitData" if command.name == "find" => request.makes_waiting = element.is_true() == Some(true),
        b"pipeline" if command.name == "aggregate" => {
            let first_stage = element.elements().and_then(|mut stages| stages.next()?.elements());
            let stage = first_stage.and_then(|mut stage| stage.next());
            request.makes_waiting = stage.is_some_and(|stage| stage.name == b"$changeStream");
        }
        _ => {}
    }
}
