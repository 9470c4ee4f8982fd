//! Control packets: where they begin and end, and the first bytes of each (MQTT 5.0, 2).
//!
//! In: the bytes of one direction. Out: packets, with as much of their beginning as is of use. A length is believed only as far as bytes
//! are passed over by it; nothing is allocated.

use crate::cursor::Cursor;
use crate::resource::BYTES_MAX;
use crate::stream::Mark;
use crate::{Direction, Position};

/// What is kept of a packet: a topic up to its bound, and what stands around it.
const HEAD_BYTES: usize = BYTES_MAX + 64;
/// The length of a packet takes no more.
const LENGTH_BYTES_MAX: u8 = 4;

/// What a packet does (MQTT 5.0, 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

/// As CONNECT says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1 and 3.1.1.
    Three,
    Five,
}

/// One packet, as far as it was captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    first: u8,
    pub start: Mark,
    pub end: Mark,
    /// Bytes behind its fixed header.
    pub remaining: u32,
    head: [u8; HEAD_BYTES],
    head_length: u8,
    /// Of a PUBLISH, which has it behind the topic.
    id: [Option<u8>; 2],
}

/// Reads the packets of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// The last one that was complete, or the one that is being read.
    pub packet: Packet,
    header_bytes: u8,
    is_begun: bool,
    /// Where the bytes behind the fixed header begin and end.
    body: Option<(Position, Position)>,
}

pub(super) enum Progress {
    More,
    Complete,
    Malformed,
    /// The length of a packet was not captured.
    Blind,
}

impl Kind {
    /// What the first byte of a packet says, where that side may say it.
    pub fn of(first: u8, direction: Direction) -> Option<Self> {
        let is_client = direction == Direction::Request;
        Some(match first {
            0x10 if is_client => Self::Connect,
            0x20 if !is_client => Self::Connack,
            0x30..=0x3f if first & 0x06 != 0x06 => Self::Publish,
            0x40 => Self::Puback,
            0x50 => Self::Pubrec,
            0x62 => Self::Pubrel,
            0x70 => Self::Pubcomp,
            0x82 if is_client => Self::Subscribe,
            0x90 if !is_client => Self::Suback,
            0xa2 if is_client => Self::Unsubscribe,
            0xb0 if !is_client => Self::Unsuback,
            0xc0 if is_client => Self::Pingreq,
            0xd0 if !is_client => Self::Pingresp,
            0xe0 => Self::Disconnect,
            0xf0 => Self::Auth,
            _ => return None,
        })
    }
}

impl Reader {
    pub fn new() -> Self {
        let mark = Mark { position: Position::START, at_ns: 0 };
        let packet = Packet {
            first: 0,
            start: mark,
            end: mark,
            remaining: 0,
            head: [0; HEAD_BYTES],
            head_length: 0,
            id: [None; 2],
        };
        Self { packet, header_bytes: 0, is_begun: false, body: None }
    }

    pub fn is_at_start(&self) -> bool {
        !self.is_begun
    }

    /// Where the packet ends whose length is known.
    pub fn body_end(&self) -> Option<Position> {
        self.body.map(|(_, end)| end)
    }

    pub fn read(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Progress {
        if !self.is_begun {
            self.is_begun = true;
            (self.packet.start, self.packet.head_length, self.packet.id) = (cursor.mark(), 0, [None; 2]);
            self.packet.remaining = 0;
        }
        let (begin, end) = match self.read_header(cursor, direction) {
            Ok(body) => body,
            Err(progress) => return progress,
        };
        self.packet.keep(cursor, begin, end);
        cursor.skip_to(end);
        if cursor.position < end {
            return Progress::More;
        }
        self.packet.end = cursor.mark();
        (self.header_bytes, self.is_begun, self.body) = (0, false, None);
        Progress::Complete
    }

    fn read_header(&mut self, cursor: &mut Cursor<'_>, direction: Direction) -> Result<(Position, Position), Progress> {
        loop {
            if let Some(body) = self.body {
                return Ok(body);
            }
            if cursor.is_done() {
                return Err(Progress::More);
            }
            let Some(byte) = cursor.captured.first().copied() else { return Err(Progress::Blind) };
            cursor.skip(1);
            self.header_bytes += 1;
            if self.header_bytes == 1 {
                self.packet.first = byte;
                if Kind::of(byte, direction).is_none() {
                    return Err(Progress::Malformed);
                }
                continue;
            }
            self.packet.remaining |= u32::from(byte & 0x7f) << (7 * (self.header_bytes - 2));
            if byte & 0x80 == 0 {
                let end = cursor.position.checked_add(u64::from(self.packet.remaining)).ok_or(Progress::Malformed)?;
                self.body = Some((cursor.position, end));
            } else if self.header_bytes > LENGTH_BYTES_MAX {
                return Err(Progress::Malformed);
            }
        }
    }
}

impl Packet {
    /// Keeps what is of use of the captured bytes that the cursor stands at.
    fn keep(&mut self, cursor: &Cursor<'_>, begin: Position, end: Position) {
        let offset = cursor.position.since(begin);
        let left = usize::try_from(end.since(cursor.position)).unwrap_or(usize::MAX);
        let bytes = &cursor.captured[..cursor.captured.len().min(left)];
        let known = usize::from(self.head_length);
        if offset == known as u64 {
            let added = bytes.len().min(HEAD_BYTES - known);
            self.head[known..known + added].copy_from_slice(&bytes[..added]);
            self.head_length += added as u8;
        }
        if self.first & 0xf0 == 0x30
            && let Some(topic_bytes) = self.number(0)
        {
            for (place, at) in self.id.iter_mut().zip(u64::from(topic_bytes) + 2..) {
                let found = at.checked_sub(offset).and_then(|at| bytes.get(usize::try_from(at).ok()?));
                *place = place.or(found.copied());
            }
        }
    }

    pub fn kind(&self, direction: Direction) -> Option<Kind> {
        Kind::of(self.first, direction)
    }

    pub fn bytes(&self) -> u64 {
        self.end.position.since(self.start.position)
    }

    /// The first bytes behind the fixed header.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_length)]
    }

    /// All behind the fixed header is in `head`.
    pub fn is_whole(&self) -> bool {
        u32::from(self.head_length) == self.remaining
    }

    fn number(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.head().get(at)?, *self.head().get(at + 1)?]))
    }

    /// Of a PUBLISH: how surely it has to come (0 to 2).
    pub fn quality(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// Of a PUBLISH: it may have been sent before.
    pub fn is_again(&self) -> bool {
        self.first & 8 != 0
    }

    /// Of a PUBLISH: the topic up to the bound, if so much of it was captured.
    pub fn topic(&self) -> Option<&[u8]> {
        let bytes = usize::from(self.number(0)?).min(BYTES_MAX);
        self.head().get(2..2 + bytes)
    }

    /// What its answers repeat; None if it was not captured.
    pub fn id(&self) -> Option<u16> {
        if self.first & 0xf0 != 0x30 {
            return self.number(0);
        }
        Some(u16::from_be_bytes([self.id[0]?, self.id[1]?]))
    }

    /// Of a PUBLISH: the properties with their length, as far as they were captured.
    pub fn properties(&self) -> Option<&[u8]> {
        let id_bytes = if self.quality() > 0 { 2 } else { 0 };
        self.head().get(2 + usize::from(self.number(0)?) + id_bytes..)
    }

    /// Of a SUBSCRIBE or UNSUBSCRIBE: its first filter up to the bound.
    pub fn filter(&self, version: Option<Version>) -> Option<&[u8]> {
        let of = |at: usize| {
            let bytes = usize::from(self.number(at)?);
            let fits = bytes > 0 && at + 2 + bytes <= self.remaining as usize;
            self.head().get(at + 2..at + 2 + bytes.min(BYTES_MAX)).filter(|_| fits)
        };
        let in_five = || {
            let (bytes, behind) = number_of_variable_length(self.head().get(2..)?)?;
            of(2 + behind + bytes as usize)
        };
        match version {
            Some(Version::Three) => of(2),
            Some(Version::Five) => in_five(),
            // Properties that are empty are no length of a filter.
            None => of(2).or_else(in_five),
        }
    }

    /// Whether it can be what its first byte says (MQTT 3.1.1 and 5.0, 3), as far as it was captured.
    pub fn is_well_formed(&self, version: Option<Version>, direction: Direction) -> bool {
        let is_three = version == Some(Version::Three);
        let has_id = self.id() != Some(0);
        match self.kind(direction) {
            None => false,
            Some(Kind::Connect) => self.remaining >= 10 && (self.head_length < 7 || self.version().is_some()),
            Some(Kind::Connack) => self.remaining >= 2 && (!is_three || self.remaining == 2),
            Some(Kind::Publish) => {
                let topic_bytes = u32::from(self.number(0).unwrap_or_default());
                let id_bytes = if self.quality() > 0 { 2 } else { 0 };
                // A topic has no wildcards and nothing that cannot be printed; from version 5 on a number may stand for it.
                let is_topic =
                    |topic: &[u8]| topic.iter().all(|byte| *byte >= b' ' && !matches!(byte, b'+' | b'#' | 0x7f));
                let has_topic = topic_bytes > 0 || !is_three || self.head_length < 2;
                self.remaining >= 2 + topic_bytes + id_bytes
                    && has_topic
                    && (id_bytes == 0 || has_id)
                    && self.topic().is_none_or(is_topic)
            }
            Some(Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp) => {
                has_id && self.remaining >= 2 && (!is_three || self.remaining == 2)
            }
            Some(Kind::Subscribe | Kind::Unsubscribe) => has_id && self.remaining >= 5,
            Some(Kind::Suback) => has_id && self.remaining >= 3,
            Some(Kind::Unsuback) => has_id && self.remaining >= 2,
            Some(Kind::Pingreq | Kind::Pingresp) => self.remaining == 0,
            Some(Kind::Disconnect) => !is_three || self.remaining == 0,
            Some(Kind::Auth) => !is_three,
        }
    }

    /// Of a CONNECT: the version.
    pub fn version(&self) -> Option<Version> {
        let head = self.head();
        match (head.strip_prefix(b"\0\x04MQTT"), head.strip_prefix(b"\0\x06MQIsdp")) {
            (Some([4, ..]), _) | (_, Some([3, ..])) => Some(Version::Three),
            (Some([5, ..]), _) => Some(Version::Five),
            _ => None,
        }
    }
}

/// A number and how many bytes it takes (MQTT 5.0, 1.5.5).
pub(super) fn number_of_variable_length(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(usize::from(LENGTH_BYTES_MAX)).enumerate() {
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}
