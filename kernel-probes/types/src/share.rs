//! How much of the ring buffer a cgroup may take, so that a loud one loses its own events and not its neighbours'.
//!
//! As long as the ring buffer is less than half full, everybody may write and nothing is counted. From then on a cgroup may have as much
//! waiting as is still free (the dynamic threshold of shared switch buffers): a single loud one leaves a quarter of the ring buffer to all
//! others, and each further one half of what the ones before it left. The last part is for events about whole sockets, which are few
//! and dear to lose.
//!
//! What a cgroup has waiting is not known exactly, for nobody is told which events were read. What it writes is counted by where it lies, in
//! pieces of an eighth of the ring buffer's length, and a piece waits until all of it has been read. So it is never less than what waits of what
//! was counted, and more by what the cgroup wrote into one piece at most.

use crate::life::Rate;

/// A part of the ring buffer, one in so many, that only events about whole sockets may take.
pub const SOCKETS_PART: u64 = 16;

/// Whose share it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub id: u64,
    /// Hierarchy of the id.
    pub hierarchy: u64,
}

/// Pieces of which the bytes are kept, more than can wait at a time. A power of two.
pub const PIECES: usize = 16;

/// A piece is one in so many of the ring buffer.
const PIECES_OF_A_RING: u64 = 8;

/// What is kept of one cgroup, and what it has lost. Zeroes at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Bytes written into each of the last pieces, by the piece's number modulo [`PIECES`].
    pub written: [u32; PIECES],
    /// The newest piece's number.
    pub newest: u64,
    /// What was told of its processes in this second.
    pub lives: Rate,
    /// Events that were lost, by [`lost`]. The last member: the loader reads it from the end.
    pub lost: [u64; lost::LEN],
}

/// What was lost for want of room, and by the bound of a second: indices of [`Share::lost`].
pub mod lost {
    /// Data events.
    pub const DATA: u32 = 0;
    /// Ends of connections.
    pub const CLOSE: u32 = 1;
    /// Words of programs.
    pub const PROCESS: u32 = 2;
    /// Events of processes' lives.
    pub const LIFE: u32 = 3;
    /// The same, beyond what is told of them in a second.
    pub const LIFE_RATE: u32 = 4;
    pub const LEN: usize = 5;
}

/// A ring buffer at one moment: its size, what waits in it, and how far its reader has come.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    pub bytes: u64,
    pub waiting: u64,
    pub read: u64,
}

/// Whether anybody may write.
#[inline(always)]
pub fn is_roomy(ring_bytes: u64, waiting: u64) -> bool {
    waiting < ring_bytes / 2
}

impl Share {
    /// Whether so many more bytes may be written. They then count.
    #[inline(always)]
    pub fn admit(&mut self, ring: &Ring, bytes: u64, is_data: bool) -> bool {
        let free = ring.bytes.saturating_sub(ring.waiting);
        if is_data && free < ring.bytes / SOCKETS_PART {
            return false;
        }
        // Never zero, or the compiler would add a way that ends in a panic, which the verifier refuses.
        let piece_bytes = (ring.bytes / PIECES_OF_A_RING).max(1);
        let (oldest, newest) = (ring.read / piece_bytes, (ring.read + ring.waiting) / piece_bytes);
        let mut has = 0_u64;
        for back in 0..PIECES as u64 {
            let number = newest.wrapping_sub(back);
            let written = &mut self.written[number as usize % PIECES];
            if number > self.newest {
                *written = 0;
            } else if number >= oldest {
                has += u64::from(*written);
            }
        }
        // Another processor may have come further meanwhile.
        self.newest = self.newest.max(newest);
        if has.saturating_add(bytes) > free {
            return false;
        }
        let written = &mut self.written[newest as usize % PIECES];
        *written = written.wrapping_add(bytes as u32);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const RING: u64 = 1 << 20;
    const EVENT: u64 = 1000;

    /// A ring buffer with its reader.
    #[derive(Default)]
    struct Simulated {
        events: VecDeque<usize>,
        read: u64,
        shares: [Share; 4],
        lost: [u64; 4],
    }

    impl Simulated {
        fn write(&mut self, who: usize) {
            let ring = Ring { bytes: RING, waiting: self.events.len() as u64 * EVENT, read: self.read };
            let admitted = is_roomy(RING, ring.waiting) || self.shares[who].admit(&ring, EVENT, true);
            if admitted && ring.waiting + EVENT <= RING {
                self.events.push_back(who);
            } else {
                self.lost[who] += 1;
            }
        }

        fn read(&mut self, count: usize) {
            let count = count.min(self.events.len());
            self.events.drain(..count);
            self.read += count as u64 * EVENT;
        }
    }

    #[test]
    fn a_stalled_reader_leaves_a_quarter_to_those_who_are_not_loud() {
        let mut ring = Simulated::default();
        (0..100_000).for_each(|_| ring.write(0));
        let left = RING - ring.events.len() as u64 * EVENT;
        assert!(left.abs_diff(RING / 4) < 2 * EVENT, "{left}");
        (0..RING / 8 / EVENT).for_each(|_| ring.write(1));
        assert_eq!(ring.lost[1], 0);
        assert!(ring.lost[0] > 90_000);
    }

    #[test]
    fn under_a_flood_without_end_the_others_lose_nothing() {
        let mut ring = Simulated::default();
        for turn in 0..20_000 {
            // Far more than what is read; the others take a third of that, one of them by fits and starts.
            (0..500).for_each(|_| ring.write(0));
            (0..20).for_each(|_| ring.write(1));
            if turn % 10 == 0 {
                (0..100).for_each(|_| ring.write(2));
            }
            ring.read(100);
        }
        assert_eq!(ring.lost[1..], [0, 0, 0]);
        assert!(ring.lost[0] > 20_000 * 400);
    }

    #[test]
    fn what_waits_counts_once() {
        let (mut share, waiting) = (Share::default(), RING / 10 * 7);
        for event in 0..20_000 {
            let ring = Ring { bytes: RING, waiting, read: event * EVENT };
            // A quarter of what waits is its own, and a bit more is free.
            assert!(event % 4 != 0 || share.admit(&ring, EVENT, true), "event {event}");
        }
    }

    #[test]
    fn a_cgroup_that_was_loud_once_has_its_share_again() {
        let mut ring = Simulated::default();
        (0..10_000).for_each(|_| ring.write(0));
        ring.read(usize::MAX);
        (0..RING / EVENT).for_each(|_| ring.write(1));
        let (lost, left) = (ring.lost[0], ring.events.len());
        ring.write(0);
        assert_eq!((ring.lost[0], ring.events.len()), (lost, left + 1));
    }

    #[test]
    fn the_last_part_is_for_sockets() {
        let ring = Ring { bytes: RING, waiting: RING - RING / SOCKETS_PART + 1, read: 0 };
        assert!(!Share::default().admit(&ring, EVENT, true));
        assert!(Share::default().admit(&ring, EVENT, false));
    }
}
