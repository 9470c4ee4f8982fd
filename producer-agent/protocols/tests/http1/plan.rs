//! Plans of connections: what is said, in which order, how it is cut, and what must come out.

use headwater_protocols::{Direction, Kind, Outcome, Propagated};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::{OwnedSegment, Seen};

#[derive(Clone, Debug)]
pub enum Body {
    None,
    Length(String),
    Chunked(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Turn {
    pub method: &'static str,
    pub request_padding: usize,
    pub request_body: Body,
    pub interims: usize,
    pub status: u16,
    pub response_padding: usize,
    pub response_body: Body,
    /// The order of the parts, without pipelining.
    pub order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    RequestFirst,
    /// The interim responses come between the request's head and its body.
    BodyAfterInterim,
    /// The whole response comes between the request's head and its body.
    BodyAfterResponse,
}

/// How the runs of bytes become segments.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// Lengths of segments, used in turn.
    pub lengths: Vec<usize>,
    /// How much of each is captured, used in turn.
    pub captures: Vec<usize>,
    /// Requests are captured in full.
    pub whole_requests: bool,
}

/// The segments of a connection, and the exchanges that they hold.
#[derive(Clone, Debug)]
pub struct Script {
    pub segments: Vec<OwnedSegment>,
    pub exchanges: Vec<Seen>,
}

pub fn bodies(with_lookalikes: bool) -> impl Strategy<Value = Body> {
    let piece = if with_lookalikes {
        prop_oneof![
            "[a-z\r\n0-9;:]{1,40}",
            Just("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
            Just("GET / HTTP/1.1\r\n\r\n".to_owned()),
            Just("0\r\n\r\n".to_owned()),
        ]
        .boxed()
    } else {
        "[a-z]{1,200}".boxed()
    };
    prop_oneof![
        2 => Just(Body::None),
        3 => vec(piece.clone(), 1..4).prop_map(|pieces| Body::Length(pieces.concat())),
        2 => vec(piece, 1..4).prop_map(Body::Chunked),
    ]
}

pub fn turns(with_lookalikes: bool, simple: bool) -> impl Strategy<Value = Vec<Turn>> {
    let order = if simple {
        Just(Order::RequestFirst).boxed()
    } else {
        prop_oneof![
            4 => Just(Order::RequestFirst),
            1 => Just(Order::BodyAfterInterim),
            1 => Just(Order::BodyAfterResponse),
        ]
        .boxed()
    };
    let interims = if simple { Just(0usize).boxed() } else { prop_oneof![3 => Just(0usize), 1 => 1usize..3].boxed() };
    let turn = (
        prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("PURGE")],
        0usize..300,
        bodies(with_lookalikes),
        interims,
        prop_oneof![4 => Just(200u16), 1 => Just(204), 1 => Just(304), 1 => Just(500)],
        0usize..300,
        bodies(with_lookalikes),
        order,
    );
    let turn = turn.prop_map(
        |(method, request_padding, request_body, interims, status, response_padding, response_body, order)| Turn {
            method,
            request_padding,
            request_body,
            interims,
            status,
            response_padding,
            response_body,
            order,
        },
    );
    vec(turn, 1..7)
}

/// Small and large segments; captured in full, or with limits.
pub fn cuts(limited: bool, whole_requests: bool) -> impl Strategy<Value = Cuts> {
    let length = prop_oneof![3 => 1usize..20, 3 => 20usize..200, 4 => 200usize..5000];
    let capture = if limited {
        prop_oneof![2 => Just(usize::MAX), 1 => 0usize..40, 2 => 40usize..400].boxed()
    } else {
        Just(usize::MAX).boxed()
    };
    (vec(length, 1..30), vec(capture, 1..30)).prop_map(move |(lengths, captures)| Cuts {
        lengths,
        captures,
        whole_requests,
    })
}

impl Turn {
    fn request(&self, index: usize) -> (Vec<u8>, Vec<u8>) {
        let head = format!("{} /{index}?q HTTP/1.1\r\nPad: {}\r\n", self.method, "p".repeat(self.request_padding));
        message(head, &self.request_body, true)
    }

    fn interims(&self) -> Vec<u8> {
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(self.interims)
    }

    fn response(&self) -> (Vec<u8>, Vec<u8>) {
        let head = format!("HTTP/1.1 {} Text\r\nPad: {}\r\n", self.status, "p".repeat(self.response_padding));
        let has_body = self.method != "HEAD" && !matches!(self.status, 204 | 304);
        message(head, &self.response_body, has_body)
    }
}

/// Head and body; the head may announce a body that is not sent.
fn message(mut head: String, body: &Body, has_body: bool) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    match body {
        Body::None => head.push_str("Content-Length: 0\r\n"),
        Body::Length(body) => {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
            bytes.extend_from_slice(body.as_bytes());
        }
        Body::Chunked(chunks) => {
            head.push_str("Transfer-Encoding: chunked\r\n");
            for chunk in chunks {
                bytes.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        }
    }
    head.push_str("\r\n");
    if !has_body {
        bytes.clear();
    }
    (head.into_bytes(), bytes)
}

/// Runs of bytes in the order in which they are moved, each with the exchange that it belongs to.
type Runs = Vec<(Direction, usize, Vec<u8>)>;

/// Each exchange ends before the next begins.
pub fn in_turn(turns: &[Turn]) -> Runs {
    let mut runs = Runs::new();
    for (index, turn) in turns.iter().enumerate() {
        let (request_head, request_body) = turn.request(index);
        let (response_head, response_body) = turn.response();
        let request = |bytes| (Direction::Request, index, bytes);
        let response = |bytes| (Direction::Response, index, bytes);
        let response_parts = [response(turn.interims()), response(response_head), response(response_body)];
        let [interims, head, body] = response_parts;
        match turn.order {
            Order::RequestFirst => {
                runs.extend([request(request_head), request(request_body), interims, head, body]);
            }
            Order::BodyAfterInterim => {
                runs.extend([request(request_head), interims, request(request_body), head, body]);
            }
            Order::BodyAfterResponse => {
                runs.extend([request(request_head), interims, head, body, request(request_body)]);
            }
        }
    }
    runs
}

/// Up to `depth` requests are open at once.
pub fn pipelined(turns: &[Turn], depth: usize) -> Runs {
    let mut runs = Runs::new();
    for answered in 0..turns.len() {
        let due = if answered == 0 { 0..depth.min(turns.len()) } else { answered + depth - 1..answered + depth };
        for index in due.filter(|index| *index < turns.len()) {
            let (head, body) = turns[index].request(index);
            runs.extend([(Direction::Request, index, head), (Direction::Request, index, body)]);
        }
        let (head, body) = turns[answered].response();
        let all = [turns[answered].interims(), head, body].concat();
        runs.push((Direction::Response, answered, all));
    }
    runs
}

/// Cuts the runs into segments and works out what must be seen.
pub fn script(turns: &[Turn], runs: Runs, cuts: &Cuts) -> Script {
    let segments = segments(&runs, cuts);
    let time_of = |direction: Direction, position: u64| {
        let holds = |segment: &&OwnedSegment| {
            segment.direction == direction && (segment.position..segment.position + segment.length).contains(&position)
        };
        segments.iter().find(holds).map(|segment| segment.at_ns).unwrap()
    };
    let exchanges = turns.iter().enumerate().map(|(index, turn)| {
        let request = span(&runs, Direction::Request, index);
        let response = span(&runs, Direction::Response, index);
        let final_start = response.start + turn.interims().len() as u64;
        let request_ended_ns = time_of(Direction::Request, request.end - 1);
        let response_ended_ns = time_of(Direction::Response, response.end - 1);
        Seen {
            request_position: request.start,
            response_position: Some(response.start),
            method: turn.method.into(),
            path: format!("/{index}"),
            named: String::new(),
            resource: String::new(),
            propagated: Propagated::default(),
            status: Some(turn.status),
            request_bytes: request.end - request.start,
            response_bytes: response.end - response.start,
            request_started_ns: time_of(Direction::Request, request.start),
            request_ended_ns,
            response_started_ns: Some(time_of(Direction::Response, final_start)),
            response_ended_ns: Some(response_ended_ns),
            completed_ns: request_ended_ns.max(response_ended_ns),
            kind: Kind::Call,
            outcome: if turn.status < 400 { Outcome::Ok } else { Outcome::ServerError },
            failure: None,
        }
    });
    let exchanges = exchanges.collect();
    Script { segments, exchanges }
}

fn span(runs: &Runs, direction: Direction, index: usize) -> std::ops::Range<u64> {
    let mut position = 0;
    let mut range: Option<std::ops::Range<u64>> = None;
    for (of, exchange, bytes) in runs.iter().filter(|(of, ..)| *of == direction) {
        let end = position + bytes.len() as u64;
        if (*of, *exchange) == (direction, index) {
            range = Some(range.map_or(position, |range| range.start)..end);
        }
        position = end;
    }
    range.unwrap()
}

fn segments(runs: &Runs, cuts: &Cuts) -> Vec<OwnedSegment> {
    let mut lengths = cuts.lengths.iter().cycle();
    let mut captures = cuts.captures.iter().cycle();
    let mut positions = [0u64; 2];
    let mut segments: Vec<OwnedSegment> = Vec::new();
    // Runs of one direction that follow each other are one stretch: a segment may hold parts of both.
    for stretch in runs.chunk_by(|left, right| left.0 == right.0) {
        let direction = stretch[0].0;
        let bytes = stretch.iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect::<Vec<u8>>();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
            rest = behind;
            let limit = *captures.next().unwrap();
            let whole = direction == Direction::Request && cuts.whole_requests;
            let captured = if whole { piece.len() } else { limit.min(piece.len()) };
            let (own, other) = (direction as usize, direction.opposite() as usize);
            segments.push(OwnedSegment {
                direction,
                position: positions[own],
                length: piece.len() as u64,
                captured: piece[..captured].to_vec(),
                at_ns: 10 * (segments.len() as u64 + 1),
                other_position: positions[other],
            });
            positions[own] += piece.len() as u64;
        }
    }
    segments
}
