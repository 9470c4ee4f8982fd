//! What a protocol is to all that protocols share.

use std::fmt::Debug;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::http2::Upgrade;
use crate::stream::{Both, Reach};
use crate::websocket::Target;
use crate::{CloseReason, Direction, Follow, Known, Options, OrderOptions, Position, Recognition, Side, Sink};

/// The state of one protocol on one connection: one folder of this crate.
///
/// It is fed by [`Connection`](crate::Connection), which brings the segments of both directions into the order in which the bytes were
/// moved. Each direction stands for itself: who speaks first, and whether they take turns, is the protocol's own.
///
/// It promises that an exchange that it gives is right, that what it could not follow is counted, that it never panics, and that its
/// memory has a bound, whatever the bytes are.
pub trait Protocol {
    /// As it stands in records.
    const NAME: &'static str;

    /// What has to be copied of the calls of a connection that speaks it.
    const INTEREST: Interest = Interest::Heads;

    /// Whether a connection that begins like this, or goes on like this, speaks the protocol. What [`Verdict::Yes`] says at the
    /// start is final; in the middle of a connection it stands until the protocol says itself that it is foreign.
    fn judge(opening: &Opening<'_>) -> Verdict;

    /// The state of a connection of which nothing was seen yet.
    fn open(options: &Options) -> Self;

    /// The same of this connection, which may speak in its own way.
    fn interest(&self) -> Interest {
        Self::INTEREST
    }

    /// What it learns others may know, and the other way round.
    fn share(&mut self, _known: &Known) {}

    fn recognition(&self) -> Recognition;

    /// How far each direction has been read, which the protocol has but does not change.
    fn at(&self) -> &Both<Reach>;

    fn at_mut(&mut self) -> &mut Both<Reach>;

    /// The first that is heard of a direction is that it stands here. Only at [`Position::START`] is it certain what comes next.
    fn begin(&mut self, direction: Direction, position: Position);

    /// The same connection, recognised, at a place where the next exchange begins: what was before has been told of elsewhere.
    #[must_use]
    fn resumed(&self) -> Self;

    /// A request was told of elsewhere, and its answer comes here. It is fed right behind [`resumed`](Self::resumed).
    fn opened(&mut self, _open: &OpenRequest<'_>) {}

    /// All that was asked has been answered, without doubt: the next answer is that of the next request.
    fn is_settled(&self) -> bool {
        false
    }

    /// The time of what was fed last. It never decreases.
    fn set_time(&mut self, now_ns: u64);

    /// Reads bytes that follow those before without a gap, to the end of the cursor.
    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>);

    /// The bytes from where it stands up to `to` will not be seen.
    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>);

    /// No bytes follow in this direction, and all of them were seen. `by` is the side that ended its own stream first.
    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>);

    /// Nothing follows. What is open leaves as failed exchanges or as losses; after that it is foreign.
    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>);

    /// It is foreign since both sides agreed to go on with TLS, or with whatever goes through a tunnel, which begins behind what was read of
    /// either direction.
    fn begins_tls(&self) -> bool {
        false
    }

    /// It is foreign since both sides agreed to go on with HTTP/2.
    fn upgraded(&self) -> Option<&Upgrade> {
        None
    }

    /// It is foreign since both sides agreed to go on with WebSocket.
    fn becomes_websocket(&self) -> Option<&Target> {
        None
    }

    /// Nothing is open or buffered.
    fn is_idle(&self) -> bool;

    /// What is enough to go on from, where each direction stands so surely at the beginning of a message that nothing but these two places
    /// matters to what comes. Only where that takes much less.
    fn asleep(&self, _side: Side, _order: OrderOptions) -> Option<Box<dyn Sleeping>> {
        None
    }

    /// What is allocated for it.
    fn heap_bytes(&self) -> usize;
}

/// A recognised connection that nothing was said on for a while, and nothing is open on.
pub trait Sleeping: Debug {
    /// As [`Protocol::NAME`].
    fn name(&self) -> &'static str;

    /// As [`Protocol::INTEREST`].
    fn interest(&self) -> Interest;

    /// The connection, which follows what comes as if it had never slept.
    fn wake(&self) -> Box<dyn Follow>;
}

/// A request that was told of elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest<'a> {
    /// As [`Exchange::method`](crate::Exchange::method).
    pub method: &'a str,
    pub start: Position,
    pub end: Position,
    /// Time of the call that moved it.
    pub at_ns: u64,
    /// Where its answer begins.
    pub response: Position,
}

/// What the capture is asked to copy of each call. More does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The first bytes of what one side says before the other does.
    Heads,
    /// The first bytes of each call, since nothing may come back for long.
    Calls,
    /// The first bytes, and the heads of all frames of HTTP/2 with their header blocks, wherever they stand.
    Frames,
    /// No bytes, once it was recognised.
    Counters,
}
