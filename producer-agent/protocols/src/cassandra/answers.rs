//! What a server answers, by the first bytes of its frame.

use super::errors;
use super::frame::{self, Header};
use crate::{Code, Direction, Outcome, resource};

/// Kinds of results.
const SET_KEYSPACE: i32 = 3;
const PREPARED: i32 = 4;

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub outcome: Outcome,
    pub code: Code,
    /// The id of what was prepared.
    pub prepared: Option<&'a [u8]>,
    /// The keyspace that the connection uses from now on.
    pub keyspace: Option<&'a str>,
}

/// Reads a frame of a server.
pub fn read<'a>(header: &Header, head: &'a [u8]) -> Answer<'a> {
    let body = frame::body(head, header, Direction::Response);
    let mut answer = Answer { outcome: Outcome::Ok, code: Code::default(), prepared: None, keyspace: None };
    match header.opcode {
        frame::ERROR => {
            let number = body.and_then(frame::int).map(|(number, _)| number);
            (answer.outcome, answer.code) = number.map_or((Outcome::Unknown, Code::default()), errors::outcome);
        }
        frame::RESULT => {
            if let Some((kind, rest)) = body.and_then(frame::int) {
                let text = frame::split_short(rest).map(|(text, _)| text);
                match kind {
                    SET_KEYSPACE => answer.keyspace = text.map(resource::name),
                    PREPARED => answer.prepared = text,
                    _ => {}
                }
            }
        }
        _ => {}
    }
    answer
}
