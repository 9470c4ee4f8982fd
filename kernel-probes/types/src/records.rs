//! Where records of TLS begin (RFC 8446, 5.1): each header says how long its record is, and so where the next one stands.
//!
//! In: the bytes of headers. Out: positions. It only decides which bytes are copied; user space decides what they are.

use crate::frames::{Track, UNKNOWN};

/// Bytes of a header.
pub const HEADER_BYTES: u64 = 5;

/// Headers, and segments of a vector, that are looked at in one call. Where the next ones begin is found again with the call behind it.
pub const STEPS_MAX: u32 = 256;

/// Headers are copied of a connection's first bytes in either case, and from then on once a library of TLS was seen to move them.
pub const EARLY_BYTES: u64 = 64 * 1024;

/// No record is longer (RFC 5246, 6.2.3).
const FRAGMENT_BYTES_MAX: u64 = (1 << 14) + 2048;

/// The bytes of the whole record, whose header this is (the first byte lowest); 0 if it is none.
#[inline(always)]
pub fn record_bytes(header: u64) -> u64 {
    let (content, major) = (header & 0xff, header >> 8 & 0xff);
    let length = (header >> 24 & 0xff) << 8 | header >> 32 & 0xff;
    let is_header = (20..=23).contains(&content) && major == 3 && length != 0 && length <= FRAGMENT_BYTES_MAX;
    if is_header { HEADER_BYTES + length } else { 0 }
}

/// Where a header begins in a call that starts at this position, or before it where its first bytes came with the call before. Where that is not known, it
/// is guessed that the call begins with one.
#[inline(always)]
pub fn enter(track: Track, start: u64) -> Track {
    let cut_bytes = (track.cut_bytes & 7) as u64;
    let goes_on = track.next != UNKNOWN && track.next.wrapping_add(cut_bytes) >= start;
    let is_cut_here = cut_bytes == 0 || track.next.wrapping_add(cut_bytes) == start;
    if goes_on && is_cut_here { track } else { Track { next: start, cut: 0, cut_bytes: 0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: [u8; 5]) -> u64 {
        let [a, b, c, d, e] = bytes;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }

    #[test]
    fn a_header_says_how_long_its_record_is() {
        assert_eq!(record_bytes(header([23, 3, 3, 0x01, 0x02])), 5 + 258);
        assert_eq!(record_bytes(header([22, 3, 1, 0x48, 0x00])), 5 + 18432);
        for none in [[19, 3, 3, 0, 9], [24, 3, 3, 0, 9], [23, 2, 3, 0, 9], [23, 3, 3, 0, 0], [23, 3, 3, 0x48, 1]] {
            assert_eq!(record_bytes(header(none)), 0, "{none:?}");
        }
    }

    #[test]
    fn a_call_is_entered_where_the_one_before_says_or_at_its_beginning() {
        let track = |next, cut_bytes| Track { next, cut: 7, cut_bytes };
        assert_eq!(enter(track(150, 0), 100), track(150, 0));
        assert_eq!(enter(track(98, 2), 100), track(98, 2));
        let anew = Track { next: 100, cut: 0, cut_bytes: 0 };
        for lost in [track(99, 0), track(97, 2), track(99, 2), track(UNKNOWN, 0)] {
            assert_eq!(enter(lost, 100), anew, "{lost:?}");
        }
    }
}
