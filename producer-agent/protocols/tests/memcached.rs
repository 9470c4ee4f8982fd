//! Memcached of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "../fuzz/cache.rs"]
mod cache;
#[path = "shared/calls.rs"]
mod calls;

use std::collections::BTreeMap;

use calls::Calls;
use headwater_protocols::memcached::{Memcached, Options};
use headwater_protocols::{CloseReason, Connection, Direction, Event, Follow, Kind, OrderOptions, Recognition, Side};
use headwater_testing::Random;

const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

struct Wire {
    connection: Connection<Memcached>,
    /// `COMMAND outcome code`, one for each exchange.
    seen: Vec<String>,
    kinds: Vec<Kind>,
    response_bytes: Vec<u64>,
    losses: BTreeMap<&'static str, u64>,
    calls: Calls,
}

impl Wire {
    fn of(options: Options, calls: Calls) -> Wire {
        let connection = Connection::new(Side::Server, OrderOptions::default(), Memcached::new(options));
        Wire {
            connection,
            seen: Vec::new(),
            kinds: Vec::new(),
            response_bytes: Vec::new(),
            losses: BTreeMap::new(),
            calls,
        }
    }

    fn started() -> Wire {
        Wire::of(Options::default(), Calls::from(0, 0))
    }

    /// Of a connection that falls silent between its calls.
    fn in_the_middle() -> Wire {
        Wire::of(Options::default(), Calls { step_ns: 2_000_000_000, ..Calls::from(5_000, 9_000) })
    }

    fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let Wire { connection, seen, kinds, response_bytes, losses, .. } = self;
        connection.segment(direction, &segment, &mut |event| {
            if let Event::Exchange(exchange) = &event {
                response_bytes.push(exchange.response_bytes);
            }
            take(event, seen, kinds, losses)
        });
        self
    }

    fn close(&mut self, how: CloseReason) -> &mut Wire {
        let Wire { connection, seen, kinds, losses, calls, .. } = self;
        connection.close(calls.now_ns, how, &mut |event| take(event, seen, kinds, losses));
        assert!(connection.is_idle());
        self
    }

    #[track_caller]
    fn expect(&self, seen: &[&str], losses: &[(&'static str, u64)]) {
        assert_eq!(self.seen, seen, "{:?}", self.losses);
        assert_eq!(self.losses, losses.iter().copied().collect(), "{:?}", self.seen);
    }
}

fn take(event: Event<'_>, seen: &mut Vec<String>, kinds: &mut Vec<Kind>, losses: &mut BTreeMap<&'static str, u64>) {
    match event {
        Event::Exchange(exchange) => {
            let what = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| failure.as_str().into());
            seen.push(format!("{} {what} {}", exchange.method, exchange.code.as_str()).trim_end().to_owned());
            kinds.push(exchange.kind);
        }
        Event::Loss(loss) => *losses.entry(loss.reason.as_str()).or_default() += loss.count,
        Event::Encryption(_) => {}
    }
}

/// A message in binary: its code, what it repeats, its key and its value.
fn binary(magic: u8, opcode: u8, status: u16, opaque: u32, extras: usize, key: &str, value: &str) -> Vec<u8> {
    let body = extras + key.len() + value.len();
    let header = [
        &[magic, opcode][..],
        &(key.len() as u16).to_be_bytes(),
        &[extras as u8, 0],
        &status.to_be_bytes(),
        &(body as u32).to_be_bytes(),
        &opaque.to_be_bytes(),
        &[0; 8],
    ];
    [&header.concat()[..], &vec![0; extras], key.as_bytes(), value.as_bytes()].concat()
}

fn asked(opcode: u8, opaque: u32, key: &str, value: &str) -> Vec<u8> {
    binary(0x80, opcode, 0, opaque, if value.is_empty() { 0 } else { 8 }, key, value)
}

fn answered(opcode: u8, status: u16, opaque: u32, value: &str) -> Vec<u8> {
    binary(0x81, opcode, status, opaque, if value.is_empty() { 0 } else { 4 }, "", value)
}

#[test]
fn commands_in_text_and_what_answers_them() {
    let turns = [
        ("get hunter2\r\n", "VALUE hunter2 0 16\r\nEND\r\nVALUE a 0 9\r\nEND\r\n", "GET Ok"),
        ("gets a b c\r\n", "VALUE a 0 1 7\r\nx\r\nVALUE b 0 0 8\r\n\r\nEND\r\n", "GETS Ok"),
        ("gat 60 a\r\n", "END\r\n", "GAT Ok"),
        ("set hunter2 0 0 14\r\nget a\r\nEND\r\nxx\r\n", "STORED\r\n", "SET Ok"),
        ("add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n", "ADD Ok NOT_STORED"),
        ("cas a 0 0 1 77\r\nx\r\n", "EXISTS\r\n", "CAS Ok EXISTS"),
        ("delete a\r\n", "NOT_FOUND\r\n", "DELETE Ok NOT_FOUND"),
        ("incr a 5\r\n", "12\r\n", "INCR Ok"),
        ("incr a 5\r\n", "CLIENT_ERROR cannot increment or decrement\r\n", "INCR ClientError CLIENT_ERROR"),
        ("append a 0 0 1\r\nx\r\n", "SERVER_ERROR out of memory\r\n", "APPEND ServerError SERVER_ERROR"),
        ("touch a 60\r\n", "TOUCHED\r\n", "TOUCH Ok"),
        ("flush_all\r\n", "OK\r\n", "FLUSH_ALL Ok"),
        ("version\r\n", "VERSION 1.6.18\r\n", "VERSION Ok"),
        ("stats\r\n", "STAT pid 7\r\nSTAT uptime 9\r\nEND\r\n", "STATS Ok"),
        ("mg a v t\r\n", "VA 4 t5\r\nHD\r\n\r\n", "MG Ok"),
        ("mg a v\r\n", "EN\r\n", "MG Ok EN"),
        ("ms a 4 T60\r\nmn\r\n\r\n", "HD\r\n", "MS Ok"),
        ("md a\r\n", "NF\r\n", "MD Ok NF"),
        ("ma a\r\n", "HD\r\n", "MA Ok"),
        ("mn\r\n", "MN\r\n", "MN Ok"),
    ];
    let requests: String = turns.iter().map(|(request, ..)| *request).collect();
    let responses: String = turns.iter().map(|(_, response, _)| *response).collect();
    let expected = turns.map(|(.., expected)| expected);
    for cut in 1..requests.len().max(responses.len()) {
        let mut wire = Wire::started();
        for piece in requests.as_bytes().chunks(cut) {
            wire.request(piece);
        }
        for piece in responses.as_bytes().chunks(cut) {
            wire.response(piece);
        }
        wire.close(FINISHED).expect(&expected, &[]);
    }
}

#[test]
fn what_asks_for_no_answer_gets_none() {
    let mut wire = Wire::started();
    wire.request("set a 0 0 1 noreply\r\nx\r\ndelete b noreply\r\nget a\r\n").response("VALUE a 0 1\r\nx\r\nEND\r\n");
    wire.request("incr a 1 noreply\r\n").expect(&["SET Ok", "DELETE Ok", "GET Ok", "INCR Ok"], &[]);
    assert_eq!(wire.kinds, [Kind::OneWay, Kind::OneWay, Kind::Call, Kind::OneWay]);
    wire.request("quit\r\n").close(FINISHED).expect(&["SET Ok", "DELETE Ok", "GET Ok", "INCR Ok"], &[]);
}

#[test]
fn quiet_commands_are_told_of_once_a_later_one_is_answered() {
    let mut wire = Wire::started();
    wire.request("ms a 1 q\r\nx\r\nmg b v q\r\nmg c v q\r\nmd d q\r\nmn\r\n").expect(&[], &[]);
    wire.response("VA 1\r\nx\r\nMN\r\n").expect(&["MS Ok", "MG Ok", "MG Ok", "MD Ok", "MN Ok"], &[]);
    assert_eq!(wire.kinds[..4], [Kind::OneWay; 4]);
    // One that failed is known by being the only one, else it may be any of them.
    wire.seen.clear();
    wire.request("ms a 1 q\r\nx\r\nmn\r\n").response("SERVER_ERROR out of memory\r\nMN\r\n");
    wire.request("ms a 1 q\r\nx\r\nmd b q\r\nmn\r\n").response("SERVER_ERROR out of memory\r\nMN\r\n");
    wire.request("md b q\r\nmn\r\n").response("NF\r\nMN\r\n");
    wire.expect(
        &["MS ServerError SERVER_ERROR", "MN Ok", "MS Unknown", "MD Unknown", "MN Ok", "MD Ok NF", "MN Ok"],
        &[],
    );
    // This may be either's, and it is not guessed whose.
    wire.seen.clear();
    wire.request("mg a v q\r\nmg b v\r\n").response("VA 1\r\nx\r\n").close(FINISHED);
    wire.expect(&[], &[("ambiguous", 2)]);
    // This cannot be that of a quiet one.
    let mut wire = Wire::started();
    wire.request("mg a v q\r\nmg b v\r\n").response("EN\r\n").close(FINISHED);
    wire.expect(&["MG Ok", "MG Ok EN"], &[]);
}

#[test]
fn binary_answers_repeat_what_was_asked() {
    let requests = [
        asked(0x01, 1, "hunter2", "value"),
        asked(0x00, 2, "hunter2", ""),
        asked(0x0d, 3, "a", ""),
        asked(0x0d, 4, "b", ""),
        asked(0x11, 5, "c", "value"),
        asked(0x11, 6, "d", "value"),
        asked(0x0a, 7, "", ""),
        asked(0x10, 8, "", ""),
        asked(0x04, 9, "e", ""),
        asked(0x1f, 10, "", ""),
        asked(0x07, 11, "", ""),
    ]
    .concat();
    let responses = [
        answered(0x01, 0, 1, ""),
        answered(0x00, 1, 2, "Not found"),
        answered(0x0d, 0, 4, "value"),
        answered(0x11, 0x82, 6, "Out of memory"),
        answered(0x0a, 0, 7, ""),
        binary(0x81, 0x10, 0, 8, 0, "pid", "7"),
        binary(0x81, 0x10, 0, 8, 0, "uptime", "9"),
        answered(0x10, 0, 8, ""),
        answered(0x04, 0, 9, ""),
        answered(0x1f, 0x81, 10, "Unknown command"),
        answered(0x07, 0, 11, ""),
    ]
    .concat();
    for cut in 1..requests.len() {
        let mut wire = Wire::started();
        for piece in requests.chunks(cut) {
            wire.request(piece);
        }
        wire.response(&responses[..cut.min(responses.len())]).response(&responses[cut.min(responses.len())..]);
        wire.close(FINISHED).expect(
            &[
                "SET Ok",
                "GET Ok NOT_FOUND",
                "GETKQ Ok",
                "GETKQ Ok",
                "SETQ Ok",
                "SETQ ServerError OUT_OF_MEMORY",
                "NOOP Ok",
                "STATS Ok",
                "DELETE Ok",
                "OTHER ClientError UNKNOWN_COMMAND",
                "QUIT Ok",
            ],
            &[],
        );
    }
}

#[test]
fn values_need_not_be_captured() {
    let value = "x".repeat(5_000);
    let mut wire = Wire::started();
    wire.say(Direction::Request, format!("set a 0 0 5000\r\n{value}\r\n").as_bytes(), 20).response("STORED\r\n");
    wire.request("get a\r\n").say(Direction::Response, format!("VALUE a 0 5000\r\n{value}\r\n").as_bytes(), 20);
    wire.response("END\r\n").close(FINISHED).expect(&["SET Ok", "GET Ok"], &[]);
    let mut wire = Wire::started();
    wire.say(Direction::Request, &asked(1, 1, "a", &value), 24).response(answered(1, 0, 1, ""));
    wire.close(FINISHED).expect(&["SET Ok"], &[]);
}

#[test]
fn what_is_missing_is_counted_and_the_next_turn_is_followed() {
    for direction in [Direction::Request, Direction::Response] {
        let mut wire = Wire::of(Options::default(), Calls { step_ns: 2_000_000_000, ..Calls::from(0, 0) });
        wire.request("get a\r\n").response("END\r\n");
        match direction {
            Direction::Request => {
                wire.calls.missed(direction, 7);
                wire.response("END\r\n");
            }
            Direction::Response => {
                wire.request("get b\r\n");
                wire.calls.missed(direction, 5);
            }
        }
        for _ in 0..3 {
            wire.request("delete c\r\n").response("DELETED\r\n");
        }
        wire.close(FINISHED);
        assert!(wire.seen.len() >= 3 && wire.seen[0] == "GET Ok", "{:?}", wire.seen);
        assert!(wire.seen[1..].iter().all(|seen| seen == "DELETE Ok"), "{:?}", wire.seen);
        assert!(wire.seen.len() as u64 + wire.losses.values().sum::<u64>() >= 5, "{:?} {:?}", wire.seen, wire.losses);
    }
}

#[test]
fn a_connection_is_followed_from_its_middle() {
    for (request, response) in
        [(b"incr a 1\r\n".to_vec(), b"7\r\n".to_vec()), (asked(0x05, 3, "a", "1"), answered(0x05, 0, 3, "x"))]
    {
        let mut wire = Wire::in_the_middle();
        wire.response("rest of a value\r\n");
        for _ in 0..2 {
            wire.request(&request).response(&response);
        }
        wire.close(FINISHED).expect(&["INCR Ok"; 2], &[("started_before_capture", 1)]);
    }
}

/// A loss is counted by what is asked, not by the calls that ask it.
#[test]
fn each_command_of_a_pipeline_that_is_not_followed_is_counted() {
    let several = [asked(0x11, 0, "a", "value"), asked(0x0d, 0, "b", ""), asked(0x0a, 7, "", "")].concat();
    for (request, response) in [
        (several, answered(0x0a, 0, 7, "")),
        (b"get a\r\nset a 0 0 1 noreply\r\nx\r\nmn\r\n".to_vec(), b"END\r\nMN\r\n".to_vec()),
    ] {
        let mut wire = Wire::of(Options::default(), Calls::from(5_000, 9_000));
        for _ in 0..40 {
            wire.request(&request).response(&response);
        }
        // One that asks ahead, so that its turns are not known.
        wire.calls.missed(Direction::Response, response.len() as u64);
        for _ in 0..40 {
            wire.request(&request).request(&request).response(&response).response(&response);
        }
        wire.close(FINISHED);
        let (seen, lost) = (wire.seen.len() as u64, wire.losses.values().sum::<u64>());
        // What is missing of the answers may be that of one more.
        assert_eq!(seen + lost - wire.losses["gap"], 3 * (40 + 2 * 40), "{seen} seen, {:?}", wire.losses);
        assert!(seen > 3 * 20, "{seen}");
    }
    let mut wire = Wire::of(Options { pending_commands_max: 2 }, Calls::from(0, 0));
    wire.request("version\r\n").response("VERSION 1\r\n").request("get a\r\n".repeat(10)).close(FINISHED);
    wire.expect(&["VERSION Ok"], &[("too_many_pipelined", 10)]);
}

/// What answers a quiet command is its answer, if it is certain whose it is.
#[test]
fn a_quiet_command_that_is_answered_has_the_answer() {
    let mut wire = Wire::started();
    wire.request([asked(0x0d, 1, "a", ""), asked(0x0d, 2, "b", ""), asked(0x0a, 3, "", "")].concat());
    wire.response([answered(0x0d, 0, 2, "value"), answered(0x0a, 0, 3, "")].concat());
    // Two with the same number, of which one was there.
    wire.request([asked(0x0d, 0, "a", ""), asked(0x0d, 0, "b", ""), asked(0x0a, 3, "", "")].concat());
    wire.response([answered(0x0d, 0, 0, "value"), answered(0x0a, 0, 3, "")].concat());
    wire.request("")
        .close(FINISHED)
        .expect(&["GETKQ Ok", "GETKQ Ok", "NOOP Ok", "GETKQ Ok", "GETKQ Ok", "NOOP Ok"], &[]);
    assert_eq!(wire.response_bytes, [0, 33, 24, 0, 0, 24]);
    let kinds = [Kind::OneWay, Kind::Call, Kind::Call, Kind::OneWay, Kind::OneWay, Kind::Call];
    assert_eq!(wire.kinds, kinds);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, outcome) in [
        (FINISHED, "GET no_response"),
        (CloseReason::Reset { by: Side::Server }, "GET reset"),
        (CloseReason::TimedOut, "GET timed_out"),
    ] {
        let mut wire = Wire::started();
        wire.request("version\r\n").response("VERSION 1\r\n").request("get a\r\n").close(how);
        wire.expect(&["VERSION Ok", outcome], &[]);
    }
    let mut wire = Wire::started();
    wire.request("version\r\n").response("VERSION 1\r\n").request("get a\r\n").close(CloseReason::Unobserved);
    wire.expect(&["VERSION Ok"], &[("unfinished", 1)]);
    let mut wire = Wire::of(Options { pending_commands_max: 2 }, Calls::from(0, 0));
    wire.request("version\r\n").response("VERSION 1\r\n").request("get a\r\n".repeat(3)).response("END\r\n".repeat(3));
    wire.close(FINISHED).expect(&["VERSION Ok"], &[("too_many_pipelined", 3)]);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_lengths_that_cannot_be() {
    for (request, response) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("get /\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        ("get k\r\n", "$-1\r\n"),
        ("stats\r\n\u{1}", ""),
        ("set a 0 0 99999999999999999999\r\n", ""),
        ("set a 0 0 18446744073709551615\r\n", ""),
        ("set a 0 0 x\r\n", ""),
        ("\u{16}\u{3}\u{1}", "\u{16}"),
    ] {
        let mut wire = Wire::started();
        wire.request(request).response(response);
        assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{request:?}");
        wire.close(FINISHED).expect(&[], &[]);
    }
    for length in ["2147483647", "4294967295", "9223372036854775807"] {
        let mut wire = Wire::started();
        wire.request(format!("set a 0 0 {length}\r\n")).request("x".repeat(100)).response("STORED\r\n");
        assert!(wire.connection.heap_bytes() < 4_096);
        wire.close(FINISHED);
        assert_eq!(wire.seen, Vec::<String>::new());
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_is_waited_for() {
    cache::run(&[2, 1, 1]);
}

#[test]
fn commands_in_any_pieces_are_all_found() {
    let mut random = Random::new(7);
    let turns: u64 = (0..30_000)
        .map(|_| {
            let plan: Vec<u8> = (0..random.index(60)).map(|_| random.byte()).collect();
            cache::run(&plan)
        })
        .sum();
    assert!(turns > 100_000, "{turns}");
}
