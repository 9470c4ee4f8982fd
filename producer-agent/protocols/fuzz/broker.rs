//! Turns arbitrary bytes into valid requests and answers of Kafka, in pipelines and pieces and with the ends of calls not captured, and requires
//! that each exchange that comes out is one that was made, once and with its bytes; all of them where all was captured; and that something is
//! counted where one is missing. The fuzz target and a test on the stable toolchain share it.

use std::collections::BTreeMap;

use headwater_protocols::{CloseReason, Direction, Event, Options, Parser, Recognition, Side};

use crate::calls::Calls;

const TURNS_MAX: usize = 64;
const TOPICS: [&str; 3] = ["orders", "payments", "a"];

/// Operation, resource, and the bytes each way.
type Told = (&'static str, String, u64, u64);

/// Reads the input as a plan: two bytes of settings, then one for each turn. Returns how many turns there were.
pub fn run(input: &[u8]) -> u64 {
    let mut plan = input.iter().copied();
    let settings = plan.next().unwrap_or_default();
    let depth = usize::from(settings >> 2 & 7) + 1;
    let hides = settings & 1 == 1;
    let mut wire = Wire::new(if settings & 2 == 0 { Side::Client } else { Side::Server }, hides);
    // What nobody acknowledges comes out once another is answered.
    let turns: Vec<u8> = plan.take(TURNS_MAX).chain([METADATA]).collect();
    let mut cuts = input.iter().rev().copied().cycle();
    let mut made: BTreeMap<u64, Told> = BTreeMap::new();
    for (number, batch) in turns.chunks(depth).enumerate() {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        for (at, turn) in batch.iter().enumerate() {
            let (request, answer, operation, resource) = turn_of(*turn, (number * depth + at) as i32);
            let position = wire.calls.at.request.0 + requests.len() as u64;
            made.insert(position, (operation, resource, request.len() as u64, answer.len() as u64));
            requests.extend(request);
            answers.extend(answer);
        }
        wire.say(Direction::Request, &requests, &mut cuts);
        wire.say(Direction::Response, &answers, &mut cuts);
    }
    let is_known = wire.parser.recognition() == Recognition::Recognised;
    wire.close();
    for (position, told) in &wire.seen {
        let is_right = made.get(position).is_some_and(|made| {
            // Of topics that were not captured it is said that there are more.
            made == told || (hides && told.1.ends_with("...") && (made.0, made.2, made.3) == (told.0, told.2, told.3))
        });
        assert!(is_right, "at {position} {told:?} was told of where {:?} was made", made.get(position));
    }
    let missing = made.len() - wire.seen.len();
    if hides {
        assert!(
            missing == 0 || wire.lost > 0 || !is_known,
            "{missing} are missing and none is counted: {:?}",
            wire.seen
        );
    } else {
        assert_eq!((missing, wire.lost), (0, 0));
    }
    made.len() as u64
}

const METADATA: u8 = 2;

/// A request with this id, its answer, its operation and its topics.
fn turn_of(turn: u8, id: i32) -> (Vec<u8>, Vec<u8>, &'static str, String) {
    let topic = TOPICS[usize::from(turn >> 3) % TOPICS.len()];
    let records = vec![b'x'; usize::from(turn >> 5) * 300];
    match turn & 7 {
        // Version 3: no transaction, acknowledgement by one or by none.
        acks @ (0 | 1) => {
            let written =
                [&text(topic)[..], &1_i32.to_be_bytes(), &[0; 4], &(records.len() as i32).to_be_bytes(), &records];
            let body =
                [&[0xff; 2][..], &i16::from(acks).to_be_bytes(), &[0; 4], &1_i32.to_be_bytes(), &written.concat()];
            let answer = [&1_i32.to_be_bytes()[..], &text(topic), &1_i32.to_be_bytes(), &[0; 22], &[0; 4]].concat();
            let answer = if acks == 0 { Vec::new() } else { answered(id, &answer) };
            (asked(0, 3, id, &body.concat()), answer, "Produce", topic.to_owned())
        }
        // Version 4, of one partition, without a wait.
        3 => {
            let partition = [&1_i32.to_be_bytes()[..], &[0; 16]].concat();
            let body = [&[0xff; 4][..], &[0; 13], &1_i32.to_be_bytes(), &text(topic), &partition].concat();
            let partition =
                [&1_i32.to_be_bytes()[..], &[0; 22], &[0xff; 4], &(records.len() as i32).to_be_bytes(), &records];
            let answer = [&[0; 4][..], &1_i32.to_be_bytes(), &text(topic), &partition.concat()].concat();
            (asked(1, 4, id, &body), answered(id, &answer), "Fetch", topic.to_owned())
        }
        4 => (asked(18, 0, id, &[]), answered(id, &[0; 6]), "ApiVersions", String::new()),
        // Version 1: no broker, the controller, no topic.
        _ => {
            let body = [&1_i32.to_be_bytes()[..], &text(topic)].concat();
            (asked(3, 1, id, &body), answered(id, &[0; 12]), "Metadata", topic.to_owned())
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as i32).to_be_bytes(), message].concat()
}

fn asked(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&key.to_be_bytes()[..], &version.to_be_bytes(), &id.to_be_bytes(), &text("shop"), body].concat())
}

fn answered(id: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&id.to_be_bytes(), body].concat())
}

struct Wire {
    parser: Parser,
    calls: Calls,
    hides: bool,
    seen: BTreeMap<u64, Told>,
    lost: u64,
}

impl Wire {
    fn new(side: Side, hides: bool) -> Wire {
        let parser = Parser::new(side, &Options::default());
        Wire { parser, calls: Calls::from(0, 0), hides, seen: BTreeMap::new(), lost: 0 }
    }

    fn say(&mut self, direction: Direction, mut bytes: &[u8], cuts: &mut impl Iterator<Item = u8>) {
        while !bytes.is_empty() {
            let longest = match cuts.next().unwrap_or_default() {
                0..64 => bytes.len(),
                byte => usize::from(byte),
            };
            let (piece, rest) = bytes.split_at(longest.min(bytes.len()));
            let hidden = if self.hides { usize::from(cuts.next().unwrap_or_default() % 32) } else { 0 };
            let segment = self.calls.moved(direction, piece, piece.len().saturating_sub(hidden));
            let Wire { parser, seen, lost, .. } = self;
            parser.segment(direction, &segment, &mut |event| take(&event, seen, lost));
            assert!(parser.heap_bytes() < 256 * 1024);
            bytes = rest;
        }
    }

    fn close(&mut self) {
        let Wire { parser, seen, lost, calls, .. } = self;
        parser.close(calls.now_ns, CloseReason::Finished { by: Side::Client }, &mut |event| take(&event, seen, lost));
        assert!(parser.is_idle());
    }
}

fn take(event: &Event<'_>, seen: &mut BTreeMap<u64, Told>, lost: &mut u64) {
    match event {
        // Without its answer, it is not known what became of it.
        Event::Exchange(exchange) if exchange.failure.is_some() => *lost += 1,
        Event::Exchange(exchange) => {
            let operation =
                ["Produce", "Fetch", "Metadata", "ApiVersions"].into_iter().find(|name| *name == exchange.method);
            let told = (
                operation.unwrap_or("another"),
                exchange.resource.to_owned(),
                exchange.request_bytes,
                exchange.response_bytes,
            );
            assert!(seen.insert(exchange.request_position.0, told).is_none(), "{exchange:?} twice");
        }
        Event::Loss(loss) => *lost += loss.count,
        Event::Encryption(_) => {}
    }
}
