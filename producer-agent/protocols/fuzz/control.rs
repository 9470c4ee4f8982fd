//! Turns arbitrary bytes into a valid session of MQTT, which both sides ask in, in pipelines and pieces, with ends of calls not captured, calls not told
//! of and beginnings not seen. Requires that each exchange that comes out is one that was made, exactly and once; that all of them do where all was
//! captured; and that something is counted where one does not. The fuzz target and a test on the stable toolchain share it.

// The fuzz target needs no sums.
#![allow(dead_code)]

use std::collections::BTreeMap;

use headwater_protocols::mqtt::{Mqtt, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Follow, OrderOptions, Position, Recognition, Side,
};

use crate::calls::Calls;

const TURNS_MAX: usize = 64;
/// A payload that looks like packets.
const LOOKALIKE: &[u8] = b"\x40\x02\0\x01\x32\x07\0\x01a\0\x01hi\xc0\0\xd0\0\x30\x04\0\x01bx";

/// What has to come out, by where its first byte is.
type Made = BTreeMap<u64, Told>;

/// Operation, resource, and the bytes each way.
type Told = (&'static str, String, u64, u64);

/// What both sides say of some exchanges, one flight after the other.
#[derive(Default)]
struct Batch {
    flights: [Vec<u8>; 5],
    /// For each exchange: where it begins within which flight, and what is told of it.
    asked: Vec<(usize, usize, Told)>,
}

/// How many exchanges were made, how many of them came out, and how many were counted as lost.
#[derive(Debug, Default)]
pub struct Outcome {
    pub made: u64,
    pub seen: u64,
    pub lost: u64,
}

/// Reads the input as a plan: a byte of settings, then one for each exchange.
pub fn run(input: &[u8]) -> Outcome {
    let (settings, plan) = input.split_first().map_or((0, input), |(settings, plan)| (*settings, plan));
    let is_five = settings & 1 == 1;
    let side = if settings & 2 == 0 { Side::Client } else { Side::Server };
    let (hides, misses, is_late) = (settings & 4 != 0, settings & 8 != 0, settings & 16 != 0);
    let depth = usize::from(settings >> 5) + 1;
    let mut wire = Wire::new(side, [hides, misses], if is_late { [5_000, 9_000] } else { [0, 0] });
    let mut made = Made::new();
    let mut cuts = input.iter().rev().copied().cycle();
    if !is_late {
        let mut batch = Batch::default();
        let answer: &[u8] = if is_five { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
        let connect = [&b"\x10\x0d\0\x04MQTT"[..], &[if is_five { 5 } else { 4 }, 2, 0, 60], &[0, 1, b'c']].concat();
        let connect =
            if is_five { [&b"\x10\x0e"[..], &connect[2..12], b"\0", &connect[12..]].concat() } else { connect };
        batch.asked.push((0, 0, ("CONNECT", String::new(), connect.len() as u64, answer.len() as u64)));
        (batch.flights[0], batch.flights[1]) = (connect, answer.into());
        batch.say(&mut wire, &mut made, &mut cuts);
    }
    for (number, turns) in plan.get(..TURNS_MAX.min(plan.len())).unwrap_or_default().chunks(depth).enumerate() {
        let mut batch = Batch::default();
        for (at, turn) in turns.iter().enumerate() {
            batch.add(*turn, (number * depth + at) as u16 + 1, is_five);
        }
        batch.say(&mut wire, &mut made, &mut cuts);
    }
    let is_known = wire.connection.recognition() == Recognition::Recognised;
    wire.close();
    for (position, told) in &wire.seen {
        let of = made.get(position);
        // A topic that was not captured is unknown, and counted.
        let is_unknown = told.1.is_empty() && hides && wire.lost > 0;
        let is_right =
            of.is_some_and(|of| of == told || (is_unknown && (of.0, of.2, of.3) == (told.0, told.2, told.3)));
        assert!(is_right, "at {position} {told:?} was told of where {of:?} was made");
    }
    let missing = made.len() - wire.seen.len();
    if hides || misses || is_late {
        let is_counted = missing == 0 || wire.lost > 0 || !is_known;
        assert!(is_counted, "{missing} of {made:?} are missing and none is counted: {settings:#x} {:?}", wire.seen);
    } else {
        assert_eq!((missing, wire.lost), (0, 0));
    }
    Outcome { made: made.len() as u64, seen: wire.seen.len() as u64, lost: wire.lost }
}

impl Batch {
    /// Adds an exchange with a number of its own.
    fn add(&mut self, turn: u8, id: u16, is_five: bool) {
        let word: String = (0..3).map(|at| char::from(b'a' + (id / 26_u16.pow(at) % 26) as u8)).collect();
        let topic = format!("shop/{word}/{}", id % 7);
        let resource = format!("shop/{word}/{{id}}");
        let payload = LOOKALIKE.repeat(usize::from(turn >> 5) * usize::from(turn >> 5));
        let ids = id.to_be_bytes();
        let acknowledges = |first: u8| [&[first, 2][..], &ids].concat();
        let publish = |quality: u8| {
            let id: &[u8] = if quality > 0 { &ids } else { &[] };
            let properties: &[u8] = if is_five { b"\0" } else { b"" };
            packet(0x30 | quality << 1, &[&text(&topic)[..], id, properties, &payload])
        };
        // From the client in the first flight, from the broker in the second.
        let (flight, operation) = if turn & 8 == 0 { (0, "PUBLISH") } else { (1, "DELIVER") };
        match turn & 7 {
            0 | 1 => self.ask(flight, operation, &resource, &[&publish(0)]),
            2 | 3 => self.ask(flight, operation, &resource, &[&publish(1), &acknowledges(0x40)]),
            4 | 5 => {
                let rest = [acknowledges(0x50), acknowledges(0x62), acknowledges(0x70)];
                self.ask(flight, operation, &resource, &[&publish(2), &rest[0], &rest[1], &rest[2]]);
            }
            6 => {
                let (properties, behind): (&[u8], &[u8]) = if is_five { (b"\0", b"\0") } else { (b"", b"") };
                let asked = packet(0x82, &[&ids, properties, &text(&topic), &[1]]);
                self.ask(0, "SUBSCRIBE", &resource, &[&asked, &packet(0x90, &[&ids, behind, &[1]])]);
            }
            _ => self.ask(0, "PINGREQ", "", &[b"\xc0\0", b"\xd0\0"]),
        }
    }

    fn ask(&mut self, flight: usize, operation: &'static str, resource: &str, said: &[&[u8]]) {
        let bytes = |from: usize| said.iter().skip(from).step_by(2).map(|said| said.len() as u64).sum::<u64>();
        self.asked.push((flight, self.flights[flight].len(), (operation, resource.to_owned(), bytes(0), bytes(1))));
        for (flight, said) in self.flights[flight..].iter_mut().zip(said) {
            flight.extend(*said);
        }
    }

    fn say(self, wire: &mut Wire, made: &mut Made, cuts: &mut impl Iterator<Item = u8>) {
        for (at, flight) in self.flights.iter().enumerate() {
            let direction = if at % 2 == 0 { Direction::Request } else { Direction::Response };
            for (of, offset, told) in self.asked.iter().filter(|(of, ..)| *of == at) {
                let place = wire.calls.at[direction].saturating_add(*offset as u64);
                let place = if *of == 1 { place.of_server() } else { place };
                made.insert(place.0, told.clone());
            }
            wire.say(direction, flight, cuts);
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        packet.push((left & 0x7f) as u8 | if left > 0x7f { 0x80 } else { 0 });
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

struct Wire {
    connection: Connection<Mqtt>,
    calls: Calls,
    hides: bool,
    misses: bool,
    begun: [bool; 2],
    seen: BTreeMap<u64, Told>,
    lost: u64,
}

impl Wire {
    fn new(side: Side, [hides, misses]: [bool; 2], [request, response]: [u64; 2]) -> Wire {
        let connection = Connection::new(side, OrderOptions::default(), Mqtt::new(Options::default()));
        Wire {
            connection,
            calls: Calls::from(request, response),
            hides,
            misses,
            begun: [false; 2],
            seen: BTreeMap::new(),
            lost: 0,
        }
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
            let told = (exchange.method, exchange.resource.to_owned(), exchange.request_bytes, exchange.response_bytes);
            let doubled = seen.insert(position, (operation(told.0), told.1, told.2, told.3));
            assert!(doubled.is_none(), "at {position} twice");
        }
        Event::Loss(loss) => *lost += loss.count,
    }
}

fn operation(name: &str) -> &'static str {
    let all = ["CONNECT", "PUBLISH", "DELIVER", "SUBSCRIBE", "PINGREQ"];
    all.into_iter().find(|known| *known == name).unwrap_or("another")
}
