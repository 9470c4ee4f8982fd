//! The same sessions, cut, captured and thinned out in arbitrary ways.

use std::ops::Range;

use headwater_protocols::mysql::{Mysql, Options};
use headwater_protocols::{Connection, Direction, Follow, Kind, OrderOptions, Outcome, Position, Segment, Side};
use headwater_testing::Random;

use crate::wire::*;

/// What a session says in turn, and the exchanges that it has.
#[derive(Default)]
struct Session {
    capabilities: u64,
    runs: Vec<(Direction, Vec<u8>)>,
    lengths: [u64; 2],
    expected: Vec<Expected>,
    /// What each id stands for.
    prepared: Vec<String>,
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
    /// Up to `depth` commands are asked before the first of them is answered.
    fn random(random: &mut Random, depth: usize) -> Session {
        let capabilities = if random.one_in(2) { DEPRECATE_EOF } else { 0 };
        let mut session = Session { capabilities, ..Session::default() };
        session.say(Direction::Response, &greeting(PLAIN | capabilities));
        let (asked, answered) = (login(PLAIN | capabilities), packet(2, ok(0)));
        session.expect("CONNECT", [0, asked.len() as u64], [0, answered.len() as u64], "");
        session.say(Direction::Request, &asked);
        session.say(Direction::Response, &answered);
        for number in 0..=random.index(12) {
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            if random.one_in(8) && depth == 1 {
                session.file(number, random);
            } else {
                for part in 0..depth {
                    session.command(number * depth + part, random, &mut asked, &mut answered);
                }
            }
            session.say(Direction::Request, &asked);
            session.say(Direction::Response, &answered);
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

    fn command(&mut self, number: usize, random: &mut Random, asked: &mut Vec<u8>, answered: &mut Vec<u8>) {
        let both = self.capabilities;
        if random.one_in(5) {
            asked.extend(close(99));
        }
        let from = [asked.len() as u64, answered.len() as u64];
        let (mut operation, mut code) = (format!("SELECT a FROM t{number} WHERE b = ?"), "");
        let mut bodies = match random.index(6) {
            0 => {
                code = "1146/42S02";
                vec![error(1146, "42S02")]
            }
            1 => vec![ok(0)],
            2 => result(both, random.index(200), random.index(100), 0),
            3 => {
                [result(both, random.index(9), random.index(30), MORE), vec![ok(MORE)], result(both, 1, 1, 0)].concat()
            }
            _ => result(both, random.index(4), random.index(30), 0),
        };
        match random.index(6) {
            0 => {
                operation = "PING".into();
                bodies.truncate(1);
                if bodies[0].len() < 3 {
                    bodies = vec![ok(0)];
                }
                asked.extend(ping());
            }
            1 => {
                let id = self.prepared.len() as u32 + 1;
                asked.extend(prepare(&operation));
                if code.is_empty() {
                    bodies = prepared(both, id, random.index(4) as u16, random.index(4) as u16);
                    self.prepared.push(operation.clone());
                }
                operation = format!("PREPARE {operation}");
            }
            2 | 3 if !self.prepared.is_empty() && from[0] == 0 => {
                let id = random.index(self.prepared.len());
                operation.clone_from(&self.prepared[id]);
                asked.extend(execute(id as u32 + 1));
            }
            _ => {
                let literal = "s".repeat(random.index(600));
                asked.extend(query(&format!("SELECT a FROM t{number} WHERE b='{literal}'")));
            }
        }
        answered.extend(numbered(1, &bodies));
        let to = [asked.len() as u64, answered.len() as u64];
        self.expect(&operation, [from[0], to[0]], [from[1], to[1]], code);
    }

    fn file(&mut self, number: usize, random: &mut Random) {
        let operation = format!("LOAD DATA LOCAL INFILE ? INTO TABLE t{number}");
        let asked = query(&format!("LOAD DATA LOCAL INFILE 'x' INTO TABLE t{number}"));
        let wanted = packet(1, b"\xfbx");
        let mut bodies = vec![vec![b'x'; 1 + random.index(500)]; random.index(300)];
        bodies.push(Vec::new());
        let data = numbered(2, &bodies);
        let answered = packet((bodies.len() + 2) as u8, ok(0));
        self.expect(
            &operation,
            [0, (asked.len() + data.len()) as u64],
            [0, (wanted.len() + answered.len()) as u64],
            "",
        );
        self.say(Direction::Request, &asked);
        self.say(Direction::Response, &wanted);
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
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Mysql::new(Options::default()));
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
        let mut likely = expected.clone();
        let begins_like =
            seen.operation.strip_suffix(" ...").is_some_and(|begin| expected.operation.starts_with(begin));
        if seen.operation == "unknown" || begins_like {
            likely.operation.clone_from(&seen.operation);
        }
        if seen.failure.is_some() {
            assert_eq!(seen.operation, likely.operation, "seed {seed}: {seen:?} of {expected:?}");
            continue;
        }
        if seen.outcome == Outcome::Unknown {
            (likely.outcome, likely.code) = (Outcome::Unknown, String::new());
        }
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
    for (captured_max, depth, least) in [(64, 1, 0.5), (256, 1, 0.8), (1_024, 1, 0.85), (256, 3, 0.05), (1_024, 3, 0.2)]
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
fn packets_in_any_order_break_nothing() {
    let mut random = Random::new(11);
    let exchanges: u64 = (0..150_000)
        .map(|_| {
            let input: Vec<u8> = (0..random.index(200)).map(|_| random.byte()).collect();
            crate::packets::run(&input)
        })
        .sum();
    assert!(exchanges > 1_000, "the input is too random to test anything: {exchanges} exchanges");
}
