//! Names of places in the streams of connections, by which both ends find what one of them has read.

/// Slots of the table are numbers of so many bits.
pub const SLOT_BITS: u32 = 12;

/// The name of `bytes` bytes from `start` on, of a message that asks or answers in this protocol. Two places of one connection have the same
/// name only if 64 bits cannot tell them apart.
#[inline(always)]
pub fn name(connection_id: u64, start: u64, bytes: u32, protocol: u32, asks: bool) -> u64 {
    let what = ((bytes as u64) << 8) | ((protocol as u64) << 1) | asks as u64;
    mixed(mixed(connection_id ^ mixed(start)) ^ what)
}

/// Where it is kept: each direction of a connection has one slot.
#[inline(always)]
pub fn slot(connection_id: u64, asks: bool) -> u32 {
    (mixed(connection_id) >> (64 - SLOT_BITS)) as u32 ^ asks as u32
}

/// One number for each number (a step of MurmurHash3's finalizer on each side of its multiplication).
#[inline(always)]
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^ (value >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn places_that_differ_in_anything_have_names_that_differ() {
        let mut names = HashSet::new();
        let mut count = 0;
        for connection_id in [0, 1, 7 << 32, u64::MAX] {
            for start in (0..40).chain([1 << 20, 1 << 40]) {
                for bytes in [1, 17, 18, 255, 256, u32::MAX] {
                    for protocol in [0, 1] {
                        for asks in [false, true] {
                            names.insert(name(connection_id, start, bytes, protocol, asks));
                            count += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(names.len(), count);
    }

    #[test]
    fn both_directions_of_a_connection_have_a_slot_of_their_own() {
        for connection_id in 0..10_000 {
            let (one, other) = (slot(connection_id, true), slot(connection_id, false));
            assert!(one != other && one < 1 << SLOT_BITS && other < 1 << SLOT_BITS);
        }
    }
}
