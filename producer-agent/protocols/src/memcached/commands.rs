//! What is asked, what answers it, and what an answer says.

use super::message::{Header, Line, Message};
use crate::{Code, Outcome};

/// What a command's answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One message; in text one of these words, or any number.
    One(&'static [&'static str]),
    /// One line of any words.
    Any,
    /// Values up to `END`.
    Values,
    /// Lines up to `END` or the like; in binary, messages up to one without a key.
    Many,
    /// Lines without an end.
    Stream,
}

/// Whether a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Always,
    /// Only if it did not go as it mostly does: with one of these words in text, with its own code in binary.
    Sometimes(&'static [&'static str]),
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub name: &'static str,
    pub shape: Shape,
    pub reply: Reply,
    /// What its answer repeats, in binary.
    pub key: Option<(u8, [u8; 4])>,
}

/// What a message is to a command that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    GoesOn,
    Last(Code, Outcome),
    /// Something else.
    Foreign,
}

const STORED: &[&str] = &["STORED", "NOT_STORED", "EXISTS", "NOT_FOUND"];
const NUMBER: &[&str] = &["0", "NOT_FOUND"];
const META: &[&str] = &["HD", "VA", "EN", "NF", "NS", "EX"];

/// How commands in text are called, what answers them, and, where they can be quiet, what answers them then.
const COMMANDS: [(&str, &str, Shape, &[&str]); 31] = [
    ("get", "GET", Shape::Values, &[]),
    ("gets", "GETS", Shape::Values, &[]),
    ("gat", "GAT", Shape::Values, &[]),
    ("gats", "GATS", Shape::Values, &[]),
    ("set", "SET", Shape::One(STORED), &[]),
    ("add", "ADD", Shape::One(STORED), &[]),
    ("replace", "REPLACE", Shape::One(STORED), &[]),
    ("append", "APPEND", Shape::One(STORED), &[]),
    ("prepend", "PREPEND", Shape::One(STORED), &[]),
    ("cas", "CAS", Shape::One(STORED), &[]),
    ("delete", "DELETE", Shape::One(&["DELETED", "NOT_FOUND"]), &[]),
    ("incr", "INCR", Shape::One(NUMBER), &[]),
    ("decr", "DECR", Shape::One(NUMBER), &[]),
    ("touch", "TOUCH", Shape::One(&["TOUCHED", "NOT_FOUND"]), &[]),
    ("flush_all", "FLUSH_ALL", Shape::One(&["OK"]), &[]),
    ("version", "VERSION", Shape::One(&["VERSION"]), &[]),
    ("verbosity", "VERBOSITY", Shape::One(&["OK"]), &[]),
    ("cache_memlimit", "CACHE_MEMLIMIT", Shape::One(&["OK"]), &[]),
    ("stats", "STATS", Shape::Many, &[]),
    ("slabs", "SLABS", Shape::Any, &[]),
    ("lru", "LRU", Shape::Any, &[]),
    ("lru_crawler", "LRU_CRAWLER", Shape::Many, &[]),
    ("mg", "MG", Shape::One(META), &["HD", "VA"]),
    ("ms", "MS", Shape::One(META), &["NF", "NS", "EX"]),
    ("md", "MD", Shape::One(META), &["NF", "EX"]),
    ("ma", "MA", Shape::One(META), &["VA", "NF", "NS", "EX"]),
    ("me", "ME", Shape::One(&["ME", "EN"]), &[]),
    ("mn", "MN", Shape::One(&["MN"]), &[]),
    ("quit", "QUIT", Shape::Any, &[]),
    ("shutdown", "SHUTDOWN", Shape::Any, &[]),
    ("watch", "WATCH", Shape::Stream, &[]),
];
const ERRORS: [&str; 3] = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR"];
/// What answers when all went as asked; all other words are told.
const PLAIN: [&str; 12] =
    ["STORED", "DELETED", "TOUCHED", "OK", "END", "HD", "VA", "MN", "ME", "VERSION", "RESET", "0"];

/// Names of the codes in binary, and whether the command is quiet.
const OPCODES: [(u8, &str, bool); 34] = [
    (0x00, "GET", false),
    (0x01, "SET", false),
    (0x02, "ADD", false),
    (0x03, "REPLACE", false),
    (0x04, "DELETE", false),
    (0x05, "INCR", false),
    (0x06, "DECR", false),
    (0x07, "QUIT", false),
    (0x08, "FLUSH_ALL", false),
    (0x09, "GETQ", true),
    (0x0a, "NOOP", false),
    (0x0b, "VERSION", false),
    (0x0c, "GETK", false),
    (0x0d, "GETKQ", true),
    (0x0e, "APPEND", false),
    (0x0f, "PREPEND", false),
    (0x10, "STATS", false),
    (0x11, "SETQ", true),
    (0x12, "ADDQ", true),
    (0x13, "REPLACEQ", true),
    (0x14, "DELETEQ", true),
    (0x15, "INCRQ", true),
    (0x16, "DECRQ", true),
    (0x18, "FLUSHQ", true),
    (0x19, "APPENDQ", true),
    (0x1a, "PREPENDQ", true),
    (0x1b, "VERBOSITY", false),
    (0x1c, "TOUCH", false),
    (0x1d, "GAT", false),
    (0x1e, "GATQ", true),
    (0x20, "SASL_LIST_MECHS", false),
    (0x21, "SASL_AUTH", false),
    (0x22, "SASL_STEP", false),
    (0x23, "GATK", false),
];
const GATKQ: u8 = 0x24;
const STATS: u8 = 0x10;
const QUITQ: u8 = 0x17;
/// The last one that is known.
pub(super) const OPCODE_MAX: u8 = GATKQ;

/// The command of a client's message; None if it is none. An inner None: nothing is to be told of it.
pub(super) fn of(message: &Message) -> Option<Option<Command>> {
    match message {
        Message::Line(line) => of_line(line).map(Some),
        Message::Binary(header) if header.opcode == QUITQ => Some(None),
        Message::Binary(header) => of_header(header).map(Some),
    }
}

fn of_line(line: &Line) -> Option<Command> {
    let (_, name, shape, answers) = COMMANDS.iter().find(|(word, ..)| word.as_bytes() == line.first())?;
    let reply = match () {
        () if line.wants_no_reply && answers.is_empty() => Reply::Never,
        () if matches!(*name, "QUIT" | "SHUTDOWN") => Reply::Never,
        () if line.is_quiet && !answers.is_empty() => Reply::Sometimes(answers),
        () => Reply::Always,
    };
    Some(Command { name, shape: *shape, reply, key: None })
}

fn of_header(header: &Header) -> Option<Command> {
    let known = OPCODES.iter().find(|(opcode, ..)| *opcode == header.opcode);
    let (name, is_quiet) = match known {
        Some((_, name, is_quiet)) => (*name, *is_quiet),
        None if header.opcode == GATKQ => ("GATKQ", true),
        // Those of other servers that speak alike.
        None => ("OTHER", false),
    };
    let shape = if header.opcode == STATS { Shape::Many } else { Shape::Any };
    let reply = if is_quiet { Reply::Sometimes(&[]) } else { Reply::Always };
    Some(Command { name, shape, reply, key: Some((header.opcode, header.opaque)) })
}

impl Command {
    /// What a message says, if it may answer this command though it is quiet.
    pub fn answers_quietly(&self, message: &Message) -> Option<(Code, Outcome)> {
        match (self.reply, self.part(message)) {
            (Reply::Sometimes(_), Part::Last(code, outcome)) => Some((code, outcome)),
            _ => None,
        }
    }

    /// What a message of the server is to this command, if it is answered.
    pub fn part(&self, message: &Message) -> Part {
        match message {
            Message::Binary(header) if self.key != Some((header.opcode, header.opaque)) => Part::Foreign,
            Message::Binary(header) => {
                let (code, outcome) = of_status(header.status);
                if self.shape == Shape::Many && header.status == 0 && header.key_bytes > 0 {
                    Part::GoesOn
                } else {
                    Part::Last(code, outcome)
                }
            }
            Message::Line(_) if self.key.is_some() => Part::Foreign,
            Message::Line(line) => {
                let word = line.first();
                let is_error = ERRORS.iter().any(|error| error.as_bytes() == word);
                let is_of = |words: &[&str]| {
                    let is_number = line.words == 1 && line.number(0).is_some() && words.contains(&"0");
                    is_number || words.iter().any(|known| known.as_bytes() == word)
                };
                let goes_on = match (self.reply, self.shape) {
                    (Reply::Sometimes(words), _) if is_error || is_of(words) => false,
                    (Reply::Sometimes(_) | Reply::Never, _) => return Part::Foreign,
                    // Nothing can go wrong with it: an error is that of a quiet command before it.
                    (Reply::Always, Shape::One(&["MN"])) if is_error => return Part::Foreign,
                    (Reply::Always, _) if is_error => false,
                    (_, Shape::One(words)) if is_of(words) => false,
                    (_, Shape::One(_)) => return Part::Foreign,
                    (_, Shape::Values) if word == b"VALUE" => true,
                    (_, Shape::Values) if word == b"END" => false,
                    (_, Shape::Values) => return Part::Foreign,
                    (_, Shape::Any | Shape::Stream) => false,
                    (_, Shape::Many) => !matches!(word, b"END" | b"RESET" | b"OK" | b"BUSY" | b"BADCLASS"),
                };
                if goes_on { Part::GoesOn } else { of_word(line) }
            }
        }
    }
}

fn of_word(line: &Line) -> Part {
    let word = line.first();
    let is_plain = line.number(0).is_some() || PLAIN.iter().any(|plain| plain.as_bytes() == word);
    let outcome = match word {
        b"SERVER_ERROR" => Outcome::ServerError,
        b"CLIENT_ERROR" | b"ERROR" => Outcome::ClientError,
        // What is not there, or is there already, is an answer like any other.
        _ => Outcome::Ok,
    };
    Part::Last(if is_plain { Code::default() } else { Code::new(word) }, outcome)
}

/// What a status in binary says, in the words of the text.
fn of_status(status: u16) -> (Code, Outcome) {
    let (code, outcome) = match status {
        0x00 => ("", Outcome::Ok),
        0x01 => ("NOT_FOUND", Outcome::Ok),
        0x02 => ("EXISTS", Outcome::Ok),
        0x05 => ("NOT_STORED", Outcome::Ok),
        // The login goes on.
        0x21 => ("AUTH_CONTINUE", Outcome::Ok),
        0x03 => ("TOO_LARGE", Outcome::ClientError),
        0x04 => ("INVALID", Outcome::ClientError),
        0x06 => ("NON_NUMERIC", Outcome::ClientError),
        0x08 | 0x20 => ("AUTH_ERROR", Outcome::ClientError),
        0x81 => ("UNKNOWN_COMMAND", Outcome::ClientError),
        0x83 => ("NOT_SUPPORTED", Outcome::ClientError),
        0x82 => ("OUT_OF_MEMORY", Outcome::ServerError),
        0x84 => ("INTERNAL", Outcome::ServerError),
        0x85 => ("BUSY", Outcome::ServerError),
        0x86 => ("TEMPORARY_FAILURE", Outcome::ServerError),
        _ => ("OTHER", Outcome::ServerError),
    };
    (Code::new(code.as_bytes()), outcome)
}

/// Whether text begins with a word of a command and what may follow it.
pub(super) fn begins_command(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(bytes.len());
    COMMANDS.iter().any(|(word, ..)| word.as_bytes() == &bytes[..end])
}

/// Whether a word of a command can begin like this.
pub(super) fn may_begin_command(bytes: &[u8]) -> bool {
    COMMANDS.iter().any(|(word, ..)| word.as_bytes().starts_with(bytes))
}

/// Whether a line has all that its command needs, and has words behind it.
pub(super) fn is_unmistakable(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(7).collect();
    let is_number = |word: &&[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    match words.as_slice() {
        [b"set" | b"add" | b"replace" | b"append" | b"prepend", _, flags, expiry, bytes]
        | [b"set" | b"add" | b"replace" | b"append" | b"prepend", _, flags, expiry, bytes, b"noreply"]
        | [b"cas", _, flags, expiry, bytes, ..] => [flags, expiry, bytes].into_iter().all(is_number),
        [b"incr" | b"decr", _, by, ..] => is_number(by),
        [b"ms", _, bytes, ..] => is_number(bytes),
        [b"get" | b"gets", _] | [b"delete" | b"touch" | b"mg" | b"md" | b"ma", _, ..] => true,
        _ => false,
    }
}
