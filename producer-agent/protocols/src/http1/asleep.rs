//! An idle connection: a node may have a hundred thousand of them, so of each no more is kept than is needed to go on.

use super::state::{Http1, RequestState, ResponseState};
use crate::protocol::{Interest, Protocol, Sleeping};
use crate::{Connection, Follow, OrderOptions, Position, Side};

/// A connection on which each request was answered, and where the next ones begin.
#[derive(Debug)]
struct Asleep {
    options: super::Options,
    order: OrderOptions,
    side: Side,
    request: Position,
    response: Position,
}

impl Http1 {
    pub(super) fn fall_asleep(&self, side: Side, order: OrderOptions) -> Option<Box<dyn Sleeping>> {
        let at_boundaries =
            matches!((&self.request, &self.response), (RequestState::Boundary, ResponseState::Boundary));
        let is_certain = !self.pipelined && !self.response_presumed && !self.begins_tls && self.next.is_none();
        let (request, response) = (self.at.request, self.at.response);
        let is_whole = !request.tail_missing && !response.tail_missing;
        if !(at_boundaries && is_certain && is_whole && self.pending.is_empty() && !self.has_unconfirmed()) {
            return None;
        }
        let (request, response) = (request.position?, response.position?);
        Some(Box::new(Asleep { options: self.options, order, side, request, response }))
    }
}

impl Sleeping for Asleep {
    fn name(&self) -> &'static str {
        Http1::NAME
    }

    fn interest(&self) -> Interest {
        Http1::INTEREST
    }

    fn wake(&self) -> Box<dyn Follow> {
        let mut http1 = Http1::recognised(self.options);
        http1.at.request.position = Some(self.request);
        http1.at.response.position = Some(self.response);
        Box::new(Connection::new(self.side, self.order, http1))
    }
}
