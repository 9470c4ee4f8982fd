//! Turns arbitrary bytes into what goes over the wire under TLS and what a library's calls moved, in any order and as false as can be, and checks what must
//! hold all the same. The fuzz target and a test on the stable toolchain share it.

use std::borrow::Cow;

use headwater_protocols::tls::{Call, Plaintext};
use headwater_protocols::{
    CloseReason, Direction, Encryption, Known, Options, OrderOptions, Position, Segment, Side, Version,
};

use crate::checks::{Checks, end};

const ORDER: OrderOptions = OrderOptions { early_segments_max: 3, early_bytes_max: 100 };
/// Of a parser with small bounds, and of what waits for its place.
const HEAP_BYTES_MAX: usize = 256 * 1024;
const DESCRIPTION_BYTES: usize = 6;

/// As an input: a client's record, of which the header is captured, and the call that wrote it, on a connection that is older.
pub const ASKED: &[u8] =
    b"\x12\x88\x00\x05\x23\x00\x01\x17\x03\x03\x00\x23\x0a\x00\x12\x00\x28\x01GET / HTTP/1.1\r\n\r\n";

/// Reads the input as: one byte of settings, then for each step six bytes that describe it, then its bytes. Returns how many exchanges came out.
pub fn run(input: &[u8]) -> u64 {
    let Some((settings, mut rest)) = input.split_first() else { return 0 };
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let options = Options { order: ORDER, ..Options::default() };
    let known = Known::default();
    let facts = facts(settings >> 1 & 3);
    // Starting near the end of what a position can be must not overflow.
    let base = [0, 0, 5_000, u64::MAX - 500][usize::from(settings >> 3 & 3)];
    let mut followed = Plaintext::new(side, (base == 0).then_some(Position::START));
    let mut checks = Checks::default();
    let (mut wire, mut said) = ([base; 2], [base; 2]);
    while let Some((description, behind)) = rest.split_at_checked(DESCRIPTION_BYTES) {
        let &[flags, jump, length, hidden, from, time] = description else { break };
        let (bytes, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let direction = if flags & 1 == 0 { Direction::Request } else { Direction::Response };
        let (own, other) = (direction as usize, direction.opposite() as usize);
        checks.now_ns += u64::from(time);
        let length = bytes.len() as u64 + if flags >> 7 == 1 { u64::from(hidden) } else { 0 };
        let positions = if flags >> 1 & 1 == 0 { &mut wire } else { &mut said };
        let start = match flags >> 2 & 7 {
            0 => positions[own].saturating_add(jump.into()),
            1 => positions[own].saturating_sub(jump.into()),
            _ => positions[own],
        };
        positions[own] = start.saturating_add(length);
        if flags >> 1 & 1 == 0 {
            let other_position = Position(positions[other]);
            let position = Position(start);
            let segment = Segment { position, length, captured: bytes, at_ns: checks.now_ns, other_position };
            followed.wire(direction, &segment, facts.as_ref());
        } else {
            let from = (flags >> 5 & 1 == 0).then(|| Position(wire[own].saturating_sub(from.into())));
            let call = Call {
                position: Position(start),
                length,
                captured: bytes,
                at_ns: checks.now_ns,
                from,
                is_full: flags >> 6 & 1 == 1,
                is_ahead: time >> 6 & 1 == 1,
                carried_to: (settings >> 7 == 1)
                    .then(|| Position(start).saturating_add(length + u64::from(hidden >> 4))),
                is_counted_from_start: base == 0,
            };
            followed.call(direction, &call, facts.as_ref(), (&options, &known), &mut |event| {
                checks.take(event);
            });
            if time >> 6 == 3 {
                followed.sent(direction, Position(start), length, from, facts.as_ref());
            }
        }
        assert!(followed.heap_bytes() <= HEAP_BYTES_MAX, "{} bytes are kept", followed.heap_bytes());
    }
    let by = if settings >> 5 & 1 == 0 { Side::Client } else { Side::Server };
    if settings >> 6 & 1 == 1 {
        followed.end_of_stream(Direction::Request, checks.now_ns, by, &mut |event| {
            checks.take(event);
        });
    }
    followed.close(checks.now_ns, end(settings >> 6, by), &mut |event| {
        checks.take(event);
    });
    let events = checks.events;
    followed.close(checks.now_ns, CloseReason::Finished { by }, &mut |event| {
        checks.take(event);
    });
    assert_eq!(events, checks.events, "the second close emitted something");
    checks.exchanges
}

/// What a handshake may have said.
fn facts(number: u8) -> Option<Encryption> {
    let (version, cipher_suite) = match number {
        0 => return None,
        1 => (Version::Tls1_3, "TLS_AES_128_GCM_SHA256"),
        2 => (Version::Tls1_2, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        _ => (Version::Tls1_2, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    };
    Some(Encryption {
        version: Some(version),
        cipher_suite: Some(Cow::Borrowed(cipher_suite)),
        ..Encryption::default()
    })
}
