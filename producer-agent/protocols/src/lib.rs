//! Application protocols, understood from what the kernel saw of a TCP connection.
//!
//! In: one [`Segment`] per system call that moved bytes, from one side of one connection, then one
//! [`CloseReason`]. Out: [`Event`]s, each an [`Exchange`] (a request with its response) or a counted [`Loss`].
//!
//! Promises: an exchange that comes out is exact, and what could not be followed is counted under a reason. Nothing
//! here does I/O, reads a clock or panics on bad input; the same segments give the same events. Every buffer has a
//! bound, set in the options of the protocol.
//!
//! A protocol is a folder with a parser of its own, and one variant of [`Parser`]. What all of them share stands
//! beside: the input in `segment.rs`, the output in `exchange.rs`, the names of operations in [`operation`].

mod exchange;
pub mod http1;
pub mod operation;
mod segment;

pub use exchange::{Event, Exchange, Failure, Loss, LossReason, Sink};
pub use segment::{CloseReason, Direction, Position, Segment, Side};

/// The bounds of every protocol's parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
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
    Http1(http1::Connection),
}

impl Parser {
    pub fn new(side: Side, options: &Options) -> Self {
        Self::Http1(http1::Connection::new(side, options.http1))
    }

    /// Takes the bytes that one system call moved.
    pub fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.segment(direction, segment, sink),
        }
    }

    /// The bytes of a direction up to `to` were moved, and what no segment has told of will not be seen: before the connection ends,
    /// this tells what was answered past the capture from what was not answered.
    pub fn unseen(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        match self {
            Self::Http1(connection) => connection.unseen(direction, to, sink),
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

    /// What is allocated for the connection, without the parser itself. It is bounded by the options of its protocol.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.heap_bytes(),
        }
    }

    pub fn recognition(&self) -> Recognition {
        match self {
            Self::Http1(connection) => connection.recognition(),
        }
    }

    /// The protocol's name, as it stands in records.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http",
        }
    }
}
