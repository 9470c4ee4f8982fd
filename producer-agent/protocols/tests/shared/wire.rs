//! One connection, followed through the public interface: what is said, call by call, and what comes out.

// Each test needs a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use headwater_protocols::{CloseReason, Direction, Event, Follow, Kind, Position, Recognition, Side};

use crate::calls::Calls;

pub const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

pub struct Wire {
    connection: Option<Box<dyn Follow>>,
    /// `OPERATION resource addresses outcome code`, one for each exchange.
    pub seen: Vec<String>,
    pub kinds: Vec<Kind>,
    pub positions: Vec<Position>,
    pub losses: BTreeMap<&'static str, u64>,
    pub calls: Calls,
}

impl Wire {
    pub fn of(connection: Box<dyn Follow>, request: u64, response: u64) -> Wire {
        Wire {
            connection: Some(connection),
            seen: Vec::new(),
            kinds: Vec::new(),
            positions: Vec::new(),
            losses: BTreeMap::new(),
            calls: Calls::from(request, response),
        }
    }

    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    pub fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    /// One call moves these bytes, of which the first ones are captured.
    pub fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        self.with(|connection, wire| connection.segment(direction, &segment, &mut |event| wire.take(event)))
    }

    /// Each call moves so many bytes.
    pub fn in_pieces(&mut self, size: usize, direction: Direction, bytes: &[u8]) -> &mut Wire {
        for piece in bytes.chunks(size) {
            self.say(direction, piece, usize::MAX);
        }
        self
    }

    /// Calls move so many bytes, and nothing is told of them.
    pub fn miss(&mut self, direction: Direction, bytes: u64) -> &mut Wire {
        self.calls.missed(direction, bytes);
        self
    }

    pub fn wait(&mut self, seconds: u64) -> &mut Wire {
        self.calls.now_ns += seconds * 1_000_000_000;
        self
    }

    pub fn close(&mut self, how: CloseReason) -> &mut Wire {
        let now_ns = self.calls.now_ns;
        self.with(|connection, wire| connection.close(now_ns, how, &mut |event| wire.take(event)));
        assert!(self.connection().is_idle());
        self
    }

    pub fn recognition(&self) -> Recognition {
        self.connection().recognition()
    }

    pub fn heap_bytes(&self) -> usize {
        self.connection().heap_bytes()
    }

    /// What came out until now is another matter.
    pub fn forget(&mut self) -> &mut Wire {
        (self.seen, self.kinds, self.positions) = Default::default();
        self.losses.clear();
        self
    }

    #[track_caller]
    pub fn expect(&self, seen: &[&str], losses: &[(&'static str, u64)]) {
        assert_eq!(self.seen, seen, "{:?}", self.losses);
        assert_eq!(self.losses, losses.iter().copied().collect(), "{:?}", self.seen);
    }

    fn connection(&self) -> &dyn Follow {
        &**self.connection.as_ref().expect("it is only taken for a call")
    }

    fn with(&mut self, call: impl FnOnce(&mut Box<dyn Follow>, &mut Wire)) -> &mut Wire {
        let mut connection = self.connection.take().expect("it is only taken for a call");
        call(&mut connection, self);
        self.connection = Some(connection);
        self
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                let what = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| {
                    format!("{} {:?}", failure.as_str(), exchange.outcome)
                });
                let addresses: Vec<String> = exchange.addresses.iter().map(ToString::to_string).collect();
                let words = [exchange.method, exchange.resource, &addresses.join(","), &what, exchange.code.as_str()];
                self.seen.push(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
                self.kinds.push(exchange.kind);
                self.positions.push(exchange.request_position);
            }
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }
}
