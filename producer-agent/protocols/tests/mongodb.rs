//! MongoDB of one connection, through the public interface. The protocol's description:
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "shared/documents.rs"]
mod documents;
#[path = "../fuzz/flights.rs"]
mod flights;
#[path = "../fuzz/queries.rs"]
mod queries;
#[path = "shared/wire.rs"]
mod wire;

use documents::Value::{Array, Document, Double, Int, Long, True};
use documents::{
    EXHAUST_ALLOWED, MORE_TO_COME, answer, ask, ask_with, batch, compressed, document, failed, insert, legacy_hello,
    legacy_reply, message, ok, op_msg, section, text,
};
use headwater_protocols::mongodb::{Mongodb, Options};
use headwater_protocols::{CloseReason, Connection, Direction, Kind, OrderOptions, Recognition, Side};
use headwater_testing::Random;
use wire::{FINISHED, Wire};

fn at(request: u64, response: u64) -> Wire {
    let mongodb = Mongodb::new(Options::default());
    Wire::of(Box::new(Connection::new(Side::Server, OrderOptions::default(), mongodb)), request, response)
}

/// Its client has asked what the server is.
fn connected() -> Wire {
    let mut wire = at(0, 0);
    wire.request(ask(1, &[("hello", Int(1))])).response(ok(90, 1));
    wire.expect(&["hello shop Ok"], &[]);
    wire.forget();
    wire
}

fn find(id: u32, collection: &str) -> Vec<u8> {
    let filter = document(&[("password", text("secret"))]);
    ask(id, &[("find", text(collection)), ("filter", Document(filter))])
}

#[test]
fn answers_are_found_by_the_ids_that_they_answer() {
    let asked = [
        legacy_hello(7),
        find(8, "orders"),
        insert(9, 0, "orders", &[document(&[("insert", text("secret"))])]),
        ask(10, &[("aggregate", Int(1)), ("pipeline", Array(vec![]))]),
        ask(11, &[("getMore", Long(5)), ("collection", text("orders"))]),
        ask(12, &[("mySecretCommand", text("secret"))]),
        ask(13, &[("saslStart", Int(1)), ("payload", text("secret"))]),
    ]
    .concat();
    let answered = [
        legacy_reply(70, 7, 8, &[("ismaster", True), ("ok", Double(1.0))]),
        batch(71, 8, ("firstBatch", 5), &[document(&[("ok", Int(0))])]),
        answer(72, 9, &[("n", Int(1)), ("ok", Double(1.0))]),
        // Nothing says that they come in order.
        batch(74, 11, ("nextBatch", 0), &[]),
        batch(73, 10, ("firstBatch", 0), &[]),
        failed(75, 12, 59, "CommandNotFound"),
        failed(76, 13, 18, "AuthenticationFailed"),
    ]
    .concat();
    for size in 1..60 {
        let mut wire = at(0, 0);
        wire.in_pieces(size, Direction::Request, &asked).in_pieces(size, Direction::Response, &answered);
        wire.close(FINISHED).expect(
            &[
                "OP_QUERY isMaster admin Ok",
                "find shop.orders Ok",
                "insert shop.orders Ok",
                "getMore shop.orders Ok",
                "aggregate shop Ok",
                "unknown ClientError CommandNotFound",
                "saslStart shop ClientError AuthenticationFailed",
            ],
            &[],
        );
        assert!(wire.kinds.iter().all(|kind| *kind == Kind::Call));
    }
}

/// ../shared/cases/mongodb-more-to-come.md
#[test]
fn a_ping_is_one_of_its_database() {
    let ping =
        b"\x2f\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1a\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x02\0\0\0a\0\0";
    assert_eq!(ping.len(), 0x2f);
    at(0, 0).request(ping).response(ok(2, 1)).close(FINISHED).expect(&["ping a Ok"], &[]);
}

#[test]
fn further_answers_to_one_hello_are_no_requests() {
    let mut wire = connected();
    let hello = [("hello", Int(1)), ("topologyVersion", Document(document(&[]))), ("maxAwaitTimeMS", Int(10_000))];
    wire.request(ask_with(2, EXHAUST_ALLOWED, &hello));
    for at in 0..50 {
        let answers = if at == 0 { 2 } else { 99 + at };
        wire.wait(10).response(op_msg(100 + at, answers, MORE_TO_COME, &document(&[("ok", Double(1.0))])));
    }
    wire.response(op_msg(150, 149, 0, &document(&[("ok", Double(1.0))])));
    wire.expect(&["hello shop Ok"], &[]);
    assert_eq!(wire.kinds, [Kind::Wait]);
    // The stream has ended.
    wire.response(ok(151, 150)).close(FINISHED);
    wire.expect(&["hello shop Ok"], &[("unsolicited_response", 1)]);
}

#[test]
fn a_stream_that_began_unseen_is_counted_once() {
    let mut wire = at(5_000, 9_000);
    for at in 0..50 {
        wire.wait(10).response(op_msg(100 + at, 99 + at, MORE_TO_COME, &document(&[("ok", Double(1.0))])));
    }
    wire.close(FINISHED).expect(&[], &[("started_before_capture", 1)]);
}

#[test]
fn batches_that_follow_without_being_asked_for_are_one_stream() {
    let mut wire = connected();
    let more = [("getMore", Long(5)), ("collection", text("orders"))];
    wire.request(ask_with(2, EXHAUST_ALLOWED, &more));
    let part = document(&[("cursor", Document(document(&[("id", Long(5))]))), ("ok", Double(1.0))]);
    wire.response(
        [op_msg(7, 2, MORE_TO_COME, &part), op_msg(8, 7, MORE_TO_COME, &part), op_msg(9, 8, 0, &part)].concat(),
    );
    wire.request(ask(3, &[("ping", Int(1))])).response(ok(10, 3)).close(FINISHED);
    wire.expect(&["getMore shop.orders Ok", "ping shop Ok"], &[]);
    assert_eq!(wire.kinds, [Kind::Stream, Kind::Call]);
}

#[test]
fn writes_that_nobody_acknowledges_are_one_way() {
    let mut wire = at(0, 0);
    // Before it is known what is spoken.
    wire.request(insert(1, MORE_TO_COME, "orders", &[document(&[])]));
    wire.request([insert(2, MORE_TO_COME, "orders", &[document(&[])]), ask(3, &[("ping", Int(1))])].concat());
    wire.response(ok(9, 3));
    wire.request(insert(4, MORE_TO_COME, "orders", &[document(&[])]));
    let namespace = [&[0; 4][..], b"shop.orders\0"].concat();
    let remove = [&namespace[..], &[0; 4], &document(&[])].concat();
    wire.request([message(5, 0, 2002, &[&namespace, &document(&[])]), message(6, 0, 2006, &[&remove])].concat());
    wire.close(FINISHED).expect(
        &[
            "ping shop Ok",
            "insert shop.orders Ok",
            "insert shop.orders Ok",
            "insert shop.orders Ok",
            "OP_INSERT shop.orders Ok",
            "OP_DELETE shop.orders Ok",
        ],
        &[],
    );
    assert_eq!(wire.kinds.iter().filter(|kind| **kind == Kind::OneWay).count(), 5);
}

#[test]
fn what_is_compressed_is_said_to_be_so() {
    let mut wire = connected();
    wire.request(compressed(2, 0)).response(compressed(9, 2));
    wire.expect(&["OP_COMPRESSED Unknown"], &[]);
    // The first is not answered, since the second one is.
    wire.forget().request([compressed(3, 0), compressed(4, 0)].concat()).response(failed(9, 4, 13, "Unauthorized"));
    wire.expect(&["OP_COMPRESSED Ok", "OP_COMPRESSED ClientError Unauthorized"], &[]);
    assert_eq!(wire.kinds, [Kind::OneWay, Kind::Call]);
    // Whether the last is answered is not known.
    wire.forget().request(compressed(5, 0)).close(FINISHED).expect(&[], &[("ambiguous", 1)]);
}

#[test]
fn legacy_queries_are_named_by_their_opcode() {
    let mut wire = connected();
    let query = |id, flags: u32| {
        message(id, 0, 2004, &[&flags.to_le_bytes(), b"shop.orders\0", &[0; 8], &document(&[("a", Int(1))])])
    };
    let more = message(3, 0, 2005, &[&[0; 4], b"shop.orders\0", &[0; 4], &[7; 8]]);
    wire.request(query(2, 0)).response(legacy_reply(9, 2, 0, &[("ok", Int(0))]));
    wire.request(&more).response(legacy_reply(10, 3, 1, &[]));
    wire.request(query(4, 0)).response(legacy_reply(11, 4, 2, &[("$err", text("secret")), ("code", Int(13436))]));
    wire.request(message(5, 0, 2007, &[&[0; 4], &[1, 0, 0, 0], &[7; 8]])).close(FINISHED);
    wire.expect(
        &[
            "OP_QUERY shop.orders Ok",
            "OP_GET_MORE shop.orders ClientError CursorNotFound",
            "OP_QUERY shop.orders ServerError 13436",
            "OP_KILL_CURSORS Ok",
        ],
        &[],
    );
}

#[test]
fn what_is_asked_to_wait_is_no_latency() {
    let mut wire = connected();
    let stages = vec![Document(document(&[("$changeStream", Document(document(&[])))]))];
    let mut id = 1;
    let mut turn =
        |wire: &mut Wire, elements: &[(&str, documents::Value)], answered: (&str, i64), documents: &[Vec<u8>]| {
            id += 1;
            wire.request(ask(id, elements)).response(batch(900 + id, id, answered, documents));
        };
    let more = |cursor| [("getMore", Long(cursor)), ("collection", text("orders"))];
    let some = [document(&[])];
    turn(&mut wire, &[("find", text("orders")), ("tailable", True), ("awaitData", True)], ("firstBatch", 7), &some);
    turn(&mut wire, &more(7), ("nextBatch", 7), &some);
    turn(&mut wire, &[("aggregate", text("orders")), ("pipeline", Array(stages))], ("firstBatch", 8), &[]);
    turn(&mut wire, &more(8), ("nextBatch", 8), &some);
    // A cursor of another connection: one that has a time waits, one that gives nothing has waited, and will again.
    turn(&mut wire, &[&more(9)[..], &[("maxTimeMS", Int(500))]].concat(), ("nextBatch", 9), &some);
    turn(&mut wire, &more(10), ("nextBatch", 10), &some);
    turn(&mut wire, &more(10), ("nextBatch", 10), &[]);
    turn(&mut wire, &more(10), ("nextBatch", 10), &some);
    turn(&mut wire, &more(10), ("nextBatch", 0), &some);
    // The number is given again.
    turn(&mut wire, &more(10), ("nextBatch", 0), &[]);
    use Kind::{Call, Wait};
    assert_eq!(wire.kinds, [Call, Wait, Call, Wait, Wait, Call, Wait, Wait, Wait, Call]);
    wire.expect(&wire.seen.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    // The client that leaves while it waits has waited long enough.
    wire.forget().request(ask(50, &more(7))).close(FINISHED);
    wire.expect(&["getMore shop.orders client_left Unknown"], &[]);
}

#[test]
fn errors_are_told_by_whose_fault_they_are() {
    let mut wire = connected();
    let partial = |id, answers, name, error: &[(&str, documents::Value)]| {
        let errors =
            if name == "writeErrors" { Array(vec![Document(document(error))]) } else { Document(document(error)) };
        answer(id, answers, &[("n", Int(0)), (name, errors), ("ok", Double(1.0))])
    };
    let answers = [
        failed(9, 2, 26, "NamespaceNotFound"),
        failed(9, 2, 10107, "NotWritablePrimary"),
        failed(9, 2, 11602, "InterruptedDueToReplStateChange"),
        failed(9, 2, 13388, "StaleConfig"),
        failed(9, 2, 17, "two words"),
        partial(9, 2, "writeErrors", &[("index", Int(0)), ("code", Int(11000)), ("errmsg", text("secret"))]),
        partial(9, 2, "writeConcernError", &[("code", Int(64)), ("codeName", text("WriteConcernTimeout"))]),
        // What says how it went was not captured.
        answer(9, 2, &[("note", text(&"x".repeat(5_000))), ("ok", Double(1.0))]),
        compressed(9, 2),
    ];
    for answer in &answers {
        wire.request(find(2, "orders")).say(Direction::Response, answer, 1_024);
    }
    wire.close(FINISHED).expect(
        &[
            "find shop.orders ClientError NamespaceNotFound",
            "find shop.orders ServerError NotWritablePrimary",
            "find shop.orders ServerError 11602",
            "find shop.orders Ok StaleConfig",
            "find shop.orders ClientError 17",
            "find shop.orders ClientError 11000",
            "find shop.orders ServerError WriteConcernTimeout",
            "find shop.orders Unknown",
            "find shop.orders Unknown",
        ],
        &[],
    );
}

#[test]
fn names_are_unknown_where_they_were_not_captured() {
    let mut wire = connected();
    let filter = document(&[("a", text(&"x".repeat(9_000)))]);
    let long = ask(2, &[("find", text("orders")), ("filter", Document(filter))]);
    wire.say(Direction::Request, &long, 4_096).response(batch(9, 2, ("firstBatch", 0), &[]));
    wire.expect(&["find Ok"], &[("value_unknown", 1)]);
    // What is written may stand before what says so.
    let written = section("documents", &[document(&[("a", Int(1))])]);
    let command = document(&[("insert", text("orders")), ("$db", text("shop"))]);
    wire.forget().request(message(3, 0, 2013, &[&[0; 4], &written, &[0], &command])).response(ok(10, 3));
    wire.expect(&["insert shop.orders Ok"], &[]);
    let written = section("documents", &[document(&[("a", text(&"x".repeat(9_000)))])]);
    wire.forget().request(message(4, 0, 2013, &[&[0; 4], &written, &[0], &command])).response(ok(11, 4));
    wire.expect(&["unknown Ok"], &[("value_unknown", 1)]);
    // A checksum is no part of it.
    let sum = message(5, 0, 2013, &[&[1, 0, 0, 0], &[0], &command, &[9; 4]]);
    wire.forget().request(sum).response(ok(12, 5)).expect(&["insert shop.orders Ok"], &[]);
    let long = "c".repeat(300);
    wire.forget().request(ask(6, &[("count", text(&long))])).response(ok(13, 6));
    wire.expect(&[&format!("count shop.{} Ok", &long[..123])], &[]);
    wire.forget().request(ask(7, &[("count", text("a\nb"))])).response(ok(14, 7)).close(FINISHED);
    wire.expect(&["count Ok"], &[]);
}

#[test]
fn what_was_missed_is_counted() {
    // A message that begins behind what was captured of a call.
    let mut wire = connected();
    let two = [find(2, "orders"), find(3, "orders")].concat();
    wire.say(Direction::Request, &two, find(2, "orders").len()).response([ok(9, 2), ok(10, 3)].concat());
    wire.expect(&["find shop.orders Ok"], &[("head_not_captured", 2)]);
    // It is found again.
    wire.forget();
    for id in 4..8 {
        wire.request(find(id, "orders")).response(ok(10 + id, id));
    }
    wire.close(FINISHED);
    assert!(wire.seen.len() >= 2 && wire.losses.values().sum::<u64>() <= 2, "{:?} {:?}", wire.seen, wire.losses);
    // An answer that nobody saw.
    let mut wire = connected();
    wire.request(find(2, "orders")).miss(Direction::Response, 100).request(find(3, "orders"));
    wire.response([ok(10, 3), ok(11, 4)].concat()).close(FINISHED);
    wire.expect(&["find shop.orders Ok"], &[("gap", 3)]);
    // The middle of a message was not captured.
    let mut wire = connected();
    let long = insert(2, 0, "orders", &[document(&[("a", text(&"x".repeat(90_000)))])]);
    wire.say(Direction::Request, &long[..300], 300).miss(Direction::Request, 50_000);
    wire.say(Direction::Request, &long[50_300..], 100).response(ok(9, 2)).close(FINISHED);
    wire.expect(&["insert shop.orders Ok"], &[]);
}

#[test]
fn a_connection_is_followed_from_its_middle_on() {
    // Servers read the header by itself.
    let mut wire = at(5_000, 9_000);
    wire.request([7; 40]).response([7; 40]);
    for id in 1..6 {
        let asked = find(id, "orders");
        wire.request(&asked[..16]).request(&asked[16..]).response(ok(100 + id, id));
    }
    wire.close(FINISHED);
    assert_eq!(wire.seen, ["find shop.orders Ok"; 4], "{:?}", wire.losses);
    assert!(wire.losses.keys().all(|reason| *reason == "started_before_capture"), "{:?}", wire.losses);
}

#[test]
fn what_is_open_at_the_end_has_failed() {
    for (how, expected) in [
        (FINISHED, "find shop.orders no_response Unanswered"),
        (CloseReason::Reset { by: Side::Server }, "find shop.orders reset Unanswered"),
        (CloseReason::TimedOut, "find shop.orders timed_out Unanswered"),
    ] {
        connected().request(find(2, "orders")).close(how).expect(&[expected], &[]);
    }
    connected().request(find(2, "orders")).close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
    let mut wire = connected();
    wire.request(find(2, "orders")).response(&ok(9, 2)[..20]).close(CloseReason::Reset { by: Side::Server });
    wire.expect(&["find shop.orders reset ServerError"], &[]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = connected();
    for id in 0..3_000 {
        wire.request(find(1_000 + id, "orders"));
        assert!(wire.heap_bytes() < 512 * 1024, "{}", wire.heap_bytes());
    }
    wire.expect(&[], &[("too_many_pipelined", 3_000 - 1_024)]);
    // Answers to those are none to others.
    for id in 0..3_000 {
        wire.response(ok(9_000 + id, 1_000 + id));
    }
    assert_eq!((wire.seen.len(), wire.losses.values().sum::<u64>()), (1_024, 3_000 - 1_024));
    wire.close(FINISHED);
}

/// ../shared/cases/lengths-not-believed.md
#[test]
fn lengths_are_not_believed() {
    for length in [i32::MAX as u32, u32::MAX, 1 << 31, 15, 0, 48_000_001] {
        let mut asked = find(1, "orders");
        asked[..4].copy_from_slice(&length.to_le_bytes());
        let mut wire = at(0, 0);
        wire.request(&asked).response(ok(9, 1));
        assert_eq!(wire.recognition(), Recognition::Foreign, "{length}");
        let mut wire = connected();
        wire.request(&asked).response(ok(9, 1));
        assert!(wire.heap_bytes() < 64 * 1024 && wire.seen.is_empty());
        wire.close(FINISHED);
        // Of the document.
        let mut asked = find(2, "orders");
        asked[21..25].copy_from_slice(&length.to_le_bytes());
        let mut wire = connected();
        wire.request(&asked).response(ok(9, 2)).close(FINISHED);
        assert_eq!(wire.seen.len(), 1);
    }
    for cut in 0..find(2, "orders").len() {
        let mut wire = connected();
        wire.say(Direction::Request, &find(2, "orders"), cut).response(ok(9, 2)).close(FINISHED);
        assert_eq!(
            wire.seen.len() + wire.losses.get("head_not_captured").map_or(0, |_| 1),
            1,
            "{cut} {:?}",
            wire.losses
        );
    }
}

#[test]
fn secrets_do_not_leave() {
    let mut random = Random::new(3);
    for _ in 0..2_000 {
        let mut wire = connected();
        let mut asked = find(2, "orders");
        let at = random.index(asked.len() - 60);
        asked[at] = random.byte();
        wire.request(&asked).response(failed(9, 2, 2, "BadValue")).close(FINISHED);
        assert!(wire.seen.iter().all(|seen| !seen.contains("secret")), "{:?}", wire.seen);
    }
}

#[test]
fn sessions_in_any_pieces_are_found() {
    let mut random = Random::new(11);
    let mut all = flights::Outcome::default();
    for _ in 0..30_000 {
        let plan: Vec<u8> = (0..random.index(70)).map(|_| random.byte()).collect();
        let one = queries::run(&plan);
        all.made += one.made;
        all.seen += one.seen;
        all.lost += one.lost;
    }
    assert!(all.made > 500_000 && all.seen * 10 > all.made * 6, "{all:?}");
}
