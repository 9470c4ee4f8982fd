//! Says frames on one connection, and keeps what comes out.

use std::collections::BTreeMap;

use headwater_protocols::http2::{Http2, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Exchange, Follow, Kind, Messages, OrderOptions, Side,
};

use crate::calls::Calls;

pub const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;
/// A head that is a whole message.
pub const ALL: u8 = END_STREAM | END_HEADERS;

pub struct Wire {
    pub connection: Connection<Http2>,
    /// `protocol METHOD path named what code`, one for each exchange.
    pub seen: Vec<String>,
    /// `resource trace-parent`, likewise.
    pub evidence: Vec<String>,
    pub details: Vec<Detail>,
    pub losses: BTreeMap<&'static str, u64>,
    pub calls: Calls,
}

/// What else is told of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    pub kind: Kind,
    pub messages: Messages,
    pub bytes: [u64; 2],
    pub started_ns: u64,
    pub first_byte_ns: Option<u64>,
    pub ended_ns: Option<u64>,
}

impl Wire {
    pub fn new(options: Options, [request, response]: [u64; 2]) -> Wire {
        Wire {
            connection: Connection::new(Side::Server, OrderOptions::default(), Http2::new(options)),
            seen: Vec::new(),
            evidence: Vec::new(),
            details: Vec::new(),
            losses: BTreeMap::new(),
            calls: Calls::from(request, response),
        }
    }

    /// Both sides have sent their preface.
    pub fn started() -> Wire {
        Wire::started_with(Options::default())
    }

    pub fn started_with(options: Options) -> Wire {
        let mut wire = Wire::new(options, [0; 2]);
        wire.request(&[PREFACE, &frame(SETTINGS, 0, 0, b"")]).response(&[&frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64")]);
        wire
    }

    pub fn in_the_middle() -> Wire {
        Wire::new(Options::default(), [5_000, 9_000])
    }

    pub fn request(&mut self, bytes: &[&[u8]]) -> &mut Wire {
        self.say(Direction::Request, &bytes.concat(), usize::MAX)
    }

    pub fn response(&mut self, bytes: &[&[u8]]) -> &mut Wire {
        self.say(Direction::Response, &bytes.concat(), usize::MAX)
    }

    pub fn miss(&mut self, direction: Direction, bytes: u64) -> &mut Wire {
        self.calls.missed(direction, bytes);
        self
    }

    /// Moves bytes, of which so many are captured.
    pub fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let Wire { connection, seen, evidence, details, losses, .. } = self;
        connection.segment(direction, &segment, &mut |event| take(event, (seen, evidence), details, losses));
        self
    }

    pub fn close(&mut self, how: CloseReason) -> &mut Wire {
        let Wire { connection, seen, evidence, details, losses, calls } = self;
        connection.close(calls.now_ns + 10, how, &mut |event| take(event, (seen, evidence), details, losses));
        assert!(connection.is_idle());
        assert_eq!(connection.heap_bytes(), 0);
        self
    }

    #[track_caller]
    pub fn expect(&self, seen: &[&str], losses: &[(&'static str, u64)]) {
        assert_eq!(self.seen, seen, "{:?}", self.losses);
        assert_eq!(self.losses, losses.iter().copied().collect(), "{:?}", self.seen);
    }
}

/// What came out of any parser.
#[derive(Default)]
pub struct Told {
    pub seen: Vec<String>,
    pub evidence: Vec<String>,
    pub details: Vec<Detail>,
    pub losses: BTreeMap<&'static str, u64>,
}

impl Told {
    pub fn take(&mut self, event: Event<'_>) {
        take(event, (&mut self.seen, &mut self.evidence), &mut self.details, &mut self.losses);
    }
}

fn take(
    event: Event<'_>,
    (seen, evidence): (&mut Vec<String>, &mut Vec<String>),
    details: &mut Vec<Detail>,
    losses: &mut BTreeMap<&'static str, u64>,
) {
    match event {
        Event::Exchange(exchange) => {
            let what = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| failure.as_str().into());
            let Exchange { protocol, method, path, named, code, .. } = &exchange;
            let words = [protocol, method, path, named, &*what, code.as_str()];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            seen.push(words.join(" "));
            let (trace, parent) = exchange.propagated.trace.map(|trace| trace.digits()).unwrap_or_default();
            evidence.push(format!("{} {trace} {parent}", exchange.resource).trim_end().to_owned());
            details.push(Detail {
                kind: exchange.kind,
                messages: exchange.messages,
                bytes: [exchange.request_bytes, exchange.response_bytes],
                started_ns: exchange.request_started_ns,
                first_byte_ns: exchange.response_started_ns,
                ended_ns: exchange.response_ended_ns,
            });
        }
        Event::Loss(loss) => *losses.entry(loss.reason.as_str()).or_default() += loss.count,
        Event::Encryption(_) => {}
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is added to the table (RFC 7541, 6.2.1), without Huffman's code.
pub fn added(name: &str, value: &str) -> Vec<u8> {
    literal(0x40, name, value)
}

/// A field that is not added.
pub fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
    [&[first, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// A GET of this path, which is not added to the table.
pub fn get(path: &str) -> Vec<u8> {
    [&b"\x82\x86"[..], &literal(0, ":path", path), &literal(0x10, "authorization", "secret")].concat()
}

/// A call of gRPC.
pub fn call(path: &str) -> Vec<u8> {
    [&b"\x83\x86"[..], &added(":path", path), &added("content-type", "application/grpc+proto")].concat()
}
