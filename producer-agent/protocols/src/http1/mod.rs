//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) of one connection, seen from one of its sides.
//!
//! In: the segments of both directions, in the order of their events. Out: each request with its response, exactly
//! once, or a counted loss.
//!
//! Two ways lead to the end of a message:
//!
//! 1. **Framing** (RFC 9112, 6). The length is known from the head or from the chunks. Bodies are skipped by position,
//!    so their bytes need not be captured. This is the common case and works with pipelining.
//! 2. **Turns.** Where the bytes that say the length were not captured, the peers' turns tell: a client that does not
//!    pipeline has read the whole response when it sends the next request, and has sent the whole request when the
//!    response begins. An end found in this way is *presumed*. The exchange is held back until the next message turns
//!    out to begin exactly there; if another thing stands there, the exchange is lost and counted, not guessed.
//!    When two unanswered requests and an unknown end come together there is nothing to hold on to: the connection is
//!    given up, and the request heads seen after that are counted as lost.
//!
//! What cannot be told: a second request that hides in uncaptured bytes behind a cut head, on a connection that has
//! never shown that it pipelines and never lets its responses run dry.
//!
//! Where it is not certain that a request begins (after a presumed end, after a gap, in the middle of a connection), it
//! has to begin with a segment and with a common method.
//!
//! Losses are exact as long as heads are captured. With heads that are not, an exchange that pauses in its middle (a
//! 100-continue, an early answer) may count as two, and after a gap it is not known how many exchanges lay in it: at
//! least one is counted.
//!
//! Bounds: [`Options`]. An idle connection holds no heap memory, and sleeps as the two places where the next messages begin.

mod asleep;
mod body;
mod close;
mod exchanges;
mod framing;
mod gaps;
mod head;
mod method;
mod request;
mod response;
mod state;

pub use crate::named::is_graphql;
pub use state::Http1;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::http2::Upgrade;
use crate::protocol::{Protocol, Sleeping};
use crate::stream::{Both, Reach};
use crate::websocket::Target;
use crate::{CloseReason, Direction, OrderOptions, Position, Recognition, Side, Sink};
use state::{Next, RequestState, ResponseState};

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The largest head that is put together from several segments, for each direction. A head that lies in one
    /// segment is parsed where it is and has no bound.
    pub head_bytes_max: u32,
    /// Requests that wait for their responses.
    pub pending_exchanges_max: u32,
    /// Longer paths are cut.
    pub path_bytes_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, pending_exchanges_max: 128, path_bytes_max: 2048 }
    }
}

impl Protocol for Http1 {
    const NAME: &'static str = "http";

    /// At the start of a connection it looks for itself what this is: servers take more for HTTP/1 than can be told by first bytes.
    fn judge(opening: &Opening<'_>) -> Verdict {
        match opening.bytes {
            [] => Verdict::Maybe,
            _ if opening.is_start => Verdict::Yes,
            bytes if head::is_unmistakable(opening.direction, bytes) => Verdict::Yes,
            _ => Verdict::No,
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.http1)
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
        match direction {
            Direction::Request => {
                let certain = position == Position::START;
                self.request = if certain { RequestState::Boundary } else { RequestState::Unsure };
            }
            Direction::Response => {
                self.response = ResponseState::Boundary;
                self.response_presumed = position != Position::START;
            }
        }
    }

    fn resumed(&self) -> Self {
        Http1::recognised(self.options)
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.take_request(cursor, sink),
            Direction::Response => self.take_response(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.request_gap(to, sink),
            Direction::Response => self.response_gap(to, sink),
        }
    }

    /// That of the server ends what is open; the client has only said that it will ask nothing more.
    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.end(CloseReason::Finished { by }, true, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        self.end(how, how == CloseReason::Finished { by: Side::Server }, sink);
    }

    fn begins_tls(&self) -> bool {
        self.begins_tls
    }

    fn upgraded(&self) -> Option<&Upgrade> {
        match self.next.as_deref() {
            Some(Next::Http2(upgrade)) => Some(upgrade),
            _ => None,
        }
    }

    fn becomes_websocket(&self) -> Option<&Target> {
        match self.next.as_deref() {
            Some(Next::WebSocket(target)) => Some(target),
            _ => None,
        }
    }

    fn is_idle(&self) -> bool {
        self.has_nothing_open()
    }

    fn asleep(&self, side: Side, order: OrderOptions) -> Option<Box<dyn Sleeping>> {
        self.fall_asleep(side, order)
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes_of_parts()
    }
}
