//! The beginning of a message of DNS (RFC 1035, 4.1): its header and its question, wherever it came in.
//!
//! In: the first bytes of a message, without the length that TCP puts before it. Out: what it asks or answers. Pure; reads its header,
//! a name of at most [`NAME_BYTES_MAX`] bytes and a few behind it, and believes no length further than the bytes that are there.

use crate::{Code, Direction, Outcome, resource};

use super::names;

pub const HEADER_BYTES: usize = 12;
/// A name on the wire (RFC 1035, 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;
/// Type and class behind the name.
const QUESTION_TAIL_BYTES: usize = 4;
/// Up to where a record without data begins that says more of the answer's code: a root name, type, class and the code (RFC 6891, 6.1.3).
const OPT_BYTES: usize = 6;
const TYPE_OPT: u16 = 41;

/// Types that are answered by several messages (RFC 5936, RFC 1995).
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;

/// What the first 12 bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub is_answer: bool,
    pub opcode: u8,
    rcode: u8,
    /// The bit that is to be zero (RFC 1035, 4.1.1).
    is_reserved_set: bool,
    questions: u16,
    pub answers: u16,
    authorities: u16,
    additionals: u16,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name as it stands on the wire: labels with their lengths, and the root's zero.
    name: &'a [u8],
    /// All of it: the name, type and class.
    bytes: &'a [u8],
    pub qtype: u16,
    class: u16,
}

/// A message's header with its question, as far as that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub header: Header,
    pub question: Option<Question<'a>>,
    /// What is behind the question.
    rest: &'a [u8],
}

impl Header {
    /// The header that the bytes begin with, if it is one of this direction: an opcode of RFC 1035, 1996 or 2136, and one question at most
    /// (RFC 9619).
    pub fn read(bytes: &[u8], direction: Direction) -> Option<Header> {
        let fixed: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let header = Header {
            id: word(0),
            is_answer: fixed[2] & 0x80 != 0,
            opcode: fixed[2] >> 3 & 0xf,
            rcode: fixed[3] & 0xf,
            is_reserved_set: fixed[3] & 0x40 != 0,
            questions: word(4),
            answers: word(6),
            authorities: word(8),
            additionals: word(10),
        };
        let is_of = header.is_answer == (direction == Direction::Response);
        (is_of && names::of_opcode(header.opcode).is_some() && header.questions <= 1).then_some(header)
    }
}

impl<'a> Message<'a> {
    /// The message that the bytes begin with. None if it is none of this direction, or its question none that can be.
    pub fn read(bytes: &'a [u8], direction: Direction) -> Option<Message<'a>> {
        let header = Header::read(bytes, direction)?;
        let behind = &bytes[HEADER_BYTES..];
        if header.questions == 0 {
            return Some(Message { header, question: None, rest: behind });
        }
        Some(match question(behind)? {
            Some((question, rest)) => Message { header, question: Some(question), rest },
            None => Message { header, question: None, rest: &[] },
        })
    }

    /// It has a question that was not captured.
    pub fn is_cut(&self) -> bool {
        self.header.questions == 1 && self.question.is_none()
    }

    /// What is asked: the type; or, of what is no query, the opcode.
    pub fn operation(&self) -> names::Name {
        match (self.header.opcode, self.question) {
            (0, Some(question)) => names::of_type(question.qtype),
            (0, None) if self.is_cut() => names::Name::Borrowed(crate::operation::UNKNOWN),
            (opcode, _) => names::Name::Borrowed(names::of_opcode(opcode).unwrap_or(crate::operation::UNKNOWN)),
        }
    }

    /// Several messages answer it.
    pub fn is_transfer(&self) -> bool {
        self.question.is_some_and(|question| matches!(question.qtype, TYPE_IXFR | TYPE_AXFR))
    }

    /// What an answer says of how it went: the code with its upper part (RFC 6891, 6.1.3), which is looked for where nothing else is answered.
    pub fn outcome(&self) -> (Outcome, Code) {
        let Header { answers, authorities, additionals, .. } = self.header;
        let is_alone = answers == 0 && authorities == 0 && additionals > 0;
        let upper = match self.rest.first_chunk::<OPT_BYTES>() {
            Some([0, kind @ .., _, _, upper]) if is_alone && u16::from_be_bytes(*kind) == TYPE_OPT => *upper,
            _ => 0,
        };
        names::outcome(u16::from(upper) << 4 | u16::from(self.header.rcode))
    }

    /// A header that nothing but a query has, also where its question is not all there yet: a cookie, a signature or a zone's serial stand beside it at most.
    pub fn begins_a_query(&self) -> bool {
        let Header { opcode, rcode, is_reserved_set, questions, answers, authorities, additionals, .. } = self.header;
        let is_plain = opcode == 0 && rcode == 0 && !is_reserved_set;
        is_plain && questions == 1 && answers == 0 && authorities <= 1 && additionals <= 2
    }

    /// Nothing but a message of DNS is likely to begin so.
    pub fn is_unmistakable(&self) -> bool {
        let Header { is_answer, is_reserved_set, rcode, answers, opcode, .. } = self.header;
        let is_plain = !is_reserved_set && (is_answer || (rcode == 0 && (answers == 0 || opcode != 0)));
        is_plain && self.question.is_some_and(|question| question.is_usual())
    }
}

impl<'a> Question<'a> {
    /// It, as it stands on the wire.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A type and a class that are in use.
    fn is_usual(&self) -> bool {
        names::is_known_type(self.qtype) && matches!(self.class, 1 | 3 | 4 | 254 | 255)
    }

    /// The name as people write it (RFC 1035, 5.1), in lower case, without the root's dot; `.` is the root itself. Of a name beyond the
    /// bound of resources the last labels that fit, behind `...`.
    pub fn resource(&self) -> String {
        let mut labels: Vec<String> = Vec::new();
        let mut rest = self.name;
        while let Some((label, behind)) = split_label(rest).filter(|(label, _)| !label.is_empty()) {
            labels.push(written(label));
            rest = behind;
        }
        let whole = labels.join(".");
        match whole.len() {
            0 => ".".to_owned(),
            length if length <= resource::BYTES_MAX => whole,
            _ => last_labels(&labels),
        }
    }
}

const CUT: &str = "...";

fn last_labels(labels: &[String]) -> String {
    let mut room = resource::BYTES_MAX - CUT.len();
    let fitting = labels.iter().rev().take_while(|label| {
        // With its dot.
        let fits = label.len() < room;
        room = room.saturating_sub(label.len() + 1);
        fits
    });
    let kept = fitting.count();
    format!("{CUT}{}", labels[labels.len() - kept..].join("."))
}

/// Bytes that are no letters of a text are `\` and three digits.
fn written(label: &[u8]) -> String {
    let mut text = String::with_capacity(label.len());
    for byte in label {
        match byte {
            b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
            byte if byte.is_ascii_graphic() => text.push(char::from(byte.to_ascii_lowercase())),
            byte => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text
}

/// The question that the bytes begin with, and what is behind it; none of them if they end before it does. The outer None: they are no question.
#[expect(clippy::option_option, reason = "not captured and not possible are two things")]
fn question(bytes: &[u8]) -> Option<Option<(Question<'_>, &[u8])>> {
    let mut rest = bytes;
    loop {
        // No name stands before it that it could point to.
        if rest.first().is_some_and(|length| *length > 63) || bytes.len() - rest.len() > NAME_BYTES_MAX {
            return None;
        }
        let Some((label, behind)) = split_label(rest) else { return Some(None) };
        rest = behind;
        if label.is_empty() {
            break;
        }
    }
    let name_bytes = bytes.len() - rest.len();
    if name_bytes > NAME_BYTES_MAX {
        return None;
    }
    let Some((tail, behind)) = rest.split_first_chunk::<QUESTION_TAIL_BYTES>() else { return Some(None) };
    let (qtype, class) = (u16::from_be_bytes([tail[0], tail[1]]), u16::from_be_bytes([tail[2], tail[3]]));
    Some(Some((
        Question { name: &bytes[..name_bytes], bytes: &bytes[..name_bytes + QUESTION_TAIL_BYTES], qtype, class },
        behind,
    )))
}

fn split_label(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(name: &[u8]) -> Vec<u8> {
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 1, 0, 1]].concat()
    }

    #[test]
    fn names_are_written_as_people_do() {
        let long: Vec<u8> = [[&[49][..], &[b'a'; 49]].concat().repeat(4), vec![0]].concat();
        for (name, written) in [
            (&b"\x03WWW\x07example\x00"[..], "www.example"),
            (b"\x00", "."),
            (b"\x04a.b\\\x00", "a\\.b\\\\"),
            (b"\x02\xff \x00", "\\255\\032"),
            (&long, &format!("...{}.{}", "a".repeat(49), "a".repeat(49))),
        ] {
            let bytes = asked(name);
            let message = Message::read(&bytes, Direction::Request).unwrap();
            assert_eq!(message.question.unwrap().resource(), written);
        }
    }

    #[test]
    fn what_is_no_question_is_refused_and_what_is_cut_is_known_to_be() {
        // A pointer, and a name beyond the bound.
        for name in [&b"\xc0\x0c"[..], &[&[63][..], &[b'a'; 63]].concat().repeat(5)] {
            assert!(Message::read(&asked(name), Direction::Request).is_none());
        }
        let whole = asked(b"\x03www\x07example\x00");
        for cut in HEADER_BYTES..whole.len() {
            assert!(Message::read(&whole[..cut], Direction::Request).unwrap().is_cut(), "{cut}");
        }
        assert!(!Message::read(&whole, Direction::Request).unwrap().is_cut());
        assert!(Message::read(&whole, Direction::Response).is_none());
    }
}
