//! Turns arbitrary bytes into a valid session of a protocol in which both sides ask, in pipelines and pieces, with ends of calls not captured, calls not
//! told of and beginnings not seen. Requires that each exchange that comes out is one that was made, exactly and once; that all of them do where all was
//! captured; and that something is counted where one does not. What is said is the protocol's own: `control.rs`, `subjects.rs`, `channels.rs`.

// Not each of them needs all.
#![allow(dead_code)]

use std::collections::BTreeMap;

use headwater_protocols::operation::UNKNOWN;
use headwater_protocols::{CloseReason, Direction, Event, Follow, Position, Recognition, Side};

use crate::calls::Calls;

const TURNS_MAX: usize = 64;

/// How a protocol speaks.
pub struct Plan {
    pub open: fn(Side) -> Box<dyn Follow>,
    /// What is said first on a connection that is seen from its beginning on, by the settings.
    pub begin: fn(&mut Batch, u8),
    /// Adds an exchange with a number of its own, by its byte of the plan and the settings.
    pub add: fn(&mut Batch, u8, u16, u8),
    /// Operations whose answers need not be found where something is missing.
    pub may_be_one_way: &'static [&'static str],
}

/// What has to come out, by where its first byte is.
type Made = BTreeMap<u64, Told>;

/// Operation, resource, and the bytes each way.
type Told = (String, String, u64, u64);

/// What both sides say of some exchanges, one flight after the other; the client begins.
#[derive(Default)]
pub struct Batch {
    pub flights: [Vec<u8>; 8],
    /// For each exchange: where it begins within which flight, and what is told of it.
    asked: Vec<(usize, usize, Told)>,
    /// What a protocol counts, from one batch to the next.
    pub counters: [u64; 3],
    /// What comes out only if something else was missed.
    possible: Vec<(usize, usize, Told)>,
}

/// How many exchanges were made, how many of them came out, and how many were counted as lost.
#[derive(Debug, Default)]
pub struct Outcome {
    pub made: u64,
    pub seen: u64,
    pub lost: u64,
}

/// Reads the input as a plan: a byte of settings, then one for each exchange. The first bit of the settings is the protocol's own.
pub fn run(input: &[u8], plan: &Plan) -> Outcome {
    let (settings, turns) = input.split_first().map_or((0, input), |(settings, turns)| (*settings, turns));
    let side = if settings & 2 == 0 { Side::Client } else { Side::Server };
    let (hides, misses, is_late) = (settings & 4 != 0, settings & 8 != 0, settings & 16 != 0);
    let depth = usize::from(settings >> 5) + 1;
    let mut wire = Wire::new((plan.open)(side), [hides, misses], if is_late { [5_000, 9_000] } else { [0, 0] });
    let (mut made, mut possible) = (Made::new(), Made::new());
    let mut cuts = input.iter().rev().copied().cycle();
    let mut counters = [0; 3];
    if !is_late {
        let mut batch = Batch::default();
        (plan.begin)(&mut batch, settings);
        batch.say(&mut wire, [&mut made, &mut possible], &mut cuts);
    }
    for (number, turns) in turns.get(..TURNS_MAX.min(turns.len())).unwrap_or_default().chunks(depth).enumerate() {
        let mut batch = Batch { counters, ..Batch::default() };
        for (at, turn) in turns.iter().enumerate() {
            (plan.add)(&mut batch, *turn, (number * depth + at) as u16 + 1, settings);
        }
        counters = batch.counters;
        batch.say(&mut wire, [&mut made, &mut possible], &mut cuts);
    }
    let is_known = wire.connection.recognition() == Recognition::Recognised;
    wire.close();
    let is_partial = hides || misses || is_late;
    let mut others = 0;
    for (position, told) in &wire.seen {
        let of = made.get(position).or_else(|| possible.get(position).filter(|_| is_partial));
        others += usize::from(!made.contains_key(position));
        let is_right = of.is_some_and(|of| {
            // What was not captured of a name is unknown, and counted; where it is not known whose answer is whose, some are one-way.
            let may_be_less = is_partial && wire.lost > 0;
            let has_resource = of.1 == told.1 || (told.1.is_empty() && may_be_less);
            let is_one_way = told.3 == 0 && is_partial && plan.may_be_one_way.contains(&told.0.as_str());
            // Or the beginning of its name is.
            let begins = told.0.strip_suffix(UNKNOWN).or(told.0.strip_suffix("...")).unwrap_or(&told.0);
            let may_be_cut = may_be_less || (is_partial && told.0.ends_with("..."));
            let has_name = of.0 == told.0 || (may_be_cut && of.0.starts_with(begins.trim_end()));
            has_name && has_resource && of.2 == told.2 && (of.3 == told.3 || is_one_way)
        });
        assert!(is_right, "at {position} {told:?} was told of where {of:?} was made: {settings:#x}");
    }
    let seen = wire.seen.len() - others;
    let missing = made.len() - seen;
    if is_partial {
        let is_counted = missing == 0 || wire.lost > 0 || !is_known;
        assert!(is_counted, "{missing} of {made:?} are missing and none is counted: {settings:#x} {:?}", wire.seen);
    } else {
        assert_eq!((missing, wire.lost), (0, 0), "{made:?} {:?}", wire.seen);
    }
    Outcome { made: made.len() as u64, seen: seen as u64, lost: wire.lost }
}

impl Batch {
    /// An exchange that begins in a flight, and all that is said of it in that and the next ones.
    pub fn ask(&mut self, flight: usize, operation: &str, resource: &str, said: &[&[u8]]) {
        self.asked.push(self.begun(flight, operation, resource, said));
        for (flight, said) in self.flights[flight..].iter_mut().zip(said) {
            flight.extend(*said);
        }
    }

    /// Something that is asked next may look like an exchange by itself where what stands before it is missed.
    pub fn may_ask(&mut self, flight: usize, operation: &str, resource: &str, said: &[&[u8]]) {
        self.possible.push(self.begun(flight, operation, resource, said));
    }

    fn begun(&self, flight: usize, operation: &str, resource: &str, said: &[&[u8]]) -> (usize, usize, Told) {
        let bytes = |from: usize| said.iter().skip(from).step_by(2).map(|said| said.len() as u64).sum::<u64>();
        (flight, self.flights[flight].len(), (operation.to_owned(), resource.to_owned(), bytes(0), bytes(1)))
    }

    fn say(self, wire: &mut Wire, mut made: [&mut Made; 2], cuts: &mut impl Iterator<Item = u8>) {
        for (at, flight) in self.flights.iter().enumerate() {
            let direction = if at % 2 == 0 { Direction::Request } else { Direction::Response };
            for (made, asked) in made.iter_mut().zip([&self.asked, &self.possible]) {
                for (of, offset, told) in asked.iter().filter(|(of, ..)| *of == at) {
                    let place = wire.calls.at[direction].saturating_add(*offset as u64);
                    let place = if of % 2 == 1 { place.of_server() } else { place };
                    made.insert(place.0, told.clone());
                }
            }
            wire.say(direction, flight, cuts);
        }
    }
}

/// A word that stays as it is in names, another one for each number.
pub fn word(number: u16) -> String {
    (0..3).map(|at| char::from(b'a' + (number / 26_u16.pow(at) % 26) as u8)).collect()
}

struct Wire {
    connection: Box<dyn Follow>,
    calls: Calls,
    hides: bool,
    misses: bool,
    begun: [bool; 2],
    seen: BTreeMap<u64, Told>,
    lost: u64,
}

impl Wire {
    fn new(connection: Box<dyn Follow>, [hides, misses]: [bool; 2], [request, response]: [u64; 2]) -> Wire {
        let calls = Calls::from(request, response);
        Wire { connection, calls, hides, misses, begun: [false; 2], seen: BTreeMap::new(), lost: 0 }
    }

    fn say(&mut self, direction: Direction, mut bytes: &[u8], cuts: &mut impl Iterator<Item = u8>) {
        while !bytes.is_empty() {
            let longest = match cuts.next().unwrap_or_default() {
                0..64 => bytes.len(),
                byte => usize::from(byte),
            };
            let (piece, rest) = bytes.split_at(longest.min(bytes.len()));
            bytes = rest;
            // What is missed before anything was seen was not there for the parser.
            let is_seen = self.begun[0] && self.begun[1];
            self.begun[direction as usize] = true;
            if self.misses && is_seen && cuts.next().unwrap_or_default() < 16 {
                self.calls.missed(direction, piece.len() as u64);
                continue;
            }
            let hidden = if self.hides { usize::from(cuts.next().unwrap_or_default() % 32) } else { 0 };
            let segment = self.calls.moved(direction, piece, piece.len().saturating_sub(hidden));
            let Wire { connection, seen, lost, .. } = self;
            connection.segment(direction, &segment, &mut |event| take(&event, seen, lost));
            assert!(connection.heap_bytes() < 256 * 1024);
        }
    }

    fn close(&mut self) {
        let Wire { connection, seen, lost, calls, .. } = self;
        for (direction, to) in [(Direction::Request, calls.at.request), (Direction::Response, calls.at.response)] {
            connection.unseen(direction, to, &mut |event| take(&event, seen, lost));
        }
        let how = CloseReason::Finished { by: Side::Client };
        connection.close(calls.now_ns, how, &mut |event| take(&event, seen, lost));
        assert!(connection.is_idle());
    }
}

fn take(event: &Event<'_>, seen: &mut BTreeMap<u64, Told>, lost: &mut u64) {
    match event {
        // Without its answer, it is not known what became of it.
        Event::Exchange(exchange) if exchange.failure.is_some() => *lost += 1,
        Event::Exchange(exchange) => {
            let Position(position) = exchange.request_position;
            let names = (exchange.method.to_owned(), exchange.resource.to_owned());
            let doubled = seen.insert(position, (names.0, names.1, exchange.request_bytes, exchange.response_bytes));
            assert!(doubled.is_none(), "at {position} twice");
        }
        Event::Loss(loss) => *lost += loss.count,
        Event::Encryption(_) => {}
    }
}
