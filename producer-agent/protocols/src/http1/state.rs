//! The state of one connection, and how its exchanges leave it.
//!
//! This is what the other files stand on, and knows none of them: `request.rs` and `response.rs` read the bytes, `close.rs` ends what is
//! open. What they find meets in the queue of `exchanges.rs`.

use super::Options;
use super::body::Body;
use super::exchanges::{Pending, Pipeline};
use crate::http2::Upgrade;
use crate::losses::Losses;
use crate::partial::PartialHead;
use crate::stream::{Both, Reach};
use crate::websocket::Target;
use crate::{Direction, Event, Failure, LossReason, Recognition, Sink};

/// HTTP/1 of one connection.
#[derive(Debug)]
pub struct Http1 {
    pub(super) options: Options,
    pub(super) losses: Losses,
    /// A tunnel was granted, through which mostly TLS goes.
    pub(super) begins_tls: bool,
    /// What both sides agreed to go on with.
    pub(super) next: Option<Box<Next>>,
    /// Two requests have been open at once. Turns then prove nothing.
    pub(super) pipelined: bool,
    /// The next response has to begin where the stream stands, since a turn ended the one before it there.
    pub(super) response_presumed: bool,
    /// The newest time that was fed.
    pub(super) now_ns: u64,
    pub(super) at: Both<Reach>,
    pub(super) request: RequestState,
    pub(super) response: ResponseState,
    pub(super) pending: Pipeline,
    /// Complete if a presumed end is right. There is at most one.
    unconfirmed: Option<Box<Unconfirmed>>,
}

/// What a connection goes on with.
#[derive(Debug)]
pub(super) enum Next {
    /// HTTP/2, with its last request.
    Http2(Upgrade),
    /// WebSocket, behind its last answer.
    WebSocket(Target),
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
struct Unconfirmed {
    pending: Box<Pending>,
    /// The direction whose next message has to begin where this one is presumed to end.
    awaits: Direction,
}

impl Http1 {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            begins_tls: false,
            next: None,
            pipelined: false,
            response_presumed: false,
            now_ns: 0,
            at: Both::default(),
            request: RequestState::Boundary,
            response: ResponseState::Boundary,
            pending: Pipeline::default(),
            unconfirmed: None,
        }
    }

    /// A connection that is known to speak HTTP/1 and stands where the next request and its response begin.
    pub(super) fn recognised(options: Options) -> Self {
        Self { losses: Losses::recognised(), ..Self::new(options) }
    }

    pub(super) fn recognition(&self) -> Recognition {
        self.losses.recognition()
    }

    /// Nothing is open or buffered.
    pub(super) fn has_nothing_open(&self) -> bool {
        self.pending.iter().all(|pending| pending.lost)
            && self.unconfirmed.is_none()
            && !matches!(self.request, RequestState::Head(_))
    }

    pub(super) fn heap_bytes_of_parts(&self) -> usize {
        let request = match &self.request {
            RequestState::Head(head) => head.heap_bytes(),
            RequestState::Body(body) => body.heap_bytes(),
            _ => 0,
        };
        let response = match &self.response {
            ResponseState::Head(head) => head.heap_bytes(),
            ResponseState::Body(body) => body.heap_bytes(),
            _ => 0,
        };
        let unconfirmed = self
            .unconfirmed
            .as_ref()
            .map_or(0, |held| size_of::<Unconfirmed>() + size_of::<Pending>() + held.pending.heap_bytes());
        request + response + unconfirmed + self.pending.heap_bytes()
    }

    /// The front's request and response are both at their end.
    pub(super) fn complete_front(&mut self, sink: &mut Sink<'_>) {
        let Some(pending) = self.pending.pop() else { return };
        if pending.end_presumed {
            self.hold(pending, Direction::Request, sink);
        } else {
            self.emit(&pending, None, sink);
        }
    }

    /// Keeps an exchange until the next message of a direction begins where this one is presumed to end.
    pub(super) fn hold(&mut self, pending: Box<Pending>, awaits: Direction, sink: &mut Sink<'_>) {
        self.refute(LossReason::Ambiguous, sink);
        if !pending.lost {
            self.unconfirmed = Some(Box::new(Unconfirmed { pending, awaits }));
        }
    }

    pub(super) fn has_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    pub(super) fn awaits(&self, direction: Direction) -> bool {
        self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.awaits == direction)
    }

    /// A message begins where that of the held exchange was presumed to end.
    pub(super) fn confirm(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if let Some(unconfirmed) = self.unconfirmed.take_if(|unconfirmed| unconfirmed.awaits == direction) {
            self.emit(&unconfirmed.pending, None, sink);
        }
    }

    /// The presumed end of the held exchange was wrong, or can no longer be checked.
    pub(super) fn refute(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if let Some(mut unconfirmed) = self.unconfirmed.take() {
            self.lose_pending(&mut unconfirmed.pending, reason, sink);
        }
    }

    /// Emits an exchange unless it is counted as lost.
    pub(super) fn emit(&self, pending: &Pending, failure: Option<Failure>, sink: &mut Sink<'_>) {
        if !pending.lost {
            let (request_stop, response_stop) = (self.at.request.reached(), self.at.response.reached());
            sink(Event::Exchange(pending.exchange(request_stop, response_stop, self.now_ns, failure)));
        }
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
        // A newest request that is beyond the bound has been counted.
        if !self.pending.is_beyond()
            && self.pending.back_mut().is_some_and(|back| !std::mem::replace(&mut back.lost, true))
        {
            self.lose(reason, sink);
        }
    }

    /// Counts one lost exchange, as soon as it is known that this is HTTP.
    pub(super) fn lose(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.losses.lose(reason, sink);
    }

    /// A first line of HTTP/1 has been seen.
    pub(super) fn recognise(&mut self, sink: &mut Sink<'_>) {
        self.losses.recognise(sink);
    }

    /// Unanswered requests and an unknown end came together: gives the connection up, with all that is open.
    pub(super) fn give_up(&mut self, sink: &mut Sink<'_>) {
        self.lose_all(LossReason::Ambiguous, sink);
        self.pipelined = true;
        self.request = RequestState::GivenUp;
        self.response = ResponseState::GivenUp;
    }

    pub(super) fn lose_all(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.refute(reason, sink);
        self.pending.forget_uncounted();
        while let Some(mut pending) = self.pending.pop() {
            self.lose_pending(&mut pending, reason, sink);
        }
    }

    /// What follows is not HTTP/1: frees everything and takes no more.
    pub(super) fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.request = RequestState::GivenUp;
        self.response = ResponseState::GivenUp;
        self.pending = Pipeline::default();
        self.unconfirmed = None;
    }
}
