//! Turns arbitrary bytes into calls that move messages of PostgreSQL, whole, cut, missing or broken, and checks what must hold for any
//! of them. The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::postgres::{Options, Postgres};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Follow, OrderOptions, Outcome, Position, Segment, Side,
    sql::{self, Dialect},
};

use crate::checks::{Checks, end};

/// Small bounds, so that short inputs reach them.
const OPTIONS: Options = Options { pending_messages_max: 12, pending_bytes_max: 400, statements_max: 3 };

const ASKED: [&[u8]; 17] = [
    b"\0\0\0\x12\0\x03\0\0user\0bob\0\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"Q\0\0\0\x0dSELECT 1\0",
    b"Q\0\0\0\x0bBEGIN;\0",
    b"P\0\0\0\x12s1\0SELECT a\0\0\0",
    b"P\0\0\0\x10\0SELECT b\0\0\0",
    b"B\0\0\0\x0e\0s1\0\0\0\0\0\0\0",
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0",
    b"D\0\0\0\x06P\0",
    b"D\0\0\0\x08Ss1\0",
    b"C\0\0\0\x08Ss1\0",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"S\0\0\0\x04",
    b"H\0\0\0\x04",
    b"d\0\0\0\x08data",
    b"c\0\0\0\x04",
    b"X\0\0\0\x04",
];

const ANSWERED: [&[u8]; 18] = [
    b"R\0\0\0\x08\0\0\0\0",
    b"N",
    b"Z\0\0\0\x05I",
    b"Z\0\0\0\x05T",
    b"1\0\0\0\x04",
    b"2\0\0\0\x04",
    b"3\0\0\0\x04",
    b"t\0\0\0\x06\0\0",
    b"T\0\0\0\x06\0\0",
    b"n\0\0\0\x04",
    b"D\0\0\0\x0b\0\x01\0\0\0\x01x",
    b"C\0\0\0\x0dSELECT 1\0",
    b"C\0\0\0\x0fDEALLOCATE\0",
    b"E\0\0\0\x14SERROR\0C22012\0\0",
    b"s\0\0\0\x04",
    b"G\0\0\0\x07\0\0\0",
    b"A\0\0\0\x0b\0\0\0\x07a\0\0",
    b"W\0\0\0\x07\0\0\0",
];

/// What a server says to each of [`ASKED`], as places in [`ANSWERED`].
const RIGHT: [&[usize]; 17] = [
    &[0, 2],
    &[1],
    &[8, 10, 11, 2],
    &[11, 3],
    &[4],
    &[4],
    &[5],
    &[5],
    &[8],
    &[7, 8],
    &[6],
    &[10, 11],
    &[2],
    &[],
    &[],
    &[],
    &[],
];

/// Reads the input as: a byte of settings, then four for each call. Returns how many exchanges came out.
pub fn run(input: &[u8]) -> u64 {
    for dialect in [Dialect::PostgreSql, Dialect::MySql] {
        let _ = sql::name(dialect, input, input.len().is_multiple_of(2));
    }
    let Some((settings, mut rest)) = input.split_first() else { return 0 };
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let order = OrderOptions { early_segments_max: 3, early_bytes_max: 300 };
    let mut connection = Connection::new(side, order, Postgres::new(OPTIONS));
    let mut positions = [Position([0, 0, 0, 5_000][usize::from(settings >> 1 & 3)]); 2];
    let mut checks = Checks::default();
    // What the server has still to say to be right, which it mostly does.
    let mut due = Vec::new();
    let mut is_first = true;
    while let Some(([flags, first, count, limit], behind)) = rest.split_first_chunk::<4>() {
        rest = behind;
        let (direction, words) =
            if flags & 1 == 0 { (Direction::Request, &ASKED[..]) } else { (Direction::Response, &ANSWERED[..]) };
        let place = if std::mem::take(&mut is_first) { 0 } else { usize::from(*first) % words.len() };
        let mut places = vec![place];
        for _ in 0..count & 7 {
            let Some((next, behind)) = rest.split_first() else { break };
            rest = behind;
            places.push(usize::from(*next) % words.len());
        }
        let is_right = direction == Direction::Response && limit & 7 != 7 && !due.is_empty();
        let mut bytes = if is_right { std::mem::take(&mut due) } else { Vec::new() };
        for place in places.into_iter().filter(|_| !is_right) {
            bytes.extend(words[place]);
            if direction == Direction::Request {
                due.extend(RIGHT[place].iter().flat_map(|place| ANSWERED[*place]));
            }
        }
        // Bodies go on, bytes are broken, calls are missing: now and then.
        bytes.extend(vec![b'x'; if flags >> 1 & 7 == 7 { usize::from(*limit) * 8 } else { 0 }]);
        if count >> 3 & 15 == 15 {
            let place = usize::from(*limit) % bytes.len();
            bytes[place] = *first;
        }
        let (own, other) = (direction as usize, direction.opposite() as usize);
        let position = positions[own];
        positions[own] = position.saturating_add(bytes.len() as u64);
        checks.now_ns += if count >> 7 == 1 { 2_000_000_000 } else { 5 };
        if flags >> 4 & 15 == 15 {
            continue;
        }
        let captured = if flags >> 4 & 7 == 6 { usize::from(*limit).min(bytes.len()) } else { bytes.len() };
        let segment = Segment {
            position,
            length: bytes.len() as u64,
            captured: &bytes[..captured.min(300)],
            at_ns: checks.now_ns,
            other_position: positions[other],
        };
        connection.segment(direction, &segment, &mut |event| check(&mut checks, event));
        assert!(connection.heap_bytes() < 16 * 1024, "{} bytes", connection.heap_bytes());
    }
    let by = if settings >> 3 & 1 == 0 { Side::Client } else { Side::Server };
    connection.close(checks.now_ns, end(settings >> 4, by), &mut |event| check(&mut checks, event));
    assert!(connection.is_idle(), "something is left after the close");
    let events = checks.events;
    connection.close(checks.now_ns, CloseReason::Finished { by }, &mut |event| check(&mut checks, event));
    assert_eq!(events, checks.events, "the second close emitted something");
    checks.exchanges
}

fn check(checks: &mut Checks, event: Event<'_>) {
    let Some(exchange) = checks.take_in_order(event) else { return };
    assert!(!exchange.method.is_empty() && exchange.method.len() <= sql::NAME_BYTES_MAX, "{exchange:?}");
    assert!(exchange.request_started_ns <= exchange.response_started_ns.unwrap_or(u64::MAX), "{exchange:?}");
    assert!(exchange.failure.is_none() || exchange.outcome != Outcome::Ok, "{exchange:?}");
}
