//! What a parser is fed: the bytes that one system call moved on one side of a connection.

/// Which end of the connection is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    /// Whether this side writes in that direction; it reads in the other one.
    pub fn sends(self, direction: Direction) -> bool {
        matches!((self, direction), (Self::Client, Direction::Request) | (Self::Server, Direction::Response))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

impl Direction {
    pub fn opposite(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// One system call that moved bytes.
///
/// Positions count the bytes of one direction from the start of the connection; they never wrap. They are those of
/// the socket itself, not counts of delivered events, so an event that went missing shows as a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Position of the first byte.
    pub position: u64,
    /// How many bytes the call moved.
    pub length: u64,
    /// The first bytes of those moved, possibly none: the rest was not copied.
    pub captured: &'a [u8],
    /// Monotonic time of the call.
    pub at_ns: u64,
    /// The position that the opposite direction had reached when the call ended.
    pub other_position: u64,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Orderly, by FIN.
    Finished,
    /// By RST, from either side.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// The connection may live on, but is no longer watched. What is open becomes a loss, not a failure.
    Unobserved,
}
