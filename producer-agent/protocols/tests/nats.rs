//! NATS of one connection, through the public interface. The protocol's description: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "../fuzz/flights.rs"]
mod flights;
#[path = "../fuzz/subjects.rs"]
mod subjects;
#[path = "shared/wire.rs"]
mod wire;

use headwater_protocols::nats::{Nats, Options};
use headwater_protocols::{CloseReason, Connection, Direction, Kind, OrderOptions, Position, Recognition, Side};
use headwater_testing::Random;
use wire::{FINISHED, Wire};

const INFO: &[u8] = b"INFO {\"server_id\":\"x\",\"headers\":true,\"max_payload\":1048576}\r\n";
const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pass\":\"secret\",\"lang\":\"go\"}\r\nPING\r\n";
const VERBOSE: &[u8] = b"CONNECT {\"lang\":\"go\", \"verbose\": true}\r\n";
/// A subscription to answers.
const INBOX: &[u8] = b"SUB _INBOX.me.* 1\r\n";

fn at(request: u64, response: u64) -> Wire {
    let nats = Nats::new(Options::default());
    Wire::of(Box::new(Connection::new(Side::Server, OrderOptions::default(), nats)), request, response)
}

/// Its client has connected and subscribed to answers.
fn connected() -> Wire {
    let mut wire = at(0, 0);
    wire.response(INFO).request(CONNECT).response("PONG\r\n").request(INBOX);
    wire.expect(&["CONNECT Ok", "PING Ok", "SUB _INBOX.{id} Ok"], &[]);
    wire.forget();
    wire
}

#[test]
fn both_sides_ask_and_answers_are_found_by_their_subjects() {
    for size in 1..40 {
        let mut wire = at(0, 0);
        wire.in_pieces(size, Direction::Response, INFO);
        wire.in_pieces(size, Direction::Request, CONNECT).in_pieces(size, Direction::Response, b"PONG\r\n");
        // Two requests, of which the second is answered first; a message, one with headers, and one for nobody here.
        wire.in_pieces(
            size,
            Direction::Request,
            b"SUB _INBOX.me.* 1\r\nsub shop.* workers 2\r\nPUB shop.a _INBOX.me.1 2\r\nhi\r\nPUB shop.b _INBOX.me.2 0\r\n\r\n\
              PUB shop.c 4\r\n\r\n\r\n\r\nHPUB shop.d 21 23\r\nNATS/1.0\r\nA: PONG\r\n\r\nhi\r\nPUB shop.e elsewhere 2\r\nhi\r\n",
        );
        wire.in_pieces(
            size,
            Direction::Response,
            b"MSG _INBOX.me.2 1 2\r\nok\r\nMSG shop.x 2 4\r\nPUB \r\nPING\r\nHMSG _INBOX.me.1 1 21 23\r\nNATS/1.0\r\nA: PONG\r\n\r\nok\r\nMSG shop.y 2 _INBOX.you.9 0\r\n\r\n",
        );
        wire.in_pieces(size, Direction::Request, b"PONG\r\nPUB _INBOX.you.9 2\r\nok\r\nUNSUB 2\r\n");
        wire.close(FINISHED).expect(
            &[
                "CONNECT Ok",
                "PING Ok",
                "SUB _INBOX.{id} Ok",
                "SUB shop.* Ok",
                "PUB shop.c Ok",
                "PUB shop.d Ok",
                "PUB shop.e Ok",
                "REQUEST shop.b Ok",
                "DELIVER shop.x Ok",
                "REQUEST shop.a Ok",
                "DELIVER shop.y Ok",
                "UNSUB shop.* Ok",
            ],
            &[],
        );
        use Kind::{Call, OneWay, Wait};
        assert_eq!(
            wire.kinds,
            [OneWay, Call, OneWay, OneWay, OneWay, OneWay, OneWay, Call, OneWay, Call, Wait, OneWay]
        );
        let place = INFO.len() as u64 + 6 + 25;
        assert_eq!(wire.positions[8], Position(place).of_server());
        let mut names = wire.positions.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), wire.positions.len());
    }
}

#[test]
fn a_client_may_have_all_confirmed() {
    for size in 1..40 {
        let mut wire = at(0, 0);
        wire.in_pieces(size, Direction::Response, INFO).in_pieces(size, Direction::Request, VERBOSE);
        wire.in_pieces(
            size,
            Direction::Request,
            b"PING\r\nSUB _INBOX.me.* 1\r\nPUB a 0\r\n\r\nPUB b _INBOX.me.1 0\r\n\r\nPUB denied 0\r\n\r\nUNSUB 1\r\n",
        );
        wire.in_pieces(
            size,
            Direction::Response,
            b"+OK\r\nPONG\r\n+OK\r\n+OK\r\n+OK\r\n-ERR 'Permissions Violation for Publish to \"denied\"'\r\n+OK\r\nMSG _INBOX.me.1 1 0\r\n\r\n",
        );
        wire.close(FINISHED).expect(
            &[
                "CONNECT Ok",
                "PING Ok",
                "SUB _INBOX.{id} Ok",
                "PUB a Ok",
                "PUB denied ClientError PERMISSIONS_VIOLATION",
                "UNSUB _INBOX.{id} Ok",
                "REQUEST b Ok",
            ],
            &[],
        );
        assert_eq!(wire.kinds, [Kind::Call; 7]);
    }
}

#[test]
fn errors_are_told_of_where_they_answer_something_and_else_by_themselves() {
    let mut wire = at(0, 0);
    wire.response(INFO).request(CONNECT).response("-ERR 'Authorization Violation'\r\n");
    wire.close(CloseReason::Finished { by: Side::Server });
    let expected =
        ["CONNECT ClientError AUTHORIZATION_VIOLATION", "PING no_response Unanswered AUTHORIZATION_VIOLATION"];
    wire.expect(&expected, &[]);
    let mut wire = connected();
    wire.request("PUB denied 0\r\n\r\n").response("-ERR 'Permissions Violation for Publish to \"secret\"'\r\n");
    wire.expect(&["PUB denied Ok", "ERROR ClientError PERMISSIONS_VIOLATION"], &[]);
    assert_eq!(wire.kinds[1], Kind::OneWay);
    // A server says why it ends the connection.
    wire.forget().request("PUB a _INBOX.me.1 0\r\n\r\n").response("-ERR 'Server Shutdown'\r\n");
    wire.close(CloseReason::Finished { by: Side::Server });
    wire.expect(&["ERROR ServerError SERVER_SHUTDOWN", "REQUEST a no_response Unanswered SERVER_SHUTDOWN"], &[]);
}

/// JetStream's API: <https://docs.nats.io/reference/reference-protocols/nats_api_reference>.
#[test]
fn jetstream_says_what_became_of_it() {
    let mut wire = connected();
    let answer = |wire: &mut Wire, subject: &str, answer: &str| {
        wire.request(format!("PUB {subject} _INBOX.me.1 2\r\nhi\r\n"));
        wire.response(format!("MSG _INBOX.me.1 1 {}\r\n{answer}\r\n", answer.len()));
    };
    answer(&mut wire, "orders.4711", r#"{"stream":"orders","seq":1}"#);
    let refused =
        r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},"stream":"orders","seq":0}"#;
    answer(&mut wire, "orders.1", refused);
    let unknown = r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"x"}}"#;
    answer(&mut wire, "$JS.API.STREAM.INFO.none", unknown);
    // Nobody answers there.
    wire.request("PUB nobody _INBOX.me.2 0\r\n\r\n");
    wire.response("HMSG _INBOX.me.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    // Messages are asked for, come, and are acknowledged, one of them with an answer; then there are none.
    wire.request("PUB $JS.API.CONSUMER.MSG.NEXT.orders.worker _INBOX.me.3 1\r\n2\r\n");
    for number in 1..4 {
        wire.response(format!("MSG orders.a 1 $JS.ACK.orders.worker.1.{number}.{number}.17.0 2\r\nhi\r\n"));
    }
    wire.response("HMSG _INBOX.me.3 1 32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n");
    wire.request("PUB $JS.ACK.orders.worker.1.1.1.17.0 4\r\n+ACK\r\n");
    wire.request("PUB $JS.ACK.orders.worker.1.2.2.17.0 4\r\n-NAK\r\n");
    wire.request("PUB $JS.ACK.orders.worker.1.3.3.17.0 _INBOX.me.4 4\r\n+ACK\r\n");
    wire.response("MSG _INBOX.me.4 1 0\r\n\r\n");
    wire.close(FINISHED).expect(
        &[
            "REQUEST orders.{id} Ok",
            "REQUEST orders.{id} ClientError 10071",
            "REQUEST $JS.API.STREAM.INFO.none ClientError 10059",
            "REQUEST nobody ServerError 503",
            "REQUEST $JS.API.CONSUMER.MSG.NEXT.orders.worker Ok",
            "DELIVER orders.a Ok",
            "DELIVER orders.a Ok",
            "DELIVER orders.a Ok",
            "ACK $JS.ACK.orders.worker Ok",
            "ACK $JS.ACK.orders.worker ClientError NAK",
            "ACK $JS.ACK.orders.worker Ok",
        ],
        &[],
    );
    use Kind::{Call, OneWay};
    assert_eq!(wire.kinds, [Call, Call, Call, Call, OneWay, OneWay, OneWay, OneWay, OneWay, OneWay, Call]);
}

#[test]
fn who_does_not_answer_in_time_has_not_answered() {
    let mut wire = connected();
    wire.request("PUB hung _INBOX.me.1 0\r\n\r\n").wait(31).request("PUB a 0\r\n\r\n");
    wire.expect(&["REQUEST hung timed_out Unanswered", "PUB a Ok"], &[]);
    // What comes after that is nothing that was sent to a subscriber; and there may be more than one answer.
    wire.forget().response("MSG _INBOX.me.1 1 0\r\n\r\n").expect(&[], &[]);
    wire.request("PUB a _INBOX.me.2 0\r\n\r\n").response("MSG _INBOX.me.2 1 0\r\n\r\nMSG _INBOX.me.2 1 0\r\n\r\n");
    wire.expect(&["REQUEST a Ok"], &[("unsolicited_response", 1)]);
    // A subscriber need not answer: others may.
    wire.forget().response("MSG b 2 _INBOX.you.1 0\r\n\r\n").wait(31).request("PUB a 0\r\n\r\n");
    wire.expect(&["DELIVER b Ok", "PUB a Ok"], &[]);
    assert_eq!(wire.kinds, [Kind::OneWay; 2]);
    // A service that fails is no broker that fails.
    wire.forget().response("MSG b 2 _INBOX.you.2 0\r\n\r\n");
    wire.request("HPUB _INBOX.you.2 41 41\r\nNATS/1.0\r\nNats-Service-Error-Code:500\r\n\r\n\r\n").close(FINISHED);
    wire.expect(&["DELIVER b ClientError 500"], &[]);
}

#[test]
fn payloads_need_not_be_captured() {
    let mut wire = connected();
    let large = [&b"PUB a 5000\r\n"[..], &[b'x'; 5_000], b"\r\n"].concat();
    wire.say(Direction::Request, &large[..100], 20).say(Direction::Request, &large[100..], 0);
    // A call within the payload is missing altogether.
    wire.request(&large[..100]).miss(Direction::Request, 900).request(&large[1_000..]).request("PUB b 0\r\n\r\n");
    wire.expect(&["PUB a Ok", "PUB a Ok", "PUB b Ok"], &[]);
    // A line begins behind what was captured: the next call is followed as far as it proves itself.
    let two = [&large[..], b"PUB c 0\r\n\r\n"].concat();
    wire.forget().say(Direction::Request, &two, 100).request("PUB d 0\r\n\r\nPUB e 0\r\n\r\n");
    wire.expect(&["PUB a Ok", "PUB d Ok", "PUB e Ok"], &[("head_not_captured", 1)]);
}

#[test]
fn what_a_server_says_of_itself_may_be_long() {
    let long = [&INFO[..INFO.len() - 3], b",\"connect_urls\":[", &[b'u'; 6_000], b"]}\r\n"].concat();
    let mut wire = at(0, 0);
    wire.say(Direction::Response, &long[..4_000], 1_024).say(Direction::Response, &long[4_000..], 1_024);
    wire.request(CONNECT).response("PONG\r\n").expect(&["CONNECT Ok", "PING Ok"], &[]);
    let mut wire = at(0, 0);
    wire.in_pieces(700, Direction::Response, &long).request(CONNECT).response("PONG\r\n");
    wire.expect(&["CONNECT Ok", "PING Ok"], &[]);
}

#[test]
fn a_connection_is_followed_from_its_middle() {
    let mut wire = at(5_000, 9_000);
    wire.request("rest of a payload\r\nPUB a 0\r\n\r\n").response("+OK\r\n");
    for _ in 0..4 {
        wire.request("PUB a _INBOX.me.1 2\r\nhi\r\n").response("MSG _INBOX.me.1 1 2\r\nok\r\n");
    }
    assert_eq!(wire.recognition(), Recognition::Recognised);
    // The first of each direction prove it.
    wire.close(FINISHED);
    assert_eq!(wire.seen, ["REQUEST a Ok"; 3], "{:?}", wire.losses);
    assert!(wire.losses["started_before_capture"] >= 1, "{:?}", wire.losses);
}

#[test]
fn what_was_missed_is_counted_and_nothing_is_taken_for_an_answer() {
    let mut wire = connected();
    wire.request("PUB a _INBOX.me.1 0\r\n\r\nPING\r\n").miss(Direction::Response, 100);
    wire.request("PUB b _INBOX.me.2 0\r\n\r\nPUB c _INBOX.me.3 0\r\n\r\n");
    wire.response("MSG _INBOX.me.2 1 0\r\n\r\nMSG _INBOX.me.3 1 0\r\n\r\nPONG\r\n").close(FINISHED);
    // The gap itself, what was open when it was found, and the PING, whose answer may be another one's.
    assert_eq!(wire.seen, ["REQUEST b Ok", "REQUEST c Ok"], "{:?}", wire.losses);
    assert_eq!(wire.losses["gap"], 3);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, expected) in [
        (FINISHED, ["REQUEST a no_response Unanswered", "DELIVER b Ok"]),
        (CloseReason::Reset { by: Side::Server }, ["REQUEST a reset Unanswered", "DELIVER b Ok"]),
        (CloseReason::TimedOut, ["REQUEST a timed_out Unanswered", "DELIVER b Ok"]),
    ] {
        let mut wire = connected();
        wire.request("PUB a _INBOX.me.1 0\r\n\r\n").response("MSG b 2 _INBOX.you.1 0\r\n\r\n").close(how);
        wire.seen.sort_by(|one, other| other.cmp(one));
        wire.expect(&expected, &[]);
    }
    let mut wire = connected();
    wire.request("PUB a _INBOX.me.1 0\r\n\r\n").close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = connected();
    for number in 0..3_000 {
        wire.request(format!("PUB a _INBOX.me.{number} 0\r\n\r\nPING\r\n"));
        wire.response(format!("MSG b 2 reply.{number} 0\r\n\r\n"));
    }
    assert!(wire.heap_bytes() < 1_000_000, "{}", wire.heap_bytes());
    for number in 0..3_000 {
        wire.response(format!("MSG _INBOX.me.{number} 1 0\r\n\r\nPONG\r\n"));
    }
    wire.close(FINISHED);
    let count = |what: &str| wire.seen.iter().filter(|seen| *seen == what).count();
    assert_eq!((count("REQUEST a Ok"), count("PING Ok"), count("DELIVER b Ok")), (1_024, 1_024, 3_000));
    assert_eq!(wire.losses["too_many_pipelined"], 2 * 1_976);
    assert_eq!(wire.losses.len(), 1);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_sizes_that_cannot_be() {
    for response in [&b"INFO: all is well\r\n"[..], b"220 mail ESMTP\r\n", b"SSH-2.0-x\r\n", b"+OK POP3 ready\r\n"] {
        let mut wire = at(0, 0);
        wire.response(response).request("PUB a 0\r\n\r\n").close(FINISHED).expect(&[], &[]);
        assert_eq!(wire.recognition(), Recognition::Foreign, "{response:?}");
    }
    for line in [
        "PUB a 99999999999\r\n",
        "PUB a 999999999\r\n",
        "HPUB a 9 4\r\n",
        "PUB a b c 1\r\n",
        "PUB 1\r\n",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut wire = connected();
        wire.request(line).close(FINISHED).expect(&[], &[("malformed_request", 1)]);
    }
    let mut wire = connected();
    wire.request("PUB a 60000000\r\n").request([b'x'; 100]);
    assert!(wire.heap_bytes() < 4_096);
    wire.close(FINISHED).expect(&[], &[("unfinished", 1)]);
    let mut wire = connected();
    wire.request([b'x'; 10_000]).close(FINISHED).expect(&[], &[("malformed_request", 1)]);
}

#[test]
fn tls_and_servers_among_each_other_are_not_read() {
    let mut wire = at(0, 0);
    wire.response(INFO).request(b"\x16\x03\x01\x02\0\x01").response(b"\x16\x03\x03").close(FINISHED);
    wire.expect(&[], &[("upgraded", 1)]);
    assert_eq!(wire.recognition(), Recognition::Foreign);
    let mut wire = at(0, 0);
    wire.response(INFO).request("CONNECT {\"verbose\":false}\r\nRS+ $G shop.a\r\n").close(FINISHED);
    wire.expect(&[], &[("upgraded", 1)]);
}

#[test]
fn sessions_in_any_pieces_are_found_or_counted() {
    let mut random = Random::new(13);
    let mut all = [flights::Outcome::default(), flights::Outcome::default()];
    for _ in 0..20_000 {
        let plan: Vec<u8> = (0..random.index(60)).map(|_| random.byte()).collect();
        let found = subjects::run(&plan);
        let is_whole = plan.first().is_none_or(|settings| settings & 0x1c == 0);
        let sum = &mut all[usize::from(!is_whole)];
        (sum.made, sum.seen, sum.lost) = (sum.made + found.made, sum.seen + found.seen, sum.lost + found.lost);
    }
    assert!(all[0].made > 30_000 && all[0].seen == all[0].made, "{all:?}");
    assert!(all[1].seen * 4 > all[1].made, "{all:?}");
}
