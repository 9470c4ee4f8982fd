//! The records of one direction (RFC 8446 section 5.1), and the handshake messages in them (section 4).
//!
//! In: the bytes of the direction in order, some of which were not captured. Out: [`Part`]s. A message may go over several records, and a
//! record over several calls. Bounds: [`MESSAGE_BYTES_MAX`] of a message are kept, all of which were captured; a length only says what is
//! passed over.

use crate::cursor::Cursor;

/// What is kept of a handshake message.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// A record of TLS 1.2 and before can be so long (RFC 5246 section 6.2.3); those of TLS 1.3 are shorter.
const FRAGMENT_BYTES_MAX: u16 = (1 << 14) + 2048;
/// Encrypted data are not shorter: they have one byte, and 16 that prove where it comes from.
const DATA_BYTES_MIN: u16 = 17;

/// What a record holds (RFC 8446 appendix B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    Data,
}

/// The first five bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub content: Content,
    pub version: u16,
    pub length: u16,
}

impl Header {
    pub const BYTES: usize = 5;

    /// None if no record begins like this.
    pub fn read(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [content, major, minor, high, low] = bytes;
        let content = match content {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::Data,
            _ => return None,
        };
        let (version, length) = (u16::from_be_bytes([major, minor]), u16::from_be_bytes([high, low]));
        let is_right = (0x0300..=0x0304).contains(&version) && (1..=FRAGMENT_BYTES_MAX).contains(&length);
        is_right.then_some(Self { content, version, length })
    }

    /// Whether it can be the header of data, once a handshake is over.
    pub fn is_data(&self) -> bool {
        self.content == Content::Data && (0x0301..=0x0303).contains(&self.version) && self.length >= DATA_BYTES_MIN
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing is complete yet.
    More,
    /// A record begins.
    Record(Header),
    /// A whole handshake message.
    Message(Message),
    /// The level of an alert; None if it was not captured.
    Alert(Option<u8>),
    /// A record begins, or a message, in bytes that were not captured: nobody can tell where the next one does.
    Blind,
    /// This is no record.
    Malformed,
}

/// A handshake message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    /// Its first bytes, without kind and length.
    pub body: Vec<u8>,
    /// There was more of it than `body` holds.
    pub is_cut: bool,
}

/// Reads one direction.
#[derive(Debug, Default)]
pub struct Reader {
    header: [u8; Header::BYTES],
    header_bytes: u8,
    content: Option<Content>,
    /// Of the record that is being read.
    left: u64,
    message_header: [u8; 4],
    message_header_bytes: u8,
    message: Message,
    message_left: u64,
}

impl Reader {
    /// Reads up to the end of the next part, or of the cursor.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Part {
        while !cursor.is_done() {
            let part = match self.content.filter(|_| self.left > 0) {
                None => self.read_header(cursor),
                Some(Content::Handshake) => self.read_message(cursor),
                Some(content) => self.pass_over(content, cursor),
            };
            if part != Part::More {
                return part;
            }
        }
        Part::More
    }

    pub fn heap_bytes(&self) -> usize {
        self.message.body.capacity()
    }

    fn read_header(&mut self, cursor: &mut Cursor<'_>) -> Part {
        let Some(byte) = cursor.captured.first() else { return Part::Blind };
        self.header[usize::from(self.header_bytes)] = *byte;
        self.header_bytes += 1;
        cursor.skip(1);
        if usize::from(self.header_bytes) < Header::BYTES {
            return Part::More;
        }
        self.header_bytes = 0;
        match Header::read(self.header) {
            Some(header) => {
                (self.content, self.left) = (Some(header.content), header.length.into());
                Part::Record(header)
            }
            None => Part::Malformed,
        }
    }

    fn pass_over(&mut self, content: Content, cursor: &mut Cursor<'_>) -> Part {
        let level = cursor.captured.first().copied();
        // An alert is two bytes (RFC 8446 section 6); encrypted ones are longer.
        let is_alert = content == Content::Alert && self.left == 2;
        self.skip(cursor, u64::MAX);
        if is_alert { Part::Alert(level) } else { Part::More }
    }

    /// Moves on within the record.
    fn skip(&mut self, cursor: &mut Cursor<'_>, bytes: u64) -> u64 {
        let bytes = bytes.min(self.left).min(cursor.end.since(cursor.position));
        cursor.skip_to(cursor.position.saturating_add(bytes));
        self.left -= bytes;
        bytes
    }

    fn read_message(&mut self, cursor: &mut Cursor<'_>) -> Part {
        if usize::from(self.message_header_bytes) < self.message_header.len() {
            let Some(byte) = cursor.captured.first() else { return Part::Blind };
            self.message_header[usize::from(self.message_header_bytes)] = *byte;
            self.message_header_bytes += 1;
            self.skip(cursor, 1);
            let [kind, high, middle, low] = self.message_header;
            self.message_left = u32::from_be_bytes([0, high, middle, low]).into();
            self.message = Message { kind, ..Message::default() };
            let is_whole = usize::from(self.message_header_bytes) == self.message_header.len();
            return if is_whole && self.message_left == 0 { self.end_message() } else { Part::More };
        }
        let captured = cursor.captured;
        let bytes = self.skip(cursor, self.message_left);
        self.message_left -= bytes;
        let Message { body, is_cut, .. } = &mut self.message;
        let room = MESSAGE_BYTES_MAX - body.len();
        let known = usize::try_from(bytes).unwrap_or(usize::MAX).min(captured.len()).min(room);
        if !*is_cut {
            body.extend_from_slice(&captured[..known]);
            *is_cut = (known as u64) < bytes;
        }
        if self.message_left == 0 { self.end_message() } else { Part::More }
    }

    fn end_message(&mut self) -> Part {
        self.message_header_bytes = 0;
        Part::Message(std::mem::take(&mut self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, Segment};

    fn parts(reader: &mut Reader, bytes: &[u8], captured: usize) -> Vec<Part> {
        let segment = Segment {
            position: Position(7),
            length: bytes.len() as u64,
            captured: &bytes[..captured.min(bytes.len())],
            at_ns: 0,
            other_position: Position(0),
        };
        let mut cursor = Cursor::new(&segment);
        let mut parts = Vec::new();
        while !cursor.is_done() {
            parts.push(reader.read(&mut cursor));
            if matches!(parts.last(), Some(Part::Blind | Part::Malformed)) {
                break;
            }
        }
        parts.retain(|part| *part != Part::More && !matches!(part, Part::Record(_)));
        parts
    }

    fn record(content: u8, fragment: &[u8]) -> Vec<u8> {
        [&[content, 3, 3][..], &(fragment.len() as u16).to_be_bytes(), fragment].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, 0][..], &(body.len() as u16).to_be_bytes(), body].concat()
    }

    #[test]
    fn messages_come_in_any_records_and_records_in_any_calls() {
        let flight = [message(2, &[5; 70]), message(14, b""), message(11, &[6; 300])].concat();
        let whole = |kind, body: &[u8]| Part::Message(Message { kind, body: body.to_vec(), is_cut: false });
        let expected = [whole(2, &[5; 70]), whole(14, b""), whole(11, &[6; 300])];
        for fragment in [1, 3, 4, 5, 74, 75, 1000] {
            let records: Vec<u8> = flight.chunks(fragment).flat_map(|part| record(22, part)).collect();
            for call in [1, 2, 5, 7, 100, 10_000] {
                let mut reader = Reader::default();
                let seen: Vec<Part> =
                    records.chunks(call).flat_map(|bytes| parts(&mut reader, bytes, usize::MAX)).collect();
                assert_eq!(seen, expected, "records of {fragment}, calls of {call}");
            }
        }
    }

    #[test]
    fn what_was_not_captured_of_a_message_is_known_to_be_missing() {
        let bytes = [record(22, &message(11, &[6; 300])), record(22, &message(14, b""))].concat();
        let mut reader = Reader::default();
        let cut = Part::Message(Message { kind: 11, body: vec![6; 91], is_cut: true });
        assert_eq!(parts(&mut reader, &bytes, 100), [cut, Part::Blind]);
        let long = record(22, &message(11, &[6; 12_000]));
        let seen = parts(&mut Reader::default(), &long, usize::MAX);
        assert_eq!(seen, [Part::Message(Message { kind: 11, body: vec![6; MESSAGE_BYTES_MAX], is_cut: true })]);
    }

    #[test]
    fn what_a_length_claims_is_not_allocated() {
        for length in [[0xff, 0xff, 0xff], [0x7f, 0xff, 0xff]] {
            let body = [&[11][..], &length, &[1; 100]].concat();
            let mut reader = Reader::default();
            assert_eq!(parts(&mut reader, &record(22, &body), usize::MAX), []);
            assert!(reader.heap_bytes() <= 512, "{}", reader.heap_bytes());
        }
        assert_eq!(parts(&mut Reader::default(), &[22, 3, 3, 0xff, 0xff, 1, 1], usize::MAX), [Part::Malformed]);
    }

    #[test]
    fn alerts_have_a_level_and_encrypted_ones_have_none() {
        let bytes = [record(21, &[1, 112]), record(21, &[9; 26]), record(21, &[2, 40])].concat();
        assert_eq!(parts(&mut Reader::default(), &bytes, usize::MAX), [Part::Alert(Some(1)), Part::Alert(Some(2))]);
    }
}
