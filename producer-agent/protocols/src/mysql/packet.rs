//! Packets: where each begins and ends, and the first bytes of what it carries.
//!
//! In: bytes in order. Out: each packet once its last byte was moved; one that is continued in further ones (from 16 MiB on) comes as
//! one. What it carries is passed over by position, so that it need not be captured. A length is a claim: it says where to look next.
//!
//! Bound: so much is kept of a packet that comes in pieces as is asked for, [`HEAD_BYTES_MAX`] at most.

use crate::Position;
use crate::cursor::Cursor;
use crate::stream::Mark;

/// What is kept of a packet: enough to name a statement.
pub(super) const HEAD_BYTES_MAX: usize = 1024;
/// A packet of this length goes on in the next one.
const LENGTH_MAX: u64 = 0xff_ffff;
const HEADER_BYTES: u8 = 4;

/// A packet that has been moved to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'p> {
    /// Its number within a command and its answer; of one in parts, that of the first.
    pub sequence: u8,
    pub last_sequence: u8,
    pub start: Mark,
    pub end: Mark,
    /// Of what it carries.
    pub length: u64,
    /// What was captured of its first bytes behind the header.
    pub head: &'p [u8],
}

#[derive(Debug)]
pub(super) enum Progress<'p> {
    Complete(Packet<'p>),
    /// The segment is used up. The number of the packet that is being read, once its header was.
    More(Option<u8>),
    /// A byte that is needed was not captured.
    Blind,
    /// Nothing that this protocol says.
    Malformed,
}

/// Reads one packet after another.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; HEADER_BYTES as usize],
    header_length: u8,
    /// Where the packet began that is being read.
    start: Option<Mark>,
    first_sequence: u8,
    /// What the parts before carried.
    passed: u64,
    part: Option<Part>,
    wanted: usize,
    /// What was captured of a packet that comes in pieces.
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    body: Position,
    end: Position,
}

impl Reader {
    /// Nothing of a packet has been read.
    pub fn is_at_start(&self) -> bool {
        self.start.is_none()
    }

    /// The end of the part of a packet that is being read, if it is known.
    pub fn end(&self) -> Option<Position> {
        self.part.map(|part| part.end)
    }

    pub fn heap_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// The header of a packet was read already, which began there.
    pub fn behind_header(header: [u8; HEADER_BYTES as usize], start: Mark) -> Reader {
        let [low, middle, high, sequence] = header;
        let body = start.position.saturating_add(HEADER_BYTES.into());
        let end = body.saturating_add(u64::from(u32::from_le_bytes([low, middle, high, 0])));
        Reader {
            header,
            header_length: HEADER_BYTES,
            start: Some(start),
            first_sequence: sequence,
            part: Some(Part { body, end }),
            ..Reader::default()
        }
    }

    /// `wanted`: how many of its first bytes are of use.
    pub fn read<'m, 'c: 'm>(&'m mut self, cursor: &mut Cursor<'c>, wanted: usize) -> Progress<'m> {
        self.wanted = wanted.min(HEAD_BYTES_MAX);
        loop {
            let part = match self.part {
                Some(part) => part,
                None => match self.read_header(cursor) {
                    Ok(part) => part,
                    Err(progress) => return progress,
                },
            };
            let place = self.passed + cursor.position.since(part.body);
            let here = usize::try_from(part.end.since(cursor.position)).unwrap_or(usize::MAX);
            let captured: &'c [u8] = &cursor.captured[..cursor.captured.len().min(here).min(self.wanted)];
            cursor.skip_to(part.end);
            let is_over = cursor.position == part.end;
            let carried = part.end.since(part.body);
            let is_whole = is_over && carried < LENGTH_MAX && place == 0;
            if !is_whole {
                self.keep(captured, place);
            }
            if !is_over {
                return Progress::More(Some(self.first_sequence));
            }
            self.part = None;
            self.header_length = 0;
            self.passed += carried;
            if carried == LENGTH_MAX {
                continue;
            }
            let length = std::mem::take(&mut self.passed);
            let start = self.start.take().unwrap_or(cursor.mark());
            return Progress::Complete(Packet {
                sequence: self.first_sequence,
                last_sequence: self.header[3],
                start,
                end: cursor.mark(),
                length,
                head: if is_whole { captured } else { &self.kept },
            });
        }
    }

    fn read_header<'m>(&mut self, cursor: &mut Cursor<'_>) -> Result<Part, Progress<'m>> {
        if cursor.is_done() {
            return Err(Progress::More(None));
        }
        let is_first = self.start.is_none();
        if is_first {
            self.start = Some(cursor.mark());
            self.kept = Vec::new();
        }
        let sequence_before = self.header[3];
        while self.header_length < HEADER_BYTES {
            if cursor.is_done() {
                return Err(Progress::More(None));
            }
            let Some(byte) = cursor.captured.first() else { return Err(Progress::Blind) };
            self.header[usize::from(self.header_length)] = *byte;
            self.header_length += 1;
            cursor.skip(1);
        }
        let [low, middle, high, sequence] = self.header;
        if self.passed == 0 {
            self.first_sequence = sequence;
        } else if sequence != sequence_before.wrapping_add(1) {
            return Err(Progress::Malformed);
        }
        let body = cursor.position;
        let length = u64::from(u32::from_le_bytes([low, middle, high, 0]));
        let Some(end) = body.checked_add(length) else { return Err(Progress::Malformed) };
        let part = Part { body, end };
        self.part = Some(part);
        Ok(part)
    }

    /// Adds what was captured from this place on, if it follows what is kept.
    fn keep(&mut self, captured: &[u8], place: u64) {
        if place == self.kept.len() as u64 {
            let room = self.wanted.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(&captured[..captured.len().min(room)]);
        }
    }
}

/// The number with a length of its own at the beginning, and what is behind it.
pub(super) fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let length = match first {
        0xfb | 0xff => return None,
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        value => return Some((u64::from(*value), rest)),
    };
    let (number, behind) = rest.split_at_checked(length)?;
    let mut wide = [0; 8];
    wide[..length].copy_from_slice(number);
    Some((u64::from_le_bytes(wide), behind))
}
