//! Which protocol a connection speaks, by the first bytes of its directions.
//!
//! In: what each protocol says of first bytes. Out: the one that is followed.
//!
//! From the first byte of a connection on, the protocols are asked in the order of [`PROTOCOLS`], and the first that does not refuse is waited
//! for. What is waited with are short segments: [`OPENING_BYTES_MAX`] bytes decide, though each came alone. In the middle of a connection the last one is
//! followed, until the bytes of a segment are another one's without doubt or it has recognised its own. What nobody wants is the last one's,
//! which will say that it is foreign.

use std::fmt::Debug;

use crate::amqp::Amqp;
use crate::cassandra::Cassandra;
use crate::dns::Dns;
use crate::early::HeldSegment;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::kafka::Kafka;
use crate::memcached::Memcached;
use crate::mongodb::Mongodb;
use crate::mqtt::Mqtt;
use crate::mysql::Mysql;
use crate::nats::Nats;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::tls::Tls;
use crate::{Connection, Direction, Follow, Known, Options, Position, Protocol, Recognition, Segment, Side, Sink};

/// All that are known, in the order in which they are asked: a new one is one line here.
const PROTOCOLS: [Entry; 14] = [
    Entry::of::<Http2>(),
    Entry::of::<Tls>(),
    Entry::of::<Postgres>(),
    Entry::of::<Mysql>(),
    Entry::of::<Cassandra>(),
    Entry::of::<Kafka>(),
    Entry::of::<Mongodb>(),
    Entry::of::<Redis>(),
    Entry::of::<Memcached>(),
    Entry::of::<Mqtt>(),
    Entry::of::<Nats>(),
    Entry::of::<Amqp>(),
    Entry::of::<Dns>(),
    Entry::of::<Http1>(),
];

/// Follows what no other wants: its own text begins like that of many others.
const LAST: usize = PROTOCOLS.len() - 1;

/// So many first bytes of a direction tell every protocol.
pub const OPENING_BYTES_MAX: usize = 64;
/// Segments that wait for the choice: each may have one byte.
const HELD_SEGMENTS_MAX: usize = OPENING_BYTES_MAX;

/// The first bytes that are known of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    pub direction: Direction,
    /// At most `OPENING_BYTES_MAX` of a connection's first bytes; of a later segment, all that was captured.
    pub bytes: &'a [u8],
    /// These are the first bytes of the connection. Otherwise a segment begins with them, and may begin anywhere.
    pub is_start: bool,
}

/// What a protocol says of an [`Opening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not speak like this.
    No,
    /// It may, if more bytes are right. In the middle of a connection this is as good as no.
    Maybe,
    /// No other protocol says this.
    Yes,
}

struct Entry {
    judge: fn(&Opening<'_>) -> Verdict,
    follow: fn(Side, &Options) -> Box<dyn Follow>,
}

impl Entry {
    const fn of<P: Protocol + Debug + 'static>() -> Self {
        Self {
            judge: P::judge,
            follow: |side, options| Box::new(Connection::new(side, options.order, P::open(options))),
        }
    }
}

/// What a connection is followed with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub side: Side,
    pub options: &'a Options,
    pub known: &'a Known,
}

/// One of the protocols, as long as it is not certain that it is the right one.
#[derive(Debug)]
pub struct Guess {
    protocol: usize,
    /// It was chosen by the first bytes of the connection, so that no other one comes into question.
    is_by_start: bool,
    pub connection: Box<dyn Follow>,
}

impl Guess {
    fn of(protocol: usize, is_by_start: bool, context: Context<'_>) -> Self {
        let mut connection = (PROTOCOLS[protocol].follow)(context.side, context.options);
        connection.share(context.known);
        Self { protocol, is_by_start, connection }
    }

    /// What is followed where nothing is known.
    pub fn last(context: Context<'_>) -> Self {
        Self::of(LAST, false, context)
    }

    /// Feeds a segment.
    pub fn segment(&mut self, direction: Direction, segment: &Segment<'_>, context: Context<'_>, sink: &mut Sink<'_>) {
        if !self.is_by_start
            && self.connection.recognition() == Recognition::Undecided
            && let Some(other) = in_the_middle(direction, segment, self.protocol)
        {
            *self = Self::of(other, false, context);
        }
        self.connection.segment(direction, segment, sink);
        if self.connection.recognition() == Recognition::Foreign && !self.is_by_start && self.protocol != LAST {
            *self = Self::last(context);
            self.connection.segment(direction, segment, sink);
        }
    }
}

/// The protocol that alone speaks as this segment begins, if it is another one than the one that is followed.
fn in_the_middle(direction: Direction, segment: &Segment<'_>, followed: usize) -> Option<usize> {
    let opening = Opening { direction, bytes: segment.captured, is_start: false };
    let is_its = |protocol: usize| (PROTOCOLS[protocol].judge)(&opening) == Verdict::Yes;
    if is_its(followed) { None } else { (0..PROTOCOLS.len()).find(|protocol| is_its(*protocol)) }
}

/// The first segments of a connection, while more than one protocol comes into question.
#[derive(Debug)]
pub struct Waiting {
    held: Vec<(Direction, HeldSegment)>,
    held_bytes: usize,
    /// Whoever speaks first.
    direction: Direction,
    /// The first bytes that it says.
    opening: Vec<u8>,
}

impl Waiting {
    pub fn new() -> Self {
        Self { held: Vec::new(), held_bytes: 0, direction: Direction::Request, opening: Vec::new() }
    }

    /// Takes a segment. Gives the protocol, if that is known now; then all segments are still to be fed.
    pub fn segment(&mut self, direction: Direction, segment: &Segment<'_>, context: Context<'_>) -> Option<Guess> {
        if self.opening.is_empty() {
            self.direction = direction;
        }
        let goes_on = direction == self.direction && segment.position == Position(self.opening.len() as u64);
        // The event of what a server answers may still be to come.
        let is_answer = direction == Direction::Response && segment.other_position > Position::START;
        let is_opening = goes_on && !is_answer;
        if is_opening {
            let room = OPENING_BYTES_MAX.saturating_sub(self.opening.len());
            self.opening.extend_from_slice(&segment.captured[..segment.captured.len().min(room)]);
        }
        self.held_bytes += segment.captured.len();
        self.held.push((direction, HeldSegment::of(segment, segment.captured.len())));
        let is_full =
            self.held.len() >= HELD_SEGMENTS_MAX || self.held_bytes > context.options.order.early_bytes_max as usize;
        if is_opening {
            let opening = Opening { direction, bytes: &self.opening, is_start: true };
            let is_whole = segment.captured.len() as u64 == segment.length;
            let may_wait = is_whole && self.opening.len() < OPENING_BYTES_MAX && !is_full;
            return choose(&opening, may_wait).map(|(protocol, is_certain)| Guess::of(protocol, is_certain, context));
        }
        (!is_answer || is_full).then(|| Guess::last(context))
    }

    /// What was taken, in its order.
    pub fn into_segments(self) -> impl Iterator<Item = (Direction, HeldSegment)> {
        self.held.into_iter()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        self.held.capacity() * size_of::<(Direction, HeldSegment)>() + self.held_bytes + self.opening.capacity()
    }
}

/// The first protocol that does not refuse, and whether that is certain. None: more bytes will tell.
fn choose(opening: &Opening<'_>, may_wait: bool) -> Option<(usize, bool)> {
    let mut is_certain = true;
    for (protocol, entry) in PROTOCOLS.iter().enumerate() {
        match (entry.judge)(opening) {
            Verdict::Yes => return Some((protocol, is_certain)),
            Verdict::Maybe if may_wait => return None,
            Verdict::Maybe => is_certain = false,
            Verdict::No => {}
        }
    }
    Some((LAST, is_certain))
}
