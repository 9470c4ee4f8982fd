//! The bytes of the log on disk: what stands at the head of a file, and how an entry is framed in it.
//!
//! In: entries. Out: bytes, and entries again. Promise: whatever bytes are read, what comes out was written as it is, up to what a
//! checksum of 32 bits sees, and nothing panics. Bounds: [`FRAME_BYTES_MAX`], [`HEAD_BYTES_MAX`]. Pure.

/// An entry that is larger is refused; Kafka takes no message of a quarter of it.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// A head that is longer is not read.
pub const HEAD_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"hwspool1";

/// Length and checksum of what follows.
const LEAD_BYTES: usize = 8;

/// Position, kind and length of the key.
const FIXED_BYTES: usize = 11;

/// One message in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its place in the order of all messages.
    pub position: u64,
    /// What it is, as its owner counts: less than [`KINDS`](crate::KINDS).
    pub kind: u8,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An entry, and how many bytes it takes.
    Entry(Entry<'a>, usize),
    /// The bytes end before the entry does.
    Short,
    /// No entry that was ever written.
    Damaged,
}

/// What stands at the beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The run of the program that wrote it.
    pub run: u64,
    /// When it was begun, in microseconds since the epoch.
    pub since_us: u64,
    /// What its owner needs to read the values, whichever version it is.
    pub note: Vec<u8>,
}

impl Entry<'_> {
    /// What it takes in the log.
    pub fn frame_bytes(&self) -> usize {
        LEAD_BYTES + FIXED_BYTES + self.key.len() + self.value.len()
    }

    /// Whether it can be written.
    pub fn fits(&self) -> bool {
        self.key.len() <= usize::from(u16::MAX) && self.frame_bytes() <= FRAME_BYTES_MAX
    }

    /// Appends the frame of an entry that [`Entry::fits`].
    pub fn write(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; LEAD_BYTES]);
        buffer.extend_from_slice(&self.position.to_le_bytes());
        buffer.push(self.kind);
        buffer.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        buffer.extend_from_slice(self.key);
        buffer.extend_from_slice(self.value);
        lead(&mut buffer[start..]);
    }
}

/// Reads the entry at the beginning of the bytes.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let body = match body(bytes, FIXED_BYTES, FRAME_BYTES_MAX) {
        Ok(Some(body)) => body,
        Ok(None) => return Parsed::Short,
        Err(Damaged) => return Parsed::Damaged,
    };
    let (fixed, rest) = body.split_at(FIXED_BYTES);
    let (position, fixed) = fixed.split_at(8);
    let key_bytes = usize::from(u16::from_le_bytes([fixed[1], fixed[2]]));
    let Some((key, value)) = rest.split_at_checked(key_bytes) else { return Parsed::Damaged };
    let entry = Entry { position: number(position), kind: fixed[0], key, value };
    Parsed::Entry(entry, LEAD_BYTES + body.len())
}

impl Head {
    /// What a head with this note takes.
    pub fn bytes(note: &[u8]) -> usize {
        MAGIC.len() + LEAD_BYTES + 16 + note.len()
    }

    pub fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0; LEAD_BYTES]);
        bytes.extend_from_slice(&self.run.to_le_bytes());
        bytes.extend_from_slice(&self.since_us.to_le_bytes());
        bytes.extend_from_slice(&self.note);
        lead(&mut bytes[MAGIC.len()..]);
        bytes
    }

    /// The head, and how many bytes it takes. None if there is none that was ever written.
    pub fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
        let body = body(bytes.strip_prefix(&MAGIC)?, 16, HEAD_BYTES_MAX).ok()??;
        let (run, rest) = body.split_at(8);
        let (since, note) = rest.split_at(8);
        let head = Head { run: number(run), since_us: number(since), note: note.to_vec() };
        Some((head, MAGIC.len() + LEAD_BYTES + body.len()))
    }
}

/// How many bytes of the frames at the beginning fit into `room`, whole ones only. The bytes are frames that were written here.
pub fn whole_frames(bytes: &[u8], room: u64) -> usize {
    let mut end = 0;
    while let Some(length) = bytes[end..].first_chunk::<4>() {
        let next = end + LEAD_BYTES + u32::from_le_bytes(*length) as usize;
        if next as u64 > room || next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

struct Damaged;

/// What a lead vouches for. None if the bytes end before.
fn body(bytes: &[u8], least: usize, most: usize) -> Result<Option<&[u8]>, Damaged> {
    let Some((lead, rest)) = bytes.split_first_chunk::<LEAD_BYTES>() else { return Ok(None) };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *lead;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if !(least..=most).contains(&(length as usize)) {
        return Err(Damaged);
    }
    let Some(body) = rest.get(..length as usize) else { return Ok(None) };
    if checksum(length, body) == u32::from_le_bytes([c0, c1, c2, c3]) { Ok(Some(body)) } else { Err(Damaged) }
}

/// Fills in the lead of what stands behind it.
fn lead(bytes: &mut [u8]) {
    let (lead, body) = bytes.split_at_mut(LEAD_BYTES);
    let length = body.len() as u32;
    lead[..4].copy_from_slice(&length.to_le_bytes());
    lead[4..].copy_from_slice(&checksum(length, body).to_le_bytes());
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_not_if_a_bit_of_it_changed() {
        let head = Head { run: 7, since_us: 8, note: b"schemas".to_vec() };
        let bytes = head.write();
        assert_eq!(bytes.len(), Head::bytes(&head.note));
        assert_eq!(Head::parse(&bytes), Some((head, bytes.len())));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::parse(&other), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|end| Head::parse(&bytes[..end]).is_none()));
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written_and_not_if_a_bit_of_it_changed(
            position: u64, kind: u8, key: Vec<u8>, value: Vec<u8>, bit: prop::sample::Index
        ) {
            let entry = Entry { position, kind, key: &key, value: &value };
            let mut bytes = Vec::new();
            entry.write(&mut bytes);
            prop_assert_eq!(parse(&bytes), Parsed::Entry(entry, entry.frame_bytes()));
            for end in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..end]), Parsed::Short);
            }
            prop_assert_eq!(whole_frames(&bytes, bytes.len() as u64), bytes.len());
            prop_assert_eq!(whole_frames(&bytes, bytes.len() as u64 - 1), 0);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(parse(&bytes), Parsed::Entry(..)));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            parse(&bytes);
            Head::parse(&bytes);
        }
    }
}
