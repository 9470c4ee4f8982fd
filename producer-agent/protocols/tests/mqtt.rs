//! MQTT of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "../fuzz/control.rs"]
mod control;
#[path = "../fuzz/flights.rs"]
mod flights;

use std::collections::BTreeMap;

use calls::Calls;
use headwater_protocols::mqtt::{Mqtt, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Follow, Kind, OrderOptions, Position, Recognition, Side,
};
use headwater_testing::Random;

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNACK: &[u8] = b"\x20\x02\0\0";
const CONNECT_FIVE: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c";
const CONNACK_FIVE: &[u8] = b"\x20\x03\0\0\0";
const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

struct Wire {
    connection: Connection<Mqtt>,
    /// `OPERATION topic outcome code`, one for each exchange.
    seen: Vec<String>,
    kinds: Vec<Kind>,
    positions: Vec<Position>,
    losses: BTreeMap<&'static str, u64>,
    calls: Calls,
}

impl Wire {
    fn at(request: u64, response: u64) -> Wire {
        Wire {
            connection: Connection::new(Side::Server, OrderOptions::default(), Mqtt::new(Options::default())),
            seen: Vec::new(),
            kinds: Vec::new(),
            positions: Vec::new(),
            losses: BTreeMap::new(),
            calls: Calls::from(request, response),
        }
    }

    /// Its client has connected.
    fn connected() -> Wire {
        let mut wire = Wire::at(0, 0);
        wire.request(CONNECT).response(CONNACK).forget();
        wire
    }

    fn connected_five() -> Wire {
        let mut wire = Wire::at(0, 0);
        wire.request(CONNECT_FIVE).response(CONNACK_FIVE).forget();
        wire
    }

    fn forget(&mut self) {
        assert_eq!(self.seen, ["CONNECT Ok"]);
        (self.seen, self.kinds, self.positions) = Default::default();
    }

    fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let mut connection = std::mem::replace(&mut self.connection, Wire::at(0, 0).connection);
        connection.segment(direction, &segment, &mut |event| self.take(event));
        self.connection = connection;
        self
    }

    fn close(&mut self, how: CloseReason) -> &mut Wire {
        let mut connection = std::mem::replace(&mut self.connection, Wire::at(0, 0).connection);
        connection.close(self.calls.now_ns, how, &mut |event| self.take(event));
        assert!(connection.is_idle());
        self.connection = connection;
        self
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                let what = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| {
                    format!("{} {:?}", failure.as_str(), exchange.outcome)
                });
                let words = [exchange.method, exchange.resource, &what, exchange.code.as_str()];
                self.seen.push(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
                self.kinds.push(exchange.kind);
                self.positions.push(exchange.request_position);
            }
            Event::Loss(loss) => *self.losses.entry(loss.reason.as_str()).or_default() += loss.count,
            Event::Encryption(_) => {}
        }
    }

    #[track_caller]
    fn expect(&self, seen: &[&str], losses: &[(&'static str, u64)]) {
        assert_eq!(self.seen, seen, "{:?}", self.losses);
        assert_eq!(self.losses, losses.iter().copied().collect(), "{:?}", self.seen);
    }
}

/// MQTT 3.1.1, 3.1 to 3.14.
#[test]
fn both_sides_ask_and_each_has_numbers_of_its_own() {
    for cut in 1..30 {
        let mut wire = Wire::at(0, 0);
        let mut in_pieces = |direction, bytes: &[u8]| {
            for piece in bytes.chunks(cut) {
                wire.say(direction, piece, usize::MAX);
            }
        };
        in_pieces(Direction::Request, CONNECT);
        in_pieces(Direction::Response, CONNACK);
        // A subscription, a message of each quality, a ping; the broker sends messages with the same numbers.
        in_pieces(
            Direction::Request,
            b"\x82\x08\0\x01\0\x03a/+\x01\x30\x05\0\x01bhi\x32\x07\0\x01c\0\x02hi\x34\x07\0\x01d\0\x03hi\xc0\0",
        );
        in_pieces(
            Direction::Response,
            b"\x90\x03\0\x01\x01\x30\x05\0\x01ehi\x32\x07\0\x01f\0\x02hi\x34\x07\0\x01g\0\x03hi\x40\x02\0\x02\x50\x02\0\x03\xd0\0",
        );
        in_pieces(Direction::Request, b"\x40\x02\0\x02\x50\x02\0\x03\x62\x02\0\x03");
        in_pieces(Direction::Response, b"\x70\x02\0\x03\x62\x02\0\x03");
        in_pieces(Direction::Request, b"\x70\x02\0\x03\xa2\x07\0\x04\0\x03a/+\xe0\0");
        in_pieces(Direction::Response, b"\xb0\x02\0\x04");
        wire.close(FINISHED).expect(
            &[
                "CONNECT Ok",
                "PUBLISH b Ok",
                "SUBSCRIBE a/+ Ok",
                "DELIVER e Ok",
                "PUBLISH c Ok",
                "PINGREQ Ok",
                "DELIVER f Ok",
                "PUBLISH d Ok",
                "DELIVER g Ok",
                "UNSUBSCRIBE a/+ Ok",
            ],
            &[],
        );
        use Kind::{Call, OneWay, Wait};
        assert_eq!(wire.kinds, [Call, OneWay, Call, OneWay, Call, Call, Wait, Call, Wait, Call]);
        assert_eq!(wire.positions[3], Position(9).of_server());
        let mut names = wire.positions.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), wire.positions.len());
    }
}

/// MQTT 3.1.1, 3.2.2.3 and 3.9.3; MQTT 5.0, 2.4.
#[test]
fn reasons_say_what_became_of_it() {
    for (answer, expected) in [
        (&b"\x20\x02\0\x05"[..], "CONNECT ClientError NOT_AUTHORIZED"),
        (b"\x20\x02\0\x03", "CONNECT ServerError SERVER_UNAVAILABLE"),
    ] {
        Wire::at(0, 0).request(CONNECT).response(answer).expect(&[expected], &[]);
    }
    let mut wire = Wire::at(0, 0);
    wire.request(CONNECT_FIVE).response(b"\x20\x03\0\x87\0").expect(&["CONNECT ClientError NOT_AUTHORIZED"], &[]);
    let mut wire = Wire::connected();
    wire.request(b"\x82\x0b\0\x01\0\x01a\x01\0\x02bb\x01").response(b"\x90\x04\0\x01\x01\x80");
    wire.expect(&["SUBSCRIBE a ClientError FAILURE"], &[]);
    let mut wire = Wire::connected_five();
    wire.request(b"\x32\x06\0\x01a\0\x01\0").response(b"\x40\x03\0\x01\x10");
    wire.request(b"\x32\x06\0\x01a\0\x02\0").response(b"\x40\x04\0\x02\x97\0");
    // What is refused at once is not released.
    wire.request(b"\x34\x06\0\x01a\0\x03\0").response(b"\x50\x03\0\x03\x87");
    wire.request(b"\x82\x07\0\x04\0\0\x01b\0").response(b"\x90\x07\0\x04\x03\x1f\0\0\x8f");
    wire.request(b"\xa2\x06\0\x05\0\0\x01b").response(b"\xb0\x04\0\x05\0\x11");
    // A subscriber that fails is no broker that fails.
    wire.response(b"\x32\x06\0\x01z\0\x09\0").request(b"\x40\x03\0\x09\x80");
    wire.expect(
        &[
            "PUBLISH a Ok NO_SUBSCRIBERS",
            "PUBLISH a ServerError QUOTA_EXCEEDED",
            "PUBLISH a ClientError NOT_AUTHORIZED",
            "SUBSCRIBE b ClientError INVALID_FILTER",
            "UNSUBSCRIBE b Ok NO_SUBSCRIPTION",
            "DELIVER z ClientError UNSPECIFIED",
        ],
        &[],
    );
}

/// MQTT 5.0, 3.3.2.3.4.
#[test]
fn a_number_stands_for_a_topic_that_was_seen() {
    let mut wire = Wire::connected_five();
    // Another property stands before the number.
    wire.request(b"\x30\x0c\0\x01a\x08\x02\0\0\0\x09\x23\0\x07").request(b"\x30\x06\0\0\x03\x23\0\x07");
    wire.request(b"\x30\x06\0\0\x03\x23\0\x08").response(b"\x30\x06\0\0\x03\x23\0\x07");
    wire.expect(&["PUBLISH a Ok", "PUBLISH a Ok", "PUBLISH Ok", "DELIVER Ok"], &[("value_unknown", 2)]);
}

#[test]
fn topics_are_told_without_identifiers_and_with_a_bound() {
    let mut wire = Wire::connected();
    for topic in ["devices/4711/state", "/devices/4711", "$SYS/broker/uptime", "user@shop/x"] {
        let packet = [&[0x30, topic.len() as u8 + 2, 0, topic.len() as u8], topic.as_bytes()].concat();
        wire.request(packet);
    }
    let words = "word/".repeat(40);
    wire.request([&[0x32, 0xcc, 0x01, 0, 0xc8][..], words.as_bytes(), b"\0\x07"].concat()).response(b"\x40\x02\0\x07");
    wire.expect(
        &[
            "PUBLISH devices/{id}/state Ok",
            "PUBLISH /devices/{id} Ok",
            "PUBLISH $SYS/broker/uptime Ok",
            "PUBLISH {id}/x Ok",
            "PUBLISH word/word/word/word/word/word/word/word/{more} Ok",
        ],
        &[],
    );
}

#[test]
fn payloads_need_not_be_captured() {
    let mut wire = Wire::connected();
    let large = [&b"\x32\x88\x27\0\x01a\0\x01"[..], &[b'x'; 4_995]].concat();
    wire.say(Direction::Request, &large[..100], 20).say(Direction::Request, &large[100..], 0);
    wire.response(b"\x40\x02\0\x01").expect(&["PUBLISH a Ok"], &[]);
    // A call within the payload is missing altogether.
    wire.request(&large[..100]).calls.missed(Direction::Request, 900);
    wire.request(&large[1_000..]).response(b"\x40\x02\0\x01").request(b"\xc0\0").response(b"\xd0\0");
    wire.close(FINISHED).expect(&["PUBLISH a Ok", "PUBLISH a Ok", "PINGREQ Ok"], &[]);
    // The number stands behind what was captured: it is counted, and its answer is nobody else's.
    let mut wire = Wire::connected();
    wire.say(Direction::Request, &large, 6).response(b"\x40\x02\0\x01").close(FINISHED);
    wire.expect(&[], &[("head_not_captured", 1)]);
}

#[test]
fn a_connection_is_followed_from_its_middle() {
    let mut wire = Wire::at(5_000, 9_000);
    wire.request(b"rest of a payload").response(b"\x40\x02\0\x01");
    for id in 2..8 {
        let publish = [&b"\x32\x07\0\x01a\0"[..], &[id], b"hi"].concat();
        // A broker reads the type, the length and the rest.
        wire.request(&publish[..1]).request(&publish[1..2]).request(&publish[2..]);
        wire.response([0x40, 2, 0, id]);
    }
    assert_eq!(wire.connection.recognition(), Recognition::Recognised);
    wire.close(FINISHED);
    assert_eq!(wire.seen, ["PUBLISH a Ok"; 4]);
    assert!(wire.losses["started_before_capture"] >= 2, "{:?}", wire.losses);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, expected) in [
        (FINISHED, ["PUBLISH a no_response Unanswered", "DELIVER b no_response Unknown"]),
        (CloseReason::Reset { by: Side::Server }, ["PUBLISH a reset Unanswered", "DELIVER b reset Unknown"]),
        (CloseReason::TimedOut, ["PUBLISH a timed_out Unanswered", "DELIVER b timed_out Unknown"]),
    ] {
        let mut wire = Wire::connected();
        wire.request(b"\x32\x05\0\x01a\0\x01").response(b"\x32\x05\0\x01b\0\x01").close(how).expect(&expected, &[]);
    }
    let mut wire = Wire::connected();
    wire.request(b"\x32\x05\0\x01a\0\x01").close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
    // A broker says why it ends the connection.
    let mut wire = Wire::connected_five();
    wire.request(b"\x32\x06\0\x01a\0\x01\0")
        .response(b"\xe0\x02\x8b\0")
        .close(CloseReason::Finished { by: Side::Server });
    wire.expect(&["PUBLISH a no_response Unanswered SERVER_SHUTTING_DOWN"], &[]);
}

/// MQTT 3.1.1, 4.4: what was not acknowledged is sent again on the next connection.
#[test]
fn what_was_begun_on_another_connection_ends_here_untold() {
    let mut wire = Wire::connected();
    wire.request(b"\x62\x02\0\x09").response(b"\x70\x02\0\x09");
    wire.request(b"\x3c\x05\0\x01a\0\x01")
        .response(b"\x50\x02\0\x01")
        .request(b"\x62\x02\0\x01")
        .response(b"\x70\x02\0\x01");
    wire.close(FINISHED);
    assert_eq!(wire.seen, ["PUBLISH a Ok"]);
    // Sent twice on one connection, it is one message.
    let mut wire = Wire::connected();
    wire.request(b"\x32\x05\0\x01a\0\x01")
        .request(b"\x3a\x05\0\x01a\0\x01")
        .response(b"\x40\x02\0\x01")
        .close(FINISHED);
    wire.expect(&["PUBLISH a Ok"], &[]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = Wire::connected();
    for id in 1..=3_000_u16 {
        wire.request([&b"\x32\x05\0\x01a"[..], &id.to_be_bytes()].concat());
    }
    assert!(wire.connection.heap_bytes() < 300_000, "{}", wire.connection.heap_bytes());
    for id in 1..=3_000_u16 {
        wire.response([&b"\x40\x02"[..], &id.to_be_bytes()].concat());
    }
    wire.close(FINISHED);
    assert_eq!(wire.seen.len(), 1_024);
    assert_eq!(wire.losses, BTreeMap::from([("too_many_pipelined", 1_976)]));
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_lengths_that_cannot_be() {
    for request in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x10\x0d\0\x04MQTX\x04\x02\0\x3c\0\x01c",
        b"\x10\x0d\0\x04MQTT\x09\x02\0\x3c\0\x01c",
        b"\x10\xff\xff\xff\xff\x7f\0\x04MQTT\x04",
        b"\x16\x03\x01",
        b"AMQP\0\0\x09\x01",
    ] {
        let mut wire = Wire::at(0, 0);
        wire.request(request).response(b"\x20\x02\0\0").close(FINISHED).expect(&[], &[]);
        assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{request:?}");
    }
    let mut wire = Wire::connected();
    wire.request(b"\x32\xff\xff\xff\x7f\0\x01a\0\x01").request([b'x'; 100]);
    assert!(wire.connection.heap_bytes() < 4_096);
    wire.close(FINISHED).expect(&[], &[("unfinished", 1)]);
}

#[test]
fn what_is_recognised_by_answers_alone_is_counted() {
    // A ping and a PUBLISH, seen in the middle, of which nothing is captured, and what answers both.
    control::run(&[63, 255, 2]);
}

#[test]
fn a_message_whose_second_half_was_missed_is_counted() {
    // A broker's PUBREL is missed, which shows when the subscriber's PUBCOMP comes.
    control::run(&[0x0f, 0x00, 0xe9, 0x5a, 0x42, 0xfd]);
    // The end of a broker's PUBREC is not captured.
    control::run(&[0x04, 0x42, 0x00, 0x25, 0x00]);
}

#[test]
fn sessions_in_any_pieces_are_found_or_counted() {
    let mut random = Random::new(11);
    let mut all = [flights::Outcome::default(), flights::Outcome::default()];
    for _ in 0..20_000 {
        let plan: Vec<u8> = (0..random.index(60)).map(|_| random.byte()).collect();
        let found = control::run(&plan);
        let is_whole = plan.first().is_none_or(|settings| settings & 0x1c == 0);
        let sum = &mut all[usize::from(!is_whole)];
        (sum.made, sum.seen, sum.lost) = (sum.made + found.made, sum.seen + found.seen, sum.lost + found.lost);
    }
    assert!(all[0].made > 30_000 && all[0].seen == all[0].made, "{all:?}");
    assert!(all[1].seen * 4 > all[1].made, "{all:?}");
}
