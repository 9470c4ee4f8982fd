//! Bytes that will not be seen: what they may have held is counted, and what is known in spite of them goes on.
//!
//! In: up to where a direction is missing. Out: losses, and states that the next turn settles.

use super::body::Body;
use super::exchanges::Pending;
use super::state::{Http1, RequestState, ResponseState};
use crate::stream::Mark;
use crate::{LossReason, Position, Sink};

impl Http1 {
    /// The bytes up to `to` will not be seen.
    pub(super) fn request_gap(&mut self, to: Position, sink: &mut Sink<'_>) {
        let last_ns = self.at.request.last_ns;
        match std::mem::replace(&mut self.request, RequestState::Unsure) {
            RequestState::Body(Body::Length { end }) if to < end => {
                self.request = RequestState::Body(Body::Length { end });
            }
            RequestState::Body(Body::Length { end }) => {
                // When its last byte was moved is not known.
                self.lose_back(LossReason::Gap, sink);
                self.end_request(Mark { position: end, at_ns: last_ns }, sink);
                if to > end {
                    self.miss_requests(to, sink);
                }
            }
            RequestState::Body(Body::Chunked(_)) => self.request_end_unknown(sink),
            RequestState::Head(partial) if partial.beginning.certain => self.miss_request(to, sink),
            RequestState::Boundary => self.miss_requests(to, sink),
            RequestState::Unsure | RequestState::Head(_) => self.refute_request_end(LossReason::Gap, sink),
            RequestState::GivenUp => self.request = RequestState::GivenUp,
        }
    }

    /// At least one request lies in a gap that ends at `to`.
    fn miss_requests(&mut self, to: Position, sink: &mut Sink<'_>) {
        let seen_by_its_response = self.pending.back().is_some_and(|back| back.method.is_none() && back.end.is_none());
        if seen_by_its_response {
            self.request = RequestState::Unsure;
        } else {
            self.miss_request(to, sink);
        }
    }

    /// A request lies in a gap that ends at `to`, in whole or in part.
    fn miss_request(&mut self, to: Position, sink: &mut Sink<'_>) {
        self.lose(LossReason::Gap, sink);
        if self.pipelined {
            return self.give_up(sink);
        }
        self.request = RequestState::Unsure;
        let mut unseen = Pending::placeholder(Mark { position: to, at_ns: self.now_ns });
        if !self.pending.is_empty() {
            // Whether the open ones were answered before is not known, so any of them may be answered next.
            self.lose_all(LossReason::Gap, sink);
            self.response = ResponseState::UntilTurn;
            unseen.begin_answer(self.at.response.position.unwrap_or(Position::START), self.now_ns);
        }
        self.pending.push(unseen);
    }

    /// The bytes up to `to` will not be seen.
    pub(super) fn response_gap(&mut self, to: Position, sink: &mut Sink<'_>) {
        let last_ns = self.at.response.last_ns;
        match std::mem::replace(&mut self.response, ResponseState::UntilTurn) {
            ResponseState::Body(Body::Length { end }) if to < end => {
                self.response = ResponseState::Body(Body::Length { end });
            }
            ResponseState::Body(Body::Length { end }) => {
                // When its last byte was moved is not known.
                self.lose_front(LossReason::Gap, sink);
                self.end_response(Mark { position: end, at_ns: last_ns }, sink);
                if to > end {
                    self.miss_response(end, sink);
                }
            }
            ResponseState::Body(Body::Chunked(_)) => self.response_end_unknown(sink),
            ResponseState::Boundary | ResponseState::Head(_) => {
                let position = self.at.response.position.unwrap_or(to);
                self.miss_response(position, sink);
            }
            state @ (ResponseState::UntilClose | ResponseState::UntilTurn | ResponseState::GivenUp) => {
                self.response = state;
            }
        }
    }

    /// The head of a response, or part of it, lies in a gap.
    fn miss_response(&mut self, position: Position, sink: &mut Sink<'_>) {
        if self.pending.is_empty() {
            self.cut_partial_request(sink);
        }
        self.refute(LossReason::Gap, sink);
        self.response_presumed = false;
        let now_ns = self.now_ns;
        match self.pending.front_mut() {
            Some(front) if front.answer_is_complete() => return self.give_up(sink),
            Some(front) => front.begin_answer(position, now_ns),
            None => {
                self.lose(LossReason::Gap, sink);
                self.push_unseen(position, now_ns);
            }
        }
        self.lose_front(LossReason::Gap, sink);
        self.response_end_unknown(sink);
    }
}
