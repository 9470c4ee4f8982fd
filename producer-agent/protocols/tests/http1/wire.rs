//! A connection as the kernel would report it: moves bytes, and keeps positions and time.

use std::collections::BTreeMap;

use headwater_protocols::{
    CloseReason, Direction, Event, Exchange, Failure, Kind, LossReason, Options, Outcome, Parser, Position, Propagated,
    Recognition, Segment, Side,
};

/// As most connections end, whatever their protocol.
pub const FINISHED: CloseReason = CloseReason::Finished { by: Side::Server };
pub const RESET: CloseReason = CloseReason::Reset { by: Side::Server };

/// An exchange with its own strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request_position: u64,
    pub response_position: Option<u64>,
    pub method: String,
    pub path: String,
    pub named: String,
    pub resource: String,
    pub propagated: Propagated,
    pub status: Option<u16>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request_started_ns: u64,
    pub request_ended_ns: u64,
    pub response_started_ns: Option<u64>,
    pub response_ended_ns: Option<u64>,
    pub completed_ns: u64,
    pub kind: Kind,
    pub outcome: Outcome,
    pub failure: Option<Failure>,
}

impl From<Exchange<'_>> for Seen {
    fn from(exchange: Exchange<'_>) -> Self {
        Self {
            request_position: exchange.request_position.0,
            response_position: exchange.response_position.map(|position| position.0),
            method: exchange.method.to_owned(),
            path: exchange.path.to_owned(),
            named: exchange.named.to_owned(),
            resource: exchange.resource.to_owned(),
            propagated: exchange.propagated,
            status: exchange.status,
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            request_started_ns: exchange.request_started_ns,
            request_ended_ns: exchange.request_ended_ns,
            response_started_ns: exchange.response_started_ns,
            response_ended_ns: exchange.response_ended_ns,
            completed_ns: exchange.completed_ns,
            kind: exchange.kind,
            outcome: exchange.outcome,
            failure: exchange.failure,
        }
    }
}

/// What came out of a connection.
#[derive(Debug, Default)]
pub struct Output {
    pub exchanges: Vec<Seen>,
    pub losses: BTreeMap<&'static str, u64>,
}

impl Output {
    pub fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => self.exchanges.push(exchange.into()),
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }

    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }
}

/// One segment with its own bytes.
#[derive(Clone, Debug)]
pub struct OwnedSegment {
    pub direction: Direction,
    pub position: u64,
    pub length: u64,
    pub captured: Vec<u8>,
    pub at_ns: u64,
    pub other_position: u64,
}

impl OwnedSegment {
    pub fn feed(&self, connection: &mut Parser, output: &mut Output) {
        let segment = Segment {
            position: Position(self.position),
            length: self.length,
            captured: &self.captured,
            at_ns: self.at_ns,
            other_position: Position(self.other_position),
        };
        connection.segment(self.direction, &segment, &mut |event| output.take(event));
    }
}

pub struct Wire {
    pub connection: Parser,
    pub output: Output,
    request_position: u64,
    response_position: u64,
    clock_ns: u64,
}

impl Wire {
    pub fn new(side: Side) -> Self {
        Self::with_options(side, Options::default())
    }

    pub fn with_options(side: Side, options: Options) -> Self {
        Self {
            connection: Parser::new(side, &options),
            output: Output::default(),
            request_position: 0,
            response_position: 0,
            clock_ns: 0,
        }
    }

    /// A connection whose first bytes were moved before the capture began.
    pub fn in_the_middle(side: Side) -> Self {
        Self { request_position: 5_000, response_position: 9_000, ..Self::new(side) }
    }

    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.move_bytes(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    pub fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.move_bytes(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    /// Only the first bytes are captured.
    pub fn request_captured(&mut self, bytes: impl AsRef<[u8]>, captured: usize) -> &mut Self {
        self.move_bytes(Direction::Request, bytes.as_ref(), captured)
    }

    pub fn response_captured(&mut self, bytes: impl AsRef<[u8]>, captured: usize) -> &mut Self {
        self.move_bytes(Direction::Response, bytes.as_ref(), captured)
    }

    /// Moves bytes whose event is lost.
    pub fn miss_request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.segment(Direction::Request, bytes.as_ref(), usize::MAX);
        self
    }

    pub fn miss_response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.segment(Direction::Response, bytes.as_ref(), usize::MAX);
        self
    }

    fn move_bytes(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Self {
        let segment = self.segment(direction, bytes, captured);
        self.feed(&segment)
    }

    /// Moves bytes, 10 ns after the last, and returns their event without reporting it.
    pub fn segment(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> OwnedSegment {
        self.clock_ns += 10;
        let length = bytes.len() as u64;
        let (own, other) = match direction {
            Direction::Request => (&mut self.request_position, self.response_position),
            Direction::Response => (&mut self.response_position, self.request_position),
        };
        let position = *own;
        *own += length;
        OwnedSegment {
            direction,
            position,
            length,
            captured: bytes[..captured.min(bytes.len())].to_vec(),
            at_ns: self.clock_ns,
            other_position: other,
        }
    }

    pub fn feed(&mut self, segment: &OwnedSegment) -> &mut Self {
        segment.feed(&mut self.connection, &mut self.output);
        self
    }

    pub fn close(&mut self, how: CloseReason) -> &mut Self {
        self.clock_ns += 10;
        let output = &mut self.output;
        self.connection.close(self.clock_ns, how, &mut |event| output.take(event));
        self
    }

    /// The server's stream has ended, and all of it was seen.
    pub fn end_of_response(&mut self, by: Side) -> &mut Self {
        self.clock_ns += 10;
        let output = &mut self.output;
        self.connection.end_of_stream(Direction::Response, self.clock_ns, by, &mut |event| output.take(event));
        self
    }

    /// The client has ended its stream, and the server has read it to its end.
    pub fn end_of_request(&mut self) -> &mut Self {
        let output = &mut self.output;
        let by = Side::Client;
        self.connection.end_of_stream(Direction::Request, self.clock_ns, by, &mut |event| output.take(event));
        self
    }

    pub fn is_foreign(&self) -> bool {
        self.connection.recognition() == Recognition::Foreign
    }

    /// `METHOD path status`, one for each exchange; a failure in place of a status.
    #[track_caller]
    pub fn expect(&self, exchanges: &[&str]) -> &Self {
        let seen: Vec<String> = self.output.exchanges.iter().map(summary).collect();
        assert_eq!(seen, exchanges, "losses: {:?}", self.output.losses);
        self
    }

    #[track_caller]
    pub fn expect_losses(&self, losses: &[(LossReason, u64)]) -> &Self {
        let expected: BTreeMap<_, _> = losses.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(self.output.losses, expected, "exchanges: {:?}", self.output.exchanges);
        self
    }

    pub fn last(&self) -> &Seen {
        self.output.exchanges.last().expect("an exchange was emitted")
    }
}

fn summary(seen: &Seen) -> String {
    let outcome = match (seen.failure, seen.status) {
        (Some(failure), _) => failure.as_str().to_owned(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "?".to_owned(),
    };
    format!("{} {} {outcome}", seen.method, seen.path)
}
