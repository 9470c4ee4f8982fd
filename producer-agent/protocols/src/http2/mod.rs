//! HTTP/2 (RFC 9113) and gRPC over it, on one connection, from prior knowledge or after an upgrade from HTTP/1.1 (`upgrade`).
//!
//! In: the bytes of both directions. Out: each stream of a client as an exchange, or a counted loss.
//!
//! A connection that begins is recognised by the preface and the SETTINGS of both sides; one that is seen from its middle on by a call that
//! frames fill exactly and by a header block that can be understood, in each direction. Frames are followed by their lengths: what lies
//! within DATA and padding need not be captured. The capture is asked for the heads of all frames ([`Interest::Frames`]). Where the head of a frame was not captured or a length cannot be, nothing is known of the
//! direction until frames fill a call exactly again, or a head alone fills one and its frame the next, as Go's server reads them. All streams that are open at that time are counted as lost.
//!
//! Headers are compressed with tables that grow over the whole connection (`hpack`). After bytes of a header block were missed, a value
//! that stands in the part of the table that is not known is unknown: the exchange is told with [`UNKNOWN`](crate::operation::UNKNOWN) in
//! its place or with [`Outcome::Unknown`](crate::Outcome::Unknown), and counted.
//!
//! An exchange is complete when both halves of its stream have ended. A call of gRPC is named by its path and has its status from the
//! trailers; where more than one message was sent in a direction its kind is a stream. A stream that the client resets is one that it left;
//! what the server says that it has not processed is unanswered, with the code `REFUSED_STREAM`: it is safe to ask for it again. Promised
//! streams are counted and not followed.
//!
//! What the body of a POST of JSON names is found in its first bytes (`body`), as with HTTP/1; no other body is looked at.
//!
//! Bytes are those of the frames with headers and data, their heads and padding included.
//!
//! Limits: bytes within DATA that look like frames are taken for frames if they fill a call
//! exactly while nothing is known of the direction. Bounds: [`Options`]; nothing is allocated by what a length claims.

mod answers;
mod body;
mod connection;
mod frame;
mod frames;
mod hpack;
mod messages;
mod outcome;
mod stream;
mod streams;
mod upgrade;

pub use connection::Http2;
pub(crate) use upgrade::Upgrade;

use crate::cursor::Cursor;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Direction, Opening, Position, Recognition, Side, Sink, Verdict};

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Streams that are open at the same time. Those beyond it are counted as lost.
    pub streams_max: u32,
    /// What is read of a header block; what lies behind counts as not captured.
    pub block_bytes_max: u32,
    /// What is known of the table of each direction, as HPACK counts its size. What is older is unknown.
    pub table_bytes_max: u32,
    /// Longer paths are cut.
    pub path_bytes_max: u32,
    /// Bodies that may name what is asked for, and whose beginnings are kept at the same time until they are enough.
    pub bodies_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            streams_max: 1024,
            block_bytes_max: 16 * 1024,
            table_bytes_max: 64 * 1024,
            path_bytes_max: 2048,
            bodies_max: 16,
        }
    }
}

impl Protocol for Http2 {
    const NAME: &'static str = "http2";
    const INTEREST: Interest = Interest::Frames;

    fn judge(opening: &Opening<'_>) -> Verdict {
        frame::judge(opening)
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.http2)
    }

    fn recognition(&self) -> Recognition {
        self.losses.recognition()
    }

    fn at(&self) -> &Both<Reach> {
        &self.at
    }

    fn at_mut(&mut self) -> &mut Both<Reach> {
        &mut self.at
    }

    fn begin(&mut self, direction: Direction, position: Position) {
        self.start(direction, position);
    }

    fn resumed(&self) -> Self {
        Http2::at_boundary(self.options)
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.read_frames(direction, cursor, sink);
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        self.skip(direction, to, sink);
    }

    /// That of the server ends what is open; the client has only said that it will ask nothing more.
    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        self.close_streams(how, sink);
        self.become_foreign();
    }

    /// What is known of the tables is of use all the same.
    fn is_idle(&self) -> bool {
        self.has_nothing_open()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes_of_parts()
    }
}
