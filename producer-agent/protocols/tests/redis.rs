//! Redis of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "../fuzz/commands.rs"]
mod commands;

use std::collections::BTreeMap;

use calls::Calls;
use headwater_protocols::redis::{Options, Redis, is_one_of_many};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Failure, Follow, Kind, OpenRequest, OrderOptions, Outcome, Position,
    Recognition, Side,
};
use headwater_testing::Random;

const FINISHED: CloseReason = CloseReason::Finished { by: Side::Client };

struct Wire {
    connection: Connection<Redis>,
    /// `COMMAND outcome code`, one for each exchange.
    seen: Vec<String>,
    times_ns: Vec<(u64, u64)>,
    kinds: Vec<Kind>,
    losses: BTreeMap<&'static str, u64>,
    calls: Calls,
}

impl Wire {
    fn new(options: Options) -> Wire {
        Wire {
            connection: Connection::new(Side::Server, OrderOptions::default(), Redis::new(options)),
            seen: Vec::new(),
            times_ns: Vec::new(),
            kinds: Vec::new(),
            losses: BTreeMap::new(),
            calls: Calls::from(0, 0),
        }
    }

    fn started() -> Wire {
        Wire::new(Options::default())
    }

    /// Of a connection that falls silent between its calls.
    fn in_the_middle() -> Wire {
        Wire::silent_between(5_000, 9_000)
    }

    fn silent_between(request: u64, response: u64) -> Wire {
        Wire { calls: Calls { step_ns: 2_000_000_000, ..Calls::from(request, response) }, ..Wire::started() }
    }

    fn in_the_middle_of_much() -> Wire {
        Wire { calls: Calls::from(5_000, 9_000), ..Wire::started() }
    }

    fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Request, bytes.as_ref(), usize::MAX)
    }

    fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.say(Direction::Response, bytes.as_ref(), usize::MAX)
    }

    fn miss(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.calls.missed(direction, bytes.as_ref().len() as u64);
        self
    }

    fn say(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let Wire { connection, seen, times_ns, kinds, losses, .. } = self;
        connection.segment(direction, &segment, &mut |event| take(event, seen, (times_ns, kinds), losses));
        self
    }

    fn close(&mut self, how: CloseReason) -> &mut Wire {
        let Wire { connection, seen, times_ns, kinds, losses, calls } = self;
        connection.close(calls.now_ns + calls.step_ns, how, &mut |event| take(event, seen, (times_ns, kinds), losses));
        self
    }

    #[track_caller]
    fn expect(&self, seen: &[&str], losses: &[(&'static str, u64)]) {
        assert_eq!(self.seen, seen, "{:?}", self.losses);
        assert_eq!(self.losses, losses.iter().copied().collect(), "{:?}", self.seen);
    }
}

fn take(
    event: Event<'_>,
    seen: &mut Vec<String>,
    (times_ns, kinds): (&mut Vec<(u64, u64)>, &mut Vec<Kind>),
    losses: &mut BTreeMap<&'static str, u64>,
) {
    match event {
        Event::Exchange(exchange) => {
            let what = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| failure.as_str().into());
            seen.push(format!("{} {what} {}", exchange.method, exchange.code.as_str()).trim_end().to_owned());
            times_ns.push((exchange.request_started_ns, exchange.response_ended_ns.unwrap_or_default()));
            kinds.push(exchange.kind);
            let failed = exchange.failure.is_some_and(|failure| failure != Failure::ClientLeft);
            assert_eq!(exchange.outcome.is_error(), failed || exchange.outcome == Outcome::ServerError);
        }
        Event::Loss(loss) => *losses.entry(loss.reason.as_str()).or_default() += loss.count,
        Event::Encryption(_) => {}
    }
}

fn command(words: &[&str]) -> String {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{words}", words.matches("\r\n").count() / 2)
}

/// Cases: redis-pipeline.
#[test]
fn redis_pipeline() {
    let (mut commands, mut replies) = (String::new(), String::new());
    let mut expected = vec!["SET Ok"; 100];
    for at in 0..100 {
        let wrong = at == 49;
        commands += &if wrong { command(&["INCR", "text"]) } else { command(&["set", "k", "some value\r\n+OK"]) };
        replies += if wrong { "-ERR value is not an integer or out of range\r\n" } else { "+OK\r\n" };
    }
    expected[49] = "INCR ClientError ERR";
    for cut in [1, 7, 100, 1_000, replies.len()] {
        let mut wire = Wire::started();
        wire.request(&commands);
        for piece in replies.as_bytes().chunks(cut) {
            wire.response(piece);
        }
        wire.close(FINISHED).expect(&expected, &[]);
    }
}

/// A loss is counted by what is asked, not by the calls that ask it.
#[test]
fn each_command_of_a_pipeline_that_is_not_followed_is_counted() {
    let mut wire = Wire::in_the_middle_of_much();
    let (commands, replies) = (command(&["PING"]).repeat(3), "+PONG\r\n".repeat(3));
    for _ in 0..40 {
        wire.request(&commands).response(&replies);
    }
    wire.miss(Direction::Response, &replies);
    for _ in 0..40 {
        wire.request(&commands).request(&commands).response(&replies).response(&replies);
    }
    wire.close(FINISHED);
    let (seen, lost) = (wire.seen.len() as u64, wire.losses.values().sum::<u64>());
    // What is missing of the replies may be that of one more.
    assert_eq!(seen + lost - wire.losses["gap"], 3 * (40 + 2 * 40), "{seen} seen, {:?}", wire.losses);
    assert!(seen > 3 * 20, "{seen}");
}

/// Cases: redis-pipeline.
#[test]
fn redis_pipeline_that_began_before_the_capture() {
    let mut wire = Wire::in_the_middle();
    wire.response("*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
    for _ in 0..2 {
        wire.request(command(&["BLPOP", "k", "30"])).response("*-1\r\n");
    }
    wire.close(FINISHED).expect(&["BLPOP Ok"; 2], &[("started_before_capture", 1)]);
}

#[test]
fn replies_of_every_type_in_any_pieces() {
    let replies = [
        "+OK\r\n",
        ":7\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "$6\r\n+a\r\n:1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n*1\r\n+a\r\n*2\r\n$1\r\nb\r\n_\r\n",
        "%1\r\n+a\r\n~2\r\n#t\r\n,1.5\r\n",
        ">2\r\n+message\r\n+pushed\r\n(12345678901234567890\r\n",
        "|1\r\n+ttl\r\n:1\r\n=7\r\ntxt:abc\r\n",
    ];
    let commands: Vec<String> = replies.iter().map(|_| command(&["EVAL", "return 1", "0"])).collect();
    let (commands, replies) = (commands.concat(), replies.concat());
    for cut in 1..replies.len() {
        let mut wire = Wire::started();
        for piece in commands.as_bytes().chunks(cut) {
            wire.request(piece);
        }
        wire.response(&replies[..cut]).response(&replies[cut..]);
        wire.expect(&["EVAL Ok"; 11], &[]);
        assert!(wire.connection.is_idle());
    }
}

#[test]
fn errors_by_whose_fault_they_are_and_commands_by_what_they_do() {
    let mut wire = Wire::started();
    for (words, reply) in [
        (&["config", "get", "maxmemory"][..], "-NOAUTH Authentication required.\r\n"),
        (&["get", "secret-key"], "-WRONGTYPE Operation against a key\r\n"),
        (&["GET", "k"], "-LOADING Redis is loading\r\n"),
        (&["GET", "k"], "!10\r\nOOM no mem\r\n"),
        (&["GET", "k"], "-MOVED 3999 127.0.0.1:6381\r\n"),
        (&["JSON.GET", "k"], "_\r\n"),
    ] {
        wire.request(command(words)).response(reply);
    }
    wire.expect(
        &[
            "CONFIG GET ClientError NOAUTH",
            "GET ClientError WRONGTYPE",
            "GET ServerError LOADING",
            "GET ServerError OOM",
            "GET Ok MOVED",
            "JSON.GET Ok",
        ],
        &[],
    );
}

#[test]
fn values_need_not_be_captured() {
    let large = "x".repeat(5_000);
    let mut wire = Wire::started();
    let set = command(&["SET", "k", &large]);
    wire.say(Direction::Request, set.as_bytes()[..4_000].as_ref(), 40);
    wire.say(Direction::Request, set.as_bytes()[4_000..].as_ref(), 0).response("+OK\r\n");
    wire.request(command(&["GET", "k"]));
    wire.say(Direction::Response, format!("$5000\r\n{large}\r\n").as_bytes(), 7);
    wire.request(command(&["GET", "k"])).response("_\r\n");
    wire.expect(&["SET Ok", "GET Ok", "GET Ok"], &[]);
    assert_eq!(wire.times_ns[0], (10, 30));
}

#[test]
fn what_is_missing_is_counted_and_the_next_turn_is_followed() {
    let get = command(&["GET", "k"]);
    for direction in [Direction::Request, Direction::Response] {
        let mut wire = Wire::silent_between(0, 0);
        wire.request(&get).response("$1\r\na\r\n");
        let (asked, answered) = (get.as_str(), "$1\r\nb\r\n");
        match direction {
            Direction::Request => wire.miss(direction, asked).response(answered),
            Direction::Response => wire.request(asked).miss(direction, answered),
        };
        // It is not known what was answered, so a turn has to be seen first.
        wire.request(&get).response("$1\r\nc\r\n").request(&get).response("$1\r\nd\r\n").close(FINISHED);
        assert!(wire.seen.len() >= 2 && wire.seen.iter().all(|seen| seen == "GET Ok"), "{:?}", wire.seen);
        assert!(wire.losses.values().sum::<u64>() >= 1, "{:?}", wire.losses);
        assert!(wire.seen.len() as u64 + wire.losses.values().sum::<u64>() >= 4, "{:?} {:?}", wire.seen, wire.losses);
    }
}

#[test]
fn what_is_open_at_the_end() {
    for (how, outcome) in [
        (FINISHED, "GET no_response"),
        (CloseReason::Reset { by: Side::Server }, "GET reset"),
        (CloseReason::TimedOut, "GET timed_out"),
    ] {
        let mut wire = Wire::started();
        wire.request(command(&["PING"])).response("+PONG\r\n").request(command(&["GET", "k"])).close(how);
        wire.expect(&["PING Ok", outcome], &[]);
    }
    let mut wire = Wire::started();
    wire.request(command(&["PING"]))
        .response("+PONG\r\n")
        .request(command(&["GET", "k"]))
        .close(CloseReason::Unobserved);
    wire.expect(&["PING Ok"], &[("unfinished", 1)]);
}

#[test]
fn more_commands_than_the_bound_are_counted_and_the_rest_is_followed() {
    let mut wire = Wire::new(Options { pending_exchanges_max: 2 });
    wire.request(command(&["GET", "k"]).repeat(5)).response("_\r\n".repeat(5));
    wire.request(command(&["PING"])).response("+PONG\r\n");
    wire.expect(&["GET Ok", "GET Ok", "PING Ok"], &[("too_many_pipelined", 3)]);
}

#[test]
fn a_subscription_ends_the_parsing() {
    let mut wire = Wire::started();
    wire.request(command(&["SUBSCRIBE", "news"])).response("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    wire.response("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n").close(FINISHED);
    wire.expect(&["SUBSCRIBE Ok"], &[]);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_lengths_that_cannot_be() {
    for (request, response) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("\u{16}\u{3}\u{1}", "\u{16}"),
        ("*1\r\n$4\r\n\0\0\0\0\r\n", "+OK\r\n"),
        ("*1\r\n$4\r\nPING\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("*99999999999999999999\r\n", ""),
        ("*1\r\n$99999999999999999999\r\n", ""),
    ] {
        let mut wire = Wire::started();
        wire.request(request).response(response);
        assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{request:?}");
        wire.close(FINISHED).expect(&[], &[]);
    }
    for length in ["2147483647", "4294967295", "9223372036854775807"] {
        for head in [format!("*{length}\r\n$4\r\nPING\r\n"), format!("*2\r\n$3\r\nGET\r\n${length}\r\n")] {
            let mut wire = Wire::started();
            wire.request(head).request("x".repeat(100)).response("+OK\r\n").close(FINISHED);
            assert_eq!(wire.seen, Vec::<String>::new());
        }
    }
}

#[test]
fn random_bytes_break_nothing() {
    const WORDS: [&str; 14] = [
        "*1\r\n",
        "*2\r\n",
        "$4\r\n",
        "PING\r\n",
        "+OK\r\n",
        "-ERR x\r\n",
        "$-1\r\n",
        "%1\r\n",
        ">1\r\n",
        "|1\r\n",
        "\r\n",
        "9",
        "_\r\n",
        "*1\r\n$4\r\nPING\r\n",
    ];
    let mut random = Random::new(7);
    let mut exchanges = 0;
    for _ in 0..30_000 {
        let mut wire = if random.one_in(4) { Wire::in_the_middle() } else { Wire::started() };
        for _ in 0..random.index(20) {
            let direction = if random.one_in(2) { Direction::Request } else { Direction::Response };
            let bytes: String = match (random.index(8), direction) {
                (0, _) => (0..=random.index(4)).map(|_| WORDS[random.index(WORDS.len())]).collect(),
                (_, Direction::Request) => command(&["GET", "k"]).repeat(random.index(2) + 1),
                (_, Direction::Response) => "$1\r\na\r\n".repeat(random.index(2) + 1),
            };
            match random.index(10) {
                0 => wire.miss(direction, &bytes),
                1 => wire.say(direction, bytes.as_bytes(), random.index(bytes.len())),
                _ => wire.say(direction, bytes.as_bytes(), usize::MAX),
            };
        }
        wire.close(FINISHED);
        assert!(wire.connection.is_idle());
        exchanges += wire.seen.len();
    }
    assert!(exchanges > 1_000, "the input is too random to test anything: {exchanges} exchanges");
}

/// Two commands were under way when the capture began, and the client goes on to send before all replies have come.
#[test]
fn replies_to_what_was_asked_before_the_capture_are_nobody_elses() {
    let mut wire = Wire::in_the_middle_of_much();
    wire.response(":1\r\n");
    for turn in 0..8 {
        // What answers the first of two is the reply to a command that was never seen.
        wire.request(command(&["GET", "k"])).response(":1\r\n");
        if turn % 3 == 2 {
            wire.response("$1\r\nv\r\n");
        }
    }
    assert_eq!(wire.seen, Vec::<String>::new(), "{:?}", wire.losses);
    // From here on it waits for each reply.
    for _ in 0..40 {
        wire.request(command(&["GET", "k"])).response("$1\r\nv\r\n");
    }
    assert!((20..=30).contains(&wire.seen.len()), "{:?} {:?}", wire.seen, wire.losses);
    assert_eq!(wire.connection.recognition(), Recognition::Recognised);
}

/// A connection that is seldom used would be called one that nobody understands until its second reply.
#[test]
fn what_is_found_in_the_middle_is_recognised_once_both_directions_began_plainly() {
    for asks_first in [true, false] {
        let mut wire = Wire::in_the_middle_of_much();
        if asks_first {
            wire.request(command(&["LPUSH", "k", "v"]));
            assert_eq!(wire.connection.recognition(), Recognition::Undecided);
            wire.response(":1\r\n");
        } else {
            wire.response("*-1\r\n");
            assert_eq!(wire.connection.recognition(), Recognition::Undecided);
            wire.request(command(&["BLPOP", "k", "30"]));
        }
        assert_eq!(wire.connection.recognition(), Recognition::Recognised, "{asks_first}");
        wire.expect(&[], &[("started_before_capture", 1)]);
    }
    let mut wire = Wire::in_the_middle_of_much();
    wire.request("v\r\n").response(":1\r\n").request("w\r\n");
    assert_eq!(wire.connection.recognition(), Recognition::Undecided);
}

#[test]
fn a_wait_that_was_asked_for_is_no_latency() {
    let mut wire = Wire::started();
    wire.request(command(&["blpop", "k", "30"])).response("*-1\r\n").request(command(&["PING"])).response("+PONG\r\n");
    wire.expect(&["BLPOP Ok", "PING Ok"], &[]);
    assert_eq!(wire.kinds, [Kind::Wait, Kind::Call]);
}

#[test]
fn what_no_server_knows_is_not_told_by_its_name() {
    let mut wire = Wire::started();
    wire.request(command(&["hunter2"])).response("-ERR unknown command 'hunter2', with args beginning with: \r\n");
    wire.request(command(&["CLIENT", "hunter2"])).response("-ERR unknown subcommand 'hunter2'. Try CLIENT HELP.\r\n");
    wire.expect(&["UNKNOWN ClientError ERR", "CLIENT ClientError ERR"], &[]);
}

/// The reply that comes first answers something else.
#[test]
fn a_client_that_wants_no_replies_is_followed_no_longer() {
    let mut wire = Wire::started();
    wire.request(command(&["PING"])).request(command(&["CLIENT", "REPLY", "SKIP"]) + &command(&["SET", "k", "v"]));
    wire.request(command(&["GET", "k"])).response("+PONG\r\n$1\r\nv\r\n");
    wire.expect(&["PING Ok"], &[("upgraded", 2)]);
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
}

/// What the fuzz target runs, with a fixed seed.
#[test]
fn valid_commands_in_any_pieces_are_seen() {
    let mut random = Random::new(11);
    let mut turns = 0;
    for _ in 0..3_000 {
        let input: Vec<u8> = (0..random.below(80)).map(|_| random.byte()).collect();
        turns += commands::run(&input);
    }
    assert!(turns > 30_000, "{turns}");
}

#[test]
fn a_second_word_that_was_not_captured_is_unknown() {
    commands::run(b"\xff\x23\x64\xe1\xff\x23\x64");
    let mut wire = Wire::started();
    wire.request("*1\r\n$4\r\nPING\r\n").response("+PONG\r\n");
    let begins = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY";
    wire.say(Direction::Request, begins.as_bytes(), begins.len() - 3).request("\r\n$3\r\nOFF\r\n");
    // Whether that is answered is not known.
    wire.request("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").response("+OK\r\n");
    assert_eq!(wire.seen, ["PING Ok"]);
    assert!(wire.losses.contains_key("head_not_captured"), "{:?}", wire.losses);
}

/// The probes added up what was before, and found the reply to be no plain one.
#[test]
fn what_was_asked_elsewhere_is_answered_here() {
    let mut wire = Wire::started();
    wire.request(command(&["PING"])).response("+PONG\r\n");
    let (request, response) = (Position(1_000), Position(2_000));
    let open = OpenRequest { method: "LPUSH", start: request, end: Position(1_040), at_ns: 500, response };
    let Wire { connection, seen, times_ns, kinds, losses, .. } = &mut wire;
    connection.resume_open(&open, &mut |event| take(event, seen, (times_ns, kinds), losses));
    wire.calls = Calls { now_ns: 600, ..Calls::from(1_040, 2_000) };
    // The next one is asked before the reply comes.
    wire.request(command(&["GET", "k"])).response("-WRONGTYPE no list\r\n$1\r\nv\r\n").close(FINISHED);
    wire.expect(&["PING Ok", "LPUSH ClientError WRONGTYPE", "GET Ok"], &[]);
    assert_eq!(wire.times_ns[1], (500, 620));
}

#[test]
fn what_is_settled_owes_no_reply() {
    let mut wire = Wire::started();
    let is_settled = |wire: &Wire| wire.connection.is_settled(wire.calls.at.request, wire.calls.at.response);
    assert!(!is_settled(&wire), "nothing is known of it");
    wire.request(command(&["PING"])).response("+PONG\r\n");
    assert!(is_settled(&wire));
    assert!(!wire.connection.is_settled(wire.calls.at.request, Position::START), "it was answered elsewhere");
    wire.request(command(&["PING"]));
    assert!(!is_settled(&wire));
    wire.request(command(&["PING"])).response("+PONG\r\n");
    assert!(!is_settled(&wire), "one of two");
    wire.response("+PO");
    assert!(!is_settled(&wire));
    wire.response("NG\r\n");
    assert!(is_settled(&wire));
    wire.miss(Direction::Response, "+PONG\r\n").request(command(&["PING"])).response("+PONG\r\n");
    assert!(!is_settled(&wire), "it is not known what was answered");
    let mut wire = Wire::in_the_middle_of_much();
    for turn in 0..40 {
        wire.request(command(&["PING"])).response("+PONG\r\n");
        assert!(turn > 15 || !is_settled(&wire), "in doubt");
    }
    assert!(is_settled(&wire));
}

#[test]
fn what_changes_how_the_server_speaks_stands_for_no_other() {
    for one in ["GET", "SET", "JSON.GET", "EVAL"] {
        assert!(is_one_of_many(one), "{one}");
    }
    for other in ["CONFIG GET", "COMMAND", "BLPOP", "SUBSCRIBE", "MONITOR", "MULTI", "CLIENT REPLY", "HELLO"] {
        assert!(!is_one_of_many(other), "{other}");
    }
}
