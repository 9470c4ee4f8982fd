//! The end of a connection: what is still open leaves as failed exchanges or as losses.
//!
//! In: when and how the connection ended. Out: an exchange or a loss for each request that is open.

use super::connection::{Connection, RequestState, ResponseState};
use super::exchanges::Pending;
use crate::{CloseReason, Direction, Failure, LossReason, Sink};

impl Connection {
    /// Ends the connection: what is still open leaves as failed exchanges or as losses. Closing twice is harmless.
    pub fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>) {
        self.now_ns = self.now_ns.max(at_ns);
        self.release_early(sink);
        let request_cut_off = matches!(self.request.state, RequestState::Head(_) | RequestState::Body(_));
        self.cut_partial_request(sink);
        self.close_unconfirmed(how, sink);
        while let Some(pending) = self.pending.pop() {
            let request_cut_off = request_cut_off && self.pending.is_empty();
            self.close_exchange(pending, request_cut_off, how, sink);
        }
        self.become_foreign();
    }

    /// Nothing came behind the presumed end that could contradict it. That proves it if nothing more can come.
    fn close_unconfirmed(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let proven = match how {
            CloseReason::Finished => true,
            CloseReason::Reset | CloseReason::TimedOut => self.awaits(Direction::Request),
            CloseReason::Unobserved => false,
        };
        if proven {
            self.confirm(Direction::Request, sink);
            self.confirm(Direction::Response, sink);
        } else {
            self.refute(LossReason::Unfinished, sink);
        }
    }

    fn close_exchange(&mut self, mut pending: Pending, request_cut_off: bool, how: CloseReason, sink: &mut Sink<'_>) {
        let open_ended = matches!(self.response.state, ResponseState::UntilClose | ResponseState::UntilTurn);
        let complete =
            pending.answer_is_complete() || (open_ended && pending.answer.is_some() && how == CloseReason::Finished);
        let failure = match how {
            _ if complete => None,
            CloseReason::Unobserved => {
                self.lose_pending(&mut pending, LossReason::Unfinished, sink);
                None
            }
            CloseReason::Reset => Some(Failure::Reset),
            CloseReason::TimedOut => Some(Failure::TimedOut),
            CloseReason::Finished if pending.answer.is_some() => Some(Failure::ResponseIncomplete),
            CloseReason::Finished if request_cut_off => Some(Failure::RequestIncomplete),
            CloseReason::Finished => Some(Failure::NoResponse),
        };
        let request_cut = pending.end.is_none() && self.request.tail_missing;
        let response_cut = pending.answer.is_some() && !pending.answer_is_complete() && self.response.tail_missing;
        if request_cut || response_cut {
            self.lose_pending(&mut pending, LossReason::Gap, sink);
        }
        self.emit(pending, failure, sink);
        // Those behind it have no response.
        self.response.state = ResponseState::Boundary;
        self.response.tail_missing = false;
    }
}
