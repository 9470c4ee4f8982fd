//! Which protocol is followed, by the first bytes of a connection or of its segments.

#[path = "shared/calls.rs"]
mod calls;
#[path = "shared/documents.rs"]
mod documents;
#[path = "shared/envelopes.rs"]
mod envelopes;
#[path = "shared/frames.rs"]
mod frames;
#[path = "shared/questions.rs"]
mod questions;

use calls::Calls;
use headwater_protocols::{CloseReason, Direction, Event, Options, Parser, Position, Recognition, Segment, Side};

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

struct Wire {
    parser: Parser,
    seen: Vec<String>,
    lost: u64,
    calls: Calls,
}

impl Wire {
    fn at([request, response]: [u64; 2]) -> Wire {
        let parser = Parser::new(Side::Server, &Options::default());
        let calls = Calls { step_ns: 2_000_000_000, ..Calls::from(request, response) };
        Wire { parser, seen: Vec::new(), lost: 0, calls }
    }

    fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        let other = self.calls.at.response.0;
        self.say(Direction::Request, bytes.as_ref(), other)
    }

    fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        let other = self.calls.at.request.0;
        self.say(Direction::Response, bytes.as_ref(), other)
    }

    fn say(&mut self, direction: Direction, bytes: &[u8], other: u64) -> &mut Wire {
        let segment = Segment { other_position: Position(other), ..self.calls.moved(direction, bytes, usize::MAX) };
        let Wire { parser, seen, lost, .. } = self;
        parser.segment(direction, &segment, &mut |event| take(event, seen, lost));
        self
    }

    fn close(&mut self) -> &mut Wire {
        let Wire { parser, seen, lost, calls } = self;
        parser.close(calls.now_ns, CloseReason::Finished { by: Side::Client }, &mut |event| take(event, seen, lost));
        assert!(parser.is_idle());
        assert_eq!(parser.heap_bytes(), 0);
        self
    }
}

fn take(event: Event<'_>, seen: &mut Vec<String>, lost: &mut u64) {
    match event {
        Event::Exchange(exchange) => seen.push(format!("{} {}{}", exchange.protocol, exchange.method, exchange.path)),
        Event::Loss(loss) => *lost += loss.count,
        Event::Encryption(_) => {}
    }
}

#[test]
fn first_bytes_in_any_pieces_tell_the_protocol() {
    for (asked, answered, expected) in [(PING, "+PONG\r\n", "redis PING"), (GET, OK, "http GET/a")] {
        for size in 1..asked.len() {
            let mut wire = Wire::at([0, 0]);
            for piece in asked.as_bytes().chunks(size) {
                wire.request(piece);
            }
            wire.response(answered);
            assert_eq!(wire.seen, [expected], "in pieces of {size}");
            assert_eq!((wire.parser.recognition(), wire.lost), (Recognition::Recognised, 0));
            assert_eq!(expected.split(' ').next(), Some(wire.parser.protocol()));
            wire.close();
        }
    }
}

#[test]
fn an_answer_whose_event_comes_first_waits_for_what_it_answers() {
    let mut wire = Wire::at([0, 0]);
    wire.say(Direction::Response, b"+PONG\r\n", PING.len() as u64);
    assert!(wire.parser.heap_bytes() > 0 && !wire.parser.is_idle());
    wire.say(Direction::Request, PING.as_bytes(), 0).close();
    assert_eq!((wire.seen.as_slice(), wire.lost), (&["redis PING".to_owned()][..], 0));
}

#[test]
fn what_is_none_of_them_is_foreign_and_keeps_nothing() {
    for bytes in ["\u{16}\u{3}\u{1}\u{2}", "*1\r\n+PING\r\n", "SSH-2.0-x\r\n", "*12345678901\r\n$1\r\n", "GET k\r\n"] {
        let mut wire = Wire::at([0, 0]);
        wire.request(bytes).response("+OK\r\n");
        wire.response("+OK\r\n".repeat(100)).close();
        assert_eq!((wire.seen.len(), wire.parser.recognition()), (0, Recognition::Foreign), "{bytes:?}");
    }
    let mut wire = Wire::at([0, 0]);
    wire.response("SSH-2.0-x\r\n");
    assert_eq!(wire.parser.recognition(), Recognition::Foreign);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = Wire::at([0, 0]);
    for _ in 0..1_000 {
        wire.say(Direction::Response, &[b'x'; 4_000], 10);
        assert!(wire.parser.heap_bytes() < 80 * 1024, "{}", wire.parser.heap_bytes());
    }
}

#[test]
fn in_the_middle_a_segment_tells_that_no_other_begins() {
    let mut wire = Wire::at([5_000, 9_000]);
    wire.response("$2\r\nhi\r\n");
    for _ in 0..2 {
        wire.request(PING).response("+PONG\r\n");
    }
    assert_eq!((wire.seen.first().map(String::as_str), wire.parser.protocol()), (Some("redis PING"), "redis"));
}

/// A body may look like anything, and what was guessed by it has to be given up.
#[test]
fn a_body_that_looks_like_another_protocol_is_still_a_body() {
    let mut wire = Wire::at([5_000, 9_000]);
    wire.response("$2\r\nhi\r\n").request(GET).response(OK).request(GET).response(OK).close();
    assert_eq!(wire.seen, ["http GET/a", "http GET/a"]);
    let mut wire = Wire::at([5_000, 9_000]);
    wire.request(PING).response(OK).request(GET).response(OK).request(GET).response(OK).close();
    assert_eq!(wire.seen, ["http GET/a", "http GET/a"]);
}

#[test]
fn postgresql_is_known_by_its_startup_and_in_the_middle_by_whole_messages() {
    let startup = b"\0\0\0\x12\0\x03\0\0user\0bob\0\0";
    let (query, answer) = (b"Q\0\0\0\x0dSELECT 1\0", b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
    for cut in 1..startup.len() {
        let mut wire = Wire::at([0, 0]);
        wire.request(&startup[..cut]).request(&startup[cut..]).response(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
        wire.request(query).response(answer);
        assert_eq!((wire.parser.protocol(), wire.lost), ("postgresql", 0), "{cut}");
        assert_eq!(wire.seen.len(), 1, "{:?}", wire.seen);
    }
    let mut wire = Wire::at([5_000, 9_000]);
    wire.request(query).response(answer).request(query).response(answer);
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("postgresql", 1, 1), "{:?}", wire.seen);
}

#[test]
fn memcached_is_known_by_its_commands_and_its_header() {
    let binary = b"\x80\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0k";
    let answer = b"\x81\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    let long = format!("get {}\r\n", "k".repeat(200));
    for (asked, answered) in
        [(&b"get k\r\n"[..], &b"END\r\n"[..]), (binary, answer), (long.as_bytes(), b"VALUE k 0 1\r\nx\r\nEND\r\n")]
    {
        for size in 4..asked.len() {
            let mut wire = Wire::at([0, 0]);
            for piece in asked.chunks(size) {
                wire.request(piece);
            }
            wire.response(answered);
            assert_eq!(
                (wire.seen.as_slice(), wire.lost),
                (&["memcached GET".to_owned()][..], 0),
                "in pieces of {size}"
            );
            wire.close();
        }
    }
    let mut wire = Wire::at([5_000, 9_000]);
    wire.request("get k\r\n").response("END\r\n").request("get k\r\n").response("END\r\n");
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("memcached", 1, 1), "{:?}", wire.seen);
}

#[test]
fn mqtt_is_known_by_its_name_and_in_the_middle_by_whole_packets() {
    let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
    let (publish, answer) = (b"\x32\x07\0\x01a\0\x01hi", b"\x40\x02\0\x01");
    for cut in 1..connect.len() {
        let mut wire = Wire::at([0, 0]);
        wire.request(&connect[..cut]).request(&connect[cut..]).response(b"\x20\x02\0\0");
        wire.request(publish).response(answer).close();
        assert_eq!(
            (wire.seen.as_slice(), wire.lost),
            (&["mqtt CONNECT".to_owned(), "mqtt PUBLISH".into()][..], 0),
            "{cut}"
        );
    }
    let mut wire = Wire::at([5_000, 9_000]);
    for _ in 0..3 {
        wire.request(publish).response(answer);
    }
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("mqtt", 1, 2), "{:?}", wire.seen);
}

#[test]
fn nats_is_known_by_what_its_server_says_first_and_in_the_middle_by_whole_messages() {
    let info = b"INFO {\"server_id\":\"x\"}\r\n";
    let connect = b"CONNECT {\"verbose\":false}\r\nPING\r\n";
    for cut in 1..info.len() {
        let mut wire = Wire::at([0, 0]);
        wire.response(&info[..cut]).response(&info[cut..]).request(connect).response(b"PONG\r\n").close();
        assert_eq!(
            (wire.seen.as_slice(), wire.lost),
            (&["nats CONNECT".to_owned(), "nats PING".into()][..], 0),
            "{cut}"
        );
    }
    let mut wire = Wire::at([5_000, 9_000]);
    wire.response("+OK\r\n");
    for _ in 0..3 {
        wire.request(b"PUB a 2\r\nhi\r\n").response(b"MSG b 1 2\r\nhi\r\n");
    }
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("nats", 4, 2), "{:?}", wire.seen);
}

#[test]
fn amqp_is_known_by_its_header_and_in_the_middle_by_whole_frames() {
    let said = frames::beginning();
    for cut in 1..8 {
        let mut wire = Wire::at([0, 0]);
        wire.request(&said[0][..cut]).request(&said[0][cut..]).response(&said[1]).request(&said[2]).response(&said[3]);
        wire.request(&said[4]).response(&said[5]).close();
        assert_eq!((wire.seen.as_slice(), wire.lost), (&["amqp connection.open".to_owned()][..], 0), "{cut}");
    }
    // Another version.
    let mut wire = Wire::at([0, 0]);
    wire.request(b"AMQP\0\x01\0\0").response(b"AMQP\0\x01\0\0");
    assert_eq!((wire.parser.recognition(), wire.seen.len()), (Recognition::Foreign, 0));
    let mut wire = Wire::at([5_000, 9_000]);
    for number in 1..4 {
        wire.request(frames::publish(1, "", "a", b"")).response(frames::acknowledge(1, number, false));
    }
    // Of those before it was clear that they are confirmed, that is unknown, which is counted.
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("amqp", 3, 2), "{:?}", wire.seen);
}

#[test]
fn cassandra_is_known_by_its_header_and_in_the_middle_by_whole_frames() {
    use envelopes::{OPTIONS, frame, query, ready, rows, segment, startup, void};
    let supported = frame(0x85, 0, 0, 6, &[&[0, 0]]);
    for version in [3, 4, 5] {
        let first = frame(version, 0, 0, 5, &[]);
        for cut in 1..first.len() {
            let mut wire = Wire::at([0, 0]);
            wire.request(&first[..cut]).request(&first[cut..]).response([&[version | 0x80], &supported[1..]].concat());
            wire.request(startup(version, OPTIONS)).response(ready(version));
            assert_eq!(wire.seen, ["cassandra OPTIONS", "cassandra STARTUP"], "{cut}");
            assert_eq!((wire.parser.protocol(), wire.lost), ("cassandra", 0));
            wire.close();
        }
        let sent = |frame: Vec<u8>| if version == 5 { segment(&frame, true) } else { frame };
        let mut wire = Wire::at([5_000, 9_000]);
        for _ in 0..4 {
            wire.request(sent(query(version, 1, "SELECT a FROM b"))).response(sent(rows(version, 1, 10)));
        }
        assert_eq!((wire.parser.protocol(), wire.seen.len()), ("cassandra", 3), "{:?} {}", wire.seen, wire.lost);
    }
    // An answer to something else.
    let mut wire = Wire::at([0, 0]);
    wire.request(startup(4, OPTIONS)).response(void(4, 9)).close();
    assert_eq!((wire.seen.len(), wire.lost), (0, 0));
}

#[test]
fn mongodb_is_known_by_its_header_and_in_the_middle_by_that_too() {
    let asked = documents::ask(7, &[("ping", documents::Value::Int(1))]);
    let legacy = documents::legacy_hello(7);
    let answered = documents::legacy_reply(8, 7, 0, &[("ok", documents::Value::Int(1))]);
    for size in 1..legacy.len() {
        let mut wire = Wire::at([0, 0]);
        for piece in legacy.chunks(size) {
            wire.request(piece);
        }
        wire.response(&answered).request(&asked).response(documents::ok(9, 7));
        assert_eq!(wire.seen, ["mongodb OP_QUERY isMaster", "mongodb ping"], "in pieces of {size}");
        assert_eq!((wire.parser.protocol(), wire.lost), ("mongodb", 0));
        wire.close();
    }
    // An answer to something else.
    let mut wire = Wire::at([0, 0]);
    wire.request(&asked).response(documents::ok(9, 8)).close();
    assert_eq!((wire.seen.len(), wire.lost), (0, 0));
    for cut in [asked.len(), 16] {
        let mut wire = Wire::at([5_000, 9_000]);
        for _ in 0..3 {
            // As servers read: the header by itself.
            wire.request(&asked[..cut]);
            if cut < asked.len() {
                wire.request(&asked[cut..]);
            }
            wire.response(documents::ok(9, 7));
        }
        assert_eq!((wire.parser.protocol(), wire.seen.len()), ("mongodb", 2), "{:?} {}", wire.seen, wire.lost);
    }
}

#[test]
fn dns_is_known_by_its_question_and_in_the_middle_by_that_too() {
    let name = "a-name-that-is-longer.than-what-tells-a-protocol.example.com";
    let asked = questions::framed(&questions::ask(1, name, questions::A));
    let answered = questions::framed(&questions::answer(1, name, questions::A, questions::NOERROR, &[7; 16]));
    for size in 1..asked.len() {
        let mut wire = Wire::at([0, 0]);
        for piece in asked.chunks(size) {
            wire.request(piece);
        }
        wire.response(&answered);
        assert_eq!((wire.seen.as_slice(), wire.lost), (&["dns A".to_owned()][..], 0), "in pieces of {size}");
        assert_eq!(wire.parser.protocol(), "dns");
        wire.close();
    }
    let mut wire = Wire::at([5_000, 9_000]);
    for _ in 0..4 {
        wire.request(&asked).response(&answered);
    }
    assert_eq!((wire.parser.protocol(), wire.seen.len()), ("dns", 3), "{:?} {}", wire.seen, wire.lost);
}

const GREETING: &[u8] =
    b"\x2a\0\0\0\x0a8.0.1\0\x07\0\0\0saltsalt\0\x00\x02\x21\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const SELECT: &[u8] = b"\x09\0\0\0\x03SELECT 1";
const DONE: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";

#[test]
fn mysql_is_known_by_its_greeting_and_in_the_middle_by_whole_commands() {
    let login = [&b"\x24\0\0\x01\0\x02\0\0"[..], &[0; 28], b"bob\0"].concat();
    for cut in 1..GREETING.len() {
        let mut wire = Wire::at([0, 0]);
        wire.response(&GREETING[..cut]).response(&GREETING[cut..]);
        wire.request(&login).response(b"\x07\0\0\x02\0\0\0\x02\0\0\0").request(SELECT).response(DONE);
        assert_eq!(wire.seen, ["mysql CONNECT", "mysql SELECT ?"], "{cut}");
        assert_eq!((wire.parser.protocol(), wire.lost), ("mysql", 0), "{cut}");
        wire.close();
    }
    let mut wire = Wire::at([5_000, 9_000]);
    wire.request(SELECT).response(DONE).request(SELECT).response(DONE);
    assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("mysql", 1, 1), "{:?}", wire.seen);
}

/// What MariaDB's server reads begins with a call of four bytes: its answers tell.
#[test]
fn mysql_is_known_in_the_middle_by_its_answers() {
    let rows = [
        &b"\x01\0\0\x01\x01\x17\0\0\x02\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x03\x81\0\0\0\0"[..],
        b"\x02\0\0\x03\x011\x07\0\0\x04\xfe\0\0\x02\0\0\0",
    ]
    .concat();
    for answer in [DONE, &rows] {
        let mut wire = Wire::at([5_000, 9_000]);
        for _ in 0..3 {
            wire.request(&SELECT[..4]).request(&SELECT[4..]).response(answer);
        }
        // What was asked before the first answer is told of by that.
        assert_eq!((wire.parser.protocol(), wire.seen.len(), wire.lost), ("mysql", 2, 1), "{:?}", wire.seen);
    }
}

/// ApiVersions, Metadata of the oldest version, and Heartbeat, with their answers.
const OF_KAFKA: [(&[u8], &[u8], &str); 3] = [
    (b"\0\0\0\x0e\0\x12\0\x03\0\0\0\x01\0\x02me\0\x02", b"\0\0\0\x0c\0\0\0\x01\0\0\x01\0\0\0\0\0", "kafka ApiVersions"),
    (b"\0\0\0\x0e\0\x03\0\0\0\0\0\x01\xff\xff\0\0\0\0", b"\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0\0\0", "kafka Metadata"),
    (b"\0\0\0\x16\0\x0c\0\0\0\0\0\x07\0\x02me\0\x01g\0\0\0\0\0\x01m", b"\0\0\0\x06\0\0\0\x07\0\0", "kafka Heartbeat"),
];

#[test]
fn kafka_is_known_by_its_header_and_by_an_id_that_is_repeated() {
    for (asked, answered, expected) in OF_KAFKA {
        for size in 1..asked.len() {
            let mut wire = Wire::at([0, 0]);
            for piece in asked.chunks(size) {
                wire.request(piece);
            }
            wire.response(answered);
            assert_eq!((wire.seen.as_slice(), wire.lost), (&[expected.to_owned()][..], 0), "in pieces of {size}");
            assert_eq!(wire.parser.protocol(), "kafka");
            wire.close();
        }
        let mut wire = Wire::at([0, 0]);
        wire.request(asked).response(b"\0\0\0\x06\0\0\0\x63\0\0").close();
        assert_eq!((wire.seen.len(), wire.lost), (0, 0));
    }
    let (asked, answered, expected) = OF_KAFKA[2];
    let mut wire = Wire::at([5_000, 9_000]);
    wire.response(b"\0\0\0\x06\0\0\0\x63\0\0");
    for _ in 0..3 {
        // As brokers read: the length by itself.
        wire.request(&asked[..4]).request(&asked[4..]).response(answered);
    }
    assert_eq!((wire.seen.as_slice(), wire.parser.protocol()), (&[expected; 3].map(str::to_owned)[..], "kafka"));
    assert_eq!(wire.lost, 1);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// `GET /`.
const HEADERS: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
const STATUS: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";

#[test]
fn http2_is_chosen_by_its_preface_or_by_the_settings_of_a_server_that_speaks_first() {
    for size in 2..PREFACE.len() {
        let mut wire = Wire::at([0, 0]);
        for piece in PREFACE.chunks(size) {
            wire.request(piece);
        }
        wire.response(SETTINGS).request(HEADERS).response(STATUS);
        assert_eq!((wire.seen.as_slice(), wire.lost), (&["http2 GET/".to_owned()][..], 0), "in pieces of {size}");
        wire.close();
    }
    let mut wire = Wire::at([0, 0]);
    wire.response(SETTINGS).request(PREFACE).request(HEADERS).response(STATUS);
    assert_eq!((wire.seen.as_slice(), wire.lost), (&["http2 GET/".to_owned()][..], 0));
}

#[test]
fn http2_is_chosen_in_the_middle_by_calls_of_whole_frames() {
    let mut wire = Wire::at([5_000, 9_000]);
    wire.response(b"\x07rest of data").request(HEADERS).response(STATUS).request(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01");
    wire.request(b"\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84").response(b"\0\0\x01\x01\x05\0\0\0\x03\x8d");
    assert_eq!(wire.seen, ["http2 GET/"]);
    assert_eq!((wire.parser.protocol(), wire.lost), ("http2", 1));
}

/// A message of PostgreSQL that is shorter than its own length, in the middle of any connection.
#[test]
fn a_length_that_leaves_no_room_for_itself_is_of_no_protocol() {
    for bytes in [&b"Q\0\0\0\0"[..], b"Q\0\0\0\x03", b"Q\0\0\0\x04", b"Q\0\0\0\0Q\0\0\0\0"] {
        let mut wire = Wire::at([5_000, 9_000]);
        wire.response(b"x").request(bytes).close();
        assert_eq!((wire.seen.len(), wire.parser.protocol()), (0, "http"), "{bytes:?}");
    }
}
