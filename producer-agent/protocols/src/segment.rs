//! What a parser is fed: the bytes that one system call moved on one side of a connection.

/// Which end of the connection is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

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

/// A place in the stream of one direction: how many of its bytes came before, from the start of the connection on.
///
/// Positions never wrap. They are those of the socket itself, not counts of delivered events, so an event that went missing shows
/// as a jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Of the first byte.
    pub const START: Self = Self(0);

    /// The place so many bytes later, or the last one that there is.
    pub fn saturating_add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// The place so many bytes later; None beyond what a stream can have.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// The name of an exchange that the server began, whose first byte is here in the server's stream: beyond all places that the client's
    /// stream can have.
    #[must_use]
    pub fn of_server(self) -> Self {
        Self(self.0 | 1 << 62)
    }

    /// Whether it is the name of an exchange that the server began.
    pub fn is_of_server(self) -> bool {
        self.0 & 1 << 62 != 0
    }

    /// How many bytes lie between an earlier place and this one; 0 if it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One system call that moved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Position of the first byte.
    pub position: Position,
    /// How many bytes the call moved.
    pub length: u64,
    /// The first bytes of those moved, possibly none: the rest was not copied.
    pub captured: &'a [u8],
    /// Monotonic time of the call.
    pub at_ns: u64,
    /// The position that the opposite direction had reached when the call ended.
    pub other_position: Position,
}

/// How a connection came to its end. `by` is the side that ended it first: whoever let go of a connection before everything was said
/// is not let down by the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Orderly, by FIN.
    Finished { by: Side },
    /// By RST. A program that closes its socket with bytes unread sends one.
    Reset { by: Side },
    /// The peer stopped answering.
    TimedOut,
    /// The connection may live on, but is no longer watched. What is open becomes a loss, not a failure.
    Unobserved,
}
