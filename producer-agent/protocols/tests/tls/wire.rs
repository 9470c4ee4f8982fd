//! One connection, and what is told of it.

use headwater_protocols::{
    CloseReason, Direction, Encryption, Event, Loss, LossReason, Options, Parser, Position, Recognition, Segment, Side,
};

use crate::openssl_peers::Calls;

pub struct Wire {
    pub parser: Parser,
    pub told: Vec<Encryption>,
    at: [u64; 2],
}

impl Wire {
    pub fn new(side: Side) -> Wire {
        Wire { parser: Parser::new(side, &Options::default()), told: Vec::new(), at: [0, 0] }
    }

    /// Calls of which the first bytes are captured.
    pub fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let (own, other) = (direction as usize, direction.opposite() as usize);
        let segment = Segment {
            position: Position(self.at[own]),
            length: bytes.len() as u64,
            captured: &bytes[..captured.min(bytes.len())],
            at_ns: 1,
            other_position: Position(self.at[other]),
        };
        self.at[own] += bytes.len() as u64;
        let Wire { parser, told, .. } = self;
        parser.segment(direction, &segment, &mut |event| match event {
            Event::Encryption(encryption) => told.push(encryption.clone()),
            other => panic!("{other:?}"),
        });
        self
    }

    /// Where the change to TLS is counted.
    pub fn upgrade(&mut self, direction: Direction, bytes: &[u8], told: &mut Vec<Encryption>) -> &mut Wire {
        let [own, other] = [direction, direction.opposite()].map(|direction| direction as usize);
        let segment = Segment {
            position: Position(self.at[own]),
            length: bytes.len() as u64,
            captured: bytes,
            at_ns: 1,
            other_position: Position(self.at[other]),
        };
        self.at[own] += bytes.len() as u64;
        self.parser.segment(direction, &segment, &mut |event| match event {
            Event::Encryption(encryption) => told.push(encryption.clone()),
            Event::Loss(Loss { reason: LossReason::Upgraded, .. }) => {}
            other => panic!("{other:?}"),
        });
        self
    }

    pub fn say_all(&mut self, calls: &Calls) -> &mut Wire {
        for (direction, bytes) in calls {
            self.say(*direction, bytes, usize::MAX);
        }
        self
    }

    /// Moved, and never told of.
    pub fn miss(&mut self, direction: Direction, bytes: u64) -> &mut Wire {
        self.at[direction as usize] += bytes;
        self
    }

    pub fn close(&mut self) -> &mut Wire {
        let Wire { parser, told, .. } = self;
        parser.close(1, CloseReason::Unobserved, &mut |event| match event {
            Event::Encryption(encryption) => told.push(encryption.clone()),
            other => panic!("{other:?}"),
        });
        assert!(parser.is_idle() && parser.heap_bytes() == 0);
        self
    }

    /// What was told, once, as soon as possible: no bytes are kept or wanted any more.
    #[track_caller]
    pub fn only(&self) -> &Encryption {
        assert_eq!(self.told.len(), 1);
        assert_eq!((self.parser.recognition(), self.parser.protocol()), (Recognition::Recognised, "tls"));
        assert!(self.parser.heap_bytes() == 0 && self.parser.is_idle());
        &self.told[0]
    }
}
