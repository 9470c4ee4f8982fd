//! Turns arbitrary bytes into valid traffic, and requires each of its exchanges: exactly, once, in order, without a loss. The fuzz
//! target and a test on the stable toolchain share it.

use headwater_protocols::{
    CloseReason, Code, Direction, Event, Exchange, Kind, Messages, Options, Outcome, Parser, Position, Recognition,
    Segment, Side,
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PURGE", "x-any!1"];
/// Around what a server understands: before the target, behind it, behind the version, and a header line.
const SYNTAXES: [[&str; 4]; 6] = [
    [" ", " ", "", "Host: h"],
    ["  ", " ", "", "Host: h"],
    [" ", "   ", "", "Bogus"],
    [" ", " ", " ", "X[1]: 1"],
    [" ", " ", "", "n\u{e9}: \u{7f}"],
    [" ", " ", "", ": none"],
];
const STATUSES: [u16; 6] = [200, 201, 204, 304, 404, 500];

/// Bodies are made of what looks like heads and chunks.
const LOOKALIKES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n5\r\nhello\r\n";

const TURNS_MAX: usize = 24;

/// Reads the input as a plan: one byte of settings, then some bytes for each turn. Returns how many exchanges were required.
pub fn run(input: &[u8]) -> u64 {
    let mut plan = Plan(input);
    let settings = plan.next();
    let side = if settings & 1 == 0 { Side::Client } else { Side::Server };
    let depth = usize::from(settings >> 1 & 3) + 1;
    let mut turns = Vec::new();
    while !plan.0.is_empty() && turns.len() < TURNS_MAX {
        turns.push(Turn::read(&mut plan, turns.len()));
    }
    if settings >> 3 & 1 == 1
        && let Some(last) = turns.last_mut()
    {
        last.end_with_the_connection();
    }
    let mut wire = Wire::default();
    for batch in turns.chunks(depth) {
        batch.iter().for_each(|turn| wire.say(Direction::Request, &turn.request, &mut plan));
        batch.iter().for_each(|turn| wire.say(Direction::Response, &turn.response, &mut plan));
    }
    check(side, &turns, &wire);
    turns.len() as u64
}

fn check(side: Side, turns: &[Turn], wire: &Wire) {
    let mut parser = Parser::new(side, &Options::default());
    let closed_ns = wire.now_ns + 1;
    let mut expected = wire.exchanges(turns, closed_ns).into_iter();
    let mut take = |event: Event<'_>| match event {
        Event::Exchange(exchange) => assert_eq!(Some(exchange), expected.next()),
        other => panic!("{other:?} of valid traffic"),
    };
    for said in &wire.segments {
        let segment = Segment {
            position: said.position,
            length: said.bytes.len() as u64,
            captured: &said.bytes,
            at_ns: said.at_ns,
            other_position: said.other_position,
        };
        parser.segment(said.direction, &segment, &mut take);
    }
    let recognised = if turns.is_empty() { Recognition::Undecided } else { Recognition::Recognised };
    assert_eq!(parser.recognition(), recognised);
    parser.close(closed_ns, CloseReason::Finished { by: Side::Server }, &mut take);
    assert_eq!(expected.next(), None, "of {} exchanges", turns.len());
}

/// The input, read byte by byte; zeroes follow it.
struct Plan<'a>(&'a [u8]);

impl Plan<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.next()) % from.len()]
    }
}

struct Turn {
    method: &'static str,
    path: String,
    host: &'static str,
    status: u16,
    request: Vec<u8>,
    interim: Vec<u8>,
    /// What was said in `interim` included.
    response: Vec<u8>,
    until_close: bool,
}

impl Turn {
    fn read(plan: &mut Plan<'_>, number: usize) -> Self {
        let (method, status) = (plan.pick(&METHODS), plan.pick(&STATUSES));
        let path = format!("/{number}/{}", "p".repeat(usize::from(plan.next() % 40)));
        let [before, behind, end, line] = plan.pick(&SYNTAXES);
        let mut request = Vec::from(format!("{method}{before}{path}?q=/\u{e9}{behind}HTTP/1.1{end}\r\n{line}\r\n"));
        add_body(&mut request, plan, true);
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(usize::from(plan.next() % 8 / 6));
        let mut response = interim.clone();
        response.extend(format!("HTTP/1.1 {status} Text\r\n{line}\r\n").bytes());
        add_body(&mut response, plan, method != "HEAD" && !matches!(status, 204 | 304));
        let host = line.strip_prefix("Host: ").unwrap_or_default();
        Self { method, path, host, status, request, interim, response, until_close: false }
    }

    /// Gives the response a body without a length.
    fn end_with_the_connection(&mut self) {
        (self.method, self.host, self.status, self.until_close) = ("GET", "", 200, true);
        self.request = format!("GET {} HTTP/1.1\r\n\r\n", self.path).into_bytes();
        self.response = [&self.interim, &b"HTTP/1.1 200 OK\r\n\r\n"[..], LOOKALIKES].concat();
    }
}

/// Ends the head, which announces a body, and adds the body if one is sent.
fn add_body(message: &mut Vec<u8>, plan: &mut Plan<'_>, is_sent: bool) {
    let (kind, length, at) = (plan.next() % 3, usize::from(plan.next()), usize::from(plan.next()));
    let body: Vec<u8> = LOOKALIKES.iter().cycle().skip(at % LOOKALIKES.len()).take(length).copied().collect();
    let mut sent = Vec::new();
    match kind {
        0 => message.extend(b"Content-Length: 0\r\n"),
        1 => {
            message.extend(format!("content-length: {length}\r\n").bytes());
            sent = body;
        }
        _ => {
            message.extend(b"Transfer-Encoding: chunked\r\n");
            for chunk in body.chunks(1 + at) {
                sent.extend(format!("{:x}\r\n", chunk.len()).bytes());
                sent.extend(chunk);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\n\r\n");
        }
    }
    message.extend(b"\r\n");
    if is_sent {
        message.extend(sent);
    }
}

struct Said {
    direction: Direction,
    position: Position,
    bytes: Vec<u8>,
    at_ns: u64,
    other_position: Position,
}

#[derive(Default)]
struct Wire {
    segments: Vec<Said>,
    positions: [Position; 2],
    now_ns: u64,
}

impl Wire {
    /// Moves a message in pieces that the plan gives.
    fn say(&mut self, direction: Direction, message: &[u8], plan: &mut Plan<'_>) {
        let mut rest = message;
        while !rest.is_empty() {
            let longest = match plan.next() {
                0 => rest.len(),
                byte => usize::from(byte),
            };
            let (bytes, behind) = rest.split_at(longest.min(rest.len()));
            rest = behind;
            self.now_ns += 1;
            let position = self.positions[direction as usize];
            let other_position = self.positions[direction.opposite() as usize];
            self.positions[direction as usize] = position.saturating_add(bytes.len() as u64);
            self.segments.push(Said { direction, position, bytes: bytes.into(), at_ns: self.now_ns, other_position });
        }
    }

    /// When the byte at a position was moved.
    fn at_ns(&self, direction: Direction, position: Position) -> u64 {
        let mut before = self.segments.iter().filter(|said| said.direction == direction);
        before.rfind(|said| said.position <= position).map_or(0, |said| said.at_ns)
    }

    fn exchanges<'t>(&self, turns: &'t [Turn], closed_ns: u64) -> Vec<Exchange<'t>> {
        let (mut request_end, mut response_end) = (Position::START, Position::START);
        let exchange = |turn: &'t Turn| {
            let (request_position, response_position) = (request_end, response_end);
            request_end = request_position.saturating_add(turn.request.len() as u64);
            response_end = response_position.saturating_add(turn.response.len() as u64);
            let final_position = response_position.saturating_add(turn.interim.len() as u64);
            let last_before = |end: Position| Position(end.0 - 1);
            let response_ended_ns = self.at_ns(Direction::Response, last_before(response_end));
            Exchange {
                request_position,
                response_position: Some(response_position),
                method: turn.method,
                path: &turn.path,
                named: "",
                path_truncated: false,
                resource: turn.host,
                addresses: &[],
                propagated: Default::default(),
                status: Some(turn.status),
                request_bytes: turn.request.len() as u64,
                response_bytes: turn.response.len() as u64,
                request_started_ns: self.at_ns(Direction::Request, request_position),
                request_ended_ns: self.at_ns(Direction::Request, last_before(request_end)),
                response_started_ns: Some(self.at_ns(Direction::Response, final_position)),
                response_ended_ns: Some(response_ended_ns),
                completed_ns: if turn.until_close { closed_ns } else { response_ended_ns },
                protocol: "http",
                kind: Kind::Call,
                outcome: match turn.status {
                    ..400 => Outcome::Ok,
                    400..500 => Outcome::ClientError,
                    500.. => Outcome::ServerError,
                },
                code: Code::new(turn.status.to_string().as_bytes()),
                failure: None,
                messages: Messages::default(),
            }
        };
        turns.iter().map(exchange).collect()
    }
}
