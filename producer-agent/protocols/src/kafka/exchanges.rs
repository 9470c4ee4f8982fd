//! Requests that wait for their answers, and what becomes of them.

use super::apis::Api;
use super::errors::Errors;
use super::frame::{self, ANSWER_HEAD_BYTES, Header};
use super::layout::{self, Said};
use super::topics::Topic;
use super::{Kafka, layouts};
use crate::asked::{Queue, Span, Waits};
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{
    CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Side, Sink,
};

const FETCH: i16 = 1;
const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;
const SHARE_FETCH: i16 = 78;
const API_VERSIONS: i16 = 18;
/// Requests in a row, each with the id behind the last one's, that nothing but Kafka says.
const RECOGNISED_BY: u8 = 32;

/// One request, from its first byte on.
#[derive(Debug)]
pub struct Pending {
    api: Option<&'static Api>,
    key: i16,
    version: i16,
    pub correlation: i32,
    kind: Kind,
    resource: Box<str>,
    start: Mark,
    end: Mark,
    /// It was counted as lost; its answer is passed over.
    pub is_lost: bool,
    /// Its answer may have been missed.
    pub may_be_answered: bool,
}

impl Waits for Pending {
    fn heap_bytes(&self) -> usize {
        self.resource.len()
    }
}

impl Kafka {
    /// A request whose head has been read up to its end.
    pub(super) fn request(&mut self, start: Mark, end: Mark, sink: &mut Sink<'_>) {
        let Some(header) = frame::header(self.readers.request.head()) else { return };
        let is_cut = self.readers.request.is_cut();
        let api = Api::of(header.key);
        let mut pending = Pending {
            api,
            key: header.key,
            version: header.version,
            correlation: header.correlation,
            kind: Kind::Call,
            resource: "".into(),
            start,
            end,
            is_lost: false,
            may_be_answered: false,
        };
        let acks = describe(&mut pending, &header, is_cut, &mut self.topics);
        if header.key == 0 && acks.is_none() {
            // Whether it is answered is not known.
            self.losses.lose(LossReason::HeadNotCaptured, sink);
            pending.is_lost = true;
        } else if acks == Some(0) {
            pending.kind = Kind::OneWay;
            self.is_one_way = true;
        }
        self.note_order(pending.correlation, sink);
        if self.pending.len() >= self.options.pending_exchanges_max as usize {
            if !pending.is_lost {
                self.losses.lose(LossReason::TooManyPipelined, sink);
            }
            self.missed.get_or_insert(LossReason::TooManyPipelined);
            self.passed_over += u64::from(pending.kind != Kind::OneWay);
            return;
        }
        self.pending.push(pending);
        self.tell_silent(sink);
    }

    /// Requests that count on from each other, one behind the other, are reason enough: the answer to the first of them may be far away.
    fn note_order(&mut self, correlation: i32, sink: &mut Sink<'_>) {
        let (last, in_a_row) = self.asked_in_a_row;
        let goes_on = in_a_row > 0 && correlation == last.wrapping_add(1);
        let in_a_row = if goes_on { in_a_row.saturating_add(1) } else { 1 };
        self.asked_in_a_row = (correlation, in_a_row);
        if in_a_row >= RECOGNISED_BY && self.recognition() == Recognition::Undecided {
            self.recognise(sink);
        }
    }

    fn recognise(&mut self, sink: &mut Sink<'_>) {
        self.losses.recognise(sink);
        if std::mem::take(&mut self.is_late) {
            // At least one, as far as is known.
            self.losses.lose(LossReason::StartedBeforeCapture, sink);
        }
    }

    /// Tells of requests that nothing will answer, once all before them were.
    fn tell_silent(&mut self, sink: &mut Sink<'_>) {
        while self.recognition() == Recognition::Recognised
            && let Some(pending) = self.pending.pop_if(|pending| pending.kind == Kind::OneWay)
        {
            self.emit(&pending, None, (Outcome::Ok, Code::default()), None, sink);
        }
    }

    /// Whose answer it is.
    pub(super) fn owner(&self, correlation: i32) -> Option<usize> {
        let is_it = |pending: &Pending| pending.correlation == correlation && pending.kind != Kind::OneWay;
        self.pending.position(is_it)
    }

    /// An answer has been read up to its end.
    pub(super) fn answer(&mut self, start: Mark, end: Mark, sink: &mut Sink<'_>) {
        let head = self.readers.response.head();
        let Some(owner) = head.get(4..).and_then(frame::correlation).and_then(|id| self.owner(id)) else {
            if self.recognition() == Recognition::Undecided && self.missed.is_none() {
                return self.become_foreign();
            }
            if self.passed_over > 0 {
                self.passed_over -= 1;
                return;
            }
            return self.losses.lose(self.missed.unwrap_or(LossReason::UnsolicitedResponse), sink);
        };
        self.recognise(sink);
        // A broker answers in the order in which it is asked: what stands before it has been answered, or never will be.
        for _ in 0..owner {
            let Some(before) = self.pending.pop() else { break };
            match before.kind {
                Kind::OneWay => self.emit(&before, None, (Outcome::Ok, Code::default()), None, sink),
                _ if before.is_lost => {}
                _ => self.losses.lose(self.missed.unwrap_or(LossReason::Ambiguous), sink),
            }
        }
        if let Some(pending) = self.pending.pop().filter(|pending| !pending.is_lost) {
            let outcome = self.read_answer(&pending);
            self.emit(&pending, Some((start, end)), outcome, None, sink);
        }
        self.tell_silent(sink);
    }

    fn read_answer(&mut self, pending: &Pending) -> (Outcome, Code) {
        let unknown = (Outcome::Unknown, Code::default());
        let Some(api) = pending.api.filter(|api| api.has_layout(pending.version)) else { return unknown };
        let fields = layouts::of_answer(pending.key, pending.version);
        if fields.is_empty() {
            return unknown;
        }
        let is_flexible = api.is_flexible(pending.version);
        let body = self.readers.response.head().get(ANSWER_HEAD_BYTES..).unwrap_or_default();
        // The header of the first answer has to be understood whatever the versions are.
        let has_tags = is_flexible && pending.key != API_VERSIONS;
        let Some(body) = (if has_tags { layout::behind_tags(body) } else { Some(body) }) else { return unknown };
        let mut errors = Errors::default();
        let learns = matches!(pending.key, METADATA | CREATE_TOPICS);
        let mut name = "";
        let topics = &mut self.topics;
        let read =
            layout::read(Direction::Response, (pending.version, is_flexible), body, fields, &mut |said| match said {
                Said::Error(code) => errors.add(code),
                Said::Name(said) => name = said,
                Said::Id(id) if learns && !name.is_empty() => topics.learn(id, std::mem::take(&mut name)),
                _ => {}
            });
        errors.outcome(read.told_all)
    }

    pub(super) fn close_pending(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        // Before it was recognised there is nothing to tell.
        let is_known = self.recognition() == Recognition::Recognised;
        let mut begun = self.begun();
        while let Some(pending) = self.pending.pop().filter(|_| is_known) {
            let answer = begun.take_if(|(id, _)| id.is_none_or(|id| id == pending.correlation)).map(|(_, start)| start);
            if pending.kind == Kind::OneWay {
                self.emit(&pending, None, (Outcome::Ok, Code::default()), None, sink);
            } else if pending.is_lost {
            } else if pending.may_be_answered && how != CloseReason::Unobserved {
                self.losses.lose(self.missed.unwrap_or(LossReason::Gap), sink);
            } else if let Some((mut failure, mut outcome)) = how.of_open(answer.is_some()) {
                let by_client =
                    matches!(how, CloseReason::Finished { by: Side::Client } | CloseReason::Reset { by: Side::Client });
                if pending.kind == Kind::Wait && by_client {
                    (failure, outcome) = (Failure::ClientLeft, Outcome::Unknown);
                }
                let answer = answer.map(|start| (start, self.at.response.reached()));
                self.emit(&pending, answer, (outcome, Code::default()), Some(failure), sink);
            } else {
                self.losses.lose(LossReason::Unfinished, sink);
            }
        }
        self.pending = Queue::default();
    }

    /// The answer of which a part has come: whose it is, if that is known, and where it begins.
    fn begun(&self) -> Option<(Option<i32>, Mark)> {
        let reader = &self.readers.response;
        let start = reader.start().filter(|_| self.answers_are_certain())?;
        Some((reader.head().get(4..).and_then(frame::correlation), start))
    }

    fn emit(
        &self,
        pending: &Pending,
        answer: Option<(Mark, Mark)>,
        (outcome, code): (Outcome, Code),
        failure: Option<Failure>,
        sink: &mut Sink<'_>,
    ) {
        let span = Span { start: pending.start, end: pending.end, answer };
        let method = pending.api.map_or(crate::operation::UNKNOWN, |api| api.name);
        sink(Event::Exchange(Exchange {
            resource: &pending.resource,
            kind: pending.kind,
            outcome,
            code,
            failure,
            ..span.exchange(Self::NAME, method, self.now_ns)
        }));
    }
}

/// Reads what a request is about. Gives what it says of acknowledgements.
fn describe(
    pending: &mut Pending,
    header: &Header<'_>,
    is_cut: bool,
    known: &mut super::topics::Topics,
) -> Option<i16> {
    // Joining a group waits for its other members.
    if matches!(header.key, 11 | 14) {
        pending.kind = Kind::Wait;
    }
    let is_fetch = matches!(header.key, FETCH | SHARE_FETCH);
    let api = pending.api.filter(|api| api.has_layout(header.version))?;
    let fields = layouts::of_request(header.key, header.version);
    if fields.is_empty() {
        return None;
    }
    let (mut acks, mut wait_ms, mut bytes_min, mut epoch, mut forgets) = (None, 1, 1, -1, false);
    let mut topics = Vec::new();
    let version = (header.version, api.is_flexible(header.version));
    let read = layout::read(Direction::Request, version, header.body, fields, &mut |said| match said {
        Said::Acks(count) => acks = Some(count),
        Said::MaxWaitMs(ms) => wait_ms = ms,
        Said::MinBytes(bytes) => bytes_min = bytes,
        Said::SessionEpoch(number) => epoch = number,
        Said::TopicsForgotten => forgets = true,
        said => topics.extend(Topic::of(said)),
    });
    let mut told_all = read.told_all;
    if is_fetch {
        if wait_ms > 0 && bytes_min > 0 {
            pending.kind = Kind::Wait;
        }
        let is_whole = told_all && (read.to_the_end || !is_cut);
        (topics, told_all) = match (is_whole, epoch) {
            (true, _) => known.fetch(epoch, topics, true, forgets),
            (false, ..1) => {
                known.forget_session();
                (topics, told_all)
            }
            (false, _) => known.fetch(epoch, topics, false, forgets),
        };
    }
    pending.resource = known.text(&topics, told_all);
    acks
}
