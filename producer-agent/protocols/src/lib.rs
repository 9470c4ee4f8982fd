//! Application protocols, understood from what the kernel saw of a TCP connection.
//!
//! In: one [`Segment`] per system call that moved bytes, from one side of one connection, then one
//! [`CloseReason`]. Out: [`Event`]s, each an [`Exchange`] (a request with its response) or a counted [`Loss`].
//!
//! Promises: an exchange that comes out is exact, and what could not be followed is counted under a reason. Nothing
//! here does I/O, reads a clock or panics on bad input; the same segments give the same events. Every buffer has a
//! bound, set in the options of the protocol.
//!
//! A protocol is a folder that implements [`Protocol`], and one variant of [`Parser`]. What all of them share stands beside and knows
//! none of them: the input in `segment.rs`, the order of the segments in `order.rs`, the rest of a segment in `cursor.rs`, heads in
//! pieces in `partial.rs`, losses that are held back in `losses.rs`, the output in `exchange.rs`, the names of operations in
//! [`operation`].

mod connection;
mod cursor;
mod early;
mod exchange;
pub mod http1;
mod losses;
pub mod operation;
mod order;
mod partial;
mod protocol;
pub mod redis;
mod segment;
mod stream;

pub use connection::{Connection, Options as OrderOptions};
pub use cursor::Cursor;
pub use exchange::{Code, Event, Exchange, Failure, Kind, Loss, LossReason, Outcome, Sink};
pub use protocol::{Interest, Protocol};
pub use segment::{CloseReason, Direction, Position, Segment, Side};

/// The bounds of every protocol's parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub order: OrderOptions,
    pub http1: http1::Options,
}

/// Whether a connection speaks the protocol that its parser understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// Nothing seen so far decides it. Nothing is emitted in this state.
    Undecided,
    /// At least one message was seen.
    Recognised,
    /// Another protocol from its first byte on, or one that took over (an upgrade, a tunnel). Nothing more will be
    /// emitted: the connection is a flow and no longer needs a parser.
    Foreign,
}

/// Follows one connection in whichever protocol it speaks. HTTP/1 is the one known so far.
#[derive(Debug)]
pub enum Parser {
    Http1(Connection<http1::Http1>),
}

impl Parser {
    pub fn new(side: Side, options: &Options) -> Self {
        Self::Http1(Connection::new(side, options.order, http1::Http1::new(options.http1)))
    }

    /// Takes the bytes that one system call moved.
    pub fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.segment(direction, segment, sink),
        }
    }

    /// All exchanges before these positions were told of elsewhere: the next one begins here. What is open all the same is lost.
    pub fn resume(&mut self, request: Position, response: Position, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.resume(request, response, sink),
        }
    }

    /// A side has ended its stream, and all that it said was seen. `by` is the side that ended its own first.
    pub fn end_of_stream(&mut self, direction: Direction, at_ns: u64, by: Side, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.end_of_stream(direction, at_ns, by, sink),
        }
    }

    /// Ends the connection: what is still open leaves as failed exchanges or as losses. Closing twice is harmless.
    pub fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.close(at_ns, how, sink),
        }
    }

    /// Nothing is open or buffered: dropping the parser now would lose nothing.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_idle(),
        }
    }

    pub fn recognition(&self) -> Recognition {
        match self {
            Self::Http1(connection) => connection.recognition(),
        }
    }

    /// The bytes of a direction up to `to` were moved, and what no segment has told of will not be seen: before the connection ends,
    /// this tells what was answered past the capture from what was not answered.
    pub fn unseen(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.unseen(direction, to, sink),
        }
    }

    /// What is allocated for the connection, without the parser itself. It is bounded by the options of its protocol.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.heap_bytes(),
        }
    }

    /// What would be of use next in this direction. More does no harm.
    pub fn interest(&self, direction: Direction) -> Interest {
        match self {
            Self::Http1(connection) => connection.interest(direction),
        }
    }

    /// The protocol's name, as it stands in records.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(_) => http1::Http1::NAME,
        }
    }
}
