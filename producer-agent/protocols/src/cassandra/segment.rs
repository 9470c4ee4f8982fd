//! Segments, in which version 5 sends its frames once both sides have agreed on it (native_protocol_v5.spec, 2.2): a header with a checksum, a payload, and
//! a checksum of that. One holds several frames, or a part of one that is longer than a segment.
//!
//! In: the bytes of a header. Out: how long the payload is. The payload's checksum is not looked at, since it is not captured as a whole.

/// Length of the payload and a flag, and the checksum of these.
pub const PLAIN_BYTES: usize = 6;
/// The same with the length that the payload has when it is not compressed.
pub const COMPRESSED_BYTES: usize = 8;
/// The payload's checksum.
pub const TRAILER_BYTES: u64 = 4;
const CHECKSUM_BYTES: usize = 3;
/// A length has so many bits.
const LENGTH_BITS: u32 = 17;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the header itself.
    pub bytes: usize,
    pub payload_bytes: u64,
    /// Nothing can be read of it.
    pub is_compressed: bool,
}

/// What bytes are that may begin a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Header(Header),
    /// More bytes will tell.
    More,
    No,
}

/// Whether the bytes begin with a header, of either kind. The checksum says which, since only those that compress have the longer one.
pub fn judge(bytes: &[u8]) -> Judged {
    for (length, is_compressing) in [(PLAIN_BYTES, false), (COMPRESSED_BYTES, true)] {
        let Some(header) = bytes.get(..length) else { return Judged::More };
        let (fields, checksum) = header.split_at(length - CHECKSUM_BYTES);
        if number(checksum) == u64::from(crc24(fields)) {
            let fields = number(fields);
            let is_compressed = is_compressing && fields >> LENGTH_BITS & LENGTH_MASK != 0;
            return Judged::Header(Header { bytes: length, payload_bytes: fields & LENGTH_MASK, is_compressed });
        }
    }
    Judged::No
}

/// The lowest byte first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// As the specification has it (appendix B).
pub fn crc24(bytes: &[u8]) -> u32 {
    const INITIAL: u32 = 0x0087_5060;
    const POLYNOMIAL: u32 = 0x0197_4f0b;
    bytes.iter().fold(INITIAL, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 { shifted } else { shifted ^ POLYNOMIAL }
        })
    })
}
