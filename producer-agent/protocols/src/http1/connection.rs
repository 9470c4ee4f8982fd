//! The state of one connection, and how its exchanges leave it.
//!
//! This is what the other files stand on, and knows none of them: `order.rs` brings the segments of both directions into the order
//! in which the bytes were moved, `request.rs` and `response.rs` read them, `close.rs` ends what is open. What they find meets in
//! the queue of `exchanges.rs`.

use super::Options;
use super::body::{Body, Cursor};
use super::early::Early;
use super::exchanges::{Mark, Pending, Pipeline};
use crate::{Direction, Event, Failure, Loss, LossReason, Position, Recognition, Side, Sink};

/// One connection, followed from one of its sides.
#[derive(Debug)]
pub struct Connection {
    pub(super) options: Options,
    pub(super) side: Side,
    pub(super) recognition: Recognition,
    /// Two requests have been open at once. Turns then prove nothing.
    pub(super) pipelined: bool,
    /// More requests than the bound: they are read, counted and not kept.
    pub(super) discarding: bool,
    /// The next response has to begin where the stream stands, since a turn ended the one before it there.
    pub(super) response_presumed: bool,
    /// The newest time that was fed.
    pub(super) now_ns: u64,
    /// Counted before it was clear that this is HTTP.
    deferred: Option<Loss>,
    pub(super) request: Stream<RequestState>,
    pub(super) response: Stream<ResponseState>,
    pub(super) pending: Pipeline,
    /// Complete if a presumed end is right. There is at most one.
    unconfirmed: Option<Box<Unconfirmed>>,
    pub(super) early: Option<Box<Early>>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Stream<S> {
    /// The position up to which it has been read; None before its first segment.
    pub position: Option<Position>,
    /// The time of the newest segment.
    pub last_ns: u64,
    /// The bytes just before `position` were never seen, so the time of the last of them is not known.
    pub tail_missing: bool,
    pub state: S,
}

#[derive(Debug)]
pub(super) enum RequestState {
    /// The next byte begins a request.
    Boundary,
    /// A head that came in pieces.
    Head(Box<PartialHead>),
    Body(Body),
    /// Somewhere in a request whose end is not known. A segment that begins with a request line begins the next.
    Unsure,
    /// Nothing to hold on to any more: heads are counted where they show.
    GivenUp,
}

#[derive(Debug)]
pub(super) enum ResponseState {
    /// The next byte begins a response.
    Boundary,
    Head(Box<PartialHead>),
    Body(Body),
    /// Ends with the connection (RFC 9112, 6.3, rule 8).
    UntilClose,
    /// Its end is not known: the client's next turn tells.
    UntilTurn,
    GivenUp,
}

#[derive(Debug)]
pub(super) struct PartialHead {
    pub bytes: Vec<u8>,
    pub beginning: Beginning,
}

/// What a segment added to a [`PartialHead`].
pub(super) struct Growth {
    /// Bytes that were there before.
    pub known: usize,
    /// All that was captured found room.
    pub fits: bool,
    /// Nothing of the segment is missing from the head.
    pub whole: bool,
}

impl PartialHead {
    /// Adds what was captured of a segment, up to `bytes_max` in all. The cursor stays where it is.
    pub fn grow(&mut self, cursor: &Cursor<'_>, bytes_max: u32) -> Growth {
        let known = self.bytes.len();
        let room = (bytes_max as usize).saturating_sub(known);
        let added = cursor.captured.len().min(room);
        self.bytes.extend_from_slice(&cursor.captured[..added]);
        let fits = added == cursor.captured.len();
        Growth { known, fits, whole: fits && cursor.captured_whole() }
    }
}

/// Where and when a message began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub position: Position,
    pub at_ns: u64,
    /// The position of the opposite direction at that time.
    pub other_position: Position,
    /// It is the first byte of a segment.
    pub at_segment_start: bool,
    /// The message before it is known to end here.
    pub certain: bool,
}

impl Beginning {
    pub fn mark(&self) -> Mark {
        Mark { position: self.position, at_ns: self.at_ns }
    }
}

#[derive(Debug)]
struct Unconfirmed {
    pending: Pending,
    /// The direction whose next message has to begin where this one is presumed to end.
    awaits: Direction,
}

impl Connection {
    pub fn new(side: Side, options: Options) -> Self {
        Self {
            options,
            side,
            recognition: Recognition::Undecided,
            pipelined: false,
            discarding: false,
            response_presumed: false,
            now_ns: 0,
            deferred: None,
            request: Stream::new(RequestState::Boundary),
            response: Stream::new(ResponseState::Boundary),
            pending: Pipeline::default(),
            unconfirmed: None,
            early: None,
        }
    }

    pub fn recognition(&self) -> Recognition {
        self.recognition
    }

    /// Nothing is open or buffered: dropping the connection now would lose nothing.
    pub fn is_idle(&self) -> bool {
        self.pending.iter().all(|pending| pending.lost)
            && self.unconfirmed.is_none()
            && self.early.is_none()
            && !matches!(self.request.state, RequestState::Head(_))
    }

    /// What is allocated for it, without the connection itself.
    pub fn heap_bytes(&self) -> usize {
        let of_head = |head: &PartialHead| size_of::<PartialHead>() + head.bytes.capacity();
        let request = if let RequestState::Head(head) = &self.request.state { of_head(head) } else { 0 };
        let response = if let ResponseState::Head(head) = &self.response.state { of_head(head) } else { 0 };
        let unconfirmed =
            self.unconfirmed.as_ref().map_or(0, |it| size_of::<Unconfirmed>() + it.pending.path.capacity());
        let early = self.early.as_ref().map_or(0, |early| early.heap_bytes());
        request + response + unconfirmed + early + self.pending.heap_bytes()
    }

    /// The front's request and response are both at their end.
    pub(super) fn complete_front(&mut self, sink: &mut Sink<'_>) {
        let Some(pending) = self.pending.pop() else { return };
        if pending.end_presumed {
            self.hold(pending, Direction::Request, sink);
        } else {
            self.emit(pending, None, sink);
        }
    }

    /// Keeps an exchange until the next message of a direction begins where this one is presumed to end.
    pub(super) fn hold(&mut self, pending: Pending, awaits: Direction, sink: &mut Sink<'_>) {
        self.refute(LossReason::Ambiguous, sink);
        if pending.lost {
            self.pending.recycle(pending);
        } else {
            self.unconfirmed = Some(Box::new(Unconfirmed { pending, awaits }));
        }
    }

    pub(super) fn awaits(&self, direction: Direction) -> bool {
        self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.awaits == direction)
    }

    /// A message begins where that of the held exchange was presumed to end.
    pub(super) fn confirm(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if let Some(unconfirmed) = self.unconfirmed.take_if(|unconfirmed| unconfirmed.awaits == direction) {
            self.emit(unconfirmed.pending, None, sink);
        }
    }

    /// The presumed end of the held exchange was wrong, or can no longer be checked.
    pub(super) fn refute(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if let Some(mut unconfirmed) = self.unconfirmed.take() {
            self.lose_pending(&mut unconfirmed.pending, reason, sink);
            self.pending.recycle(unconfirmed.pending);
        }
    }

    /// Emits an exchange unless it is counted as lost.
    pub(super) fn emit(&mut self, pending: Pending, failure: Option<Failure>, sink: &mut Sink<'_>) {
        if !pending.lost {
            let (request_stop, response_stop) = (self.request.reached(), self.response.reached());
            sink(Event::Exchange(pending.exchange(request_stop, response_stop, self.now_ns, failure)));
        }
        self.pending.recycle(pending);
    }

    pub(super) fn lose_pending(&mut self, pending: &mut Pending, reason: LossReason, sink: &mut Sink<'_>) {
        if !std::mem::replace(&mut pending.lost, true) {
            self.lose(reason, sink);
        }
    }

    pub(super) fn lose_front(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.pending.front_mut().is_some_and(|front| !std::mem::replace(&mut front.lost, true)) {
            self.lose(reason, sink);
        }
    }

    pub(super) fn lose_back(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        // While discarding, the newest request is not the back: it has been counted.
        if !self.discarding && self.pending.back_mut().is_some_and(|back| !std::mem::replace(&mut back.lost, true)) {
            self.lose(reason, sink);
        }
    }

    /// Counts one lost exchange, as soon as it is known that this is HTTP.
    pub(super) fn lose(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.recognition == Recognition::Recognised {
            sink(Event::Loss(Loss { reason, count: 1 }));
        } else {
            self.deferred.get_or_insert(Loss { reason, count: 0 }).count += 1;
        }
    }

    /// A first line of HTTP/1 has been seen.
    pub(super) fn recognise(&mut self, sink: &mut Sink<'_>) {
        if self.recognition == Recognition::Undecided {
            self.recognition = Recognition::Recognised;
            if let Some(loss) = self.deferred.take() {
                sink(Event::Loss(loss));
            }
        }
    }

    /// Unanswered requests and an unknown end came together: gives the connection up, with all that is open.
    pub(super) fn give_up(&mut self, sink: &mut Sink<'_>) {
        self.lose_all(LossReason::Ambiguous, sink);
        self.pipelined = true;
        self.request.state = RequestState::GivenUp;
        self.response.state = ResponseState::GivenUp;
    }

    pub(super) fn lose_all(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.refute(reason, sink);
        while let Some(mut pending) = self.pending.pop() {
            self.lose_pending(&mut pending, reason, sink);
            self.pending.recycle(pending);
        }
    }

    /// What follows is not HTTP/1: frees everything and takes no more.
    pub(super) fn become_foreign(&mut self) {
        self.deferred = None;
        self.recognition = Recognition::Foreign;
        self.request.state = RequestState::GivenUp;
        self.response.state = ResponseState::GivenUp;
        self.pending = Pipeline::default();
        self.unconfirmed = None;
        self.early = None;
    }
}

impl<S> Stream<S> {
    fn new(state: S) -> Self {
        Self { position: None, last_ns: 0, tail_missing: false, state }
    }

    /// The end of what has been read.
    pub fn reached(&self) -> Mark {
        Mark { position: self.position.unwrap_or(Position::START), at_ns: self.last_ns }
    }

    pub fn read(&mut self, cursor: &Cursor<'_>) {
        self.position = Some(cursor.end);
        self.last_ns = cursor.at_ns;
        self.tail_missing = false;
    }
}
