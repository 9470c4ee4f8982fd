//! The end of a connection: what is still open leaves as failed exchanges or as losses.
//!
//! In: when and how the connection ended. Out: an exchange or a loss for each request that is open.

use super::exchanges::Pending;
use super::state::{Http1, RequestState, ResponseState};
use crate::{CloseReason, Direction, Failure, LossReason, Side, Sink};

impl Http1 {
    /// What is still open leaves as failed exchanges or as losses. `server_ended`: the end of the server's stream was seen.
    pub(super) fn end(&mut self, how: CloseReason, server_ended: bool, sink: &mut Sink<'_>) {
        let request_cut_off = matches!(self.request, RequestState::Head(_) | RequestState::Body(_));
        self.cut_partial_request(sink);
        self.cut_partial_response();
        self.close_unconfirmed(how, sink);
        self.pending.forget_uncounted();
        while let Some(mut pending) = self.pending.pop() {
            let request_cut_off = request_cut_off && self.pending.is_empty();
            self.close_exchange(&mut pending, request_cut_off, how, server_ended, sink);
        }
        self.become_foreign();
    }

    /// Nothing came behind the presumed end that could contradict it. That proves it if nothing more can come.
    fn close_unconfirmed(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let proven = match how {
            CloseReason::Finished { .. } => true,
            CloseReason::Reset { .. } | CloseReason::TimedOut => self.awaits(Direction::Request),
            CloseReason::Unobserved => false,
        };
        if proven {
            self.confirm(Direction::Request, sink);
            self.confirm(Direction::Response, sink);
        } else {
            self.refute(LossReason::Unfinished, sink);
        }
    }

    fn close_exchange(
        &mut self,
        pending: &mut Pending,
        request_cut_off: bool,
        how: CloseReason,
        server_ended: bool,
        sink: &mut Sink<'_>,
    ) {
        let begun = pending.answer.is_some();
        let is_final = pending.answer.as_ref().is_some_and(|answer| answer.status.is_some())
            || matches!(self.response, ResponseState::Head(_));
        let complete = pending.answer_is_complete()
            || (begun
                && matches!(how, CloseReason::Finished { .. })
                && match self.response {
                    ResponseState::UntilTurn => true,
                    ResponseState::UntilClose => server_ended,
                    _ => false,
                });
        let failure = match how {
            _ if complete => None,
            CloseReason::Unobserved => {
                self.lose_pending(pending, LossReason::Unfinished, sink);
                None
            }
            CloseReason::TimedOut => Some(Failure::TimedOut),
            CloseReason::Finished { by: Side::Client } | CloseReason::Reset { by: Side::Client }
                if begun && is_final =>
            {
                Some(Failure::ClientLeft)
            }
            CloseReason::Reset { .. } => Some(Failure::Reset),
            CloseReason::Finished { .. } if begun => Some(Failure::ResponseIncomplete),
            CloseReason::Finished { .. } if request_cut_off => Some(Failure::RequestIncomplete),
            CloseReason::Finished { .. } => Some(Failure::NoResponse),
        };
        let request_cut = pending.end.is_none() && self.at.request.tail_missing;
        let response_cut = pending.answer.is_some() && !pending.answer_is_complete() && self.at.response.tail_missing;
        if request_cut || response_cut {
            self.lose_pending(pending, LossReason::Gap, sink);
        }
        self.emit(pending, failure, sink);
        // Those behind it have no response.
        self.response = ResponseState::Boundary;
        self.at.response.tail_missing = false;
    }
}
