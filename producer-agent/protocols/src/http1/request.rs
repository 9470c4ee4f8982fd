//! The client's direction: where requests begin and end.
//!
//! In: segments in order, and gaps. Out: entries in the queue of exchanges, their ends, and losses.

use super::body::{Body, Progress};
use super::exchanges::Pending;
use super::framing::Framing;
use super::head::{self, Parsed, RequestLine, skip_line_ends};
use super::state::{Http1, RequestState, ResponseState};
use crate::cursor::Cursor;
use crate::partial::{Beginning, Growth, PartialHead};
use crate::stream::Mark;
use crate::{Direction, LossReason, Recognition, Sink};

impl Http1 {
    pub(super) fn take_request(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        let start = cursor.position;
        self.drop_refuted_head(sink);
        while !cursor.is_done() {
            let at_segment_start = cursor.position == start;
            match &mut self.request {
                RequestState::Boundary => self.begin_request(&mut cursor, at_segment_start, true, sink),
                RequestState::Unsure if at_segment_start => self.begin_request(&mut cursor, true, false, sink),
                RequestState::Unsure => cursor.skip_rest(),
                RequestState::Head(_) => self.continue_request_head(&mut cursor, sink),
                RequestState::Body(body) => match body.consume_named(&mut cursor, self.pending.back_mut()) {
                    Progress::Complete => self.end_request(cursor.mark(), sink),
                    Progress::More => {}
                    Progress::Blind => self.request_end_unknown(sink),
                    Progress::Malformed => {
                        self.lose_back(LossReason::MalformedRequest, sink);
                        self.request_end_unknown(sink);
                    }
                },
                RequestState::GivenUp => {
                    self.count_requests(&cursor, at_segment_start, sink);
                    cursor.skip_rest();
                }
            }
        }
    }

    fn begin_request(&mut self, cursor: &mut Cursor<'_>, at_start: bool, certain: bool, sink: &mut Sink<'_>) {
        if certain {
            skip_line_ends(cursor);
        }
        if cursor.is_done() {
            return;
        }
        let beginning = Beginning {
            position: cursor.position,
            at_ns: cursor.at_ns,
            other_position: cursor.other_position,
            at_segment_start: at_start,
            certain,
        };
        let captured = cursor.captured;
        let parsed = parse(captured, &beginning);
        let fits = captured.len() <= self.options.head_bytes_max as usize;
        // Before a turn is possible, a text that is not yet a request line is taken for what it was: a body.
        let may_wait = certain || matches!(parsed, Parsed::Partial(Some(_))) || self.is_turn(&beginning);
        if matches!(parsed, Parsed::Partial(_)) && cursor.captured_whole() && fits && may_wait {
            let bytes = captured.to_vec();
            self.request = RequestState::Head(Box::new(PartialHead { bytes, beginning }));
            cursor.skip_rest();
            return;
        }
        let reason = if fits { LossReason::HeadNotCaptured } else { LossReason::HeadTooLarge };
        self.take_request_head(&beginning, parsed, 0, reason, cursor, sink);
    }

    fn continue_request_head(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        let RequestState::Head(mut partial) = std::mem::replace(&mut self.request, RequestState::Unsure) else {
            return;
        };
        let Growth { known, fits, whole } = partial.grow(cursor, self.options.head_bytes_max);
        let parsed = match head::may_end_after(&partial.bytes, known) || !whole {
            true => parse(&partial.bytes, &partial.beginning),
            false => Parsed::Partial(None),
        };
        if matches!(parsed, Parsed::Partial(_)) && whole {
            cursor.skip_rest();
            self.request = RequestState::Head(partial);
            return;
        }
        let reason = if fits { LossReason::HeadNotCaptured } else { LossReason::HeadTooLarge };
        self.take_request_head(&partial.beginning, parsed, known, reason, cursor, sink);
    }

    /// Acts on a head that is whole or will not become so; `before` of its bytes lie before the cursor.
    fn take_request_head(
        &mut self,
        beginning: &Beginning,
        parsed: Parsed<RequestLine<'_>>,
        before: usize,
        cut_reason: LossReason,
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<'_>,
    ) {
        match believe(parsed, beginning) {
            Parsed::Complete { line, framing, length } => {
                self.recognise(sink);
                if self.accept(beginning, Ok(&line), sink) {
                    cursor.skip(length.saturating_sub(before));
                    self.begin_request_body(framing, line.method == "CONNECT", cursor.mark(), sink);
                } else {
                    cursor.skip_rest();
                }
            }
            Parsed::Partial(Some(line)) => {
                self.accept_cut(beginning, Ok(&line), sink);
                cursor.skip_rest();
            }
            Parsed::Partial(None) => {
                // With nothing open it may as well be the rest of a request that was answered early: then its
                // response, if one comes, is counted.
                if beginning.certain || (!self.pending.is_empty() && self.is_turn(beginning)) {
                    self.accept_cut(beginning, Err(cut_reason), sink);
                } else {
                    self.take_foreign_bytes(beginning, sink);
                }
                cursor.skip_rest();
            }
            Parsed::Malformed | Parsed::OddLine | Parsed::Foreign if !beginning.certain => {
                self.take_foreign_bytes(beginning, sink);
                cursor.skip_rest();
            }
            Parsed::Foreign if self.recognition() == Recognition::Undecided => {
                cursor.skip_rest();
                self.become_foreign();
            }
            Parsed::Malformed | Parsed::OddLine | Parsed::Foreign => {
                self.accept_cut(beginning, Err(LossReason::MalformedRequest), sink);
                if let Some(back) = self.pending.back_mut() {
                    back.odd_line = true;
                }
                cursor.skip_rest();
            }
        }
    }

    fn begin_request_body(&mut self, framing: Framing, is_connect: bool, head_end: Mark, sink: &mut Sink<'_>) {
        let body = match framing {
            Framing::None => {
                self.end_request(head_end, sink);
                if is_connect {
                    // What follows is a request only if the tunnel is refused.
                    self.request = RequestState::Unsure;
                }
                return;
            }
            Framing::Length(bytes) => Body::with_length(head_end.position, bytes),
            Framing::Json(bytes) => {
                if !self.pending.is_beyond() {
                    self.pending.back_mut().into_iter().for_each(Pending::expect_json);
                }
                Body::with_length(head_end.position, bytes)
            }
            Framing::Chunked => Some(Body::chunked()),
            Framing::UntilClose | Framing::Unknown => return self.request_end_unknown(sink),
        };
        match body {
            Some(body) => self.request = RequestState::Body(body),
            // Longer than a stream can be: a server has to refuse it.
            None => self.request_end_unknown(sink),
        }
    }

    pub(super) fn end_request(&mut self, end: Mark, sink: &mut Sink<'_>) {
        self.request = RequestState::Boundary;
        if self.pending.is_beyond() {
            return;
        }
        if let Some(back) = self.pending.back_mut() {
            back.end = Some(end);
        }
        if self.pending.len() == 1 && self.pending.front().is_some_and(Pending::answer_is_complete) {
            self.complete_front(sink);
        }
    }

    /// The newest request ends somewhere behind this: where, its response will tell.
    pub(super) fn request_end_unknown(&mut self, sink: &mut Sink<'_>) {
        if self.pending.is_beyond() {
            self.request = RequestState::GivenUp;
            return;
        }
        self.request = RequestState::Unsure;
        let Some(back) = self.pending.back_mut() else { return };
        // An early answer has begun before the end, so it does not tell. The end of the connection may.
        let answered_early = back.answer.as_ref().is_some_and(|answer| answer.status.is_some());
        let answer_ends = !matches!(self.response, ResponseState::UntilTurn | ResponseState::GivenUp);
        if answered_early && answer_ends && !self.pipelined {
            return;
        }
        if answered_early {
            back.end = Some(back.start);
        }
        if answered_early || self.pipelined {
            self.lose_back(LossReason::Ambiguous, sink);
        }
        if self.pending.front().is_some_and(Pending::answer_is_complete) {
            self.complete_front(sink);
        }
    }

    /// A request line that may begin here would begin a new turn: all before it is answered.
    fn is_turn(&self, beginning: &Beginning) -> bool {
        match self.pending.front() {
            None => !self.pipelined,
            Some(front) => {
                self.pending.len() == 1
                    && front.answer.is_some()
                    && beginning.at_segment_start
                    && matches!(self.response, ResponseState::UntilTurn)
                    && self.at.response.position == Some(beginning.other_position)
            }
        }
    }

    /// The request before was answered early and nothing has told where it ended. Now something else comes, and nothing will.
    pub(super) fn drop_endless_request(&mut self, sink: &mut Sink<'_>) {
        let is_endless = self.pending.len() == 1
            && matches!(self.request, RequestState::Unsure | RequestState::Head(_))
            && self.pending.front().is_some_and(|front| front.end.is_none() && front.answer_is_complete());
        if is_endless {
            self.lose_front(LossReason::Ambiguous, sink);
            self.pending.pop();
        }
    }

    /// Adds a request to the queue: its line, or the reason why it is only a placeholder. False if there is no place
    /// for it in what is known, which gives the connection up.
    fn accept(
        &mut self,
        beginning: &Beginning,
        request: Result<&RequestLine<'_>, LossReason>,
        sink: &mut Sink<'_>,
    ) -> bool {
        self.drop_endless_request(sink);
        if self.is_turn(beginning) {
            self.end_turn(request.err(), sink);
        } else if !beginning.certain || matches!(self.response, ResponseState::UntilTurn) {
            self.lose(LossReason::Ambiguous, sink);
            self.give_up(sink);
            return false;
        }
        self.pipelined |= !self.pending.is_empty();
        let is_full = self.pending.kept() >= self.options.pending_exchanges_max as usize;
        match request {
            _ if is_full || self.pending.is_beyond() => {
                self.lose(request.err().unwrap_or(LossReason::TooManyPipelined), sink);
                self.pending.push_beyond(request.ok().map(|line| line.method));
            }
            Ok(line) => self.pending.push_request(line, beginning.mark(), self.options.path_bytes_max),
            Err(reason) => {
                self.lose(reason, sink);
                self.pending.push(Pending::placeholder(beginning.mark()));
            }
        }
        true
    }

    /// A new request proves that the one before is answered, up to what has been read. The presumed end of that
    /// request is right if a request line stands behind it (`unseen`: it cannot be told).
    fn end_turn(&mut self, unseen: Option<LossReason>, sink: &mut Sink<'_>) {
        match unseen {
            None => self.confirm(Direction::Request, sink),
            Some(reason) if self.awaits(Direction::Request) => self.refute(reason, sink),
            Some(_) => {}
        }
        if self.pending.is_empty() {
            return;
        }
        if let Some(reason) = unseen
            && self.pending.front().is_some_and(|front| front.end_presumed)
        {
            self.lose_front(reason, sink);
        }
        self.end_response_by_turn(sink);
    }

    /// Adds a request whose end is not known.
    fn accept_cut(
        &mut self,
        beginning: &Beginning,
        request: Result<&RequestLine<'_>, LossReason>,
        sink: &mut Sink<'_>,
    ) {
        if request.is_ok() {
            self.recognise(sink);
        }
        if self.accept(beginning, request, sink) {
            self.request_end_unknown(sink);
        }
    }

    /// No request begins here: the bytes belong to the one before.
    fn take_foreign_bytes(&mut self, beginning: &Beginning, sink: &mut Sink<'_>) {
        self.request = RequestState::Unsure;
        match self.pending.back() {
            Some(back) if back.end.is_none() => {}
            None if self.recognition() == Recognition::Undecided => {
                self.lose(LossReason::StartedBeforeCapture, sink);
                self.pending.push(Pending::placeholder(beginning.mark()));
            }
            _ => self.refute_request_end(LossReason::Ambiguous, sink),
        }
    }

    /// A request went on, or may have gone on, behind its presumed end.
    pub(super) fn refute_request_end(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.awaits(Direction::Request) {
            self.refute(reason, sink);
        }
        if self.pending.back().is_some_and(|back| back.end_presumed) {
            self.lose_back(reason, sink);
        }
    }

    /// The head that is only there in part will not get longer before the response: takes what is known of it.
    pub(super) fn cut_partial_request(&mut self, sink: &mut Sink<'_>) {
        let state = std::mem::replace(&mut self.request, RequestState::Unsure);
        let RequestState::Head(partial) = state else {
            self.request = state;
            return;
        };
        match believe(parse(&partial.bytes, &partial.beginning), &partial.beginning) {
            Parsed::Partial(Some(line)) => self.accept_cut(&partial.beginning, Ok(&line), sink),
            _ if partial.beginning.certain => {
                self.accept_cut(&partial.beginning, Err(LossReason::Unfinished), sink);
            }
            _ => self.take_foreign_bytes(&partial.beginning, sink),
        }
    }

    /// What might have become a request line did not, and the response went on: it was something else.
    fn drop_refuted_head(&mut self, sink: &mut Sink<'_>) {
        if let RequestState::Head(partial) = &self.request
            && !partial.beginning.certain
            && self.at.response.position != Some(partial.beginning.other_position)
            && matches!(head::parse_request(&partial.bytes), Parsed::Partial(None))
        {
            let beginning = partial.beginning;
            self.take_foreign_bytes(&beginning, sink);
        }
    }

    /// After the connection has been given up, what is seen is still counted.
    fn count_requests(&mut self, cursor: &Cursor<'_>, at_segment_start: bool, sink: &mut Sink<'_>) {
        let mut rest = if at_segment_start { cursor.captured } else { &[] };
        while !rest.is_empty() {
            let (line, behind) = match head::parse_request(rest) {
                Parsed::Complete { line, framing: Framing::None, length } => (line, &rest[length..]),
                Parsed::Complete { line, .. } | Parsed::Partial(Some(line)) => (line, &rest[..0]),
                _ => return,
            };
            if !line.is_unmistakable() {
                return;
            }
            self.lose(LossReason::Ambiguous, sink);
            rest = behind;
        }
    }
}

fn parse<'b>(bytes: &'b [u8], beginning: &Beginning) -> Parsed<RequestLine<'b>> {
    match bytes.first() {
        // An empty line may belong to what was before.
        Some(b'\r' | b'\n') if !beginning.certain => Parsed::Foreign,
        _ => head::parse_request(bytes),
    }
}

/// Where it is not certain that a request begins, a head that may as well be the rest of one says nothing.
fn believe<'b>(parsed: Parsed<RequestLine<'b>>, beginning: &Beginning) -> Parsed<RequestLine<'b>> {
    match parsed {
        Parsed::Complete { line, .. } | Parsed::Partial(Some(line))
            if !beginning.certain && !line.is_unmistakable() =>
        {
            Parsed::Partial(None)
        }
        parsed => parsed,
    }
}
