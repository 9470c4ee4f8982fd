//! The server's direction: where responses begin and end.
//!
//! In: segments in order, and gaps. Out: the answers of the exchanges in the queue, complete exchanges, and losses.

use super::body::{Body, Progress};
use super::exchanges::Pending;
use super::framing::Framing;
use super::head::{self, Parsed, StatusLine, skip_line_ends};
use super::method::Method;
use super::state::{Http1, Next, RequestState, ResponseState};
use crate::cursor::Cursor;
use crate::partial::{Beginning, Growth, PartialHead};
use crate::stream::Mark;
use crate::{Direction, Kind, LossReason, Position, Recognition, Sink};

const SWITCHING_PROTOCOLS: u16 = 101;

impl Http1 {
    pub(super) fn take_response(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        while !cursor.is_done() {
            match &mut self.response {
                ResponseState::Boundary => self.begin_response(&mut cursor, sink),
                ResponseState::Head(_) => self.continue_response_head(&mut cursor, sink),
                ResponseState::Body(body) => match body.consume(&mut cursor) {
                    Progress::Complete => {
                        self.end_response(Mark { position: cursor.position, at_ns: cursor.at_ns }, sink);
                    }
                    Progress::More => {}
                    Progress::Blind => self.response_end_unknown(sink),
                    Progress::Malformed => self.lose_response(LossReason::MalformedResponse, sink),
                },
                ResponseState::UntilClose | ResponseState::UntilTurn | ResponseState::GivenUp => cursor.skip_rest(),
            }
        }
    }

    fn begin_response(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        if !self.response_presumed {
            skip_line_ends(cursor);
        }
        if cursor.is_done() {
            return;
        }
        self.drop_endless_request(sink);
        if self.pending.is_empty() {
            // A server may answer a head that it never gets whole.
            self.cut_partial_request(sink);
        }
        let Some(front) = self.pending.front_mut() else {
            return self.take_unsolicited(cursor, sink);
        };
        if front.answer_is_complete() {
            return self.give_up(sink);
        }
        front.begin_answer(cursor.position, cursor.at_ns);
        let beginning = Beginning {
            position: cursor.position,
            at_ns: cursor.at_ns,
            other_position: cursor.other_position,
            at_segment_start: true,
            certain: !self.response_presumed,
        };
        let captured = cursor.captured;
        let parsed = head::parse_response(captured, front.method.as_ref());
        let fits = captured.len() <= self.options.head_bytes_max as usize;
        if matches!(parsed, Parsed::Partial(_)) && cursor.captured_whole() && fits {
            let bytes = captured.to_vec();
            self.response = ResponseState::Head(Box::new(PartialHead { bytes, beginning }));
            cursor.skip_rest();
            return;
        }
        let reason = if fits { LossReason::HeadNotCaptured } else { LossReason::HeadTooLarge };
        self.take_response_head(&beginning, parsed, 0, reason, cursor, sink);
    }

    fn continue_response_head(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        let ResponseState::Head(mut partial) = std::mem::replace(&mut self.response, ResponseState::UntilTurn) else {
            return;
        };
        let Growth { known, fits, whole } = partial.grow(cursor, self.options.head_bytes_max);
        let method = self.pending.front().and_then(|front| front.method.as_ref());
        let parsed = match head::may_end_after(&partial.bytes, known) || !whole {
            true => head::parse_response(&partial.bytes, method),
            false => Parsed::Partial(None),
        };
        if matches!(parsed, Parsed::Partial(_)) && whole {
            cursor.skip_rest();
            self.response = ResponseState::Head(partial);
            return;
        }
        let reason = if fits { LossReason::HeadNotCaptured } else { LossReason::HeadTooLarge };
        self.take_response_head(&partial.beginning, parsed, known, reason, cursor, sink);
    }

    /// Acts on a head that is whole or will not become so; `before` of its bytes lie before the cursor.
    fn take_response_head(
        &mut self,
        beginning: &Beginning,
        parsed: Parsed<StatusLine>,
        before: usize,
        cut_reason: LossReason,
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<'_>,
    ) {
        match parsed {
            Parsed::Complete { line: line @ StatusLine { status, kind, .. }, framing, length } => {
                self.confirm_response_begin(sink);
                cursor.skip(length.saturating_sub(before));
                if is_interim(status) {
                    self.response = ResponseState::Boundary;
                    return;
                }
                self.begin_final_response(beginning, status, kind, sink);
                let head_end = Mark { position: cursor.position, at_ns: cursor.at_ns };
                if self.takes_over(status) {
                    self.upgrade(head_end, line, sink);
                    cursor.skip_rest();
                } else {
                    self.begin_response_body(framing, head_end, sink);
                }
            }
            Parsed::Partial(Some(StatusLine { status, kind, .. })) => {
                self.confirm_response_begin(sink);
                if status == SWITCHING_PROTOCOLS {
                    self.lose_front(cut_reason, sink);
                    self.lose_all(LossReason::Upgraded, sink);
                    return self.become_foreign_after(cursor);
                }
                if is_interim(status) {
                    // Where the final response begins behind it is not known.
                    self.lose_front(cut_reason, sink);
                }
                self.begin_final_response(beginning, status, kind, sink);
                self.response_end_unknown(sink);
            }
            Parsed::Partial(None) => {
                if self.awaits(Direction::Response) {
                    self.refute(cut_reason, sink);
                }
                self.lose_response(cut_reason, sink);
            }
            // The response before was still going on when the next request was sent.
            Parsed::Malformed => {
                self.confirm_response_begin(sink);
                self.lose_response(LossReason::MalformedResponse, sink);
            }
            Parsed::OddLine | Parsed::Foreign if self.response_presumed && self.relies_on_presumption() => {
                self.give_up(sink);
            }
            // Neither side speaks HTTP/1, or not any more.
            Parsed::OddLine | Parsed::Foreign
                if beginning.certain && self.pending.front().is_some_and(|front| front.odd_line) =>
            {
                self.lose_all(LossReason::Ambiguous, sink);
                self.become_foreign_after(cursor);
            }
            Parsed::OddLine | Parsed::Foreign => self.lose_response(LossReason::MalformedResponse, sink),
        }
    }

    fn begin_response_body(&mut self, framing: Framing, head_end: Mark, sink: &mut Sink<'_>) {
        let body = match framing {
            Framing::None => return self.end_response(head_end, sink),
            Framing::Length(bytes) | Framing::Json(bytes) => Body::with_length(head_end.position, bytes),
            Framing::Chunked => Some(Body::chunked()),
            Framing::UntilClose => {
                self.response = ResponseState::UntilClose;
                return;
            }
            Framing::Unknown => return self.response_end_unknown(sink),
        };
        match body {
            Some(body) => self.response = ResponseState::Body(body),
            None => self.lose_response(LossReason::MalformedResponse, sink),
        }
    }

    /// An exchange would be wrong if no response began where the stream stands.
    fn relies_on_presumption(&self) -> bool {
        self.awaits(Direction::Response) || self.pending.front().is_some_and(|front| !front.lost)
    }

    /// A response does begin where the stream stands.
    fn confirm_response_begin(&mut self, sink: &mut Sink<'_>) {
        self.recognise(sink);
        self.response_presumed = false;
        self.confirm(Direction::Response, sink);
    }

    /// The first byte of the final response tells where the request has ended, if nothing else does.
    fn begin_final_response(&mut self, beginning: &Beginning, status: u16, kind: Kind, sink: &mut Sink<'_>) {
        let reached = self.at.request.reached();
        let tail_missing = self.at.request.tail_missing;
        let unsure = matches!(self.request, RequestState::Unsure) && self.pending.len() == 1;
        let Some(front) = self.pending.front_mut() else { return };
        if let Some(answer) = &mut front.answer {
            (answer.status, answer.kind) = (Some(status), kind);
        }
        if unsure && front.end.is_none() {
            front.end = Some(reached);
            front.end_presumed = true;
            if tail_missing {
                self.lose_front(LossReason::Gap, sink);
            } else if beginning.other_position != reached.position {
                self.lose_front(LossReason::Ambiguous, sink);
            }
        }
    }

    pub(super) fn end_response(&mut self, end: Mark, sink: &mut Sink<'_>) {
        self.response = ResponseState::Boundary;
        let Some(front) = self.pending.front_mut() else { return };
        if let Some(answer) = &mut front.answer {
            answer.end = Some(end);
        }
        // A server may answer before it has the whole request.
        if front.end.is_some() {
            self.complete_front(sink);
        }
    }

    /// The client's new turn ends the response where it has been read to.
    pub(super) fn end_response_by_turn(&mut self, sink: &mut Sink<'_>) {
        if self.at.response.tail_missing {
            self.lose_front(LossReason::Gap, sink);
        }
        let end = self.at.response.reached();
        let Some(mut front) = self.pending.pop() else { return };
        if let Some(answer) = &mut front.answer {
            answer.end = Some(end);
        }
        self.response = ResponseState::Boundary;
        self.response_presumed = true;
        self.hold(front, Direction::Response, sink);
    }

    /// The bytes that say where the response ends were not captured.
    pub(super) fn response_end_unknown(&mut self, sink: &mut Sink<'_>) {
        self.response = ResponseState::UntilTurn;
        if self.pending.len() > 1 {
            return self.give_up(sink);
        }
        let request_ends = !matches!(self.request, RequestState::Unsure);
        if let Some(front) = self.pending.front_mut()
            && front.end.is_none()
            && !request_ends
        {
            // It was answered early, and neither end is known.
            front.end = Some(front.start);
            self.lose_front(LossReason::Ambiguous, sink);
        }
    }

    fn lose_response(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        self.response_presumed = false;
        self.lose_front(reason, sink);
        self.response_end_unknown(sink);
    }

    /// Bytes that answer no request known here.
    fn take_unsolicited(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        if self.awaits(Direction::Request) {
            // They answer a request that hid behind a presumed end.
            return self.give_up(sink);
        }
        let reason = match self.recognition() {
            Recognition::Undecided => LossReason::StartedBeforeCapture,
            // A request may have come whose head was not captured.
            _ if matches!(self.request, RequestState::Unsure) => LossReason::HeadNotCaptured,
            Recognition::Recognised | Recognition::Foreign => LossReason::UnsolicitedResponse,
        };
        match head::parse_response(cursor.captured, None) {
            Parsed::Complete { .. } | Parsed::Partial(Some(_)) | Parsed::Malformed => self.recognise(sink),
            // The server speaks first, and it is not HTTP.
            Parsed::OddLine | Parsed::Foreign
                if cursor.position == Position::START && self.recognition() == Recognition::Undecided =>
            {
                return self.become_foreign_after(cursor);
            }
            Parsed::Partial(None) | Parsed::OddLine | Parsed::Foreign => {}
        }
        self.lose(reason, sink);
        self.push_unseen(cursor.position, cursor.at_ns);
        self.response_presumed = false;
        self.response = ResponseState::UntilTurn;
    }

    /// Keeps the place of a request that was not seen, and whose response is being read.
    pub(super) fn push_unseen(&mut self, position: Position, at_ns: u64) {
        let mut unseen = Pending::placeholder(self.at.request.reached());
        unseen.begin_answer(position, at_ns);
        self.pending.push(unseen);
    }

    /// Whether this status makes the connection something else than HTTP/1 (RFC 9110, 7.8 and 9.3.6).
    fn takes_over(&self, status: u16) -> bool {
        let is_connect = self.pending.front().is_some_and(|front| front.method == Some(Method::Connect));
        status == SWITCHING_PROTOCOLS || (is_connect && (200..300).contains(&status))
    }

    fn upgrade(&mut self, head_end: Mark, line: StatusLine, sink: &mut Sink<'_>) {
        if let Some(front) = self.pending.front_mut() {
            if let Some(answer) = &mut front.answer {
                answer.end = Some(head_end);
            }
            // A tunnel may be used before it is granted, and a body may still be under way.
            let unclear = front.end.is_none() || (front.end_presumed && front.method == Some(Method::Connect));
            if unclear {
                self.lose_front(LossReason::Ambiguous, sink);
            }
        }
        if let Some(front) = self.pending.pop() {
            self.begins_tls = front.method == Some(Method::Connect);
            let from = head_end.position;
            let to_http2 = if line.names_h2c { front.upgrade(from, self.options.path_bytes_max) } else { None };
            let is_websocket = line.names_websocket && line.status == SWITCHING_PROTOCOLS;
            let to_websocket = if is_websocket { front.websocket(from) } else { None };
            let next = to_http2.map(Next::Http2).or(to_websocket.map(Next::WebSocket));
            // HTTP/2 tells of the request itself.
            if !matches!(next, Some(Next::Http2(_))) {
                self.emit(&front, None, sink);
            }
            self.next = next.map(Box::new);
        }
        self.lose_all(LossReason::Upgraded, sink);
        self.become_foreign();
    }

    fn become_foreign_after(&mut self, cursor: &mut Cursor<'_>) {
        cursor.skip_rest();
        self.become_foreign();
    }

    /// The head that is only there in part will not get longer: takes what is known of it.
    pub(super) fn cut_partial_response(&mut self) {
        if let ResponseState::Head(partial) = &self.response
            && let Parsed::Partial(Some(line)) = head::parse_response(&partial.bytes, None)
            && !is_interim(line.status)
            && let Some(answer) = self.pending.front_mut().and_then(|front| front.answer.as_mut())
        {
            (answer.status, answer.kind) = (Some(line.status), line.kind);
        }
    }
}

/// Interim responses come before the final one (RFC 9110, 15.2). 101 is the last that this protocol says.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != SWITCHING_PROTOCOLS
}
