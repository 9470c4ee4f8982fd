//! What the probes add up of plain exchanges instead of telling of each one.
//!
//! User space names what is plain: a [`Cell`] for one operation of one end of one connection, with the answer that it gives as a rule. An
//! exchange that fits its cell in all that the probes look at is added to the sums of the second in which it was known to be over; any other
//! one is told of as ever. So what is added up is as exact as what is told.
//!
//! The cells lie in a table that both map. A cell's place follows from its key, and user space alone writes keys: the probes never wait.

/// Cells in the table.
pub const CELLS: usize = 1024;

/// Seconds whose sums are kept apart: user space takes those of one while the next one is added up.
pub const SECONDS: usize = 2;

/// Durations are counted in buckets of the histograms in records: this many an octave.
pub const BUCKETS_PER_OCTAVE: usize = 32;
/// The buckets begin behind 2^this nanoseconds, and end at 2^that; exchanges outside of them are told of one by one.
pub const OCTAVE_FIRST: u32 = 10;
pub const OCTAVE_END: u32 = 33;
pub const BUCKETS: usize = BUCKETS_PER_OCTAVE * (OCTAVE_END - OCTAVE_FIRST) as usize;

/// Bytes of a request in which its operation must end.
pub const HEAD_BYTES: usize = 128;
/// Bytes of an answer that tell its status.
pub const ANSWER_BYTES: u32 = 16;

/// One operation of one end of one connection, as it is as a rule.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// See [`key`]; 0 if the cell is free.
    pub key: u64,
    /// What its requests have in bytes. A request of another size may be two; commands of Redis say themselves where they end.
    pub request_bytes_min: u32,
    pub request_bytes_max: u32,
    /// See [`status`]; for Redis [`STATUS_OK`].
    pub status: u32,
    pub reserved: u32,
    /// User space knows that all commands before this [checkpoint](Open::checkpoint) had been answered when it was made; 0 if it knows of none.
    pub settled_from: u64,
    pub sums: [Sums; SECONDS],
}

/// The exchanges of one second.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// Of the time of day.
    pub second: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub duration_ns: u64,
    /// The request's position of the first exchange and of the last one.
    pub first_position: u64,
    pub last: Last,
    /// Added last: with it, an exchange is in.
    pub exchanges: u32,
    pub reserved: u32,
    pub counts: [u32; BUCKETS],
}

/// The last exchange that was added.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    pub position: u64,
    /// CLOCK_MONOTONIC: first byte of the request, first and last byte of the answer, and when it was known to be over.
    pub started_ns: u64,
    pub answered_ns: u64,
    pub ended_ns: u64,
    pub completed_ns: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// The exchange of a socket that is to be added up.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// The cell's key, by which user space knows it should the cell be gone.
    pub key: u64,
    pub exchange: Last,
    /// The cell's place plus 1; 0 if no exchange is open, [`MUTED`] if what is under way is not told of at all, [`FOLLOWED`] if all is told of it.
    pub cell: u64,
    /// Of its answer; 0 if there is none yet.
    pub status: u32,
    /// Who asked last; see [`protocol`].
    pub protocol: u32,
    /// Where the answer begins.
    pub answer_position: u64,
    /// Of Redis: the position plus 1 of the command from which on each one was followed by its whole reply, and by nothing else; 0 if there is
    /// none. [`SETTLED`] if all before it had been answered as well: then a reply answers the command before it.
    pub checkpoint: u64,
    /// When that was made.
    pub checkpoint_ns: u64,
}

/// Which rules an exchange follows.
pub mod protocol {
    /// Its answer is over when the client asks next.
    pub const HTTP1: u32 = 0;
    /// Commands and replies say where they end.
    pub const REDIS: u32 = 1;
}

/// In place of a checkpoint: nothing is owed.
pub const SETTLED: u64 = u64::MAX;

/// What is added up of Redis: replies that are no errors.
pub const STATUS_OK: u32 = u32::from_le_bytes(*b"ok\0\0");

/// In place of a cell: a command that was told of, whose reply is waited for, to know that it is whole.
pub const FOLLOWED: u64 = u32::MAX as u64 - 1;

/// In place of a cell: user space was told that what is under way could not be followed.
pub const MUTED: u64 = u32::MAX as u64;

/// An exchange that was to be added up and did not fit, all that is known of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExchangeEvent {
    pub kind: u32,
    /// See [`reason`].
    pub reason: u32,
    pub connection_id: u64,
    pub role: u32,
    pub status: u32,
    pub key: u64,
    pub answer_position: u64,
    pub exchange: Last,
}

/// Why an exchange is told of that was to be added up.
pub mod reason {
    /// It is whole, and has another status or duration than is added up, or its cell is gone.
    pub const UNFIT: u32 = 0;
    /// The connection has ended behind it, or has been silent since: whether the answer was whole is for user space to say.
    pub const AT_END: u32 = 1;
    /// The connection has ended without an answer.
    pub const UNANSWERED: u32 = 2;
    /// It was not plain: it is lost.
    pub const NOT_PLAIN: u32 = 3;
    /// The next request was told of before the answer of another thread: it is lost, and the next one with it.
    pub const OVERTAKEN: u32 = 4;
    /// A command of Redis whose reply is still to come, or is no plain one: what follows it is told of, and it is for user space to match them.
    pub const HANDED_OVER: u32 = 5;
}

/// Names an operation of one end of a connection.
#[inline(always)]
pub fn key(connection_id: u64, role: u32, operation: u64) -> u64 {
    let mixed = (connection_id ^ operation ^ ((role as u64) << 33)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) | 1
}

/// The places where the cell of a key may be: three pairs of neighbours. It takes the first one that is free (multiple-choice hashing), which a call
/// finds at the first look as a rule, and a table half full has one for nearly all.
#[inline(always)]
pub fn places(key: u64) -> [u32; 6] {
    let [one, two, three] = [54, 44, 34].map(|bit| (key >> bit) as u32 & (CELLS as u32 - 1));
    [one, one ^ 1, two, two ^ 1, three, three ^ 1]
}

/// The three digits of a status, from the first bytes of an answer of HTTP/1; 0 if that is not what they are.
#[inline(always)]
pub fn status(first: u64, second: u64) -> u32 {
    // Digits of a version may stand in the eighth byte only: `HTTP/1.1 200`.
    const MASK: u64 = 0x00ff_ffff_ffff_ffff;
    let is_http1 = first & MASK == u64::from_le_bytes(*b"HTTP/1.\0") && second as u8 == b' ';
    if is_http1 { (second >> 8) as u32 & 0x00ff_ffff } else { 0 }
}

/// The same of a number.
pub fn status_of(number: u16) -> u32 {
    let digit = |value: u16| u32::from(b'0') + u32::from(value % 10);
    digit(number / 100) | digit(number / 10) << 8 | digit(number) << 16
}

/// The number of a status; 0 if it has none.
pub fn number_of(status: u32) -> u16 {
    let digits = [status as u8, (status >> 8) as u8, (status >> 16) as u8];
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
}

/// The bucket of a duration, counted from the first that is kept; [`BUCKETS`] or more if none is its own.
///
/// Bucket i holds values in (2^(i/32), 2^((i+1)/32)], as in the histograms of records: a power of two ends one.
#[inline(always)]
pub fn bucket(duration_ns: u64) -> u32 {
    if duration_ns <= 1 << OCTAVE_FIRST || duration_ns > 1 << OCTAVE_END {
        return BUCKETS as u32;
    }
    let octave = opaque(63 - leading_zeros(duration_ns - 1));
    // Only a power of two loses its highest bit, where it would be the first of the next octave and not the end of this one.
    let shifted = duration_ns << ((63 - octave) & 63);
    let within = either(is_zero(shifted >> 1), BUCKETS_PER_OCTAVE as u64 - 1, partition(shifted));
    (octave.wrapping_sub(OCTAVE_FIRST as u64) * BUCKETS_PER_OCTAVE as u64 + within) as u32
}

/// Without branches: the verifier would look at each way through them, and it does so too (Linux 6.19 and later) where a mask of all ones or
/// none meets a known number. The machine of the probes has no such instruction.
#[inline(always)]
fn leading_zeros(value: u64) -> u64 {
    let mut value = value;
    let mut zeros = 63;
    let mut step = 32;
    while step > 0 {
        let fits = (1 - is_zero(value >> step)) * step;
        value >>= fits & 63;
        zeros -= fits;
        step /= 2;
    }
    zeros
}

/// How many of the bounds are less than this.
#[inline(always)]
fn partition(shifted: u64) -> u64 {
    let mut at = 0;
    let mut step = 16;
    while step > 0 {
        let bound = BOUNDS[((at + step - 1) & 31) as usize];
        // Hacker's Delight, 2-12: the borrow of bound - shifted.
        let borrow = (!bound & shifted) | ((!bound | shifted) & bound.wrapping_sub(shifted));
        at += opaque(borrow >> 63) * step;
        step /= 2;
    }
    at
}

/// `floor(2^(63 + k/32))` for k in 1..=31: where the buckets of one octave end, for values shifted to 64 bits.
static BOUNDS: [u64; 32] = [
    0x82cd8698ac2ba1d7,
    0x85aac367cc487b14,
    0x88980e8092da8527,
    0x8b95c1e3ea8bd6e6,
    0x8ea4398b45cd53c0,
    0x91c3d373ab11c336,
    0x94f4efa8fef70961,
    0x9837f0518db8a96f,
    0x9b8d39b9d54e5538,
    0x9ef5326091a111ad,
    0xa27043030c496818,
    0xa5fed6a9b15138ea,
    0xa9a15ab4ea7c0ef8,
    0xad583eea42a14ac6,
    0xb123f581d2ac258f,
    0xb504f333f9de6484,
    0xb8fbaf4762fb9ee9,
    0xbd08a39f580c36be,
    0xc12c4cca66709456,
    0xc5672a115506dadd,
    0xc9b9bd866e2f27a2,
    0xce248c151f8480e3,
    0xd2a81d91f12ae45a,
    0xd744fccad69d6af4,
    0xdbfbb797daf23755,
    0xe0ccdeec2a94e111,
    0xe5b906e77c8348a8,
    0xeac0c6e7dd24392e,
    0xefe4b99bdcdaf5cb,
    0xf5257d152486cc2c,
    0xfa83b2db722a033a,
    u64::MAX,
];

/// What names the operation of a request, built byte by byte from its first line: method and path, up to the query. Segments that are numbers
/// are one as good as the other, as they are in records. The same hash means the same operation.
///
/// FNV-1a. Whoever wants two of his own operations to meet can have that; the key of a cell holds his connection.
///
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    hash: u64,
    /// The hash with a number in place of the segment.
    with_number: u64,
    segment: Segment,
    /// The method is over.
    in_target: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    /// It stands as it is.
    Word,
    Empty,
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// The operation's hash.
    Done(u64),
    /// No path that is taken as it stands.
    Unfit,
}

impl Default for Operation {
    #[inline(always)]
    fn default() -> Self {
        Operation { hash: 0xcbf2_9ce4_8422_2325, with_number: 0, segment: Segment::Word, in_target: false }
    }
}

impl Operation {
    #[inline(always)]
    pub fn push(&mut self, byte: u8) -> Step {
        match byte {
            b'0'..=b'9' => {
                if self.segment == Segment::Empty {
                    self.segment = Segment::Number;
                }
            }
            b'/' => {
                self.hash = mixed(self.ended(), byte);
                self.with_number = mixed(self.hash, 0xff);
                self.segment = if self.in_target { Segment::Empty } else { Segment::Word };
                return Step::More;
            }
            b' ' | b'?' | b'#' if self.in_target => return Step::Done(self.ended()),
            b' ' => self.in_target = true,
            0x21..=0x7e => self.segment = Segment::Word,
            _ => return Step::Unfit,
        }
        self.hash = mixed(self.hash, byte);
        Step::More
    }

    /// The hash so far, with a number in its last segment as any other.
    #[inline(always)]
    fn ended(&self) -> u64 {
        if self.segment == Segment::Number { self.with_number } else { self.hash }
    }
}

/// 1 if a number below 2^63 is. It is hidden from the compiler, which would compare and branch.
#[inline(always)]
fn is_zero(value: u64) -> u64 {
    opaque(value.wrapping_sub(1)) >> 63
}

/// `one` for 1, `other` for 0.
#[inline(always)]
fn either(bit: u64, one: u64, other: u64) -> u64 {
    other ^ (one ^ other).wrapping_mul(bit)
}

/// Hides from the compiler what it knows of a number: it would make branches of it again.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    let value = {
        let mut value = value;
        // SAFETY: it moves a register into itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    };
    value
}

#[inline(always)]
pub(crate) fn mixed(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3)
}

/// The hash of a request whose method and path are known; none if the probes find none.
pub fn operation(method: &str, path: &str) -> Option<u64> {
    let mut operation = Operation::default();
    let line = method.bytes().chain([b' ']).chain(path.bytes()).chain([b' ']);
    for byte in line.take(HEAD_BYTES) {
        match operation.push(byte) {
            Step::More => {}
            Step::Done(hash) => return Some(hash),
            Step::Unfit => return None,
        }
    }
    None
}

const _: () = assert!(size_of::<Last>() == 56);
const _: () = assert!(size_of::<Open>() == 104);
const _: () = assert!(size_of::<ExchangeEvent>() == 96);
const _: () = assert!(size_of::<Sums>() == 104 + 4 * BUCKETS);
const _: () = assert!(size_of::<Cell>() == 32 + SECONDS * size_of::<Sums>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_path_are_one_as_good_as_the_other_and_nothing_else_is() {
        let of = |path| operation("GET", path).unwrap();
        assert_eq!(of("/carts/17/items/4"), of("/carts/231/items/99"));
        assert_eq!(of("/17"), of("/4"));
        for (one, other) in [
            ("/carts/17", "/carts/17/"),
            ("/carts/", "/carts/1"),
            ("/v1/a", "/v2/a"),
            ("/1a", "/2a"),
            ("/a1", "/a2"),
            ("/a/b", "/ab"),
            ("/1/2", "/1"),
            ("/1.5", "/2.5"),
        ] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
        assert_ne!(operation("GET", "/a"), operation("PUT", "/a"));
        assert_eq!(operation("GET", "/caf\u{e9}"), None);
        assert_eq!(operation("GET", &"/long".repeat(40)), None);
    }

    #[test]
    fn the_operation_ends_where_the_query_begins() {
        let mut operation = Operation::default();
        let mut steps = b"GET /a/1?b=/2 HTTP/1.1".iter().map(|byte| operation.push(*byte));
        let hash = steps.find_map(|step| match step {
            Step::Done(hash) => Some(hash),
            _ => None,
        });
        assert_eq!(hash, super::operation("GET", "/a/7"));
    }

    #[test]
    fn a_status_is_read_from_the_first_bytes_of_an_answer() {
        let of = |text: &[u8; 16]| {
            let half = |at: usize| u64::from_le_bytes(*text[at..].first_chunk().unwrap());
            number_of(status(half(0), half(8)))
        };
        assert_eq!(of(b"HTTP/1.1 200 OK\r"), 200);
        assert_eq!(of(b"HTTP/1.0 503 Bus"), 503);
        for other in [b"HTTP/2.0 200 OK\r", b"HTTP/1.1  200 OK", b"-ERR unknown com", b"HTTP/1.1 2x0 OK\r"] {
            assert_eq!(of(other), 0);
        }
        assert_eq!(number_of(status_of(404)), 404);
        assert_eq!(number_of(0), 0);
    }

    #[test]
    fn bounds_fall_into_the_buckets_that_they_end() {
        for octave in OCTAVE_FIRST..OCTAVE_END {
            let first = (octave - OCTAVE_FIRST) * BUCKETS_PER_OCTAVE as u32;
            assert_eq!(bucket((1 << octave) + 1), first, "{octave}");
            assert_eq!(bucket(1 << (octave + 1)), first + 31, "{octave}");
            for (at, bound) in BOUNDS[..31].iter().enumerate() {
                let end = bound >> (63 - octave);
                if end > 1 << octave {
                    assert_eq!(bucket(end), first + at as u32, "{octave} {at}");
                    assert!(bucket(end + 1) > first + at as u32, "{octave} {at}");
                }
            }
        }
        assert_eq!(bucket(1 << OCTAVE_FIRST), BUCKETS as u32);
        assert_eq!(bucket((1 << OCTAVE_END) + 1), BUCKETS as u32);
        assert_eq!(bucket(u64::MAX), BUCKETS as u32);
    }

    #[test]
    fn a_table_half_full_has_a_place_for_nearly_all() {
        assert_ne!(key(7, 1, 9), key(7, 2, 9));
        let mut used = [false; CELLS];
        // Four operations of both ends of each connection.
        let keys = (0..CELLS as u64 / 2)
            .map(|at| key(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(at / 8), at as u32 % 2, at / 2 % 4));
        let places = keys.filter_map(|key| {
            let free = places(key).into_iter().find(|place| !used[*place as usize])?;
            used[free as usize] = true;
            Some(free)
        });
        let with_a_place = places.count();
        assert!(with_a_place >= CELLS / 2 - 2, "{with_a_place}");
    }
}
