//! Turns arbitrary bytes into valid commands and answers of Memcached, in pipelines and pieces and with the ends of calls not captured, and
//! requires that each exchange that comes out is one that was made, in order; and all of them where all was captured. The fuzz target and a
//! test on the stable toolchain share it.

use headwater_protocols::{CloseReason, Direction, Event, Options, Parser, Side};

use crate::calls::Calls;

/// A command, an answer, and the operation with its code.
type Turn = (&'static [u8], &'static [u8], &'static str);

const IN_TEXT: [Turn; 9] = [
    (b"get k\r\n", b"VALUE k 0 5\r\nEND\r\n\r\nEND\r\n", "GET "),
    (b"get a b\r\n", b"END\r\n", "GET "),
    (b"set k 0 0 7\r\nget k\r\n\r\n", b"STORED\r\n", "SET "),
    (b"incr k 1\r\n", b"CLIENT_ERROR no number\r\n", "INCR CLIENT_ERROR"),
    (b"delete k\r\n", b"NOT_FOUND\r\n", "DELETE NOT_FOUND"),
    (b"mg k v\r\n", b"VA 4\r\nHD\r\n\r\n", "MG "),
    (b"ms k 1\r\nx\r\n", b"NS\r\n", "MS NS"),
    (b"append k 0 0 1 noreply\r\nx\r\n", b"", "APPEND "),
    (b"stats\r\n", b"STAT a 1\r\nEND\r\n", "STATS "),
];

const IN_BINARY: [Turn; 5] = [
    (
        b"\x80\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0k",
        b"\x81\0\0\0\x04\0\0\0\0\0\0\x05\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\x81",
        "GET ",
    ),
    (
        b"\x80\x04\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0k",
        b"\x81\x04\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\x81",
        "DELETE NOT_FOUND",
    ),
    (b"\x80\x0d\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0k", b"", "GETKQ "),
    (b"\x80\x11\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0k", b"", "SETQ "),
    (
        b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0",
        b"\x81\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0",
        "NOOP ",
    ),
];

const TURNS_MAX: usize = 64;

/// Reads the input as a plan: two bytes of settings, then some for each turn. Returns how many turns there were.
pub fn run(input: &[u8]) -> u64 {
    let mut plan = input.iter().copied();
    let settings = plan.next().unwrap_or_default();
    let depth = usize::from(settings >> 2 & 7) + 1;
    let hides = settings & 1 == 1;
    let mut wire = Wire::new(if settings & 2 == 0 { Side::Client } else { Side::Server }, hides);
    let is_text = plan.next().unwrap_or_default() & 1 == 0;
    let table = if is_text { &IN_TEXT[..] } else { &IN_BINARY[..] };
    let mut turns: Vec<Turn> = plan.map(|byte| table[usize::from(byte >> 4) % table.len()]).take(TURNS_MAX).collect();
    // What is not answered comes out once a later command is.
    turns.push(table[table.len() - 1]);
    let mut cuts = input.iter().rev().copied().cycle();
    for batch in turns.chunks(depth) {
        let requests = batch.iter().flat_map(|(request, ..)| request.iter().copied()).collect::<Vec<u8>>();
        let replies = batch.iter().flat_map(|(_, reply, _)| reply.iter().copied()).collect::<Vec<u8>>();
        wire.say(Direction::Request, &requests, &mut cuts);
        wire.say(Direction::Response, &replies, &mut cuts);
    }
    wire.close();
    let mut position = 0;
    let made: Vec<(u64, &str)> = turns
        .iter()
        .map(|(request, _, operation)| {
            position += request.len() as u64;
            (position - request.len() as u64, *operation)
        })
        .collect();
    let mut rest = made.iter();
    for (position, operation) in &wire.seen {
        let is_it = |made: &&(u64, &str)| made.0 == *position && made.1 == operation;
        assert!(rest.find(is_it).is_some(), "{operation:?} at {position} was not made: {made:?}");
    }
    if !hides {
        assert_eq!((wire.seen.len(), wire.lost), (made.len(), 0));
    }
    made.len() as u64
}

struct Wire {
    parser: Parser,
    calls: Calls,
    hides: bool,
    seen: Vec<(u64, String)>,
    lost: u64,
}

impl Wire {
    fn new(side: Side, hides: bool) -> Wire {
        let parser = Parser::new(side, &Options::default());
        Wire { parser, calls: Calls::from(0, 0), hides, seen: Vec::new(), lost: 0 }
    }

    fn say(&mut self, direction: Direction, mut bytes: &[u8], cuts: &mut impl Iterator<Item = u8>) {
        while !bytes.is_empty() {
            let longest = match cuts.next().unwrap_or_default() {
                0 => bytes.len(),
                byte => usize::from(byte),
            };
            let (piece, rest) = bytes.split_at(longest.min(bytes.len()));
            let hidden = if self.hides { usize::from(cuts.next().unwrap_or_default() % 32) } else { 0 };
            let segment = self.calls.moved(direction, piece, piece.len().saturating_sub(hidden));
            let Wire { parser, seen, lost, .. } = self;
            parser.segment(direction, &segment, &mut |event| take(&event, seen, lost));
            bytes = rest;
        }
    }

    fn close(&mut self) {
        let Wire { parser, seen, lost, calls, .. } = self;
        parser.close(calls.now_ns, CloseReason::Finished { by: Side::Client }, &mut |event| take(&event, seen, lost));
    }
}

fn take(event: &Event<'_>, seen: &mut Vec<(u64, String)>, lost: &mut u64) {
    match event {
        Event::Exchange(exchange) if exchange.failure.is_none() => {
            seen.push((exchange.request_position.0, format!("{} {}", exchange.method, exchange.code.as_str())));
        }
        Event::Exchange(_) => {}
        Event::Loss(loss) => *lost += loss.count,
        Event::Encryption(_) => {}
    }
}
