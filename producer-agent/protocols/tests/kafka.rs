//! Kafka as its specification has it (kafka.apache.org/protocol), and the same conversations cut, captured and thinned out in arbitrary ways.

#[path = "../fuzz/broker.rs"]
mod broker;
#[path = "shared/calls.rs"]
mod calls;

use std::collections::BTreeMap;

use calls::Calls;
use headwater_protocols::{
    CloseReason, Direction, Event, Interest, Kind, Known, Options, Outcome, Parser, Recognition, Side,
};
use headwater_testing::Random;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const HEARTBEAT: i16 = 12;
const ID: [u8; 16] = [7; 16];
/// As Kafka writes that id.
const ID_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBw";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    position: u64,
    operation: String,
    resource: String,
    kind: Kind,
    outcome: Outcome,
    code: String,
    bytes: [u64; 2],
    is_whole: bool,
}

struct Wire {
    parser: Parser,
    calls: Calls,
    seen: Vec<Seen>,
    losses: BTreeMap<&'static str, u64>,
    was_recognised: bool,
}

impl Wire {
    fn at(positions: u64) -> Wire {
        let parser = Parser::new(Side::Server, &Options::default());
        Wire {
            parser,
            calls: Calls::from(positions, positions),
            seen: Vec::new(),
            losses: BTreeMap::new(),
            was_recognised: false,
        }
    }

    fn say(&mut self, direction: Direction, bytes: &[u8]) -> &mut Wire {
        self.say_in(direction, bytes, usize::MAX)
    }

    /// Of one call, so many bytes are captured.
    fn say_in(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Wire {
        let segment = self.calls.moved(direction, bytes, captured);
        let Wire { parser, seen, losses, was_recognised, .. } = self;
        parser.segment(direction, &segment, &mut |event| take(&event, seen, losses));
        *was_recognised |= parser.recognition() == Recognition::Recognised;
        assert!(parser.heap_bytes() < 256 * 1024, "{}", parser.heap_bytes());
        self
    }

    fn ask(&mut self, bytes: &[u8]) -> &mut Wire {
        self.say(Direction::Request, bytes)
    }

    fn answer(&mut self, bytes: &[u8]) -> &mut Wire {
        self.say(Direction::Response, bytes)
    }

    fn close(&mut self) -> &mut Wire {
        let Wire { parser, seen, losses, calls, .. } = self;
        let at = calls.at;
        parser.unseen(Direction::Request, at.request, &mut |event| take(&event, seen, losses));
        parser.unseen(Direction::Response, at.response, &mut |event| take(&event, seen, losses));
        let how = CloseReason::Finished { by: Side::Client };
        parser.close(calls.now_ns, how, &mut |event| take(&event, seen, losses));
        assert!(parser.is_idle());
        assert_eq!(parser.heap_bytes(), 0);
        self
    }

    /// Operation, resource, outcome and code of each, and that nothing was lost.
    fn told(&self) -> Vec<String> {
        assert_eq!(self.losses, BTreeMap::new());
        let text = |seen: &Seen| format!("{} {} {:?} {}", seen.operation, seen.resource, seen.outcome, seen.code);
        self.seen.iter().map(text).collect()
    }

    fn lost(&self) -> u64 {
        self.losses.values().sum()
    }
}

fn take(event: &Event<'_>, seen: &mut Vec<Seen>, losses: &mut BTreeMap<&'static str, u64>) {
    match event {
        Event::Exchange(exchange) if exchange.protocol == "kafka" => seen.push(Seen {
            position: exchange.request_position.0,
            operation: exchange.method.into(),
            resource: exchange.resource.into(),
            kind: exchange.kind,
            outcome: exchange.outcome,
            code: exchange.code.as_str().into(),
            bytes: [exchange.request_bytes, exchange.response_bytes],
            is_whole: exchange.failure.is_none(),
        }),
        Event::Exchange(exchange) => panic!("{exchange:?}"),
        Event::Loss(loss) => *losses.entry(loss.reason.as_str()).or_default() += loss.count,
        Event::Encryption(_) => {}
    }
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let message = parts.concat();
    [&(message.len() as i32).to_be_bytes(), &message[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

fn compact(text: &str) -> Vec<u8> {
    [&[text.len() as u8 + 1], text.as_bytes()].concat()
}

/// Request header of version 1.
fn asked(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&key.to_be_bytes(), &version.to_be_bytes(), &id.to_be_bytes(), &text("shop"), body])
}

/// Request header of version 2, which ends with tagged fields.
fn asked_flexibly(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    asked(key, version, id, &[&[0], body].concat())
}

fn answered(id: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&id.to_be_bytes(), body])
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    [&(elements.len() as i32).to_be_bytes(), &elements.concat()[..]].concat()
}

/// Produce of version 7: records of these lengths to partition 0 of each topic.
fn produce(id: i32, acks: i16, topics: &[(&str, usize)]) -> Vec<u8> {
    let of_topic = |(name, bytes): &(&str, usize)| {
        let records = [&(*bytes as i32).to_be_bytes()[..], &vec![b'r'; *bytes]].concat();
        [text(name), array(&[[&[0; 4][..], &records].concat()])].concat()
    };
    let topics: Vec<Vec<u8>> = topics.iter().map(of_topic).collect();
    asked(PRODUCE, 7, id, &[&[0xff; 2][..], &acks.to_be_bytes(), &[0; 4], &array(&topics)].concat())
}

fn produced(id: i32, topics: &[(&str, i16)]) -> Vec<u8> {
    let of_topic = |(name, error): &(&str, i16)| {
        [text(name), array(&[[&[0; 4][..], &error.to_be_bytes(), &[0; 24]].concat()])].concat()
    };
    let topics: Vec<Vec<u8>> = topics.iter().map(of_topic).collect();
    answered(id, &[&array(&topics)[..], &[0; 4]].concat())
}

/// Fetch of version 13, which names topics by id: of a session at this epoch, waiting for so long.
fn fetch(id: i32, wait_ms: i32, epoch: i32, ids: &[[u8; 16]]) -> Vec<u8> {
    let mut body = [&[0xff; 4][..], &wait_ms.to_be_bytes(), &1i32.to_be_bytes(), &[0; 4], &[0]].concat();
    body.extend([&[0; 4][..], &epoch.to_be_bytes(), &[ids.len() as u8 + 1]].concat());
    for id in ids {
        // One partition of 32 bytes, and no tags of it and of the topic.
        body.extend([&id[..], &[2], &[0; 32], &[0, 0]].concat());
    }
    // Nothing forgotten, no rack, no tags.
    body.extend([1, 1, 0]);
    asked_flexibly(FETCH, 13, id, &body)
}

/// An answer to that, with records of so many bytes.
fn fetched(id: i32, topics: &[([u8; 16], i16, usize)]) -> Vec<u8> {
    let mut body = [&[0][..], &[0; 4], &[0; 2], &[0; 4], &[topics.len() as u8 + 1]].concat();
    for (topic, error, bytes) in topics {
        body.extend([&topic[..], &[2], &[0; 4], &error.to_be_bytes(), &[0; 24], &[1], &[0xff; 4]].concat());
        let length = *bytes as u32 + 1;
        body.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8 & 0x7f | 0x80, (length >> 14) as u8]);
        body.extend(vec![0; *bytes]);
        body.extend([0, 0]);
    }
    body.push(0);
    answered(id, &body)
}

/// Metadata of version 12, about all topics; and its answer with one topic.
fn metadata(id: i32) -> Vec<u8> {
    asked_flexibly(METADATA, 12, id, &[0, 1, 0, 0])
}

fn metadata_of(id: i32, name: &str, topic: [u8; 16]) -> Vec<u8> {
    let broker = [&[0, 0, 0, 1][..], &compact("localhost"), &[0, 0, 0x23, 0x84], &[0], &[0]].concat();
    let partition = [&[0; 14][..], &[2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1, 0]].concat();
    let topic = [&[0, 0][..], &compact(name), &topic, &[0, 2], &partition, &[0x80, 0, 0, 0, 0]].concat();
    let body = [&[0][..], &[0; 4], &[2], &broker, &compact("cluster"), &[0, 0, 0, 1], &[2], &topic, &[0]].concat();
    answered(id, &body)
}

fn heartbeat(id: i32) -> Vec<u8> {
    asked(HEARTBEAT, 3, id, &[text("group"), vec![0; 4], text("member"), vec![0xff; 2]].concat())
}

/// `shared/cases/kafka-topics.md`: all topics by name once Metadata was seen, by id before; the wait of a long poll is no latency.
#[test]
fn topics_by_id_have_their_names_once_metadata_was_seen() {
    let mut wire = Wire::at(0);
    wire.ask(&fetch(1, 30_000, 0, &[ID, [9; 16]])).answer(&fetched(1, &[(ID, 0, 3_000), ([9; 16], 0, 0)]));
    wire.ask(&metadata(2)).answer(&metadata_of(2, "orders", ID));
    wire.ask(&fetch(3, 30_000, 1, &[])).answer(&fetched(3, &[]));
    wire.ask(&fetch(4, 0, -1, &[ID])).answer(&fetched(4, &[(ID, 6, 0)])).close();
    assert_eq!(
        wire.told(),
        [
            &format!("Fetch {ID_TEXT},CQkJCQkJCQkJCQkJCQkJCQ Ok "),
            "Metadata  Ok ",
            "Fetch orders,CQkJCQkJCQkJCQkJCQkJCQ Ok ",
            "Fetch orders Ok 6"
        ]
    );
    let kinds: Vec<Kind> = wire.seen.iter().map(|seen| seen.kind).collect();
    assert_eq!(kinds, [Kind::Wait, Kind::Call, Kind::Wait, Kind::Call]);
}

/// A client asks one broker about topics, and others for what stands in them.
#[test]
fn what_one_connection_was_told_of_topics_the_others_of_its_workload_know() {
    let workloads = [Known::shared(), Known::shared()];
    let at = |known: &Known| {
        let mut wire = Wire::at(0);
        wire.parser.share(known);
        wire
    };
    let mut open = at(&workloads[0]);
    open.ask(&fetch(1, 0, -1, &[ID])).answer(&fetched(1, &[(ID, 0, 10)]));
    at(&workloads[0]).ask(&metadata(1)).answer(&metadata_of(1, "orders", ID)).close();
    // The topic is made anew: it has another id.
    at(&workloads[0]).ask(&metadata(1)).answer(&metadata_of(1, "payments", [9; 16])).close();
    open.ask(&fetch(2, 0, -1, &[ID, [9; 16]])).answer(&fetched(2, &[(ID, 0, 10), ([9; 16], 0, 10)])).close();
    assert_eq!(open.told(), [format!("Fetch {ID_TEXT} Ok "), "Fetch orders,payments Ok ".into()]);
    let mut other = at(&workloads[1]);
    other.ask(&fetch(1, 0, -1, &[ID])).answer(&fetched(1, &[(ID, 0, 10)])).close();
    assert_eq!(other.told(), [format!("Fetch {ID_TEXT} Ok ")]);
}

#[test]
fn each_topic_and_the_worst_error_of_all_partitions_are_told() {
    let mut wire = Wire::at(0);
    let two = [("orders", 10), ("payments", 10)];
    for (id, [first, second]) in [[0, 0], [0, 3], [3, 7], [16, 0]].into_iter().enumerate() {
        let id = id as i32;
        wire.ask(&produce(id, -1, &two)).answer(&produced(id, &[("orders", first), ("payments", second)]));
    }
    wire.close();
    assert_eq!(
        wire.told(),
        [
            "Produce orders,payments Ok ",
            "Produce orders,payments ClientError 3",
            "Produce orders,payments ServerError 7",
            "Produce orders,payments Ok 16"
        ]
    );
}

#[test]
fn what_nobody_acknowledges_is_one_way_and_in_its_order() {
    let mut wire = Wire::at(0);
    let pipeline = [heartbeat(1), produce(2, 0, &[("orders", 9_000)]), heartbeat(3)].concat();
    wire.ask(&pipeline).answer(&answered(1, &[0; 6]));
    assert_eq!(wire.seen.len(), 2);
    // Nothing may come back for long, so that each call is to be seen.
    assert_eq!(wire.parser.interest(), Interest::Calls);
    wire.answer(&answered(3, &[0, 0, 0, 0, 0, 27])).close();
    assert_eq!(wire.told(), ["Heartbeat  Ok ", "Produce orders Ok ", "Heartbeat  Ok 27"]);
    assert_eq!((wire.seen[1].kind, wire.seen[1].bytes[1]), (Kind::OneWay, 0));
}

#[test]
fn what_lies_behind_the_capture_is_said_to_be_unknown() {
    let mut wire = Wire::at(0);
    wire.say_in(Direction::Request, &produce(1, 1, &[("orders", 9_000), ("payments", 10)]), 4_096);
    wire.answer(&produced(1, &[("orders", 0), ("payments", 0)]));
    wire.say_in(Direction::Request, &produce(2, 1, &[("orders", 900_000)]), 4_096);
    wire.answer(&produced(2, &[("orders", 0)]));
    wire.ask(&fetch(3, 0, -1, &[ID, [9; 16]]));
    wire.say_in(Direction::Response, &fetched(3, &[(ID, 0, 50_000), ([9; 16], 0, 0)]), 1_024);
    wire.ask(&fetch(4, 0, -1, &[ID]));
    wire.say_in(Direction::Response, &fetched(4, &[(ID, 0, 50_000)]), 1_024).close();
    assert_eq!(
        wire.told(),
        [
            "Produce orders,... Ok ",
            "Produce orders Ok ",
            &format!("Fetch {ID_TEXT},CQkJCQkJCQkJCQkJCQkJCQ Unknown "),
            &format!("Fetch {ID_TEXT} Ok "),
        ]
    );
}

/// Brokers and the Java client read a length by itself.
#[test]
fn a_connection_is_followed_from_its_middle() {
    let mut wire = Wire::at(5_000);
    wire.answer(&fetched(40, &[(ID, 0, 300)]));
    for id in 41..44 {
        let (asked, answered) = (heartbeat(id), answered(id, &[0; 6]));
        wire.ask(&asked[..4]).ask(&asked[4..]).answer(&answered[..4]).answer(&answered[4..]);
    }
    wire.close();
    assert!((2..=3).contains(&wire.seen.len()), "{:?} {:?}", wire.seen, wire.losses);
    assert!(wire.seen.iter().all(|seen| seen.outcome == Outcome::Ok) && wire.lost() >= 1, "{:?}", wire.losses);
}

/// What answers it sees are those to requests of before the capture, until it gives up what is copied of a connection of which nothing is known.
#[test]
fn a_client_that_is_far_ahead_of_its_broker_is_known_by_what_it_asks() {
    let (asked_by_it, behind) = (3_000, 2_000);
    let mut wire = Wire::at(5_000);
    for id in 0..asked_by_it {
        wire.ask(&produce(id, 1, &[("orders", 20)])).answer(&produced(id - behind, &[("orders", 0)]));
        assert!(id < 100 || wire.was_recognised, "after {id} requests");
    }
    for id in asked_by_it - behind..asked_by_it {
        wire.answer(&produced(id, &[("orders", 0)]));
    }
    wire.close();
    let right = Seen { position: 0, bytes: [0; 2], ..wire.seen[0].clone() };
    assert_eq!((right.operation.as_str(), right.resource.as_str(), right.outcome), ("Produce", "orders", Outcome::Ok));
    for seen in &wire.seen {
        assert_eq!(Seen { position: 0, bytes: [0; 2], ..seen.clone() }, right);
    }
    assert!(wire.seen.len() >= 1_024, "{}", wire.seen.len());
    assert!(wire.seen.len() as u64 + wire.lost() >= asked_by_it as u64, "{} {:?}", wire.seen.len(), wire.losses);
}

/// What nobody acknowledges has no answer that might be counted.
#[test]
fn a_request_for_which_there_was_no_room_is_counted_once() {
    let (room, more) = (1_024, 10);
    let mut wire = Wire::at(0);
    wire.ask(&heartbeat(0)).answer(&answered(0, &[0; 6]));
    for id in 1..=room + more {
        wire.ask(&heartbeat(id));
    }
    wire.ask(&produce(room + more + 1, 0, &[("orders", 20)]));
    for id in 1..=room + more {
        wire.answer(&answered(id, &[0; 6]));
    }
    let lost = BTreeMap::from([("too_many_pipelined", more as u64 + 1)]);
    assert_eq!((wire.seen.len() as i32, &wire.losses), (room + 1, &lost));
    wire.answer(&answered(-1, &[0; 6]));
    assert_eq!(wire.lost(), more as u64 + 2, "nobody asked for this one");
    wire.losses.clear();
    wire.ask(&heartbeat(-2)).answer(&answered(-2, &[0; 6])).close();
    assert_eq!((wire.seen.len() as i32, wire.lost()), (room + 2, 0));
}

#[test]
fn an_answer_that_never_came_has_failed() {
    let mut wire = Wire::at(0);
    wire.ask(&heartbeat(1)).answer(&answered(1, &[0; 6])).ask(&heartbeat(2)).close();
    assert_eq!(wire.told(), ["Heartbeat  Ok ", "Heartbeat  Unanswered "]);
}

#[test]
fn lengths_are_claims() {
    for length in [i32::MAX, -1, 0, 3] {
        let mut wire = Wire::at(0);
        wire.ask(&heartbeat(1)).answer(&[&length.to_be_bytes()[..], &[0, 0, 0, 1], &[0; 92]].concat()).close();
        assert!(wire.seen.iter().all(|seen| !seen.is_whole), "{:?}", wire.seen);
        let mut wire = Wire::at(0);
        let mut asked = heartbeat(1);
        asked[..4].copy_from_slice(&length.to_be_bytes());
        wire.ask(&asked).answer(&answered(1, &[0; 6])).close();
        assert_eq!(wire.seen, []);
    }
}

/// A conversation, as runs of what each side says, and what is to be found of it.
struct Session {
    runs: Vec<(Direction, Vec<u8>)>,
    expected: Vec<Seen>,
}

fn session(random: &mut Random) -> Session {
    let mut session = Session { runs: Vec::new(), expected: Vec::new() };
    let (mut position, mut id) = (0, random.index(1_000) as i32);
    for _ in 0..1 + random.index(10) {
        let (mut request, mut response) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.index(4) {
            id += 1;
            let bytes = [10, 700, 9_000][random.index(3)];
            let error = [0, 0, 3, 7][random.index(4)];
            let (outcome, code) = match error {
                3 => (Outcome::ClientError, "3"),
                7 => (Outcome::ServerError, "7"),
                _ => (Outcome::Ok, ""),
            };
            let topic = ["orders", "payments"][random.index(2)];
            let (operation, resource, kind, asked, answered) = match random.index(5) {
                0 => ("Produce", topic, Kind::OneWay, produce(id, 0, &[(topic, bytes)]), Vec::new()),
                1 => {
                    let asked = fetch(id, 500, -1, &[ID]);
                    ("Fetch", ID_TEXT, Kind::Wait, asked, fetched(id, &[(ID, error, bytes)]))
                }
                2 => {
                    let answered = answered(id, &[&[0; 4][..], &error.to_be_bytes()].concat());
                    ("Heartbeat", "", Kind::Call, heartbeat(id), answered)
                }
                _ => {
                    let asked = produce(id, 1, &[(topic, bytes)]);
                    ("Produce", topic, Kind::Call, asked, produced(id, &[(topic, error)]))
                }
            };
            let is_silent = answered.is_empty();
            session.expected.push(Seen {
                position,
                operation: operation.into(),
                resource: resource.into(),
                kind,
                outcome: if is_silent { Outcome::Ok } else { outcome },
                code: if is_silent { String::new() } else { code.into() },
                bytes: [asked.len() as u64, answered.len() as u64],
                is_whole: true,
            });
            position += asked.len() as u64;
            request.extend(asked);
            response.extend(answered);
        }
        session.runs.push((Direction::Request, request));
        session.runs.push((Direction::Response, response));
    }
    // Something is answered, so that it is known what is spoken.
    let (asked, answered) = (heartbeat(0), answered(0, &[0; 6]));
    session.expected.push(Seen {
        position,
        operation: "Heartbeat".into(),
        resource: String::new(),
        kind: Kind::Call,
        outcome: Outcome::Ok,
        code: String::new(),
        bytes: [asked.len() as u64, answered.len() as u64],
        is_whole: true,
    });
    session.runs.extend([(Direction::Request, asked), (Direction::Response, answered)]);
    session
}

/// Feeds the session in calls of up to so many bytes; some are missed.
fn run(session: &Session, random: &mut Random, length_max: usize, captured: [usize; 2], missed_in: u64) -> Wire {
    let mut wire = Wire::at(0);
    for (direction, bytes) in &session.runs {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.index(length_max)).min(rest.len()));
            rest = behind;
            if missed_in > 0 && random.one_in(missed_in) {
                wire.calls.missed(*direction, piece.len() as u64);
            } else {
                wire.say_in(*direction, piece, captured[*direction as usize]);
            }
        }
    }
    wire.close();
    wire
}

#[test]
fn any_cut_gives_the_same_exchanges() {
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let session = session(&mut random);
        let length_max = [3, 40, 400, 30_000][random.index(4)];
        let wire = run(&session, &mut random, length_max, [usize::MAX; 2], 0);
        assert_eq!((&wire.seen, wire.lost()), (&session.expected, 0), "seed {seed}: {:?}", wire.losses);
    }
}

#[test]
fn limited_capture_and_missing_calls_make_nothing_wrong() {
    for (captured, missed_in, least) in [([4_096, 1_024], 0, 0.7), ([64, 24], 0, 0.2), ([4_096, 1_024], 12, 0.2)] {
        let (mut right, mut lost, mut all, mut unknown) = (0, 0, 0, 0);
        for seed in 0..3_000 {
            let mut random = Random::new(seed);
            let session = session(&mut random);
            let wire = run(&session, &mut random, 30_000, captured, missed_in);
            let mut last = None;
            for seen in &wire.seen {
                assert!(last < Some(seen.position), "seed {seed}: doubled: {seen:?}");
                last = Some(seen.position);
                let same = session.expected.iter().find(|expected| expected.position == seen.position);
                let Some(expected) = same else { panic!("seed {seed}: never happened: {seen:?}") };
                let mut likely = expected.clone();
                if seen.outcome == Outcome::Unknown {
                    (likely.outcome, likely.code) = (Outcome::Unknown, String::new());
                }
                if seen.resource.ends_with("...") {
                    likely.resource.clone_from(&seen.resource);
                }
                assert_eq!(*seen, likely, "seed {seed}: {:?}", wire.losses);
            }
            let missing = session.expected.len() - wire.seen.len();
            // A connection of which nothing is known to be Kafka is one of TCP.
            unknown += usize::from(!wire.was_recognised);
            let is_told = missing == 0 || wire.lost() > 0 || !wire.was_recognised;
            assert!(is_told, "seed {seed}: {missing} missing and not counted {captured:?} {missed_in} {:?}", wire.seen);
            (right, lost, all) = (right + wire.seen.len(), lost + wire.lost(), all + session.expected.len());
        }
        assert!(unknown < 100, "{unknown} of which nothing is known to be Kafka");
        assert!(right as f64 > least * all as f64, "{right} right and {lost} lost of {all}");
    }
}

#[test]
fn random_bytes_break_nothing() {
    for seed in 0..5_000 {
        let mut random = Random::new(seed);
        let session = session(&mut random);
        let mut wire = Wire::at(if random.one_in(3) { u64::MAX - 5_000 } else { 0 });
        for (direction, bytes) in &session.runs {
            let mut bytes = bytes.clone();
            for _ in 0..random.index(3) {
                let at = random.index(bytes.len().max(1));
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = random.byte());
            }
            let segment = wire.calls.moved(*direction, &bytes, usize::MAX);
            wire.parser.segment(*direction, &segment, &mut |_| {});
            assert!(wire.parser.heap_bytes() < 256 * 1024);
        }
        wire.parser.close(u64::MAX, CloseReason::TimedOut, &mut |_| {});
        assert!(wire.parser.is_idle());
    }
}

#[test]
fn requests_in_any_pieces_are_all_found() {
    let mut random = Random::new(7);
    let turns: u64 = (0..20_000)
        .map(|_| {
            let plan: Vec<u8> = (0..random.index(60)).map(|_| random.byte()).collect();
            broker::run(&plan)
        })
        .sum();
    assert!(turns > 100_000, "{turns}");
}
