//! What must hold of every exchange and every end of a connection, whatever the bytes are and whatever protocol they speak.

// Each target needs a part of it.
#![allow(dead_code)]

use headwater_protocols::{CloseReason, Event, Exchange, Position, Side};

/// Counts what came out, and checks it.
#[derive(Debug, Default)]
pub struct Checks {
    pub now_ns: u64,
    pub events: u64,
    pub exchanges: u64,
    last_request: Option<Position>,
}

impl Checks {
    /// Takes an event. Gives the exchange, if it is one.
    pub fn take<'e>(&mut self, event: Event<'e>) -> Option<Exchange<'e>> {
        self.events += 1;
        let exchange = match event {
            Event::Exchange(exchange) => exchange,
            Event::Loss(loss) => {
                assert!(loss.count > 0);
                return None;
            }
            Event::Encryption(_) => return None,
        };
        self.exchanges += 1;
        assert!(exchange.request_bytes > 0, "{exchange:?}");
        assert_eq!(exchange.response_position.is_some(), exchange.response_bytes > 0, "{exchange:?}");
        assert_eq!(exchange.response_position.is_some(), exchange.response_started_ns.is_some(), "{exchange:?}");
        assert_eq!(exchange.response_position.is_some(), exchange.response_ended_ns.is_some(), "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.request_ended_ns, "{exchange:?}");
        assert!(exchange.response_started_ns <= exchange.response_ended_ns, "{exchange:?}");
        assert!(exchange.completed_ns == self.now_ns, "{exchange:?} at {}", self.now_ns);
        assert!(exchange.request_ended_ns <= exchange.completed_ns, "{exchange:?}");
        assert!(exchange.response_ended_ns <= Some(exchange.completed_ns), "{exchange:?}");
        Some(exchange)
    }

    /// As [`take`](Self::take), where answers come in the order of what was asked.
    pub fn take_in_order<'e>(&mut self, event: Event<'e>) -> Option<Exchange<'e>> {
        let exchange = self.take(event)?;
        assert!(self.last_request < Some(exchange.request_position), "requests come in order and once: {exchange:?}");
        self.last_request = Some(exchange.request_position);
        Some(exchange)
    }
}

/// One of all ends that a connection can have.
pub fn end(number: u8, by: Side) -> CloseReason {
    [CloseReason::Finished { by }, CloseReason::Reset { by }, CloseReason::TimedOut, CloseReason::Unobserved]
        [usize::from(number & 3)]
}
