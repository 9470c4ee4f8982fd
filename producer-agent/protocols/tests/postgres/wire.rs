//! Messages as both sides say them, and a connection that is fed with them.

use std::collections::BTreeMap;

use headwater_protocols::postgres::{Options, Postgres};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Exchange, Failure, Follow, Kind, OrderOptions, Outcome, Side,
};

use crate::calls::Calls;

pub const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

pub fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&[kind], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

pub fn startup() -> Vec<u8> {
    untyped(&[&196_608u32.to_be_bytes()[..], b"user\0bob\0database\0shop\0\0"].concat())
}

pub fn untyped(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

/// What a server says to a client that it knows.
pub fn welcome() -> Vec<u8> {
    [message(b'R', [0; 4]), message(b'S', b"server_version\0v15\0"), message(b'K', [7; 8]), ready(b'I')].concat()
}

pub fn ready(state: u8) -> Vec<u8> {
    message(b'Z', [state])
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0"))
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0"))
}

pub fn bind(statement: &str) -> Vec<u8> {
    message(b'B', format!("\0{statement}\0\0\0\0\0\0\0"))
}

pub fn describe() -> Vec<u8> {
    message(b'D', "P\0")
}

pub fn execute() -> Vec<u8> {
    message(b'E', "\0\0\0\0\0")
}

pub fn sync() -> Vec<u8> {
    message(b'S', "")
}

/// `P B D E` of a statement without a name.
pub fn all_of(sql: &str) -> Vec<u8> {
    [parse("", sql), bind(""), describe(), execute()].concat()
}

pub fn rows(count: usize, row_bytes: usize) -> Vec<u8> {
    let row = message(b'D', [&[0, 1, 0, 0][..], &(row_bytes as u16).to_be_bytes(), &vec![b'x'; row_bytes]].concat());
    [message(b'T', [&[0, 1][..], b"column\0", &[0; 18]].concat()), row.repeat(count)].concat()
}

pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0"))
}

pub fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0Mit's a secret\0\0"))
}

/// The answer to a query with rows.
pub fn selected(count: usize, row_bytes: usize) -> Vec<u8> {
    [rows(count, row_bytes), complete(&format!("SELECT {count}")), ready(b'I')].concat()
}

/// The answer to `P B D E`, without the Sync's.
pub fn executed(count: usize) -> Vec<u8> {
    [message(b'1', ""), message(b'2', ""), rows(count, 4), complete(&format!("SELECT {count}"))].concat()
}

/// An exchange that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request_position: u64,
    pub operation: String,
    pub database: String,
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
            database: exchange.resource.into(),
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
    pub connection: Connection<Postgres>,
    pub output: Output,
    pub calls: Calls,
}

impl Wire {
    pub fn new(options: Options) -> Wire {
        Wire {
            connection: Connection::new(Side::Server, OrderOptions::default(), Postgres::new(options)),
            output: Output::default(),
            calls: Calls::from(0, 0),
        }
    }

    pub fn fresh() -> Wire {
        Wire::new(Options::default())
    }

    /// A connection whose client is known to its server.
    pub fn started() -> Wire {
        let mut wire = Wire::fresh();
        wire.request(startup()).response(welcome());
        wire
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
