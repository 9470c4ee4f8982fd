//! Turns arbitrary bytes into calls that move frames of HTTP/2, whole, cut, missing or broken, and checks what must hold for any of them. The
//! fuzz target and a test on the stable toolchain share it.

use headwater_protocols::http2::{Http2, Options};
use headwater_protocols::{Connection, Direction, Event, Follow, OrderOptions, Outcome, Recognition, Side};

use crate::calls::Calls;
use crate::checks::{Checks, end};

/// Small bounds, so that short inputs reach them.
const OPTIONS: Options =
    Options { streams_max: 4, block_bytes_max: 100, table_bytes_max: 200, path_bytes_max: 20, bodies_max: 2 };
const ORDER: OrderOptions = OrderOptions { early_segments_max: 3, early_bytes_max: 200 };
/// Four streams and the room for more of them, two tables of entries and values, two blocks, and what is held in `ORDER`; the beginnings of two bodies.
const HEAP_BYTES_MAX: usize = 8 * 1024 + 2 * 8 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Header blocks, some of which refer to what others have added.
const BLOCKS: [&[u8]; 13] = [
    b"\x82\x86\x84",
    b"\x83\x86\x44\x05/a.B/",
    b"\x83\x86\xbe\x5f\x10application/grpc",
    b"\x83\x86\xbf\xbe",
    b"\x83\x86\x04\x08/graphql\x0f\x10\x10application/json",
    b"\x88",
    b"\x88\xbe",
    b"\x48\x03404",
    b"\x48\x03103",
    b"\x40\x0bgrpc-status\x0213",
    b"\x20\x3f\x30",
    b"\xbe\xbf\xc0",
    b"\x82\x86\x04\x8b\x60\xd5\x48\x5f\x2b\xce\x9a\x68",
];

/// Parts of bodies.
const BODIES: [&[u8]; 4] = [b"{\"query\":\"", b"query A{a}\"", b"}", b"  {\"operationName\":\"B\"}"];

/// Reads the input as one byte of settings, then four bytes for each frame, of which the third may say how many arbitrary ones follow. Returns
/// how many exchanges came out.
pub fn run(input: &[u8]) -> u64 {
    let Some((settings, mut rest)) = input.split_first() else { return 0 };
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let first = [0, 0, 5_000, u64::MAX - 3_000][usize::from(settings >> 1 & 3)];
    let mut run = Run {
        connection: Connection::new(side, ORDER, Http2::new(OPTIONS)),
        calls: Calls::from(first, first),
        checks: Checks::default(),
    };
    if settings >> 3 & 3 != 0 {
        run.say(Direction::Request, &[PREFACE, &frame(4, 0, 0, b"\0\x01\0\0\x01\0")].concat(), usize::MAX);
        run.say(Direction::Response, &frame(4, 0, 0, b""), usize::MAX);
    }
    while let Some((&[what, stream, more, capture], behind)) = rest.split_first_chunk() {
        rest = behind;
        let direction = if what & 1 == 0 { Direction::Request } else { Direction::Response };
        let arbitrary = usize::from(if more >= 240 { more & 15 } else { 0 }).min(rest.len());
        let (bytes, behind) = rest.split_at(arbitrary);
        rest = behind;
        let id = u32::from(stream >> 2 & 7) * 2 + u32::from(stream & 3 != 3);
        // Now and then one of the other direction.
        let blocks = [&BLOCKS[..5], &BLOCKS[5..], &BLOCKS[..]][if more >> 3 & 7 == 7 { 2 } else { direction as usize }];
        let block = blocks[usize::from(more & 7) % blocks.len()];
        let said = match what >> 1 & 31 {
            0..=16 => frame(1, 4 | (what >> 7), id, if arbitrary > 0 { bytes } else { block }),
            17 => frame(1, what >> 7, id, block),
            27 => frame(9, 4, id, block),
            18 | 19 => frame(0, what >> 7, id, b"\0\0\0\0\x01x\0\0\0\0\0"),
            20 => frame(0, 8 | (what >> 7), id, b"\x02\0\0\0\0\0\0\0"),
            21 => frame(3, 0, id, &u32::from(more).to_be_bytes()),
            22 => frame(7, 0, 0, &[0, 0, 0, stream & 31, 0, 0, 0, more & 15]),
            23 => frame(4, 0, 0, &[0, 1, 0, 0, more, stream]),
            24 => frame(5, 4, id, &[&[0, 0, 0, 2], block].concat()),
            25 => frame(0, what >> 7, id, &[0; 300]),
            26 => bytes.to_vec(),
            // Parts of a body that names something.
            28 => frame(0, what >> 7, id, BODIES[usize::from(more) % BODIES.len()]),
            29 => frame(0, 8 | (what >> 7), id, b"\x02{\"operationName\":\"A\",\0\0"),
            30 => frame(8, 0, id, b"\0\0\x01\0"),
            _ => {
                run.calls.missed(direction, u64::from(more));
                continue;
            }
        };
        run.say(direction, &said, if capture < 200 { usize::MAX } else { usize::from(capture) - 200 });
    }
    run.end(*settings)
}

struct Run {
    connection: Connection<Http2>,
    calls: Calls,
    checks: Checks,
}

impl Run {
    fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) {
        let segment = self.calls.moved(direction, bytes, captured);
        let was_recognised = self.connection.recognition() == Recognition::Recognised;
        let Self { connection, calls, checks } = self;
        checks.now_ns = calls.now_ns;
        connection.segment(direction, &segment, &mut |event| check(checks, event));
        assert!(!was_recognised || connection.recognition() == Recognition::Recognised);
        let heap_bytes = connection.heap_bytes();
        assert!(heap_bytes <= HEAP_BYTES_MAX, "{heap_bytes} bytes are allocated");
    }

    fn end(mut self, settings: u8) -> u64 {
        let by = if settings >> 5 & 1 == 0 { Side::Client } else { Side::Server };
        let how = end(settings >> 6, by);
        let Self { connection, calls, checks } = &mut self;
        checks.now_ns = calls.now_ns;
        connection.close(calls.now_ns, how, &mut |event| check(checks, event));
        assert!(connection.is_idle() && connection.heap_bytes() == 0, "something is left after the close");
        let before = checks.events;
        connection.close(calls.now_ns, how, &mut |event| check(checks, event));
        assert_eq!(before, checks.events, "the second close emitted something");
        self.checks.exchanges
    }
}

fn check(checks: &mut Checks, event: Event<'_>) {
    let Some(exchange) = checks.take(event) else { return };
    assert!(exchange.path.len() <= OPTIONS.path_bytes_max as usize && !exchange.path.contains('?'), "{exchange:?}");
    assert!(!exchange.method.is_empty() || exchange.protocol == "grpc", "{exchange:?}");
    assert!(exchange.request_bytes >= 9, "{exchange:?}");
    assert!(exchange.named.len() <= 64, "{exchange:?}");
    assert!(exchange.named.is_empty() || (exchange.protocol, exchange.method) == ("http2", "POST"), "{exchange:?}");
    assert!(exchange.failure.is_some() || exchange.outcome != Outcome::Unanswered, "{exchange:?}");
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
