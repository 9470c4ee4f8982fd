//! What a real client and a real server said to each other, seen in all the ways in which it may be seen.

use std::collections::BTreeMap;

use headwater_protocols::http2::{Http2, Options};
use headwater_protocols::operation::UNKNOWN;
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Exchange, Follow, Kind, OrderOptions, Outcome, Position, Segment, Side,
};
use headwater_testing::Random;

use crate::session::{Call, Plan, Said, calls, record};
use crate::wire::FINISHED;

/// What one exchange says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    request_position: Position,
    response_position: Option<Position>,
    pub protocol: &'static str,
    pub method: String,
    pub path: String,
    named: String,
    outcome: Outcome,
    pub code: String,
    kind: Kind,
    bytes: [u64; 2],
    messages: [Option<u32>; 2],
}

impl Seen {
    fn of(exchange: &Exchange<'_>) -> Seen {
        assert_eq!(exchange.failure, None, "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.request_ended_ns, "{exchange:?}");
        assert!(exchange.response_started_ns <= exchange.response_ended_ns, "{exchange:?}");
        assert!(exchange.response_ended_ns <= Some(exchange.completed_ns), "{exchange:?}");
        Seen {
            request_position: exchange.request_position,
            response_position: exchange.response_position,
            protocol: exchange.protocol,
            method: exchange.method.to_owned(),
            path: exchange.path.to_owned(),
            named: exchange.named.to_owned(),
            outcome: exchange.outcome,
            code: exchange.code.as_str().to_owned(),
            kind: exchange.kind,
            bytes: [exchange.request_bytes, exchange.response_bytes],
            messages: [exchange.messages.request, exchange.messages.response],
        }
    }

    /// `PROTOCOL METHOD PATH NAME CODE`, and how many messages.
    fn mark(&self) -> String {
        let Seen { protocol, method, path, named, code, messages, .. } = self;
        format!("{protocol} {method} {path} {named} {code} {messages:?}")
    }

    /// It says nothing but what this one says, and perhaps less.
    fn agrees_with(&self, right: &Seen) -> bool {
        let is_within = |said: &str, right: &str| said == UNKNOWN || said == right;
        // What may be gRPC for all that is known is HTTP/2 at any rate, and its method is POST.
        let is_half_known = self.protocol == "http2" && right.protocol == "grpc";
        let method_agrees = is_within(&self.method, &right.method) || (is_half_known && self.method == "POST");
        let outcome_agrees = (self.outcome == right.outcome && self.code == right.code)
            || (self.outcome == Outcome::Unknown && self.code.is_empty());
        let kind_agrees = self.kind == right.kind || is_half_known || self.messages.contains(&None);
        let messages_agree =
            self.messages.iter().zip(&right.messages).all(|(said, right)| said.is_none() || said == right);
        (self.request_position, self.response_position, self.bytes)
            == (right.request_position, right.response_position, right.bytes)
            && (self.protocol == right.protocol || (is_half_known && self.outcome == Outcome::Unknown))
            && method_agrees
            && is_within(&self.path, &right.path)
            && (self.named.is_empty() || self.named == right.named)
            && outcome_agrees
            && kind_agrees
            && messages_agree
    }
}

#[derive(Default, Debug)]
pub struct Output {
    pub seen: Vec<Seen>,
    pub losses: BTreeMap<&'static str, u64>,
    heap_bytes_max: usize,
}

impl Output {
    fn lost(&self) -> u64 {
        self.losses.iter().filter(|(reason, _)| **reason != "value_unknown").map(|(_, count)| count).sum()
    }
}

/// What one call of a peer moved, and how much of it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    direction: Direction,
    bytes: &'a [u8],
    captured: usize,
    is_missing: bool,
}

pub fn whole(said: &[Said]) -> Vec<Piece<'_>> {
    let all = said.iter().map(|said| (said.direction, said.bytes.as_slice()));
    all.map(|(direction, bytes)| Piece { direction, bytes, captured: bytes.len(), is_missing: false }).collect()
}

/// Feeds pieces from the one of this number on.
pub fn run(options: Options, pieces: &[Piece<'_>], from: usize, how: CloseReason) -> Output {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Http2::new(options));
    let mut output = Output::default();
    let mut positions = [0u64; 2];
    let mut now_ns = 0;
    for (number, piece) in pieces.iter().enumerate() {
        now_ns += 10;
        let own = piece.direction as usize;
        let segment = Segment {
            position: Position(positions[own]),
            length: piece.bytes.len() as u64,
            captured: &piece.bytes[..piece.captured.min(piece.bytes.len())],
            at_ns: now_ns,
            other_position: Position(positions[piece.direction.opposite() as usize]),
        };
        positions[own] += segment.length;
        if number >= from && !piece.is_missing {
            connection.segment(piece.direction, &segment, &mut |event| output.take(event));
            output.heap_bytes_max = output.heap_bytes_max.max(connection.heap_bytes());
        }
    }
    connection.close(now_ns + 10, how, &mut |event| output.take(event));
    assert_eq!(connection.heap_bytes(), 0);
    output
}

impl Output {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => self.seen.push(Seen::of(&exchange)),
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }
}

fn marks(calls: &[Call]) -> Vec<String> {
    let mark = |(number, call): (usize, &Call)| {
        let messages = |sizes: &[usize]| call.is_grpc.then_some(sizes.len() as u32);
        let method = if call.is_grpc { "" } else { call.method };
        let protocol = if call.is_grpc { "grpc" } else { "http2" };
        let code = match (call.is_grpc, call.grpc_status) {
            (false, _) => call.status.to_string(),
            (_, 0) => "OK".into(),
            (_, 5) => "NOT_FOUND".into(),
            (_, 13) => "INTERNAL".into(),
            (_, 14) => "UNAVAILABLE".into(),
            _ => "UNAUTHENTICATED".into(),
        };
        let messages = [messages(&call.asked), messages(&call.answered)];
        format!("{protocol} {method} {} {} {code} {messages:?}", call.path(number), call.named)
    };
    let mut marks: Vec<String> = calls.iter().enumerate().map(mark).collect();
    marks.sort();
    marks
}

/// All that was said, by who knows it; and each exchange as it is when all is captured.
fn truth(plan: Plan) -> (Vec<Said>, Vec<Seen>) {
    let said = record(plan);
    let output = run(Options::default(), &whole(&said), 0, FINISHED);
    let mut seen: Vec<String> = output.seen.iter().map(Seen::mark).collect();
    seen.sort();
    assert_eq!(seen, marks(&calls(&plan)));
    assert!(output.losses.is_empty(), "{:?}", output.losses);
    assert!(output.heap_bytes_max < 256 * 1024, "{}", output.heap_bytes_max);
    (said, output.seen)
}

fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    Plan {
        seed,
        calls: 40,
        at_once: 1 + random.index(10),
        window_bytes: [100, 1_000, 65_535, 1 << 20][random.index(4)],
        table_bytes: [0, 100, 4096, 65_536][random.index(4)],
        has_long_headers: random.one_in(3),
    }
}

#[track_caller]
fn check_none_wrong(output: &Output, right: &[Seen], what: &str) {
    let mut positions = Vec::new();
    for seen in &output.seen {
        let same = right.iter().find(|right| right.request_position == seen.request_position);
        let same = same.unwrap_or_else(|| panic!("{what}: never happened: {seen:?}"));
        assert!(seen.agrees_with(same), "{what}: {seen:?}\nis not {same:?}");
        positions.push(seen.request_position);
    }
    positions.sort();
    assert!(positions.is_sorted_by(|one, next| one < next), "{what}: one came twice");
}

/// Cases: http2-multiplexed.
#[test]
fn a_thousand_calls_ten_at_once_are_all_found() {
    let plan =
        Plan { seed: 1, calls: 1_000, at_once: 10, window_bytes: 65_535, table_bytes: 4096, has_long_headers: false };
    assert_eq!(truth(plan).1.len(), 1_000);
}

#[test]
fn sessions_of_all_kinds_are_followed_in_any_pieces() {
    for seed in 0..24 {
        let (said, right) = truth(plan(seed));
        let mut random = Random::new(seed);
        for _ in 0..10 {
            let pieces: Vec<Piece<'_>> = whole(&said).into_iter().flat_map(|piece| cut(piece, &mut random)).collect();
            let output = run(Options::default(), &pieces, 0, FINISHED);
            assert_eq!(output.seen, right, "seed {seed}");
            assert!(output.losses.is_empty(), "seed {seed}: {:?}", output.losses);
        }
    }
}

fn cut<'a>(piece: Piece<'a>, random: &mut Random) -> Vec<Piece<'a>> {
    let size = 1 + [random.index(10), random.index(100), random.index(5_000)][random.index(3)];
    let sized = piece.bytes.chunks(size.max(piece.bytes.len() / 50 + 1));
    sized.map(|bytes| Piece { bytes, captured: bytes.len(), ..piece }).collect()
}

#[test]
fn heads_alone_are_never_wrong_and_what_is_missing_is_counted() {
    let mut found = 0;
    for seed in 100..140 {
        let (said, right) = truth(plan(seed));
        let mut random = Random::new(seed);
        for bound in [0, 9, 40, 256, 1_024, 4_096] {
            let mut pieces = whole(&said);
            pieces
                .iter_mut()
                .for_each(|piece| piece.captured = if random.one_in(10) { random.index(300) } else { bound });
            let output = run(Options::default(), &pieces, 0, FINISHED);
            check_none_wrong(&output, &right, &format!("seed {seed}, {bound} bytes"));
            assert!(output.seen.is_empty() || output.seen.len() == right.len() || output.lost() > 0, "{output:?}");
            found += output.seen.len();
        }
    }
    assert!(found > 1_000, "of the calls only {found} were found");
}

#[test]
fn missing_events_and_starts_in_the_middle_are_never_wrong() {
    let mut found = [0; 2];
    for seed in 200..240 {
        let (said, right) = truth(plan(seed));
        let mut random = Random::new(seed);
        for round in 0..20 {
            let mut pieces: Vec<Piece<'_>> = if random.one_in(3) {
                whole(&said).into_iter().flat_map(|piece| cut(piece, &mut random)).collect()
            } else {
                whole(&said)
            };
            let from = if round % 2 == 0 { random.index(pieces.len()) } else { 0 };
            let missing = [0, 2, 10][random.index(3)];
            let bound = if random.one_in(2) { usize::MAX } else { 256 };
            pieces.iter_mut().for_each(|piece| {
                piece.captured = piece.captured.min(bound);
                piece.is_missing = random.chance(missing);
            });
            let output = run(Options::default(), &pieces, from, CloseReason::Unobserved);
            check_none_wrong(&output, &right, &format!("seed {seed}, round {round} from {from}"));
            found[round % 2] += output.seen.len();
        }
    }
    assert!(found.iter().all(|found| *found > 500), "{found:?} were found");
}

#[test]
fn small_bounds_hold_and_are_never_wrong() {
    let options =
        Options { streams_max: 3, block_bytes_max: 200, table_bytes_max: 300, path_bytes_max: 2048, bodies_max: 1 };
    for seed in 300..320 {
        let (said, right) = truth(plan(seed));
        let output = run(options, &whole(&said), 0, CloseReason::Unobserved);
        check_none_wrong(&output, &right, &format!("seed {seed}"));
        assert!(output.heap_bytes_max < 8 * 1024, "{}", output.heap_bytes_max);
        assert_eq!(output.seen.len() as u64 + output.lost(), right.len() as u64, "{output:?}");
    }
}

#[test]
fn frames_in_any_order_break_nothing() {
    let mut random = Random::new(11);
    let exchanges: u64 = (0..150_000)
        .map(|_| {
            let input: Vec<u8> = (0..random.index(300)).map(|_| random.byte()).collect();
            crate::frames::run(&input)
        })
        .sum();
    assert!(exchanges > 10_000, "the input is too random to test anything: {exchanges} exchanges");
}
