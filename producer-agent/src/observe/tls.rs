//! Connections under TLS of which a library in the program shows what is said.
//!
//! In: the records of the client's stream, and the library's calls. Out: requests, as of a connection in clear text, and what is wanted of the probes
//! from now on. What a connection speaks is then what is spoken under TLS; its encryption is told of as ever.

use headwater_probe_loader::types::{ANYWHERE, DataEvent, NOWHERE, interest, mark, records};
use headwater_protocols::tls::{Call, Plaintext, Tls};
use headwater_protocols::{
    Direction, Encryption, Interest as Wanted, Position, Protocol as _, Recognition, Segment, Side as ProtocolSide,
    Sink,
};

use super::connection::{Connection, Spoken};
use super::request::{self, Shared};
use super::spare::Spared;
use super::{Interest, Observer, Output, direction_of, known_of};

/// Of a record, and of the message in it (RFC 8446, 5.1 and 4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

impl Observer {
    /// A library has encrypted bytes of a connection, or decrypted them; requests come before their answers.
    pub(super) fn plaintext_in_order(
        &mut self,
        (event, number): (&DataEvent, i64),
        captured: &[u8],
        out: &mut impl FnMut(Output<'_>),
    ) {
        let socket = (event.connection_id, event.role);
        let Some(connection) = self.connections.get_mut(&socket) else {
            // A program may give its library the last word when the socket is gone: nobody hears it.
            if event.marks & mark::CARRIED == 0 || self.ended.get(&socket).is_none() {
                out(Output::RequestsDropped("connection_unknown", 1, self.refused.get(&socket)));
            }
            return;
        };
        connection.seen_in_walk = self.walk;
        connection.identity.owner.worked(captured.len());
        if connection.rests || connection.spared == Spared::Yes {
            return;
        }
        let known = known_of(&mut self.known, connection.cgroup());
        let other = (event.other_position != NOWHERE).then_some(Position(event.other_position));
        let is_carried = event.marks & mark::CARRIED != 0;
        let call = Call {
            position: Position(event.position),
            length: event.length.into(),
            captured,
            at_ns: event.at_ns,
            from: other.filter(|_| !is_carried),
            carried_to: other.filter(|_| is_carried),
            is_full: event.marks & mark::FULL != 0,
            is_ahead: event.marks & mark::AHEAD != 0,
            is_counted_from_start: event.position < ANYWHERE,
        };
        let (way, options) = (direction_of(event), self.shared.options.protocols);
        connection.plaintext.get_or_insert_with(|| Box::new(Plaintext::new(side_of(event.role), None)));
        // Its handshake may not have been seen.
        connection.encryption.get_or_insert_default();
        let before = connection.spoken();
        connection.callers.note(way, (event, number), before.interest != Wanted::Heads);
        feed(connection, &mut self.shared, out, |plaintext, facts, sink| {
            plaintext.call(way, &call, facts, (&options, &known), sink);
        });
        let wanted = connection.decide_under_tls(before);
        self.interests.extend(wanted.map(|interest| Interest {
            connection_id: event.connection_id,
            role: u32::from(event.role),
            interest,
        }));
        connection.book_memory(&mut self.shares);
        self.keep_to_memory(event.at_ns, out);
    }

    /// A server's program says that it sends no more.
    pub(super) fn end_under_tls(&mut self, event: &DataEvent, out: &mut impl FnMut(Output<'_>)) {
        let socket = (event.connection_id, event.role);
        self.take_ahead(socket, out);
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if connection.rests || connection.spared == Spared::Yes {
            return;
        }
        feed(connection, &mut self.shared, out, |plaintext, _, sink| {
            plaintext.end_of_stream(Direction::Response, event.at_ns, ProtocolSide::Server, sink);
        });
        connection.book_memory(&mut self.shares);
    }

    /// What a library was given begins to leave, at this place on the wire.
    pub(super) fn place(&mut self, event: &DataEvent) {
        let Some(connection) = self.connections.get_mut(&(event.connection_id, event.role)) else { return };
        let facts = connection.encryption.as_deref();
        if let Some(plaintext) = &mut connection.plaintext {
            let from = (event.other_position != NOWHERE).then_some(Position(event.other_position));
            plaintext.sent(direction_of(event), Position(event.position), event.length.into(), from, facts);
        }
    }
}

impl Connection {
    /// Takes bytes on the wire that may be records of TLS.
    pub(super) fn wire(&mut self, way: Direction, segment: &Segment<'_>) {
        if way != Direction::Request {
            return;
        }
        if self.plaintext.is_none() {
            let Some(header) = segment.captured.first_chunk::<5>() else { return };
            let [a, b, c, d, e] = *header;
            // Also where something else has gone before.
            let is_hello = a == HANDSHAKE && segment.captured.get(header.len()) == Some(&CLIENT_HELLO);
            let is_record = records::record_bytes(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])) != 0;
            // Of what speaks something else, bytes may look like this.
            if !is_record || !matches!(self.parser.protocol(), "" | Tls::NAME) {
                return;
            }
            let side = side_of(self.identity.socket.1);
            let begins = is_hello || segment.position == Position::START;
            self.plaintext = Some(Box::new(Plaintext::new(side, begins.then_some(segment.position))));
        }
        let facts = self.encryption.as_deref();
        if let Some(plaintext) = &mut self.plaintext {
            plaintext.wire(way, segment, facts);
        }
    }

    /// Whether its bytes are known to be encrypted by TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.parser.recognition() == Recognition::Recognised && self.parser.protocol() == Tls::NAME
    }

    /// Whether a library shows what is said.
    pub(super) fn is_seen_under_tls(&self) -> bool {
        self.plaintext.as_ref().is_some_and(|plaintext| plaintext.was_called())
    }

    /// What is spoken under TLS, as far as that is known.
    fn spoken(&self) -> Spoken {
        let parser = self.plaintext.as_ref().and_then(|plaintext| plaintext.parser());
        parser.map_or(Spoken::NOTHING, Spoken::by)
    }

    /// What is wanted of the connection from now on, where that has just changed.
    fn decide_under_tls(&mut self, before: Spoken) -> Option<u32> {
        let now = self.spoken();
        if now == before {
            return None;
        }
        if now.recognition == Recognition::Recognised {
            self.protocol = Some(now.protocol);
        }
        (now.recognition != Recognition::Undecided).then(|| self.wanted_under_tls())
    }

    /// What is wanted of a connection of which a library shows what is said.
    pub(super) fn wanted_under_tls(&self) -> u32 {
        let parser = self.plaintext.as_ref().and_then(|plaintext| plaintext.parser());
        match parser.map(|parser| (parser.recognition(), parser.interest())) {
            Some((Recognition::Recognised, Wanted::Frames)) => interest::RECORDS_OF_FRAMES,
            Some((Recognition::Recognised, Wanted::Calls)) => interest::RECORDS_OF_CALLS,
            Some((Recognition::Recognised, Wanted::Counters) | (Recognition::Foreign, _)) => interest::COUNTERS,
            _ => interest::RECORDS,
        }
    }
}

/// Feeds what follows the library's calls on a connection; what it finds goes out.
pub fn feed(
    connection: &mut Connection,
    shared: &mut Shared,
    out: &mut impl FnMut(Output<'_>),
    with: impl FnOnce(&mut Plaintext, Option<&Encryption>, &mut Sink<'_>),
) {
    let Connection { identity, plaintext, encryption, callers, requests, errors, heat, .. } = connection;
    let Some(plaintext) = plaintext else { return };
    with(plaintext, encryption.as_deref(), &mut |event| {
        request::found_under_tls(event, (identity, callers), heat, (requests, errors), shared, out);
    });
}

fn side_of(role: u16) -> ProtocolSide {
    if u32::from(role) == headwater_probe_loader::types::role::CLIENT {
        ProtocolSide::Client
    } else {
        ProtocolSide::Server
    }
}
