//! Kafka's protocol on one connection.
//!
//! In: the bytes of both directions. Out: each request with its answer, in any depth of pipelining, or a counted loss.
//!
//! A request is known by its header, its answer by the correlation id that it repeats; a connection is recognised once an id was repeated, or many requests
//! in a row have counted theirs up.
//! An operation is the name of the request (`Produce`). Its resource are the topics: where only ids of them travel, their names are known from
//! answers to Metadata and CreateTopics on any connection of the workload, and are told by id before. Fetches of a session ask for what it has gathered.
//! Records are passed over by their lengths.
//!
//! A request that is to be written without acknowledgement (acks=0) is one-way. How long a broker waits that was asked to wait is no latency:
//! Fetch and ShareFetch with a time to wait, JoinGroup and SyncGroup are of the kind [`Wait`](crate::Kind::Wait).
//!
//! Where something was missed, requests are followed again from the next call that begins with one that names its client, and answers from
//! the next call that begins with one that was waited for and ends with a call. What may have been answered in between is lost and counted.
//!
//! Limits: tokens of SASL without a header (SaslHandshake version 0) end the following. Bounds: [`Options`], and those of `frame.rs` and
//! `topics.rs`; nothing is allocated by what a length claims.

mod apis;
mod errors;
mod exchanges;
mod frame;
mod layout;
mod layouts;
mod topics;

use crate::asked::Queue;
use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::known::Known;
use crate::losses::Losses;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Direction, LossReason, Position, Recognition, Side, Sink};
use exchanges::Pending;
use frame::{ANSWER_HEAD_BYTES, Progress, Reader};
use topics::Topics;

/// The bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Requests that wait for their answers. Those beyond it are counted.
    pub pending_exchanges_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { pending_exchanges_max: 1024 }
    }
}

/// How certain it is that a reader stands where a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sync {
    #[default]
    Sure,
    /// The next call may begin with a message.
    Lost,
    /// A call began with what may be a message; not enough of it has come.
    Tried,
    /// It is one that is waited for, if it ends with a call.
    Proving,
}

/// Kafka on one connection.
#[derive(Debug)]
pub struct Kafka {
    options: Options,
    losses: Losses,
    now_ns: u64,
    at: Both<Reach>,
    sync: Both<Sync>,
    readers: Both<Reader>,
    pending: Queue<Pending>,
    topics: Topics,
    /// Why there may be answers to what nobody saw, if there may be.
    missed: Option<LossReason>,
    /// Requests for which there was no room: they are counted, and their answers are not counted again.
    passed_over: u64,
    /// What was asked before the capture began is still to be counted.
    is_late: bool,
    /// Some requests are not answered.
    is_one_way: bool,
    /// The last request's id, and how many stand there one behind the other whose ids count up to it.
    asked_in_a_row: (i32, u8),
}

impl Kafka {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            sync: Both::default(),
            readers: Both::default(),
            pending: Queue::default(),
            topics: Topics::default(),
            is_one_way: false,
            asked_in_a_row: (0, 0),
            missed: None,
            passed_over: 0,
            is_late: false,
        }
    }

    fn answers_are_certain(&self) -> bool {
        self.sync.response == Sync::Sure
    }

    fn read_requests(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let segment = cursor;
        if self.sync.request == Sync::Lost {
            self.readers.request.reset();
            self.sync.request = Sync::Tried;
        }
        let went_on = !self.readers.request.is_at_start();
        while !cursor.is_done() && self.recognition() != Recognition::Foreign {
            let progress = self.readers.request.read(&mut cursor);
            if self.sync.request == Sync::Tried && !self.tried_request(&progress) {
                self.sync.request = Sync::Lost;
                if went_on {
                    // It may be this call that begins with one.
                    return self.read_requests(segment, sink);
                }
                return self.count_before(sink);
            }
            match progress {
                Progress::More => {}
                Progress::Complete if frame::judge(self.readers.request.head(), true) == Verdict::Yes => {
                    let reader = &self.readers.request;
                    let start = reader.start().unwrap_or(cursor.mark());
                    self.request(start, cursor.mark(), sink);
                    self.readers.request.reset();
                }
                Progress::Complete if frame::judge(self.readers.request.head(), true) == Verdict::Maybe => {
                    // The next one begins behind it all the same.
                    self.lose_requests(LossReason::HeadNotCaptured, sink);
                    self.sync.request = Sync::Sure;
                }
                Progress::Complete | Progress::Malformed if self.recognition() == Recognition::Undecided => {
                    return self.become_foreign();
                }
                Progress::Complete | Progress::Malformed => {
                    return self.lose_requests(LossReason::MalformedRequest, sink);
                }
                Progress::Blind => return self.lose_requests(LossReason::HeadNotCaptured, sink),
            }
        }
    }

    /// Whether what a call began with may still be a request, or is one.
    fn tried_request(&mut self, progress: &Progress) -> bool {
        let head = self.readers.request.head();
        match frame::judge(head, false) {
            Verdict::Yes => self.sync.request = Sync::Sure,
            // More has to come.
            Verdict::Maybe if *progress == Progress::More && !self.readers.request.is_cut() => {}
            _ => return false,
        }
        true
    }

    /// Bytes came of which nothing can be told; they belong to at least one request.
    fn count_before(&mut self, sink: &mut Sink<'_>) {
        if self.missed.is_none() {
            self.missed = Some(LossReason::StartedBeforeCapture);
            self.losses.lose(LossReason::StartedBeforeCapture, sink);
        }
    }

    fn lose_requests(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.losses.lose(reason, sink);
        self.missed.get_or_insert(reason);
        self.topics.forget_session();
        self.asked_in_a_row = (0, 0);
        self.readers.request.reset();
        self.sync.request = Sync::Lost;
    }

    fn read_answers(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let segment = cursor;
        if self.sync.response == Sync::Lost {
            self.readers.response.reset();
            self.sync.response = Sync::Tried;
        }
        let went_on = !self.readers.response.is_at_start();
        while !cursor.is_done() && self.recognition() != Recognition::Foreign {
            let progress = self.readers.response.read(&mut cursor);
            if self.sync.response == Sync::Tried && !self.tried_answer(&progress) {
                self.sync.response = Sync::Lost;
                if went_on {
                    return self.read_answers(segment, sink);
                }
                return self.count_before(sink);
            }
            match progress {
                Progress::More => {}
                Progress::Complete if self.readers.response.head().len() < ANSWER_HEAD_BYTES => {
                    return self.lose_answers(LossReason::HeadNotCaptured, sink);
                }
                Progress::Complete if self.sync.response == Sync::Proving && !cursor.is_done() => {
                    return self.lose_answers(LossReason::Ambiguous, sink);
                }
                Progress::Complete => {
                    self.sync.response = Sync::Sure;
                    let start = self.readers.response.start().unwrap_or(cursor.mark());
                    self.answer(start, cursor.mark(), sink);
                    self.readers.response.reset();
                }
                Progress::Malformed if self.recognition() == Recognition::Undecided => return self.become_foreign(),
                Progress::Malformed => return self.lose_answers(LossReason::MalformedResponse, sink),
                Progress::Blind => return self.lose_answers(LossReason::HeadNotCaptured, sink),
            }
        }
    }

    fn tried_answer(&mut self, progress: &Progress) -> bool {
        let head = self.readers.response.head();
        match head.get(4..).and_then(frame::correlation) {
            Some(id) if self.owner(id).is_some() => self.sync.response = Sync::Proving,
            None if *progress == Progress::More && !self.readers.response.is_cut() => {}
            _ => return false,
        }
        true
    }

    /// Any of the open requests may have been answered.
    fn lose_answers(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.pending.is_empty() {
            self.losses.lose(reason, sink);
        }
        self.missed.get_or_insert(reason);
        self.pending.iter_mut().for_each(|pending| pending.may_be_answered = true);
        self.readers.response.reset();
        self.sync.response = Sync::Lost;
    }

    fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.pending = Queue::default();
        self.readers.request.free();
        self.readers.response.free();
        self.topics = Topics::default();
    }
}

impl Protocol for Kafka {
    const NAME: &'static str = "kafka";

    fn judge(opening: &Opening<'_>) -> Verdict {
        match opening.direction {
            Direction::Request if opening.is_start => frame::judge(opening.bytes, true),
            Direction::Request if frame::goes_on(opening.bytes) => Verdict::Yes,
            Direction::Request => frame::judge(opening.bytes, false),
            // The client speaks first.
            Direction::Response => Verdict::No,
        }
    }

    fn open(options: &crate::Options) -> Self {
        Self::new(options.kafka)
    }

    fn interest(&self) -> Interest {
        if self.is_one_way { Interest::Calls } else { Self::INTEREST }
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
        if position != Position::START {
            self.sync[direction] = Sync::Lost;
            self.is_late |= self.missed.is_none();
            self.missed.get_or_insert(LossReason::StartedBeforeCapture);
        }
    }

    fn share(&mut self, known: &Known) {
        self.topics.known = known.clone();
    }

    fn resumed(&self) -> Self {
        let mut resumed = Self::new(self.options);
        (resumed.losses, resumed.missed) = (Losses::recognised(), Some(LossReason::StartedBeforeCapture));
        resumed.share(&self.topics.known);
        resumed
    }

    fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        match direction {
            Direction::Request => self.read_requests(cursor, sink),
            Direction::Response => self.read_answers(cursor, sink),
        }
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        // What lies within a message is passed over.
        let is_certain = matches!(self.sync[direction], Sync::Sure | Sync::Proving);
        if is_certain && self.readers[direction].miss(to) {
            return;
        }
        match direction {
            Direction::Request => self.lose_requests(LossReason::Gap, sink),
            Direction::Response => self.lose_answers(LossReason::Gap, sink),
        }
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        if self.sync.request == Sync::Sure && !self.readers.request.is_at_start() {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        self.close_pending(how, sink);
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && (self.sync.request != Sync::Sure || self.readers.request.is_at_start())
    }

    fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
            + self.readers.request.heap_bytes()
            + self.readers.response.heap_bytes()
            + self.topics.heap_bytes()
    }
}
