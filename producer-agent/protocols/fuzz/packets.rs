//! Turns arbitrary bytes into calls that move packets of MySQL, whole, cut, missing or broken, and checks what must hold for any of them.
//! The fuzz target and a test on the stable toolchain share it.

use headwater_protocols::mysql::{Mysql, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Follow, OrderOptions, Outcome, Position, Segment, Side,
    sql::{self, Dialect},
};

/// Small bounds, so that short inputs reach them.
const OPTIONS: Options = Options { pending_commands_max: 6, pending_bytes_max: 100, statements_max: 3 };

/// The first one is a login.
const ASKED: [&[u8]; 20] = [
    b"\x26\0\0\x01\x00\x02\x00\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0bob\0\0\0",
    b"\x09\0\0\0\x03SELECT 1",
    b"\x09\0\0\0\x03SELECT a",
    b"\x06\0\0\0\x03BEGIN",
    b"\x09\0\0\0\x16SELECT ?",
    b"\x09\0\0\0\x16SELECT b",
    b"\x0a\0\0\0\x17\x01\0\0\0\0\x01\0\0\0",
    b"\x0a\0\0\0\x17\xff\xff\xff\xff\0\x01\0\0\0",
    b"\x05\0\0\0\x19\x01\0\0\0",
    b"\x05\0\0\0\x1a\x01\0\0\0",
    b"\x09\0\0\0\x1c\x01\0\0\0\x01\0\0\0",
    b"\x01\0\0\0\x0e",
    b"\x01\0\0\0\x1f",
    b"\x02\0\0\0\x11x",
    b"\x0d\0\0\0\x03LOAD DATA xx",
    b"\x03\0\0\x02abc",
    b"\0\0\0\x03",
    b"\x0b\0\0\0\x12\x04\0\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\0\x03SELECT 1",
    b"\x01\0\0\0\x01",
];

/// The first one is a greeting.
const ANSWERED: [&[u8]; 19] = [
    b"\x35\0\0\0\x0a8.0.1\0\x07\0\0\0saltsalt\0\x00\x02\x21\x02\0\x00\x01\x15\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0\0\0",
    b"\x07\0\0\x02\0\0\0\x02\0\0\0",
    b"\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x01\0\0\x01\x01",
    b"\x06\0\0\x02\x03def\x01a",
    b"\x02\0\0\x03\x01x",
    b"\x07\0\0\x04\xfe\0\0\x02\0\0\0",
    b"\x07\0\0\x03\xfe\0\0\x0a\0\0\0",
    b"\x05\0\0\x03\xfe\0\0\x02\0",
    b"\x0c\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0",
    b"\x0c\0\0\x01\0\x01\0\0\0\x01\0\0\0\0\0\0",
    b"\x0a\0\0\x01\xff\x7a\x04#42S02x",
    b"\x07\0\0\x01\xfe\0\0\x42\0\0\0",
    b"\x02\0\0\x01\xfbf",
    b"\x07\0\0\x04\0\0\0\x02\0\0\0",
    b"\x02\0\0\x01\xfex",
    b"\x07\0\0\x03\0\0\0\x02\0\0\0",
    b"\x04\0\0\x01\0evt",
    b"\x09\0\0\x04\xff\x10\x04#08004",
];

/// What a server says to each of [`ASKED`], as places in [`ANSWERED`].
const RIGHT: [&[usize]; 20] = [
    &[1],
    &[3, 4, 5, 6],
    &[11],
    &[2],
    &[9],
    &[10, 4],
    &[3, 4, 5, 6],
    &[2],
    &[],
    &[2],
    &[12],
    &[2],
    &[2],
    &[15],
    &[13],
    &[16],
    &[14],
    &[17],
    &[],
    &[],
];

/// Reads the input as: a byte of settings, then four for each call. Returns how many exchanges came out.
pub fn run(input: &[u8]) -> u64 {
    let _ = sql::name(Dialect::MySql, input, input.len().is_multiple_of(2));
    let Some((settings, mut rest)) = input.split_first() else { return 0 };
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let order = OrderOptions { early_segments_max: 3, early_bytes_max: 300 };
    let mut connection = Connection::new(side, order, Mysql::new(OPTIONS));
    let mut positions = [Position([0, 0, 0, 5_000][usize::from(settings >> 1 & 3)]); 2];
    let mut checks = Checks::default();
    // What the server has still to say to be right, which it mostly does.
    let mut due = Vec::new();
    let mut calls = 0;
    while let Some(([flags, first, count, limit], behind)) = rest.split_first_chunk::<4>() {
        rest = behind;
        calls += 1;
        // The greeting and the login come first.
        let is_response = if calls <= 2 { calls == 1 } else { flags & 1 == 1 };
        let (direction, words) =
            if is_response { (Direction::Response, &ANSWERED[..]) } else { (Direction::Request, &ASKED[..]) };
        let place = if calls <= 2 { 0 } else { usize::from(*first) % words.len() };
        let mut places = vec![place];
        for _ in 0..if calls <= 2 { 0 } else { count & 7 } {
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
        connection.segment(direction, &segment, &mut |event| checks.take(event));
        assert!(connection.heap_bytes() < 16 * 1024, "{} bytes", connection.heap_bytes());
    }
    let by = if settings >> 3 & 1 == 0 { Side::Client } else { Side::Server };
    let how = [CloseReason::Finished { by }, CloseReason::Reset { by }, CloseReason::TimedOut, CloseReason::Unobserved];
    connection.close(checks.now_ns, how[usize::from(settings >> 4 & 3)], &mut |event| checks.take(event));
    assert!(connection.is_idle(), "something is left after the close");
    let events = checks.events;
    connection.close(checks.now_ns, CloseReason::Finished { by }, &mut |event| checks.take(event));
    assert_eq!(events, checks.events, "the second close emitted something");
    checks.exchanges
}

#[derive(Default)]
struct Checks {
    now_ns: u64,
    events: u64,
    exchanges: u64,
    last_request: Option<Position>,
}

impl Checks {
    fn take(&mut self, event: Event<'_>) {
        self.events += 1;
        let exchange = match event {
            Event::Exchange(exchange) => exchange,
            Event::Loss(loss) => return assert!(loss.count > 0),
            Event::Encryption(_) => return,
        };
        self.exchanges += 1;
        assert!(self.last_request < Some(exchange.request_position), "requests come in order and once: {exchange:?}");
        self.last_request = Some(exchange.request_position);
        assert!(
            !exchange.method.is_empty() && exchange.method.len() <= "PREPARE ".len() + sql::NAME_BYTES_MAX,
            "{exchange:?}"
        );
        assert!(exchange.request_bytes > 0, "{exchange:?}");
        assert_eq!(exchange.response_position.is_some(), exchange.response_bytes > 0, "{exchange:?}");
        assert_eq!(exchange.response_started_ns.is_some(), exchange.response_bytes > 0, "{exchange:?}");
        assert_eq!(exchange.response_ended_ns.is_some(), exchange.response_bytes > 0, "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.request_ended_ns, "{exchange:?}");
        assert!(exchange.response_started_ns <= exchange.response_ended_ns, "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.response_started_ns.unwrap_or(u64::MAX), "{exchange:?}");
        assert!(exchange.request_ended_ns <= exchange.completed_ns, "{exchange:?}");
        assert!(exchange.completed_ns == self.now_ns, "{exchange:?} at {}", self.now_ns);
        assert!(exchange.response_ended_ns <= Some(exchange.completed_ns), "{exchange:?}");
        assert!(exchange.failure.is_none() || exchange.outcome != Outcome::Ok, "{exchange:?}");
    }
}
