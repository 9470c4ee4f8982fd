//! What is said under TLS, where a library of it was seen to encrypt and to decrypt it.
//!
//! In: the records of the client's stream, as `places.rs` says, and the library's calls. Out: what the protocol that is spoken makes of them, by the
//! parsers of clear text; exchanges are named by their places on the wire. One that has none is counted.
//! Bounds: those of the parser and of the places.

use super::places::{Moved, Places};
use crate::{
    CloseReason, Direction, Encryption, Event, Exchange, Known, Loss, LossReason, Options, Parser, Position, Segment,
    Side, Sink, stream::Both,
};

/// Follows one connection.
#[derive(Debug)]
pub struct Plaintext {
    side: Side,
    /// Its wire was seen from the handshake's first byte on.
    is_from_start: bool,
    places: Places,
    /// None before the first call.
    parser: Option<Parser>,
    was_called: bool,
    reached: Both<Option<Position>>,
    /// Behind the newest call of a program that moves the bytes itself, in the client's direction.
    carried_to: Option<Position>,
    is_carried: bool,
}

/// A call of the library that moved bytes.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Of the first byte, counted over what is encrypted.
    pub position: Position,
    pub length: u64,
    /// The first of the bytes.
    pub captured: &'a [u8],
    pub at_ns: u64,
    /// Where on the wire, in the same direction, this call and those that failed before it began to move bytes.
    pub from: Option<Position>,
    /// It moved all that was asked for, so that there may be more.
    pub is_full: bool,
    /// It is not known yet where on the wire it goes: [`Plaintext::sent`] says it.
    pub is_ahead: bool,
    /// Where the program moves the bytes between library and socket itself: the position behind the last byte of the call, which may be told of in parts.
    pub carried_to: Option<Position>,
    /// The session was seen from its beginning on.
    pub is_counted_from_start: bool,
}

impl Plaintext {
    /// `start`: where the client's handshake begins, if the first segment that will come begins with it.
    pub fn new(side: Side, start: Option<Position>) -> Self {
        Self {
            side,
            is_from_start: start.is_some(),
            places: Places::new(start.map(|start| start.0)),
            parser: None,
            was_called: false,
            reached: Both::default(),
            carried_to: None,
            is_carried: false,
        }
    }

    /// Bytes on the wire, of which at least the headers of records are captured. Only those of the client's stream count.
    pub fn wire(&mut self, direction: Direction, segment: &Segment<'_>, facts: Option<&Encryption>) {
        if direction == Direction::Request {
            self.places.wire(segment, facts);
        }
    }

    /// A call of the library.
    pub fn call(
        &mut self,
        direction: Direction,
        call: &Call<'_>,
        facts: Option<&Encryption>,
        (options, known): (&Options, &Known),
        sink: &mut Sink<'_>,
    ) {
        if !self.was_called && self.is_from_start && !call.is_counted_from_start {
            // The library was watched too late: at least one exchange may be missing.
            sink(Event::Loss(Loss { reason: LossReason::StartedBeforeCapture, count: 1 }));
        }
        self.was_called = true;
        self.is_carried |= call.carried_to.is_some();
        if direction == Direction::Request && !call.is_ahead {
            self.place(call, facts);
        }
        // The calls of a session come in their order. Both directions begin to count at one number.
        let first = if call.is_counted_from_start { Position::START } else { call.position };
        let segment = Segment {
            position: call.position,
            length: call.length,
            captured: call.captured,
            at_ns: call.at_ns,
            other_position: *self.reached[direction.opposite()].get_or_insert(first),
        };
        self.reached[direction] = Some(call.position.saturating_add(call.length));
        let parser = self.parser.get_or_insert_with(|| {
            let mut parser = Parser::new(self.side, options);
            parser.share(known);
            parser
        });
        let places = &self.places;
        parser.segment(direction, &segment, &mut |event| named(places, event, sink));
        if parser.is_idle() {
            self.places.forget();
        }
    }

    /// Finds the place of what a client's call encrypted or a server's decrypted.
    fn place(&mut self, call: &Call<'_>, facts: Option<&Encryption>) {
        let Call { position, length, from, is_full, carried_to, .. } = *call;
        let moved = Moved { start: position.0, bytes: length, from: from.map(|from| from.0), is_full, is_whole: false };
        match (self.side, carried_to) {
            (Side::Client, None) => self.places.sent(moved, facts),
            (Side::Server, None) => self.places.received(moved, facts),
            (side, Some(end)) => {
                // Its first part stands for the whole.
                if self.carried_to.is_some_and(|known| position < known && end == known) {
                    return;
                }
                self.carried_to = Some(end);
                let moved = Moved { bytes: end.0.saturating_sub(position.0), is_whole: true, ..moved };
                match side {
                    Side::Client => self.places.given(moved, facts),
                    Side::Server => self.places.received(moved, facts),
                }
            }
        }
    }

    /// What a call was given, of which [`Plaintext::call`] was told ahead, begins to leave: so many bytes from a position on, and where on the wire.
    pub fn sent(
        &mut self,
        direction: Direction,
        position: Position,
        length: u64,
        from: Option<Position>,
        facts: Option<&Encryption>,
    ) {
        if direction == Direction::Request {
            let from = from.map(|from| from.0);
            self.places.begins(Moved { start: position.0, bytes: length, from, is_full: true, is_whole: true }, facts);
        }
    }

    /// As [`Parser::end_of_stream`].
    pub fn end_of_stream(&mut self, direction: Direction, at_ns: u64, by: Side, sink: &mut Sink<'_>) {
        let Some(parser) = &mut self.parser else { return };
        parser.end_of_stream(direction, at_ns, by, &mut |event| named(&self.places, event, sink));
    }

    /// As [`Parser::close`].
    pub fn close(&mut self, at_ns: u64, how: CloseReason, sink: &mut Sink<'_>) {
        let Some(parser) = &mut self.parser else { return };
        parser.close(at_ns, how, &mut |event| named(&self.places, event, sink));
    }

    /// Whether a library was seen to encrypt or to decrypt something.
    pub fn was_called(&self) -> bool {
        self.was_called
    }

    /// Whether the program moves the bytes between library and socket itself.
    pub fn is_carried(&self) -> bool {
        self.is_carried
    }

    /// Follows it anew, from where it is.
    pub fn begin_anew(&mut self) {
        *self = Self { was_called: self.was_called, ..Self::new(self.side, None) };
    }

    /// What speaks under TLS, once there is something.
    pub fn parser(&self) -> Option<&Parser> {
        self.parser.as_ref()
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.places.heap_bytes() + self.parser.as_ref().map_or(0, Parser::heap_bytes)
    }
}

/// Passes an event on, by its name on the wire.
fn named(places: &Places, event: Event<'_>, sink: &mut Sink<'_>) {
    sink(match event {
        Event::Exchange(exchange) => match places.find(exchange.request_position) {
            Some(request_position) => Event::Exchange(Exchange { request_position, ..exchange }),
            None => Event::Loss(Loss { reason: LossReason::Unplaced, count: 1 }),
        },
        // Of what is encrypted twice, the outside is told of.
        Event::Encryption(_) => return,
        loss => loss,
    });
}
