//! Packets as both sides say them, and a connection that is fed with them.

use std::collections::BTreeMap;

use headwater_protocols::mysql::{Mysql, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Exchange, Failure, Follow, Kind, OrderOptions, Outcome, Side,
};

use crate::calls::Calls;

pub const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

pub const CONNECT_WITH_DB: u64 = 1 << 3;
pub const COMPRESS: u64 = 1 << 5;
pub const SECURE_CONNECTION: u64 = 1 << 15;
pub const DEPRECATE_EOF: u64 = 1 << 24;
pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
pub const CACHES_METADATA: u64 = 1 << 36;
/// What every client can do: the protocol of version 4.1, results after results.
pub const PLAIN: u64 = 1 << 9 | 1 << 16 | 1 << 17 | 1 << 19;
/// What MySQL has and MariaDB has not.
pub const OF_MYSQL: u64 = 1;

pub const MORE: u16 = 8;

pub fn packet(sequence: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&(body.len() as u32).to_le_bytes()[..3], &[sequence], body].concat()
}

/// Packets that answer one another, numbered from this on.
pub fn numbered(first: u8, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut sequence = first;
    let mut all = Vec::new();
    for body in bodies {
        all.extend(packet(sequence, body));
        sequence = sequence.wrapping_add(1);
    }
    all
}

pub fn greeting(capabilities: u64) -> Vec<u8> {
    let capabilities = capabilities.to_le_bytes();
    let body = [
        b"\x0a11.4.2-MariaDB\0\x07\0\0\0saltsalt\0",
        &capabilities[..2],
        b"\x21\x02\0",
        &capabilities[2..4],
        b"\x15\0\0\0\0\0\0",
        &capabilities[4..],
        b"saltsaltsalt\0mysql_native_password\0",
    ];
    packet(0, body.concat())
}

pub fn login(capabilities: u64) -> Vec<u8> {
    packet(1, login_body(capabilities))
}

pub fn login_body(capabilities: u64) -> Vec<u8> {
    let capabilities = capabilities.to_le_bytes();
    let fixed = [&capabilities[..4], b"\0\0\0\x01\x21", &[0; 19], &capabilities[4..]].concat();
    [&fixed, &b"bob\0\x14hunter2hunter2huntershop\0mysql_native_password\0"[..]].concat()
}

pub fn command(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0, [&[kind], body.as_ref()].concat())
}

pub fn query(sql: &str) -> Vec<u8> {
    command(3, sql)
}

pub fn prepare(sql: &str) -> Vec<u8> {
    command(0x16, sql)
}

pub fn execute(id: u32) -> Vec<u8> {
    command(0x17, [&id.to_le_bytes()[..], b"\0\x01\0\0\0", b"\0\x01\x03\0\x07\0\0\0"].concat())
}

pub fn close(id: u32) -> Vec<u8> {
    command(0x19, id.to_le_bytes())
}

pub fn ping() -> Vec<u8> {
    command(0x0e, "")
}

pub fn ok(status: u16) -> Vec<u8> {
    [&b"\0\xfc\x10\x27\x05"[..], &(status | 2).to_le_bytes(), b"\0\0"].concat()
}

pub fn error(code: u16, state: &str) -> Vec<u8> {
    [&[0xff][..], &code.to_le_bytes(), b"#", state.as_bytes(), b"it's a secret"].concat()
}

/// What ends definitions, where that has not been given up.
pub fn eof(status: u16) -> Vec<u8> {
    [&b"\xfe\0\0"[..], &(status | 2).to_le_bytes()].concat()
}

pub fn end_of_rows(capabilities: u64, status: u16) -> Vec<u8> {
    if capabilities & DEPRECATE_EOF == 0 {
        return eof(status);
    }
    [&b"\xfe\0\0"[..], &(status | 2).to_le_bytes(), b"\0\0"].concat()
}

pub fn definition() -> Vec<u8> {
    b"\x03def\x04shop\x01t\x01t\x01a\x01a\x0c\x3f\0\x0b\0\0\0\x03\x01\0\0\0\0".to_vec()
}

pub fn definitions(capabilities: u64, count: usize) -> Vec<Vec<u8>> {
    let mut all = vec![definition(); count];
    if count > 0 && capabilities & DEPRECATE_EOF == 0 {
        all.push(eof(0));
    }
    all
}

/// A result with rows.
pub fn result(capabilities: u64, count: usize, row_bytes: usize, status: u16) -> Vec<Vec<u8>> {
    let row = match row_bytes {
        0..=250 => [&[row_bytes as u8][..], &vec![b'x'; row_bytes]].concat(),
        _ => [&[0xfc][..], &(row_bytes as u16).to_le_bytes(), &vec![b'x'; row_bytes]].concat(),
    };
    let mut all = vec![vec![1]];
    all.extend(definitions(capabilities, 1));
    all.extend(vec![row; count]);
    all.push(end_of_rows(capabilities, status));
    all
}

/// What answers the preparation of a statement.
pub fn prepared(capabilities: u64, id: u32, parameters: u16, columns: u16) -> Vec<Vec<u8>> {
    let head = [&[0][..], &id.to_le_bytes(), &columns.to_le_bytes(), &parameters.to_le_bytes(), &[0; 3]].concat();
    let mut all = vec![head];
    all.extend(definitions(capabilities, parameters.into()));
    all.extend(definitions(capabilities, columns.into()));
    all
}

/// An exchange that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request_position: u64,
    pub operation: String,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub times_ns: [Option<u64>; 4],
    pub kind: Kind,
    pub outcome: Outcome,
    pub code: String,
    pub failure: Option<Failure>,
}

impl Seen {
    pub fn of(exchange: &Exchange<'_>) -> Seen {
        Seen {
            request_position: exchange.request_position.0,
            operation: exchange.method.into(),
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            times_ns: [
                Some(exchange.request_started_ns),
                Some(exchange.request_ended_ns),
                exchange.response_started_ns,
                exchange.response_ended_ns,
            ],
            kind: exchange.kind,
            outcome: exchange.outcome,
            code: exchange.code.as_str().into(),
            failure: exchange.failure,
        }
    }
}

#[derive(Default)]
pub struct Output {
    pub exchanges: Vec<Seen>,
    pub resources: Vec<String>,
    pub losses: BTreeMap<&'static str, u64>,
    last_completed_ns: u64,
}

impl Output {
    pub fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                let failed = exchange.failure.is_some_and(|failure| failure != Failure::ClientLeft);
                assert_eq!(exchange.outcome.is_error(), failed || exchange.outcome == Outcome::ServerError);
                assert!(exchange.completed_ns >= self.last_completed_ns);
                assert!(exchange.response_ended_ns.unwrap_or_default() <= exchange.completed_ns);
                self.last_completed_ns = exchange.completed_ns;
                self.exchanges.push(Seen::of(&exchange));
                self.resources.push(exchange.resource.into());
            }
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }

    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }
}

pub struct Wire {
    pub connection: Connection<Mysql>,
    pub output: Output,
    pub calls: Calls,
}

impl Wire {
    pub fn fresh() -> Wire {
        Wire::with(Options::default())
    }

    pub fn with(options: Options) -> Wire {
        Wire {
            connection: Connection::new(Side::Server, OrderOptions::default(), Mysql::new(options)),
            output: Output::default(),
            calls: Calls::from(0, 0),
        }
    }

    /// A connection whose client is known to its server. Its login is forgotten.
    pub fn started(capabilities: u64) -> Wire {
        Wire::fresh().logged_in(capabilities)
    }

    pub fn logged_in(mut self, capabilities: u64) -> Wire {
        self.response(greeting(PLAIN | capabilities)).request(login(PLAIN | capabilities));
        self.response(packet(2, ok(0))).expect(&["CONNECT: Ok"], &[]);
        self.output.exchanges.clear();
        self
    }

    pub fn in_the_middle() -> Wire {
        Wire { calls: Calls::from(5_000, 9_000), ..Wire::fresh() }
    }

    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    pub fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    /// The packets of an answer.
    pub fn answer(&mut self, bodies: &[Vec<u8>]) -> &mut Wire {
        self.response(numbered(1, bodies))
    }

    pub fn miss(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.calls.missed(direction, bytes.as_ref().len() as u64);
        self
    }

    pub fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let output = &mut self.output;
        self.connection.segment(direction, &segment, &mut |event| output.take(event));
        self
    }

    pub fn close(&mut self, how: CloseReason) -> &mut Wire {
        self.calls.now_ns += 10;
        let output = &mut self.output;
        self.connection.close(self.calls.now_ns, how, &mut |event| output.take(event));
        assert!(self.connection.is_idle());
        self
    }

    /// `operation: outcome code`, one for each exchange, and all losses.
    #[track_caller]
    pub fn expect(&mut self, exchanges: &[&str], losses: &[(&'static str, u64)]) -> &mut Wire {
        let line = |seen: &Seen| {
            let what = seen.failure.map_or(format!("{:?}", seen.outcome), |failure| failure.as_str().into());
            format!("{}: {what} {}", seen.operation, seen.code).trim_end().to_owned()
        };
        let seen: Vec<String> = self.output.exchanges.iter().map(line).collect();
        assert_eq!(seen, exchanges, "{:?}", self.output.losses);
        assert_eq!(self.output.losses, losses.iter().copied().collect(), "{seen:?}");
        self
    }
}
