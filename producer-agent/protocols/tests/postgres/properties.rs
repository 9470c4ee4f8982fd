//! The same sessions, cut, captured and thinned out in arbitrary ways.

use std::ops::Range;

use headwater_protocols::postgres::{Options, Postgres};
use headwater_protocols::{Connection, Direction, Follow, Kind, OrderOptions, Outcome, Position, Segment, Side};
use headwater_testing::Random;

use crate::wire::*;

/// What a session says in turn, and the exchanges that it has.
#[derive(Default)]
struct Session {
    runs: Vec<(Direction, Vec<u8>)>,
    lengths: [u64; 2],
    expected: Vec<Expected>,
    /// What each name stands for.
    prepared: Vec<Option<String>>,
}

struct Expected {
    operation: String,
    request: Range<u64>,
    response: Range<u64>,
    outcome: Outcome,
    code: &'static str,
}

struct Said {
    direction: Direction,
    position: u64,
    length: u64,
    captured: Vec<u8>,
    at_ns: u64,
    other_position: u64,
}

impl Session {
    /// Up to `depth` units are asked before the first of them is answered.
    fn random(random: &mut Random, depth: usize) -> Session {
        let mut session = Session { prepared: vec![None; 3], ..Session::default() };
        session.say(Direction::Request, &startup());
        session.say(Direction::Response, &welcome());
        let mut number = 0;
        for _ in 0..=random.index(8) {
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            for _ in 0..depth {
                number += 1;
                if random.one_in(8) && depth == 1 {
                    session.copy_in(number, random);
                } else if random.one_in(2) {
                    session.query(number, random, &mut asked, &mut answered);
                } else {
                    session.extended(number, random, &mut asked, &mut answered);
                }
            }
            if random.one_in(4) {
                answered.extend(message(b'A', b"\0\0\0\x07chan\0payload\0"));
            }
            session.say(Direction::Request, &asked);
            session.say(Direction::Response, &answered);
        }
        session
    }

    /// Always `depth` units are asked that are not answered.
    fn rolling(random: &mut Random, depth: usize) -> Session {
        let mut session = Session { prepared: vec![None; 3], ..Session::default() };
        session.say(Direction::Request, &startup());
        session.say(Direction::Response, &welcome());
        let mut units = Vec::new();
        for number in 0..20 {
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            if random.one_in(2) {
                session.query(number, random, &mut asked, &mut answered);
            } else {
                session.extended(number, random, &mut asked, &mut answered);
            }
            session.lengths[0] += asked.len() as u64;
            session.lengths[1] += answered.len() as u64;
            units.push((asked, answered));
        }
        let asks = units[..depth].iter().map(|(asked, _)| (Direction::Request, asked.clone()));
        session.runs.extend(asks);
        for (at, (_, answered)) in units.iter().enumerate() {
            session.runs.push((Direction::Response, answered.clone()));
            session.runs.extend(units.get(at + depth).map(|(asked, _)| (Direction::Request, asked.clone())));
        }
        session
    }

    fn say(&mut self, direction: Direction, bytes: &[u8]) {
        self.lengths[direction as usize] += bytes.len() as u64;
        self.runs.push((direction, bytes.to_vec()));
    }

    fn expect(&mut self, operation: &str, request: [u64; 2], response: [u64; 2], code: &'static str) {
        let [from, to] = self.lengths;
        self.expected.push(Expected {
            operation: operation.into(),
            request: from + request[0]..from + request[1],
            response: to + response[0]..to + response[1],
            outcome: if code.is_empty() { Outcome::Ok } else { Outcome::ClientError },
            code,
        });
    }

    fn query(&mut self, number: usize, random: &mut Random, asked: &mut Vec<u8>, answered: &mut Vec<u8>) {
        let from = [asked.len() as u64, answered.len() as u64];
        let literal = "s".repeat(random.index(600));
        let operation = format!("SELECT a FROM t{number} WHERE b = ?");
        asked.extend(query(&format!("SELECT a FROM t{number} WHERE b='{literal}'")));
        let mut code = "";
        match random.index(4) {
            0 => {
                code = "42P01";
                answered.extend([error(code), ready(b'I')].concat());
            }
            1 => answered.extend(selected(random.index(200), random.index(100))),
            _ => answered.extend(selected(random.index(4), random.index(30))),
        }
        let to = [asked.len() as u64, answered.len() as u64];
        self.expect(&operation, [from[0], to[0]], [from[1], to[1]], code);
    }

    fn extended(&mut self, number: usize, random: &mut Random, asked: &mut Vec<u8>, answered: &mut Vec<u8>) {
        let groups = 1 + random.index(3);
        let mut has_failed = false;
        for group in 0..groups {
            let from = [asked.len() as u64, answered.len() as u64];
            let slot = random.index(3);
            let name = ["", "s1", "s2"][slot];
            let mut answer = Vec::new();
            let fails = random.one_in(6);
            if slot == 0 || self.prepared[slot].is_none() {
                let operation = format!("SELECT c FROM u{number}_{group}");
                asked.extend(parse(name, &operation));
                if !has_failed {
                    answer.extend(message(b'1', ""));
                    self.prepared[slot] = Some(operation);
                }
            }
            let operation = self.prepared[slot].clone().unwrap_or_default();
            asked.extend([bind(name), if random.one_in(2) { describe() } else { Vec::new() }].concat());
            let described = asked.ends_with(&describe());
            asked.extend(execute());
            if has_failed {
                continue;
            }
            answer.extend(message(b'2', ""));
            let mut code = "";
            if fails {
                (code, has_failed) = ("22012", true);
                answer.extend(error(code));
            } else {
                let count = if random.one_in(5) { random.index(200) } else { random.index(3) };
                let all = rows(count, random.index(60));
                answer.extend(if described { all } else { all[rows(0, 0).len()..].to_vec() });
                answer.extend(complete(&format!("SELECT {count}")));
            }
            answered.extend(&answer);
            let to = [asked.len() as u64, answered.len() as u64];
            self.expect(&operation, [from[0], to[0]], [from[1], to[1]], code);
        }
        asked.extend(sync());
        answered.extend(ready(b'I'));
    }

    fn copy_in(&mut self, number: usize, random: &mut Random) {
        let operation = format!("COPY v{number} FROM STDIN");
        let (asked, taken) = (query(&operation), message(b'G', [0, 0, 1, 0, 0]));
        let data = [message(b'd', vec![b'x'; random.index(50)]).repeat(random.index(60)), message(b'c', "")].concat();
        let answered = [complete("COPY 1"), ready(b'I')].concat();
        let request = (asked.len() + data.len()) as u64;
        self.expect(&operation, [0, request], [0, (taken.len() + answered.len()) as u64], "");
        self.say(Direction::Request, &asked);
        self.say(Direction::Response, &taken);
        self.say(Direction::Request, &data);
        self.say(Direction::Response, &answered);
    }

    /// Cuts what is said into calls, of which not more than `captured_max` bytes are captured.
    fn cut(&self, random: &mut Random, length_max: usize, captured_max: usize) -> Vec<Said> {
        let (mut calls, mut positions) = (Vec::new(), [0u64; 2]);
        for (direction, bytes) in &self.runs {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = (1 + random.index(length_max)).min(rest.len());
                let (piece, behind) = rest.split_at(length);
                rest = behind;
                calls.push(Said {
                    direction: *direction,
                    position: positions[*direction as usize],
                    length: length as u64,
                    captured: piece[..length.min(captured_max)].to_vec(),
                    at_ns: 10 * (calls.len() as u64 + 1),
                    other_position: positions[direction.opposite() as usize],
                });
                positions[*direction as usize] += length as u64;
            }
        }
        calls
    }
}

/// Feeds calls; `moved` is how far each direction came in truth.
fn run<'s>(calls: impl Iterator<Item = &'s Said>, moved: [u64; 2]) -> Output {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Postgres::new(Options::default()));
    let mut output = Output::default();
    let mut last_ns = 0;
    for said in calls {
        let segment = Segment {
            position: Position(said.position),
            length: said.length,
            captured: &said.captured,
            at_ns: said.at_ns,
            other_position: Position(said.other_position),
        };
        connection.segment(said.direction, &segment, &mut |event| output.take(event));
        let bound = Options::default().pending_bytes_max as usize + 256 * 1024;
        assert!(connection.heap_bytes() < bound, "{}", connection.heap_bytes());
        last_ns = said.at_ns;
    }
    connection.unseen(Direction::Request, Position(moved[0]), &mut |event| output.take(event));
    connection.unseen(Direction::Response, Position(moved[1]), &mut |event| output.take(event));
    connection.close(last_ns + 10, FINISHED, &mut |event| output.take(event));
    assert!(connection.is_idle());
    output
}

fn expected(session: &Session, calls: &[Said]) -> Vec<Seen> {
    let time_of = |direction: Direction, position: u64| {
        let holds = |said: &&Said| {
            said.direction == direction && (said.position..said.position + said.length).contains(&position)
        };
        calls.iter().find(holds).map(|said| said.at_ns)
    };
    let seen = |expected: &Expected| Seen {
        request_position: expected.request.start,
        operation: expected.operation.clone(),
        database: "shop".into(),
        request_bytes: expected.request.end - expected.request.start,
        response_bytes: expected.response.end - expected.response.start,
        times_ns: [
            time_of(Direction::Request, expected.request.start),
            time_of(Direction::Request, expected.request.end - 1),
            time_of(Direction::Response, expected.response.start),
            time_of(Direction::Response, expected.response.end - 1),
        ],
        kind: Kind::Call,
        outcome: expected.outcome,
        code: expected.code.into(),
        failure: None,
    };
    session.expected.iter().map(seen).collect()
}

/// What came out is right, as far as it says anything: an operation or an outcome may be unknown.
fn check_none_wrong(output: &Output, expected: &[Seen], seed: u64) {
    let mut last = None;
    for seen in &output.exchanges {
        let same = expected.iter().find(|expected| expected.request_position == seen.request_position);
        let Some(expected) = same else { panic!("seed {seed}: never happened: {seen:?}") };
        assert!(last < Some(seen.request_position), "seed {seed}: twice: {seen:?}");
        last = Some(seen.request_position);
        if seen.failure.is_some() {
            let begin = seen.operation.trim_end_matches(" ...");
            assert!(
                begin == "unknown" || expected.operation.starts_with(begin),
                "seed {seed}: {seen:?} of {expected:?}"
            );
            continue;
        }
        let mut likely = expected.clone();
        // The startup may be one of the calls that were missed.
        if seen.database.is_empty() {
            likely.database.clear();
        }
        if seen.outcome == Outcome::Unknown {
            (likely.outcome, likely.code) = (Outcome::Unknown, String::new());
            // The Sync's own answer may be all that was seen of an end.
            likely.response_bytes = seen.response_bytes;
        }
        let begins_like =
            seen.operation.strip_suffix(" ...").is_some_and(|begin| expected.operation.starts_with(begin));
        if seen.operation == "unknown" || begins_like {
            likely.operation.clone_from(&seen.operation);
        }
        if seen.response_bytes == expected.response_bytes + ready(b'I').len() as u64 {
            likely.response_bytes = seen.response_bytes;
        }
        // Where the end was not seen it is that of the last byte of the unit.
        likely.times_ns[3] =
            likely.times_ns[3].max(seen.times_ns[3].filter(|_| seen.response_bytes > expected.response_bytes));
        assert_eq!(*seen, likely, "seed {seed}, losses: {:?}", output.losses);
    }
}

#[test]
fn any_cut_gives_the_same_exchanges() {
    let mut count = 0;
    for seed in 0..6_000 {
        let mut random = Random::new(seed);
        let depth = if random.one_in(2) { 1 } else { 1 + random.index(4) };
        let session = Session::random(&mut random, depth);
        let length_max = [3, 40, 400, 9_000][random.index(4)];
        let calls = session.cut(&mut random, length_max, usize::MAX);
        let output = run(calls.iter(), session.lengths);
        assert_eq!(output.exchanges, expected(&session, &calls), "seed {seed}, losses: {:?}", output.losses);
        assert_eq!(output.lost(), 0, "seed {seed}");
        count += output.exchanges.len();
    }
    assert!(count > 20_000, "{count} exchanges");
}

#[test]
fn limited_capture_is_right_or_counted() {
    // How much is captured, how far is asked ahead, and how much of all comes out at least.
    for (captured_max, depth, least) in [(64, 1, 0.3), (256, 1, 0.8), (1_024, 1, 0.85), (256, 3, 0.02), (1_024, 3, 0.2)]
    {
        let (mut seen, mut lost, mut all) = (0, 0, 0);
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let session = Session::random(&mut random, depth);
            let calls = session.cut(&mut random, 9_000, captured_max);
            let (output, expected) = (run(calls.iter(), session.lengths), expected(&session, &calls));
            check_none_wrong(&output, &expected, seed);
            let known = output.exchanges.len() as u64 + output.lost();
            assert!(expected.is_empty() || known > 0, "seed {seed}: nothing was counted");
            (seen, lost, all) = (seen + output.exchanges.len(), lost + output.lost(), all + expected.len());
        }
        assert!(seen as f64 >= least * all as f64, "{captured_max} {depth}: {seen} seen and {lost} lost of {all}");
    }
}

#[test]
fn missing_events_make_nothing_wrong() {
    let (mut seen, mut all) = (0, 0);
    for seed in 0..6_000 {
        let mut random = Random::new(seed);
        let session = Session::random(&mut random, 1);
        let length_max = [400, 9_000][random.index(2)];
        let calls = session.cut(&mut random, length_max, [256, 1_024][seed as usize % 2]);
        let from = if random.one_in(2) { random.index(calls.len()) } else { 0 };
        let kept: Vec<&Said> = calls[from..].iter().filter(|_| !random.one_in(12)).collect();
        let (output, expected) = (run(kept.into_iter(), session.lengths), expected(&session, &calls));
        check_none_wrong(&output, &expected, seed);
        (seen, all) = (seen + output.exchanges.len(), all + expected.len());
    }
    assert!(seen as f64 > 0.2 * all as f64, "{seen} seen of {all}");
}

#[test]
fn missing_events_of_who_asks_ahead_make_nothing_wrong() {
    let (mut seen, mut all) = (0, 0);
    for seed in 0..6_000 {
        let mut random = Random::new(seed);
        let is_rolling = random.one_in(2);
        let session = if is_rolling { Session::rolling(&mut random, 3) } else { Session::random(&mut random, 3) };
        let mut calls = session.cut(&mut random, 9_000, 4_096);
        // Now and then all is answered, and nothing is said for two seconds.
        let mut pause_ns = 0;
        for at in 1..calls.len() {
            let is_turn = calls[at - 1].direction == Direction::Response && calls[at].direction == Direction::Request;
            pause_ns += if is_turn && !is_rolling && random.one_in(2) { 2_000_000_000 } else { 0 };
            calls[at].at_ns += pause_ns;
        }
        // It is seen to ask ahead before anything is missing.
        let turns = calls.windows(2).enumerate().filter(|(_, pair)| pair[0].direction != pair[1].direction);
        let safe = turns.map(|(at, _)| at).nth(3).unwrap_or(calls.len());
        let kept: Vec<&Said> = calls
            .iter()
            .enumerate()
            .filter(|(at, _)| *at <= safe || !random.one_in(10))
            .map(|(_, said)| said)
            .collect();
        let (output, expected) = (run(kept.into_iter(), session.lengths), expected(&session, &calls));
        check_none_wrong(&output, &expected, seed);
        (seen, all) = (seen + output.exchanges.len(), all + expected.len());
    }
    assert!(seen as f64 > 0.1 * all as f64, "{seen} seen of {all}");
}

#[test]
fn random_bytes_break_nothing() {
    let mut exchanges = 0;
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let depth = 1 + random.index(3);
        let session = Session::random(&mut random, depth);
        let mut calls = session.cut(&mut random, 9_000, 300);
        for _ in 0..random.index(6) {
            let at = random.index(calls.len());
            let captured = &mut calls[at].captured;
            match (random.index(4), captured.len()) {
                (0, _) => {
                    calls.swap_remove(at);
                }
                (1, length) => captured.truncate(random.index(length)),
                (_, length) if length > 0 => captured[random.index(length)] = random.byte(),
                _ => {}
            }
            if calls.is_empty() {
                break;
            }
        }
        exchanges += run(calls.iter(), session.lengths).exchanges.len();
    }
    assert!(exchanges > 10_000, "the input is too random to test anything: {exchanges} exchanges");
}

#[test]
fn messages_in_any_order_break_nothing() {
    let mut random = Random::new(11);
    let exchanges: u64 = (0..150_000)
        .map(|_| {
            let input: Vec<u8> = (0..random.index(200)).map(|_| random.byte()).collect();
            crate::messages::run(&input)
        })
        .sum();
    assert!(exchanges > 1_000, "the input is too random to test anything: {exchanges} exchanges");
}
