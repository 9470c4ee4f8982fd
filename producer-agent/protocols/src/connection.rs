//! One connection, followed from one of its sides in one protocol.
//!
//! In: segments as their events come, the ends of streams, the close. Out: what the protocol makes of them. `order.rs` brings the segments
//! into the order in which the bytes were moved.
//!
//! Bounds: [`Options`], and those of the protocol.

use std::fmt::Debug;

use crate::early::Early;
use crate::http2::Http2;
use crate::protocol::{Interest, OpenRequest, Protocol, Sleeping};
use crate::tls::Tls;
use crate::websocket::WebSocket;
use crate::{CloseReason, Direction, Known, Position, Recognition, Segment, Side, Sink};

/// The bounds of what waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Segments that are held since they speak of bytes of the other direction whose event is still to come.
    pub early_segments_max: u32,
    /// What is kept of all that was captured of the held segments.
    pub early_bytes_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { early_segments_max: 32, early_bytes_max: 32 * 1024 }
    }
}

/// Follows one connection in one protocol.
#[derive(Debug)]
pub struct Connection<P> {
    pub(crate) options: Options,
    pub(crate) side: Side,
    now_ns: u64,
    pub(crate) early: Option<Box<Early>>,
    pub(crate) protocol: P,
}

/// A [`Connection`] in any protocol.
pub trait Follow: Debug {
    /// The protocol's, as it stands in records.
    fn name(&self) -> &'static str;

    /// What has to be copied of its calls.
    fn interest(&self) -> Interest;

    /// See [`Parser::share`](crate::Parser::share).
    fn share(&mut self, known: &Known);

    fn recognition(&self) -> Recognition;

    /// Takes the bytes that one system call moved.
    fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>);

    /// The bytes of a direction up to `to` were moved, and what no segment has told of will not be seen: before the connection ends,
    /// this tells what was answered past the capture from what was not answered.
    fn unseen(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>);

    /// All exchanges before these positions were told of elsewhere: the next one begins here. What is open all the same is lost.
    fn resume(&mut self, request: Position, response: Position, sink: &mut Sink<'_>);

    /// All exchanges before this request were told of elsewhere, and it was, too: its answer comes here. What is open all the same is lost.
    fn resume_open(&mut self, open: &OpenRequest<'_>, sink: &mut Sink<'_>);

    /// All that was asked before this position was answered before that one, without doubt.
    fn is_settled(&self, request: Position, response: Position) -> bool;

    /// A side has ended its stream, and all that it said was seen. `by` is the side that ended its own first.
    fn end_of_stream(&mut self, direction: Direction, at_ns: u64, by: Side, sink: &mut Sink<'_>);

    /// Ends the connection: what is still open leaves as failed exchanges or as losses. Closing twice is harmless.
    fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>);

    /// What the connection goes on with, if it is foreign since both sides agreed on that: TLS, HTTP/2 or WebSocket. What was read of it may be fed again.
    fn successor(&self) -> Option<Box<dyn Follow>>;

    /// Nothing is open or buffered: dropping the connection now would lose nothing.
    fn is_idle(&self) -> bool;

    /// See [`Parser::sleep`](crate::Parser::sleep).
    fn asleep(&self, before_ns: u64) -> Option<Box<dyn Sleeping>>;

    /// What is allocated for it, without the connection itself. It is bounded by the options.
    fn heap_bytes(&self) -> usize;
}

impl<P: Protocol + Debug> Connection<P> {
    pub fn new(side: Side, options: Options, protocol: P) -> Self {
        Self { options, side, now_ns: 0, early: None, protocol }
    }

    fn set_time(&mut self, at_ns: u64) {
        self.now_ns = self.now_ns.max(at_ns);
        self.protocol.set_time(self.now_ns);
    }

    fn forget_early_of_foreign(&mut self) {
        if self.recognition() == Recognition::Foreign {
            self.early = None;
        }
    }
}

impl<P: Protocol + Debug> Follow for Connection<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn interest(&self) -> Interest {
        self.protocol.interest()
    }

    fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Foreign || segment.length == 0 {
            return;
        }
        self.set_time(segment.at_ns);
        if self.early.is_none() && !self.is_early(direction, segment.other_position) {
            self.process(direction, segment, sink);
        } else {
            self.reorder(direction, segment, sink);
        }
        self.forget_early_of_foreign();
    }

    fn unseen(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let is_missing = |protocol: &P| protocol.at()[direction].position.is_none_or(|position| position < to);
        if self.recognition() == Recognition::Foreign || !is_missing(&self.protocol) {
            return;
        }
        self.release_early(sink);
        if is_missing(&self.protocol) {
            self.gap(direction, to, sink);
        }
    }

    fn resume(&mut self, request: Position, response: Position, sink: &mut Sink<'_>) {
        if self.recognition() != Recognition::Recognised {
            return;
        }
        let mut resumed = self.protocol.resumed();
        resumed.at_mut().request.position = Some(request);
        resumed.at_mut().response.position = Some(response);
        if !self.is_idle() {
            self.close(self.now_ns, CloseReason::Unobserved, sink);
        }
        self.early = None;
        self.protocol = resumed;
        self.protocol.set_time(self.now_ns);
    }

    fn resume_open(&mut self, open: &OpenRequest<'_>, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Recognised {
            self.resume(open.end, open.response, sink);
            self.protocol.opened(open);
        }
    }

    fn is_settled(&self, request: Position, response: Position) -> bool {
        let at = self.protocol.at();
        self.recognition() == Recognition::Recognised
            && self.early.is_none()
            && at.request.position == Some(request)
            && at.response.position == Some(response)
            && self.protocol.is_settled()
    }

    fn end_of_stream(&mut self, direction: Direction, at_ns: u64, by: Side, sink: &mut Sink<'_>) {
        self.set_time(at_ns);
        self.release_early(sink);
        self.protocol.end_of_stream(direction, by, sink);
        self.forget_early_of_foreign();
    }

    fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>) {
        self.set_time(at_ns);
        self.release_early(sink);
        self.protocol.close(how, sink);
    }

    fn share(&mut self, known: &Known) {
        self.protocol.share(known);
    }

    fn recognition(&self) -> Recognition {
        self.protocol.recognition()
    }

    fn successor(&self) -> Option<Box<dyn Follow>> {
        let (side, options, at) = (self.side, self.options, *self.protocol.at());
        if let Some(target) = self.protocol.becomes_websocket() {
            return Some(Box::new(Connection::new(side, options, WebSocket::behind(target, at))));
        }
        match self.protocol.upgraded() {
            Some(upgrade) => Some(Box::new(Connection::new(side, options, Http2::upgraded(upgrade, at)))),
            None if self.protocol.begins_tls() => {
                Some(Box::new(Connection::new(side, options, Tls::behind(at, P::NAME))))
            }
            None => None,
        }
    }

    fn is_idle(&self) -> bool {
        self.early.is_none() && self.protocol.is_idle()
    }

    fn asleep(&self, before_ns: u64) -> Option<Box<dyn Sleeping>> {
        if self.now_ns >= before_ns || self.early.is_some() || self.recognition() != Recognition::Recognised {
            return None;
        }
        self.protocol.asleep(self.side, self.options)
    }

    fn heap_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, |early| early.heap_bytes()) + self.protocol.heap_bytes()
    }
}
