//! Turns arbitrary bytes into valid commands and replies of Redis, in pipelines and pieces and with the ends of calls not captured, and
//! requires that each exchange that comes out is one that was made, in order; and all of them where all was captured. The fuzz target and a
//! test on the stable toolchain share it.

use headwater_protocols::{CloseReason, Direction, Event, Options, Parser, Side};

use crate::calls::Calls;

/// A command, a reply, and the operation with its code.
const TURNS: [(&str, &str, &str); 9] = [
    ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n", "PING "),
    ("*2\r\n$3\r\nget\r\n$1\r\nk\r\n", "$14\r\n+OK\r\n$4\r\n*2\r\n$\r\n", "GET "),
    ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$-1\r\n", "GET "),
    ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$14\r\n*1\r\n$4\r\nPING\r\n\r\n", "+OK\r\n", "SET "),
    ("*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n", "-ERR value is not an integer or out of range\r\n", "INCR ERR"),
    ("*2\r\n$7\r\nHGETALL\r\n$1\r\nh\r\n", "%1\r\n$1\r\na\r\n*2\r\n:1\r\n_\r\n", "HGETALL "),
    ("*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\nx\r\n", "*0\r\n", "CONFIG GET "),
    ("*2\r\n$5\r\nDEBUG\r\n$1\r\nx\r\n", "=5\r\ntxt:x\r\n", "DEBUG "),
    ("*1\r\n$4\r\nTIME\r\n", ">2\r\n+message\r\n:1\r\n*2\r\n:1\r\n:2\r\n", "TIME "),
];

const TURNS_MAX: usize = 64;

/// Reads the input as a plan: two bytes of settings, then some for each turn. Returns how many turns there were.
pub fn run(input: &[u8]) -> u64 {
    let mut plan = input.iter().copied();
    let settings = plan.next().unwrap_or_default();
    let depth = usize::from(settings >> 2 & 7) + 1;
    let hides = settings & 1 == 1;
    let mut wire = Wire::new(if settings & 2 == 0 { Side::Client } else { Side::Server }, hides);
    let turns: Vec<_> = std::iter::from_fn(|| plan.next().map(|byte| TURNS[usize::from(byte >> 4) % TURNS.len()]))
        .take(usize::from(settings >> 5) * 8 + 8)
        .take(TURNS_MAX)
        .collect();
    let mut cuts = input.iter().rev().copied().cycle();
    for batch in turns.chunks(depth) {
        let requests: String = batch.iter().map(|(request, ..)| *request).collect();
        let replies: String = batch.iter().map(|(_, reply, _)| *reply).collect();
        wire.say(Direction::Request, requests.as_bytes(), &mut cuts);
        wire.say(Direction::Response, replies.as_bytes(), &mut cuts);
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
        // Where its second word was not captured, that is said.
        let is_named =
            |made: &str| made == operation || (hides && made == "CONFIG GET " && operation == "CONFIG unknown ");
        let is_it = |made: &&(u64, &str)| made.0 == *position && is_named(made.1);
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
