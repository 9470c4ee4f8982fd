//! What user space wants to see of a connection: one word a connection in a table that both sides map.
//!
//! The probes look at a socket's word with each of its calls and keep what it says, so a word is read or it is not: nothing waits for it.
//! Its place follows from the connection's name. Where two connections share a place, the newer word stands, and the older connection goes
//! on as before: that costs copies, and never data.

/// Nobody has decided what the connection speaks: the first bytes of both directions are copied, up to [`UNDECIDED_BYTES_MAX`].
pub const UNDECIDED: u32 = 0;
/// It speaks in turns, each of which begins with a head: up to [`crate::TURN_BYTES_MAX`] of each turn are copied.
pub const HEADS: u32 = 1;
/// As [`HEADS`]; but exchanges that fit a cell of theirs are added up there ([`crate::sums`]), and make no event.
pub const SUMS: u32 = 3;
/// It speaks in frames of HTTP/2: as [`HEADS`]; and the heads of all frames are copied, with all of those that hold header blocks
/// ([`crate::frames`]).
pub const FRAMES: u32 = 4;
/// It is encrypted by TLS: the headers of its client's records are copied where a library is known to move them ([`crate::records`]), and what that library
/// encrypts, as [`HEADS`].
pub const RECORDS: u32 = 5;
/// As [`RECORDS`], and what is encrypted are frames of HTTP/2: as [`FRAMES`].
pub const RECORDS_OF_FRAMES: u32 = 6;
/// Both sides may go on for long without an answer, and each call may begin with a head: up to [`crate::CAPTURE_BYTES_MAX`] of each call are copied.
pub const CALLS: u32 = 7;
/// As [`RECORDS`], and what is encrypted is copied as [`CALLS`].
pub const RECORDS_OF_CALLS: u32 = 8;
/// Nothing but counters: no call of the socket makes an event any more, and most are not even looked at. A socket of which more is wanted again is
/// found at once only if the table of [`REFUSED_SLOTS`] words is emptied; its first call is left out.
pub const COUNTERS: u32 = 2;

/// Whether it is encrypted by TLS.
#[inline(always)]
pub fn is_of_records(interest: u32) -> bool {
    matches!(interest, RECORDS | RECORDS_OF_FRAMES | RECORDS_OF_CALLS)
}

/// Most bytes of each direction that are copied of a connection of which nothing is known.
pub const UNDECIDED_BYTES_MAX: u32 = 256 * 1024;
/// Most calls of each direction of which bytes are copied then.
pub const UNDECIDED_CALLS_MAX: u32 = 2048;
/// Bytes of each direction that are copied after each pause that follows.
pub const AGAIN_BYTES: u32 = 64 * 1024;
/// Calls of each direction of which bytes are copied then.
pub const AGAIN_CALLS: u32 = 512;
/// Set in a count of calls that says since when none is looked at.
pub const PAUSES: u32 = 1 << 31;
/// How long none is, in units of [`PAUSE_UNIT_BITS`].
const PAUSE_UNITS: u32 = 10;
/// 2 to the power of this are a unit in nanoseconds: a second and some.
const PAUSE_UNIT_BITS: u32 = 30;

/// A count of calls that says that none is looked at from now on.
#[inline(always)]
pub fn pausing(now_ns: u64) -> u32 {
    (now_ns >> PAUSE_UNIT_BITS) as u32 | PAUSES
}

/// Whether the pause that such a count tells of is over.
#[inline(always)]
pub fn is_pause_over(calls: u32, now_ns: u64) -> bool {
    let units = pausing(now_ns).wrapping_sub(calls) & !PAUSES;
    units > PAUSE_UNITS
}

/// Calls of each direction of which bytes are copied where the workload rests.
pub const RESTING_CALLS_MAX: u32 = 2;
/// User space is woken when a direction has come so far: it would find what was copied too late, and no way back into the connection without a loss.
pub const URGENT_BYTES: u32 = 16 * 1024;
/// The same in calls.
pub const URGENT_CALLS: u32 = 64;

/// Words in the table.
pub const SLOTS: usize = 1 << 16;
/// Words in the table of sockets whose calls are not looked at. User space may empty it at any time.
pub const REFUSED_SLOTS_BITS: u32 = 14;
pub const REFUSED_SLOTS: usize = 1 << REFUSED_SLOTS_BITS;

/// The lower bits of a word hold the interest, the others name the connection.
const INTEREST_MASK: u64 = 15;

/// The place of a socket's word.
#[inline(always)]
pub fn slot(connection_id: u64, role: u32) -> u32 {
    let mixed = name(connection_id, role);
    ((mixed ^ (mixed >> 32)) >> 3) as u32 & (SLOTS as u32 - 1)
}

/// The word that tells an interest in a socket.
#[inline(always)]
pub fn word(connection_id: u64, role: u32, interest: u32) -> u64 {
    (name(connection_id, role) & !INTEREST_MASK) | interest as u64
}

/// The interest that a word tells, if it is this socket's; 0 otherwise.
#[inline(always)]
pub fn read(word: u64, connection_id: u64, role: u32) -> u32 {
    if (word ^ name(connection_id, role)) & !INTEREST_MASK == 0 { (word & INTEREST_MASK) as u32 } else { UNDECIDED }
}

/// Both ends of a connection may be on one machine: they are two names. One to one, and spread over all bits (the first step of SplitMix64).
#[inline(always)]
fn name(connection_id: u64, role: u32) -> u64 {
    let id = connection_id ^ ((role as u64) << 33);
    (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::{CLIENT, SERVER};

    #[test]
    fn a_pause_has_its_length_at_any_time() {
        for second in [0, 1, 1 << 20, (1 << 31) - 3, 1 << 33] {
            let now_ns = |seconds: u64| (second + seconds) << PAUSE_UNIT_BITS;
            let calls = pausing(now_ns(0));
            assert_ne!(calls & PAUSES, 0);
            assert!(!is_pause_over(calls, now_ns(0)) && !is_pause_over(calls, now_ns(10)));
            assert!(is_pause_over(calls, now_ns(11)) && is_pause_over(calls, now_ns(1_000_000)));
        }
    }

    #[test]
    fn a_word_speaks_of_one_end_of_one_connection() {
        for id in [1_u64, 0x1234_5678_9abc_def0, u64::MAX] {
            for interest in [HEADS, COUNTERS, SUMS, FRAMES, RECORDS, RECORDS_OF_FRAMES, CALLS, RECORDS_OF_CALLS] {
                let told = word(id, CLIENT, interest);
                assert_eq!(read(told, id, CLIENT), interest);
                assert_eq!(read(told, id, SERVER), UNDECIDED);
                assert_eq!(read(told, id ^ 1 << 40, CLIENT), UNDECIDED);
            }
            assert_eq!(read(0, id, CLIENT), UNDECIDED);
            assert!((slot(id, SERVER) as usize) < SLOTS);
        }
    }

    #[test]
    fn connections_spread_over_the_table() {
        let mut used = std::collections::BTreeSet::new();
        for id in 0..1000_u64 {
            used.insert(slot(id << 32 | 77, CLIENT));
        }
        assert!(used.len() > 950, "{}", used.len());
    }
}
