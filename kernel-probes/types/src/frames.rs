//! Where frames of HTTP/2 begin (RFC 9113, 4.1): each head says how long its frame is, and so where the next one stands.
//!
//! In: the beginnings of heads. Out: positions. It only decides which bytes are copied; the parser in user space decides what they are.

/// It is not known where the next frame begins.
pub const UNKNOWN: u64 = u64::MAX;

/// RFC 9113, 3.4: what a client says before its first frame.
pub const PREFACE_BYTES: u64 = 24;

/// What is copied of a call from a frame's head on that lies behind what was copied before.
pub const WINDOW_BYTES: u32 = 512;

/// Most bytes of one call that are copied so.
pub const WINDOWS_BYTES_MAX: u32 = 64 * 1024;

/// What is wanted of a frame without a header block, from its head on: what stands at the beginning of data, and all of a frame that only says something of
/// the connection. More is copied where it comes along.
pub const BEGINNING_BYTES: u64 = 32;

/// Heads and segments of a vector that are looked at in one call. What lies behind them is not copied.
pub const STEPS_MAX: u32 = 512;

const HEAD_BYTES: u64 = 9;

/// The beginning of a head: three bytes of length and one that says the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head(u32);

impl Head {
    /// What has to be there of it.
    pub const BYTES: u64 = 4;

    /// `first` has the first byte lowest.
    #[inline(always)]
    pub fn of(first: u32) -> Head {
        Head(first.swap_bytes())
    }

    /// The whole frame.
    #[inline(always)]
    pub fn frame_bytes(self) -> u64 {
        HEAD_BYTES + (self.0 >> 8) as u64
    }

    /// It holds a header block, or a part of one, of which every byte counts: HEADERS, PUSH_PROMISE, CONTINUATION.
    #[inline(always)]
    pub fn has_block(self) -> bool {
        let kind = self.0 & 0xff;
        kind == 1 || kind == 5 || kind == 9
    }

    /// Whether it is one of the kinds of RFC 9113, of a length that needs no agreement.
    #[inline(always)]
    pub fn is_common(self) -> bool {
        self.0 & 0xff <= 9 && self.0 >> 8 <= 1 << 14
    }
}

/// What is remembered of a direction from one call to the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Position of the next head, or [`UNKNOWN`].
    pub next: u64,
    /// The first bytes of that head, where the call before ended in their midst: the first one lowest.
    pub cut: u32,
    pub cut_bytes: u32,
}

impl Track {
    /// Where a head begins in a call that starts at this position, with these bytes (the first one lowest; so many are there); and whether that
    /// is no more than a guess: that calls begin with a head.
    #[inline(always)]
    pub fn enter(&self, start: u64, first: u32, captured: u32, asks: bool) -> (u64, bool) {
        let cut_bytes = self.cut_bytes & 3;
        if start == 0 {
            (if asks { PREFACE_BYTES } else { 0 }, false)
        } else if self.next != UNKNOWN && self.next >= start {
            (self.next, false)
        } else if cut_bytes > 0 && self.next.wrapping_add(cut_bytes as u64) == start && captured >= Head::BYTES as u32 {
            let head = Head::of(self.cut | first << (8 * cut_bytes));
            (self.next + head.frame_bytes(), false)
        } else {
            (start, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DATA of 0x102 bytes.
    const DATA: [u8; 4] = [0, 1, 2, 0];

    #[test]
    fn a_head_says_where_the_next_one_stands() {
        let head = Head::of(u32::from_le_bytes(DATA));
        assert_eq!((head.frame_bytes(), head.has_block(), head.is_common()), (9 + 0x102, false, true));
        assert!(Head::of(u32::from_le_bytes([0, 0, 1, 1])).has_block());
        assert!(!Head::of(u32::from_le_bytes([1, 0, 0, 0])).is_common());
        assert!(!Head::of(u32::from_le_bytes([0, 0, 0, b'G'])).is_common());
    }

    #[test]
    fn a_connection_begins_with_a_head_and_its_client_with_the_preface() {
        let track = Track::default();
        assert_eq!(track.enter(0, 0, 0, true), (24, false));
        assert_eq!(track.enter(0, 0, 0, false), (0, false));
        // First seen in its middle.
        assert_eq!(track.enter(7, 0, 0, false), (7, true));
    }

    #[test]
    fn a_head_goes_on_in_the_next_call() {
        let track = Track { next: 100, ..Track::default() };
        assert_eq!(track.enter(90, 0, 0, true), (100, false));
        assert_eq!(track.enter(100, 0, 0, true), (100, false));
        // Bytes between were not seen.
        assert_eq!(track.enter(101, 0, 4, true), (101, true));
        for cut in 1..4_usize {
            let mut first = [0xaa; 4];
            first[..4 - cut].copy_from_slice(&DATA[cut..]);
            let mut before = [0; 4];
            before[..cut].copy_from_slice(&DATA[..cut]);
            let track = Track { next: 100, cut: u32::from_le_bytes(before), cut_bytes: cut as u32 };
            let start = 100 + cut as u64;
            assert_eq!(track.enter(start, u32::from_le_bytes(first), 4, true), (100 + 9 + 0x102, false), "{cut}");
            assert_eq!(track.enter(start, 0, 1, true), (start, true));
            assert_eq!(track.enter(start + 1, u32::from_le_bytes(first), 4, true), (start + 1, true));
        }
    }
}
