//! What is said under TLS, through the public interface: a client and a server that use a library with OpenSSL's habits, of whose calls some may be missed. Both
//! ends name a request alike, or not at all.

use std::collections::BTreeMap;

use headwater_protocols::tls::{Call, Plaintext};
use headwater_protocols::{
    Direction, Encryption, Event, Known, LossReason, Options, Position, Segment, Side, Sink, Version,
};
use proptest::prelude::*;

const RECORD_BYTES_MAX: usize = 1 << 14;
/// A call is told of in parts of so many bytes, where it is.
const PART_BYTES: usize = 3_000;
/// Where sessions begin to count whose beginning was not seen.
const ANYWHERE: u64 = 1 << 61;

/// How one connection goes.
#[derive(Clone, Debug)]
struct Plan {
    /// Bytes of the bodies of requests, each in so many calls.
    requests: Vec<(usize, usize)>,
    facts: Option<Encryption>,
    overhead: usize,
    /// The handshake's last record comes in one call with the first request's.
    is_finished_late: bool,
    /// Bytes that a call of the server's library reads at most; 0 for what it needs.
    reads_ahead: usize,
    /// Room of a call of the server's program.
    room: usize,
    /// Calls that are missed, of both ends and on the wire, by their number.
    missed: Vec<usize>,
    /// Both were there from the beginning on.
    is_from_start: bool,
    /// What the client's library is given is told of before its records, as of Go's.
    is_ahead: bool,
    /// Both programs move the bytes themselves, the server's so many at a time at least.
    carries: Option<usize>,
}

/// One end, and what was found there: places by path.
struct End {
    side: Side,
    plaintext: Plaintext,
    facts: Option<Encryption>,
    events: usize,
    missed: Vec<usize>,
    moved: [u64; 2],
    base: u64,
    named: BTreeMap<String, u64>,
    unplaced: u64,
}

impl End {
    fn new(side: Side, plan: &Plan) -> End {
        End {
            side,
            plaintext: Plaintext::new(side, plan.is_from_start.then_some(Position::START)),
            facts: plan.facts.clone(),
            events: 0,
            missed: plan.missed.clone(),
            moved: [0; 2],
            base: if plan.is_from_start { 0 } else { ANYWHERE + 77 },
            named: BTreeMap::new(),
            unplaced: 0,
        }
    }

    fn is_missed(&mut self) -> bool {
        self.events += 1;
        self.missed.contains(&(self.events + if self.side == Side::Client { 0 } else { 1000 }))
    }

    fn wire(&mut self, position: u64, bytes: &[u8], other: u64) {
        if self.is_missed() {
            return;
        }
        let segment = Segment {
            position: Position(position),
            length: bytes.len() as u64,
            captured: bytes,
            at_ns: 1,
            other_position: Position(other),
        };
        self.plaintext.wire(Direction::Request, &segment, self.facts.as_ref());
    }

    fn call(&mut self, direction: Direction, bytes: &[u8], from: Option<u64>, is_full: bool) {
        self.one_call(direction, bytes, from, is_full, false, None);
    }

    /// The call is told of in parts of so many bytes.
    fn call_carried(&mut self, bytes: &[u8], is_full: bool, part_bytes: usize) {
        let end = self.base + self.moved[Direction::Request as usize] + bytes.len() as u64;
        for part in bytes.chunks(part_bytes) {
            self.one_call(Direction::Request, part, None, is_full, false, Some(Position(end)));
        }
    }

    /// Returns the position at which it begins.
    fn call_ahead(&mut self, bytes: &[u8]) -> u64 {
        let start = self.base + self.moved[Direction::Request as usize];
        self.one_call(Direction::Request, bytes, None, false, true, None);
        start
    }

    fn sent(&mut self, start: u64, length: usize, from: u64) {
        if !self.is_missed() {
            let (start, from) = (Position(start), Some(Position(from)));
            self.plaintext.sent(Direction::Request, start, length as u64, from, self.facts.as_ref());
        }
    }

    fn one_call(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        from: Option<u64>,
        is_full: bool,
        is_ahead: bool,
        carried_to: Option<Position>,
    ) {
        let moved = &mut self.moved[direction as usize];
        let position = Position(self.base + *moved);
        *moved += bytes.len() as u64;
        if self.is_missed() {
            return;
        }
        let call = Call {
            position,
            length: bytes.len() as u64,
            captured: &bytes[..bytes.len().min(RECORD_BYTES_MAX)],
            at_ns: self.events as u64,
            from: from.map(Position),
            is_full,
            is_ahead,
            carried_to,
            is_counted_from_start: self.base == 0,
        };
        let (named, unplaced) = (&mut self.named, &mut self.unplaced);
        let mut sink = |event: Event<'_>| match event {
            Event::Exchange(exchange) => {
                let before = named.insert(exchange.path.to_owned(), exchange.request_position.0);
                assert_eq!(before, None, "{} is doubled", exchange.path);
            }
            Event::Loss(loss) => *unplaced += if loss.reason == LossReason::Unplaced { loss.count } else { 0 },
            Event::Encryption(_) => {}
        };
        let sink: &mut Sink<'_> = &mut sink;
        let known = Known::default();
        self.plaintext.call(direction, &call, self.facts.as_ref(), (&Options::default(), &known), sink);
    }
}

/// The server's library: records that were received and not decrypted yet, and what is left of the one that was.
#[derive(Default)]
struct Library {
    held: Vec<u8>,
    /// Position behind what was received.
    received: u64,
    opened: Vec<u8>,
}

impl Library {
    /// One call of the program. `wire` holds all that the client has sent.
    fn read(&mut self, wire: &Wire, plan: &Plan, server: &mut End) -> usize {
        let mut from = None;
        while self.opened.is_empty() {
            let needed = match self.held.get(3..5) {
                Some(length) => 5 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => 5,
            };
            if self.held.len() < needed {
                let missing = needed - self.held.len();
                let left = wire.bytes.len() - self.received as usize;
                let ahead = plan.carries.unwrap_or(plan.reads_ahead);
                let wanted = if ahead == 0 { missing } else { ahead.max(missing) }.min(left);
                assert!(wanted > 0, "the server waits for ever");
                from.get_or_insert(self.received);
                let bytes = &wire.bytes[self.received as usize..][..wanted];
                server.wire(self.received, bytes, 1);
                self.received += wanted as u64;
                self.held.extend_from_slice(bytes);
            } else if needed > 5 || self.held.len() >= 5 && self.held[3..5] == [0, 0] {
                let record: Vec<u8> = self.held.drain(..needed).collect();
                let is_data = wire.is_data(self.received - self.held.len() as u64 - needed as u64);
                if is_data {
                    self.opened = record[5..needed - plan.overhead].to_vec();
                }
            }
        }
        let bytes: Vec<u8> = self.opened.drain(..self.opened.len().min(plan.room)).collect();
        let is_full = bytes.len() == plan.room;
        if plan.carries.is_some() {
            server.call_carried(&bytes, is_full, PART_BYTES);
        } else {
            server.call(Direction::Request, &bytes, from, is_full);
        }
        bytes.len()
    }
}

/// The client's stream. What is encrypted stands there as it is.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    data: Vec<u64>,
}

impl Wire {
    fn push(&mut self, content: u8, held: &[u8], overhead: usize, is_data: bool) -> (u64, usize) {
        let start = self.bytes.len();
        if is_data {
            self.data.push(start as u64);
        }
        self.bytes.extend([content, 3, 3]);
        self.bytes.extend(((held.len() + overhead) as u16).to_be_bytes());
        self.bytes.extend_from_slice(held);
        self.bytes.resize(self.bytes.len() + overhead, 0);
        (start as u64, self.bytes.len() - start)
    }

    fn is_data(&self, start: u64) -> bool {
        self.data.contains(&start)
    }
}

fn talk(plan: &Plan) -> [End; 2] {
    let mut ends = [End::new(Side::Client, plan), End::new(Side::Server, plan)];
    let [client, server] = &mut ends;
    let (mut wire, mut library) = (Wire::default(), Library::default());
    wire.push(22, &[1; 300], 0, false);
    if plan.facts.as_ref().is_some_and(|facts| facts.version == Some(Version::Tls1_3)) || plan.facts.is_none() {
        wire.push(23, &[20; 36], plan.overhead, false);
    } else {
        wire.push(22, &[20; 40], 0, false);
    }
    let handshake = wire.bytes.clone();
    if plan.is_from_start {
        client.wire(0, &handshake, 1);
        if !plan.is_finished_late {
            server.wire(0, &handshake, 1);
        }
    }
    if !plan.is_finished_late || !plan.is_from_start {
        library.received = handshake.len() as u64;
    }
    for (number, (length, calls)) in plan.requests.iter().enumerate() {
        let mut request = format!("POST /{number} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.resize(request.len() + length, b'x');
        for part in request.chunks(request.len().div_ceil(*calls)) {
            if plan.carries.is_some() {
                client.call_carried(part, true, PART_BYTES);
            }
            let begun = (plan.is_ahead && plan.carries.is_none()).then(|| client.call_ahead(part));
            let mut from = None;
            for held in part.chunks(RECORD_BYTES_MAX) {
                let (start, length) = wire.push(23, held, plan.overhead, true);
                client.wire(start, &wire.bytes[start as usize..][..length], 1);
                if from.is_none()
                    && let Some(begun) = begun
                {
                    client.sent(begun, part.len(), start);
                }
                from.get_or_insert(start);
            }
            if begun.is_none() && plan.carries.is_none() {
                client.call(Direction::Request, part, from, true);
            }
        }
        let mut left = request.len();
        while left > 0 {
            left -= library.read(&wire, plan, server);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        server.call(Direction::Response, answer, None, true);
        client.call(Direction::Response, answer, None, false);
    }
    ends
}

fn facts(version: Version, suite: &'static str) -> Option<Encryption> {
    Some(Encryption { version: Some(version), cipher_suite: Some(suite.into()), ..Encryption::default() })
}

fn cipher() -> impl Strategy<Value = (Option<Encryption>, usize)> {
    prop_oneof![
        Just((facts(Version::Tls1_3, "TLS_AES_128_GCM_SHA256"), 17)),
        Just((facts(Version::Tls1_2, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), 24)),
        Just((facts(Version::Tls1_2, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"), 16)),
        Just((None, 17)),
        Just((None, 24)),
    ]
}

fn plan(missed: impl Strategy<Value = Vec<usize>>) -> impl Strategy<Value = Plan> {
    let requests =
        proptest::collection::vec((prop_oneof![Just(7_usize), 0..200_usize, 10_000..60_000_usize], 1..4_usize), 1..30);
    let room = prop_oneof![Just(RECORD_BYTES_MAX), 64..5_000_usize];
    let reads_ahead = prop_oneof![Just(0_usize), 1..100_usize, Just(16_389_usize)];
    let carries = proptest::option::of(prop_oneof![Just(0_usize), 1..200_usize, Just(65_536_usize)]);
    let ways = (any::<bool>(), any::<bool>(), carries);
    (requests, cipher(), any::<bool>(), reads_ahead, room, missed, ways).prop_map(
        |(requests, (facts, overhead), is_finished_late, reads_ahead, room, missed, (starts, is_ahead, carries))| {
            Plan {
                is_ahead,
                // Sessions that were not seen from their beginning on have no socket there.
                carries: carries.filter(|_| starts && facts.is_some()),
                requests,
                // Whoever saw the beginning saw the handshake.
                is_from_start: starts && facts.is_some(),
                facts,
                overhead,
                is_finished_late,
                reads_ahead,
                room,
                missed,
            }
        },
    )
}

proptest! {
    /// Where nothing is missed, everything has the same place at both ends: where the record begins that holds it.
    #[test]
    fn both_ends_name_all_alike(plan in plan(Just(Vec::new()))) {
        let [client, server] = talk(&plan);
        // That a call has taken all of a record is not proven by its length alone, before the cipher is known.
        if plan.facts.is_some() || plan.room == RECORD_BYTES_MAX {
            prop_assert_eq!(&client.named, &server.named);
            prop_assert_eq!(client.named.len(), plan.requests.len());
            prop_assert_eq!(client.unplaced + server.unplaced, 0);
        }
        for (path, place) in &server.named {
            prop_assert_eq!(client.named.get(path), Some(place));
        }
    }

    /// Where calls are missed, no request has two names.
    #[test]
    fn what_is_missed_makes_no_name_wrong(plan in plan(proptest::collection::vec(prop_oneof![1..60_usize, 1001..1060_usize], 1..6))) {
        let [client, server] = talk(&plan);
        for (path, place) in &server.named {
            prop_assert!(client.named.get(path).is_none_or(|other| other == place), "{}: {:?} {:?}", path, client.named.get(path), place);
        }
    }
}

/// A connection of TLS 1.3 whose handshake was not seen; what is said on it, the test says.
fn from_the_middle() -> Plan {
    Plan {
        requests: vec![],
        facts: facts(Version::Tls1_3, "TLS_AES_128_GCM_SHA256"),
        overhead: 17,
        is_finished_late: false,
        reads_ahead: 0,
        room: 0,
        missed: vec![],
        is_from_start: false,
        is_ahead: false,
        carries: None,
    }
}

/// As Go's server is seen from the middle of a connection on: an answer of which the request was not seen, then what its goroutines were in the midst of is passed over.
#[test]
fn http2_from_the_middle_is_followed_where_an_answer_comes_first() {
    let request = |stream: u8, path: &str| {
        let mut block = vec![0x82, 0x87, 0x04, path.len() as u8];
        block.extend(path.as_bytes());
        [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream][..], &block].concat()
    };
    let answer =
        |stream: u8| [&[0, 0, 1, 1, 4, 0, 0, 0, stream, 0x88, 0, 0, 3, 0, 1, 0, 0, 0, stream][..], b"ok\n"].concat();
    let plan = from_the_middle();
    for (skipped, reads_heads_alone) in [(0, false), (1000, false), (0, true), (1000, true)] {
        let mut server = End::new(Side::Server, &plan);
        let mut wire = 5_000;
        server.call(Direction::Response, &answer(7), None, false);
        server.moved[Direction::Request as usize] += skipped;
        for (stream, path) in [(9, "/ok/1"), (11, "/ok/2"), (13, "/ok/3")] {
            let said = request(stream, path);
            let record = [&[23, 3, 3, 0, said.len() as u8 + 17][..], &vec![0; said.len() + 17]].concat();
            server.wire(wire, &record, 0);
            if reads_heads_alone {
                server.call(Direction::Request, &said[..9], Some(wire), true);
                server.call(Direction::Request, &said[9..], None, true);
            } else {
                server.call(Direction::Request, &said, Some(wire), false);
            }
            wire += record.len() as u64;
            server.call(Direction::Response, &answer(stream), None, false);
        }
        assert_eq!((server.named.len(), server.unplaced), (3, 0), "{skipped} {reads_heads_alone} {:?}", server.named);
    }
}

/// The probes tell of a call in parts where the heads of frames lie far apart in it; all say where the call began on the wire.
#[test]
fn a_call_that_is_told_of_in_parts_has_its_place() {
    let plan = from_the_middle();
    for side in [Side::Client, Side::Server] {
        let mut end = End::new(side, &plan);
        for (number, wire) in [(1, 5_000), (2, 6_000)] {
            let said = format!("POST /ok/{number} HTTP/1.1\r\nContent-Length: 40\r\n\r\n{}", "x".repeat(40));
            let record = [&[23, 3, 3, 0, said.len() as u8 + 17][..], &vec![0; said.len() + 17]].concat();
            end.wire(wire, &record, 0);
            for part in [&said[..60], &said[60..80], &said[80..]] {
                end.call(Direction::Request, part.as_bytes(), Some(wire), false);
            }
            end.call(Direction::Response, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None, false);
        }
        let expected = BTreeMap::from([("/ok/1".to_owned(), 5_000), ("/ok/2".to_owned(), 6_000)]);
        assert_eq!((end.named, end.unplaced), (expected, 0), "{side:?}");
    }
}
