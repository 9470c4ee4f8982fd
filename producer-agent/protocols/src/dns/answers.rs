//! Which addresses an answer gives for the name that was asked for (RFC 1035, 4.1.3 and 4.1.4), wherever it came in.
//!
//! In: the first bytes of an answer, from its header on. Out: the addresses at the end of the chain of aliases that begins with the question, as far
//! as they were captured. Other records that stand beside them are not believed. Pure; looks at [`RECORDS_MAX`] records and [`BYTES_MAX`] bytes at most.

use std::net::IpAddr;

use super::message::{HEADER_BYTES, Message, NAME_BYTES_MAX};

/// What is looked at of an answer: more than what a hundred addresses take.
pub const BYTES_MAX: usize = 4096;
/// More than an answer of 512 bytes has room for, and as many as names of a workload are remembered for sure.
const RECORDS_MAX: u16 = 128;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// The addresses that `message`, read from the beginning of `bytes`, gives for its question; none if that is no question for addresses.
pub fn addresses(bytes: &[u8], message: &Message<'_>) -> Box<[IpAddr]> {
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let asks_for_them = |qtype| matches!(qtype, TYPE_A | TYPE_AAAA);
    match message.question.filter(|question| asks_for_them(question.qtype)) {
        Some(question) => follow(bytes, HEADER_BYTES + question.bytes().len(), message.header.answers),
        None => Box::default(),
    }
}

fn follow(bytes: &[u8], mut at: usize, records: u16) -> Box<[IpAddr]> {
    let mut found = Vec::new();
    let Some((mut wanted, _)) = name(bytes, HEADER_BYTES) else { return Box::default() };
    for _ in 0..records.min(RECORDS_MAX) {
        let Some((owner, record)) = name(bytes, at).and_then(|(owner, behind)| Some((owner, record(bytes, behind)?)))
        else {
            break;
        };
        at = record.start + record.data.len();
        if owner != wanted || record.class != CLASS_IN {
            continue;
        }
        match record.kind {
            TYPE_A => found.extend(record.data.as_array::<4>().map(|octets| IpAddr::from(*octets))),
            TYPE_AAAA => found.extend(record.data.as_array::<16>().map(|octets| IpAddr::from(*octets))),
            TYPE_CNAME => wanted = name(bytes, record.start).map(|(target, _)| target).unwrap_or_default(),
            _ => {}
        }
    }
    found.into()
}

/// One record, behind the name that it belongs to.
struct Record<'a> {
    kind: u16,
    class: u16,
    /// Where its data begins.
    start: usize,
    data: &'a [u8],
}

fn record(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let (head, behind) = bytes.get(at..)?.split_first_chunk::<10>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    Some(Record { kind: word(0), class: word(2), start: at + 10, data: behind.get(..usize::from(word(8)))? })
}

/// The name that stands somewhere, in lower case with its pointers followed, and where what is behind it begins.
fn name(bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut here, mut behind) = (Vec::new(), at, None);
    loop {
        let length = *bytes.get(here)?;
        match length >> 6 {
            0 => {
                let label = bytes.get(here..=here + usize::from(length))?;
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                here += label.len();
                if length == 0 {
                    return Some((name, behind.unwrap_or(here)));
                }
                if name.len() > NAME_BYTES_MAX {
                    return None;
                }
            }
            // Only backwards, and what is read on the way makes the name longer: so this ends.
            3 => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(here + 1)?);
                behind.get_or_insert(here + 2);
                if target >= here {
                    return None;
                }
                here = target;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Direction;

    const ALIAS: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'B', 0xc0, 14];
    const AT_ALIAS: &[u8] = &[1, b'b', 0xc0, 14, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];
    const AT_NAME: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 2];
    const SIX: &[u8] =
        &[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 9, 0, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
    const SIGNATURE: &[u8] = &[0xc0, 12, 0, 46, 0, 1, 0, 0, 0, 9, 0, 2, 7, 7];

    /// An answer for `a.example` of a type with such records.
    fn answer(qtype: u8, records: &[&[u8]]) -> Vec<u8> {
        let header = [0, 7, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        [&header[..], b"\x01a\x07example\x00", &[0, qtype, 0, 1], &records.concat()].concat()
    }

    fn found(bytes: &[u8]) -> Vec<String> {
        let message = Message::read(bytes, Direction::Response).unwrap();
        addresses(bytes, &message).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn addresses_are_those_of_the_name_or_of_what_it_stands_for() {
        assert_eq!(found(&answer(1, &[AT_NAME])), ["192.0.2.2"]);
        assert_eq!(found(&answer(28, &[SIGNATURE, SIX])), ["2001:db8::3"]);
        assert_eq!(found(&answer(1, &[ALIAS, AT_ALIAS])), ["192.0.2.1"]);
        // Beside an alias, a name has nothing of its own (RFC 2181, 10.1), and a record of another name is not believed.
        assert_eq!(found(&answer(1, &[ALIAS, AT_NAME, AT_ALIAS])), ["192.0.2.1"]);
        assert!(found(&answer(1, &[AT_ALIAS])).is_empty());
        assert!(found(&answer(16, &[AT_NAME])).is_empty());
    }

    #[test]
    fn what_is_cut_off_gives_what_is_whole() {
        let whole = answer(1, &[AT_NAME, AT_NAME]);
        for cut in whole.len() - AT_NAME.len()..whole.len() {
            assert_eq!(found(&whole[..cut]), ["192.0.2.2"]);
        }
        for cut in HEADER_BYTES..whole.len() - AT_NAME.len() {
            assert!(found(&whole[..cut]).is_empty());
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_end_it() {
        // To itself, forwards, and in a circle with a label in it.
        for pointer in [[0xc0, 27], [0xc0, 29], [0xc0, 40]] {
            let record = [&pointer[..], &AT_NAME[2..]].concat();
            assert!(found(&answer(1, &[&record, AT_NAME])).is_empty());
        }
        let mut circle = answer(1, &[AT_NAME]);
        circle.truncate(27);
        circle.extend([1, b'a', 0xc0, 27]);
        assert_eq!(name(&circle, 29), None);
    }
}
