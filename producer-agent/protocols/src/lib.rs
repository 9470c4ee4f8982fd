//! Application protocols, understood from what the kernel saw of a TCP connection.
//!
//! In: one [`Segment`] per system call that moved bytes, from one side of one connection, then one
//! [`CloseReason`]. Out: [`Event`]s, each an [`Exchange`] (a request with its response), a counted [`Loss`], or what is known
//! of the connection's [`Encryption`].
//!
//! Promises: an exchange that comes out is exact, and what could not be followed is counted under a reason. Nothing
//! here does I/O, reads a clock or panics on bad input; the same segments give the same events. Every buffer has a
//! bound, set in the options of the protocol.
//!
//! A protocol is a folder that implements [`Protocol`], and one line in `choice.rs`, which finds out by first bytes what a connection
//! speaks. What all of them share stands beside and knows none of them: the input in `segment.rs`, the order of the segments in `order.rs`, the two directions in `stream.rs`, the rest of a segment in `cursor.rs`, heads in
//! pieces in `partial.rs`, names that connections share in `known.rs`, what is asked and waits in `asked.rs`, directions of messages in
//! `lanes.rs`, messages that say how long they are in `framed.rs`, losses that are held back in `losses.rs`, the output in `exchange.rs`, the names of operations in
//! [`operation`].

pub mod amqp;
mod asked;
pub mod cassandra;
mod choice;
mod connection;
mod cursor;
pub mod dns;
mod early;
mod encryption;
mod exchange;
mod framed;
pub mod http1;
pub mod http2;
pub mod kafka;
mod known;
mod lanes;
mod losses;
pub mod memcached;
pub mod mongodb;
pub mod mqtt;
pub mod mysql;
mod named;
pub mod nats;
pub mod operation;
mod order;
mod partial;
mod path;
pub mod postgres;
mod protocol;
pub mod redis;
mod resource;
mod segment;
pub mod sql;
mod statements;
mod stream;
pub mod tls;
mod trace;
pub mod websocket;

use choice::{Context, Guess, Waiting};

pub use choice::{Opening, Verdict};
pub use connection::{Connection, Follow, Options as OrderOptions};
pub use cursor::Cursor;
pub use encryption::{Encryption, Version};
pub use exchange::{Code, Event, Exchange, Failure, Kind, Loss, LossReason, Messages, Outcome, Sink};
pub use known::Known;
pub use protocol::{Interest, OpenRequest, Protocol, Sleeping};
pub use segment::{CloseReason, Direction, Position, Segment, Side};
pub use stream::{Both, Mark, Reach};
pub use trace::{Propagated, RequestId, Trace};

/// The bounds of every protocol's parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub order: OrderOptions,
    pub http1: http1::Options,
    pub http2: http2::Options,
    pub redis: redis::Options,
    pub postgres: postgres::Options,
    pub mysql: mysql::Options,
    pub memcached: memcached::Options,
    pub mqtt: mqtt::Options,
    pub kafka: kafka::Options,
    pub nats: nats::Options,
    pub amqp: amqp::Options,
    pub mongodb: mongodb::Options,
    pub cassandra: cassandra::Options,
    pub dns: dns::Options,
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

/// Follows one connection in whichever protocol it speaks. It is small: most connections of a node are idle ones.
#[derive(Debug)]
pub struct Parser {
    state: State,
}

#[derive(Debug)]
enum State {
    /// What was seen so far may become one of several protocols.
    Undecided(Box<Undecided>),
    /// It speaks this one.
    Followed(Box<dyn Follow>),
    /// It did, and is idle.
    Asleep(Box<dyn Sleeping>),
    /// This one was the last that it spoke.
    Foreign(&'static str),
}

/// What is needed until the protocol is known.
#[derive(Debug)]
struct Undecided {
    side: Side,
    options: Options,
    known: Known,
    waiting: Waiting,
    /// The protocol that is tried. Then nothing waits any more.
    guess: Option<Guess>,
}

impl Undecided {
    fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        let context = Context { side: self.side, options: &self.options, known: &self.known };
        match &mut self.guess {
            Some(guess) => guess.segment(direction, segment, context, sink),
            None => {
                if let Some(guess) = self.waiting.segment(direction, segment, context) {
                    self.guess(guess, sink);
                }
            }
        }
    }

    /// Feeds what has waited for the choice.
    fn guess(&mut self, mut guess: Guess, sink: &mut Sink<'_>) {
        for (direction, held) in std::mem::replace(&mut self.waiting, Waiting::new()).into_segments() {
            let context = Context { side: self.side, options: &self.options, known: &self.known };
            guess.segment(direction, &held.segment(), context, sink);
        }
        self.guess = Some(guess);
    }
}

impl Parser {
    pub fn new(side: Side, options: &Options) -> Self {
        let (options, known) = (*options, Known::default());
        let undecided = Undecided { side, options, known, waiting: Waiting::new(), guess: None };
        Self { state: State::Undecided(Box::new(undecided)) }
    }

    /// From now on it shares what it learns with others that have been given the same.
    pub fn share(&mut self, known: &Known) {
        match &mut self.state {
            State::Undecided(undecided) => {
                undecided.known = known.clone();
                if let Some(guess) = &mut undecided.guess {
                    guess.connection.share(known);
                }
            }
            State::Followed(connection) => connection.share(known),
            State::Asleep(_) | State::Foreign(_) => {}
        }
    }

    /// Takes the bytes that one system call moved.
    pub fn segment(&mut self, direction: Direction, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        self.wake();
        match &mut self.state {
            State::Followed(connection) => connection.segment(direction, segment, sink),
            State::Undecided(undecided) if segment.length > 0 => {
                undecided.segment(direction, segment, sink);
                if let Some(guess) =
                    undecided.guess.take_if(|guess| guess.connection.recognition() != Recognition::Undecided)
                {
                    self.state = State::Followed(guess.connection);
                }
            }
            State::Undecided(_) | State::Asleep(_) | State::Foreign(_) => {}
        }
        if self.forget_foreign()
            && let State::Followed(next) = &mut self.state
        {
            // It may begin within the segment.
            next.segment(direction, segment, sink);
        }
    }

    /// Keeps no more of a connection than its protocol needs to go on, if nothing was fed since `before_ns`, and if that is little: an idle one. It is
    /// as if this had not been called, whatever comes. Says whether it sleeps.
    pub fn sleep(&mut self, before_ns: u64) -> bool {
        if let State::Followed(connection) = &self.state
            && let Some(asleep) = connection.asleep(before_ns)
        {
            self.state = State::Asleep(asleep);
        }
        matches!(self.state, State::Asleep(_))
    }

    fn wake(&mut self) {
        if let State::Asleep(asleep) = &self.state {
            self.state = State::Followed(asleep.wake());
        }
    }

    /// No more bytes will come to choose by.
    fn connection(&mut self, sink: &mut Sink<'_>) -> Option<&mut Box<dyn Follow>> {
        self.wake();
        match &mut self.state {
            State::Undecided(undecided) => {
                if undecided.guess.is_none() {
                    let Undecided { side, options, known, .. } = &**undecided;
                    let last = Guess::last(Context { side: *side, options, known });
                    undecided.guess(last, sink);
                }
                undecided.guess.as_mut().map(|guess| &mut guess.connection)
            }
            State::Followed(connection) => Some(connection),
            State::Asleep(_) | State::Foreign(_) => None,
        }
    }

    fn followed(&self) -> Option<&dyn Follow> {
        match &self.state {
            State::Undecided(undecided) => undecided.guess.as_ref().map(|guess| &*guess.connection),
            State::Followed(connection) => Some(&**connection),
            State::Asleep(_) | State::Foreign(_) => None,
        }
    }

    fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            State::Undecided(undecided) => Some(&undecided.waiting),
            State::Followed(_) | State::Asleep(_) | State::Foreign(_) => None,
        }
    }

    /// What is foreign needs no state, unless its two sides agreed on how to go on: what that will be shows next. Says whether they did.
    fn forget_foreign(&mut self) -> bool {
        if let Some(followed) = self.followed()
            && followed.recognition() == Recognition::Foreign
        {
            self.state = match followed.successor() {
                Some(next) => State::Followed(next),
                None => State::Foreign(followed.name()),
            };
            return matches!(self.state, State::Followed(_));
        }
        false
    }

    /// All exchanges before these positions were told of elsewhere: the next one begins here. What is open all the same is lost.
    pub fn resume(&mut self, request: Position, response: Position, sink: &mut Sink<'_>) {
        self.wake();
        if let State::Followed(connection) = &mut self.state {
            connection.resume(request, response, sink);
        }
    }

    /// All exchanges before this request were told of elsewhere, and it was, too: its answer comes here. What is open all the same is lost.
    pub fn resume_open(&mut self, open: &OpenRequest<'_>, sink: &mut Sink<'_>) {
        self.wake();
        if let State::Followed(connection) = &mut self.state {
            connection.resume_open(open, sink);
        }
    }

    /// All that was asked before this position was answered before that one, without doubt.
    pub fn is_settled(&self, request: Position, response: Position) -> bool {
        match &self.state {
            State::Followed(connection) => connection.is_settled(request, response),
            _ => false,
        }
    }

    /// A side has ended its stream, and all that it said was seen. `by` is the side that ended its own first.
    pub fn end_of_stream(&mut self, direction: Direction, at_ns: u64, by: Side, sink: &mut Sink<'_>) {
        if let Some(connection) = self.connection(sink) {
            connection.end_of_stream(direction, at_ns, by, sink);
        }
        self.forget_foreign();
    }

    /// Ends the connection: what is still open leaves as failed exchanges or as losses. Closing twice is harmless.
    pub fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>) {
        if let Some(connection) = self.connection(sink) {
            connection.close(at_ns, how, sink);
        }
        if let Some(followed) = self.followed() {
            self.state = State::Foreign(followed.name());
        }
    }

    /// Nothing is open or buffered: dropping the parser now would lose nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting().is_none_or(Waiting::is_empty) && self.followed().is_none_or(Follow::is_idle)
    }

    pub fn recognition(&self) -> Recognition {
        match &self.state {
            State::Asleep(_) => Recognition::Recognised,
            State::Foreign(_) => Recognition::Foreign,
            _ => self.followed().map_or(Recognition::Undecided, Follow::recognition),
        }
    }

    /// The bytes of a direction up to `to` were moved, and what no segment has told of will not be seen: before the connection ends,
    /// this tells what was answered past the capture from what was not answered.
    pub fn unseen(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        if let Some(connection) = self.connection(sink) {
            connection.unseen(direction, to, sink);
        }
    }

    /// What is allocated for the connection beyond the fixed state of its protocol. It is bounded by the options of that.
    pub fn heap_bytes(&self) -> usize {
        self.waiting().map_or(0, Waiting::heap_bytes) + self.followed().map_or(0, Follow::heap_bytes)
    }

    /// What has to be copied of the calls to come.
    pub fn interest(&self) -> Interest {
        match &self.state {
            State::Asleep(asleep) => asleep.interest(),
            _ => self.followed().map_or(Interest::Heads, Follow::interest),
        }
    }

    /// The name of the protocol that it speaks, or spoke last, as it stands in records; empty while that is not known.
    pub fn protocol(&self) -> &'static str {
        match &self.state {
            State::Followed(connection) => connection.name(),
            State::Asleep(asleep) => asleep.name(),
            State::Foreign(name) => name,
            State::Undecided(_) => "",
        }
    }
}
