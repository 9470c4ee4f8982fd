//! Cassandra's native protocol on one connection, through the public interface. Its descriptions: `doc/native_protocol_v3.spec` to `v5.spec` of Cassandra.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "shared/envelopes.rs"]
mod envelopes;
#[path = "../fuzz/flights.rs"]
mod flights;
#[path = "../fuzz/statements.rs"]
mod statements;
#[path = "shared/wire.rs"]
mod wire;

use envelopes::{
    OPTIONS, compressing, error, execute, frame, keyspace, long, prepare, prepared, query, ready, rows, segment, short,
    startup, void,
};
use headwater_protocols::cassandra::{Cassandra, Options};
use headwater_protocols::{
    CloseReason, Connection, Direction, Follow as _, Kind, Known, OrderOptions, Recognition, Side,
};
use headwater_testing::Random;
use wire::{FINISHED, Wire};

const ID: [u8; 16] = [7; 16];

fn at(request: u64, response: u64) -> Wire {
    sharing(&Known::default(), request, response)
}

fn sharing(known: &Known, request: u64, response: u64) -> Wire {
    let mut connection = Connection::new(Side::Server, OrderOptions::default(), Cassandra::new(Options::default()));
    connection.share(known);
    Wire::of(Box::new(connection), request, response)
}

/// Both sides have agreed on this version.
fn connected(version: u8) -> Wire {
    connected_sharing(version, &Known::default())
}

fn connected_sharing(version: u8, known: &Known) -> Wire {
    let mut wire = sharing(known, 0, 0);
    wire.request(startup(version, OPTIONS)).response(ready(version));
    wire.expect(&["STARTUP Ok"], &[]);
    wire.forget();
    wire
}

/// In segments, where the version has them.
fn sent(version: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    if version == 5 { segment(&frames.concat(), true) } else { frames.concat() }
}

#[test]
fn answers_are_found_by_their_streams() {
    for version in [3, 4, 5] {
        let batch =
            [&[0, 0, 2, 0][..], &long("INSERT INTO a (b) VALUES ('secret')"), &[0, 0, 1], &short(ID), &[0, 0, 0, 1, 0]];
        let asked = [
            query(version, 1, "SELECT * FROM orders WHERE id = 'secret' AND t = 550e8400-e29b-41d4-a716-446655440000"),
            prepare(version, 2, "UPDATE orders SET note = ? WHERE id = :id"),
            query(version, 3, "USE shop"),
            frame(version, 0, 4, 13, &batch),
            frame(version, 0, 5, 11, &[&[0, 1], &short("STATUS_CHANGE")]),
        ];
        let answered = [
            error(version, 4, 0x1100),
            // Pushed.
            frame(version | 0x80, 0, -1, 12, &[&short("STATUS_CHANGE"), &short("UP")]),
            prepared(version, 2, ID),
            rows(version, 1, 20),
            frame(version | 0x80, 0, 5, 2, &[]),
            keyspace(version, 3, "shop"),
        ];
        let then = [
            execute(version, 1, ID),
            execute(version, 2, [8; 16]),
            // What is said beside stands first.
            frame(
                version,
                4,
                3,
                7,
                &[&[0, 1], &short("key"), &[0, 0, 0, 6], b"secret", &long("SELECT now() FROM a"), &[0, 1, 0]],
            ),
        ];
        let warned = [&[0, 1][..], &short("secret"), &[0, 0, 0x22, 0], &short("secret")];
        let answered_then = [
            void(version, 1),
            error(version, 2, 0x2500),
            frame(version | 0x80, 2 | 8, 3, 0, &[&[&[0; 16][..]], &warned[..]].concat()),
        ];
        for size in 1..60 {
            let mut wire = connected(version);
            wire.in_pieces(size, Direction::Request, &sent(version, &asked));
            wire.in_pieces(size, Direction::Response, &sent(version, &answered));
            wire.in_pieces(size, Direction::Request, &sent(version, &then));
            wire.in_pieces(size, Direction::Response, &sent(version, &answered_then));
            wire.close(FINISHED).expect(
                &[
                    "BATCH INSERT INTO a (b) VALUES (?) ServerError WRITE_TIMEOUT",
                    "PREPARE UPDATE orders SET note = ? WHERE id = ? Ok",
                    "SELECT * FROM orders WHERE id = ? AND t = ? Ok",
                    "REGISTER Ok",
                    "USE shop Ok",
                    "UPDATE orders SET note = ? WHERE id = ? shop Ok",
                    "unknown shop Ok UNPREPARED",
                    "SELECT now() FROM a shop ClientError INVALID",
                ],
                &[("value_unknown", 1)],
            );
            assert!(wire.kinds.iter().all(|kind| *kind == Kind::Call));
        }
    }
}

/// Ids as Cassandra gives them are checksums (`printf '%s' "$STATEMENT" | md5sum`, with the keyspace before the statement or without).
#[test]
fn what_one_connection_prepared_the_others_of_its_workload_know_if_its_id_is_a_checksum() {
    const STATEMENT: &str = "SELECT a FROM b WHERE c = ?";
    let plain = 0x0fa9_6764_4357_2be9_f5e7_c6cc_7c9c_d4c3_u128.to_be_bytes();
    let in_shop = 0xd673_b2e7_2c5d_a2ca_c399_d935_807a_2bc3_u128.to_be_bytes();
    for version in [4, 5] {
        let known = Known::shared();
        let told = |id, known: &Known| {
            let mut wire = connected_sharing(version, known);
            wire.request(sent(version, &[execute(version, 1, id)])).response(sent(version, &[void(version, 1)]));
            wire.close(FINISHED).seen.clone()
        };
        let mut first = connected_sharing(version, &known);
        let use_shop = sent(version, &[query(version, 1, "USE shop")]);
        first.request(use_shop).response(sent(version, &[keyspace(version, 1, "shop")]));
        for id in [plain, in_shop, ID] {
            let asked = sent(version, &[prepare(version, 1, STATEMENT)]);
            first.request(asked).response(sent(version, &[prepared(version, 1, id)]));
        }
        let named = [format!("{STATEMENT} Ok")];
        assert_eq!((told(plain, &known), told(in_shop, &known)), (named.to_vec(), named.to_vec()));
        // An id that anyone could give to anything stands for it on that connection alone.
        assert_eq!(told(ID, &known), ["unknown Ok"]);
        assert_eq!(told(plain, &Known::shared()), ["unknown Ok"]);
        // Not all of the statement was captured.
        let (known, asked) = (Known::shared(), sent(version, &[prepare(version, 1, STATEMENT)]));
        let mut first = connected_sharing(version, &known);
        first.say(Direction::Request, &asked, asked.len() - 8).response(sent(version, &[prepared(version, 1, plain)]));
        assert_eq!(told(plain, &known), ["unknown Ok"]);
    }
}

#[test]
fn large_results_and_statements_are_passed_over() {
    let mut wire = connected(4);
    let answer = rows(4, 1, 5_000_000);
    wire.request(query(4, 1, "SELECT * FROM orders"));
    for piece in answer.chunks(60_000) {
        wire.say(Direction::Response, piece, 1_024);
        assert!(wire.heap_bytes() < 64 * 1024);
    }
    let statement = format!("INSERT INTO a (b) VALUES ('{}')", "secret".repeat(20_000));
    let asked = query(4, 2, &statement);
    wire.say(Direction::Request, &asked[..9_000], 4_096).miss(Direction::Request, 50_000);
    wire.say(Direction::Request, &asked[59_000..], 4_096).response(void(4, 2)).close(FINISHED);
    wire.expect(&["SELECT * FROM orders Ok", "INSERT INTO a (b) VALUES (? ... Ok"], &[]);
}

#[test]
fn a_frame_may_stand_in_several_segments() {
    let answer = rows(5, 1, 300_000);
    for cut in [3, 9, 20, 100_000] {
        let mut wire = connected(5);
        wire.request(segment(&query(5, 1, "SELECT * FROM orders"), true));
        let (first, rest) = answer.split_at(cut);
        let said: Vec<u8> =
            [first].into_iter().chain(rest.chunks(131_071)).flat_map(|part| segment(part, false)).collect();
        for piece in said.chunks(50_000) {
            wire.say(Direction::Response, piece, usize::MAX);
        }
        wire.request(segment(&query(5, 1, "SELECT a FROM orders"), true)).response(segment(&void(5, 1), true));
        wire.close(FINISHED).expect(&["SELECT * FROM orders Ok", "SELECT a FROM orders Ok"], &[]);
    }
}

#[test]
fn what_is_compressed_is_unknown() {
    let mut wire = connected(4);
    wire.request([frame(4, 1, 1, 7, &[b"compressed"]), frame(4, 1, 2, 10, &[b"compressed"])].concat());
    wire.response([frame(0x84, 1, 2, 8, &[b"compressed"]), frame(0x84, 1, 1, 0, &[b"compressed"])].concat());
    wire.close(FINISHED).expect(&["unknown Ok", "unknown Unknown"], &[("value_unknown", 2)]);
    // In version 5 it is all that follows.
    let mut wire = at(0, 0);
    wire.request(startup(5, &[("COMPRESSION", "lz4"), ("CQL_VERSION", "3.4.5")])).response(ready(5));
    wire.request(compressing(b"compressed", 100)).response(compressing(b"compressed", 100)).close(FINISHED);
    wire.expect(&["STARTUP Ok"], &[("upgraded", 1)]);
    assert_eq!(wire.recognition(), Recognition::Foreign);
}

#[test]
fn what_was_missed_is_counted() {
    for version in [4, 5] {
        let one = |stream: i16| sent(version, &[query(version, stream, "SELECT * FROM orders")]);
        let answer = |stream: i16| sent(version, &[void(version, stream)]);
        // A frame that begins behind what was captured of a call.
        let mut wire = connected(version);
        wire.say(Direction::Request, &[one(1), one(2)].concat(), one(1).len())
            .response([answer(1), answer(2)].concat());
        wire.expect(&["SELECT * FROM orders Ok"], &[("head_not_captured", 2)]);
        wire.forget();
        for stream in 3..8 {
            wire.request(one(stream)).response(answer(stream));
        }
        wire.close(FINISHED);
        assert!(wire.seen.len() >= 3 && wire.losses.values().sum::<u64>() <= 2, "{:?} {:?}", wire.seen, wire.losses);
        // An answer that nobody saw, and a number that is given again.
        let mut wire = connected(version);
        wire.request(one(1)).request(one(2)).miss(Direction::Response, 100).request(one(1));
        wire.response([answer(3), answer(1)].concat()).close(FINISHED);
        assert_eq!(wire.seen, ["SELECT * FROM orders Ok"]);
        assert_eq!(wire.losses.values().sum::<u64>(), 4, "{:?}", wire.losses);
    }
}

#[test]
fn a_connection_is_followed_from_its_middle_on() {
    for version in [3, 4, 5] {
        let mut wire = at(5_000, 9_000);
        wire.request([7; 40]).response([7; 40]);
        for stream in 1..7 {
            wire.request(sent(version, &[query(version, stream, "SELECT * FROM orders")]));
            wire.response(sent(version, &[rows(version, stream, 40)]));
        }
        wire.close(FINISHED);
        assert!(wire.seen.len() >= 5, "{:?} {:?}", wire.seen, wire.losses);
        assert!(wire.losses.keys().all(|reason| *reason == "started_before_capture"), "{:?}", wire.losses);
    }
}

#[test]
fn what_is_open_at_the_end_has_failed() {
    for (how, expected) in [
        (FINISHED, "SELECT a FROM b no_response Unanswered"),
        (CloseReason::Reset { by: Side::Server }, "SELECT a FROM b reset Unanswered"),
        (CloseReason::TimedOut, "SELECT a FROM b timed_out Unanswered"),
    ] {
        connected(4).request(query(4, 1, "SELECT a FROM b")).close(how).expect(&[expected], &[]);
    }
    connected(4)
        .request(query(4, 1, "SELECT a FROM b"))
        .close(CloseReason::Unobserved)
        .expect(&[], &[("unfinished", 1)]);
    let mut wire = connected(4);
    wire.request(query(4, 1, "SELECT a FROM b")).response(&rows(4, 1, 100)[..20]);
    wire.close(CloseReason::Reset { by: Side::Server }).expect(&["SELECT a FROM b reset ServerError"], &[]);
}

#[test]
fn what_waits_and_what_is_prepared_has_a_bound() {
    let mut wire = connected(4);
    for stream in 0..i16::MAX {
        wire.request(query(4, stream, "SELECT a FROM b WHERE c = 1"));
        assert!(wire.heap_bytes() < 1024 * 1024, "{}", wire.heap_bytes());
    }
    assert_eq!(wire.losses["too_many_pipelined"], u64::from(i16::MAX as u16) - 2_048);
    let mut wire = connected(4);
    for number in 0..2_000u16 {
        let mut id = ID;
        id[..2].copy_from_slice(&number.to_be_bytes());
        wire.request(prepare(4, 1, "SELECT a FROM b WHERE c = ?")).response(prepared(4, 1, id));
        assert!(wire.heap_bytes() < 128 * 1024, "{}", wire.heap_bytes());
    }
}

/// ../shared/cases/lengths-not-believed.md
#[test]
fn lengths_are_not_believed() {
    for length in [i32::MAX as u32, u32::MAX, 1 << 31, 0, 3] {
        // Of a frame.
        let mut asked = query(4, 1, "SELECT a FROM b");
        asked[5..9].copy_from_slice(&length.to_be_bytes());
        let mut wire = connected(4);
        wire.request(&asked).response(void(4, 1)).close(FINISHED);
        assert!(wire.seen.iter().all(|seen| !seen.contains("SELECT a FROM b")), "{:?}", wire.seen);
        // Of the statement.
        let mut asked = query(4, 1, "SELECT a FROM b");
        asked[9..13].copy_from_slice(&length.to_be_bytes());
        let mut wire = connected(4);
        wire.request(&asked).response(void(4, 1)).close(FINISHED);
        assert_eq!((wire.seen.len(), wire.heap_bytes()), (1, 0));
    }
    for version in [4, 5] {
        let asked = sent(version, &[query(version, 1, "SELECT * FROM orders WHERE a = 1")]);
        for cut in 0..asked.len() {
            let mut wire = connected(version);
            wire.say(Direction::Request, &asked, cut).response(sent(version, &[void(version, 1)])).close(FINISHED);
            let is_told = wire.seen.len() == 1 || wire.losses.contains_key("head_not_captured");
            assert!(is_told, "{cut} {:?} {:?}", wire.seen, wire.losses);
        }
    }
}

#[test]
fn secrets_do_not_leave() {
    let mut random = Random::new(3);
    for _ in 0..3_000 {
        let mut wire = connected(4);
        let mut asked = query(4, 1, "SELECT * FROM orders WHERE a = 'secret' AND b = $$secret$$ // secret");
        let at = random.index(13);
        asked[at] = random.byte();
        wire.request(&asked).response(error(4, 1, 0x2000)).close(FINISHED);
        assert!(wire.seen.iter().all(|seen| !seen.contains("secret")), "{:?}", wire.seen);
    }
}

#[test]
fn sessions_in_any_pieces_are_found() {
    let mut random = Random::new(11);
    let mut all = flights::Outcome::default();
    for _ in 0..30_000 {
        let plan: Vec<u8> = (0..random.index(70)).map(|_| random.byte()).collect();
        let one = statements::run(&plan);
        all.made += one.made;
        all.seen += one.seen;
        all.lost += one.lost;
    }
    assert!(all.made > 500_000 && all.seen * 10 > all.made * 5, "{all:?}");
}
