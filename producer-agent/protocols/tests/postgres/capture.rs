//! Bytes that were not copied, and events that went missing.

use headwater_protocols::{CloseReason, Direction, Side};

use crate::wire::*;

const HEAD: usize = 256;

#[test]
fn a_long_answer_whose_last_call_is_seen_whole() {
    let answer = selected(200, 100);
    let (first, rest) = answer.split_at(8192);
    let (second, last) = rest.split_at(rest.len() - 150);
    let mut wire = Wire::started();
    wire.request(query("SELECT 1")).say(Direction::Response, first, HEAD).say(Direction::Response, second, HEAD);
    wire.expect(&[], &[]).say(Direction::Response, last, HEAD).expect(&["SELECT ?: Ok"], &[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!((seen.response_bytes, seen.times_ns[3]), (answer.len() as u64, Some(60)));

    // It fails in the middle of its rows.
    let failed = [error("22012"), ready(b'I')].concat();
    wire.request(query("SELECT 1/0")).say(Direction::Response, first, HEAD).say(Direction::Response, &failed, HEAD);
    wire.request(query("SELECT 2")).response(selected(1, 1));
    wire.expect(&["SELECT ?: Ok", "SELECT ? / ?: ClientError 22012", "SELECT ?: Ok"], &[]);
}

#[test]
fn a_long_answer_is_over_when_the_next_request_is_answered() {
    let answer = selected(200, 100);
    let mut wire = Wire::started();
    wire.request(query("SELECT a")).say(Direction::Response, &answer, HEAD);
    // What comes at any time is no part of it.
    wire.response(message(b'A', b"\0\0\0\x07chan\0payload\0"));
    wire.request([all_of("SELECT b"), sync()].concat()).expect(&[], &[]);
    wire.response([executed(1), ready(b'I')].concat()).expect(&["SELECT a: Unknown", "SELECT b: Ok"], &[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!((seen.response_bytes, seen.times_ns[3]), (answer.len() as u64, Some(40)));
    // The farewell is a request, too.
    wire.request(query("SELECT c")).say(Direction::Response, &answer, HEAD).request(message(b'X', "")).close(FINISHED);
    wire.expect(&["SELECT a: Unknown", "SELECT b: Ok", "SELECT c: Unknown"], &[]);
}

#[test]
fn what_stands_where_the_next_answer_should_begin_refutes_the_end() {
    let answer = selected(200, 100);
    let row = message(b'D', [0; 106]).len();
    // In the middle of a row, and where one begins.
    for cut in [8_000, rows(0, 0).len() + 70 * row] {
        let mut wire = Wire::started();
        wire.request(query("SELECT a")).say(Direction::Response, &answer[..cut], HEAD);
        wire.request(query("SELECT b")).say(Direction::Response, &answer[cut..], HEAD);
        wire.response(selected(1, 1)).request(query("SELECT c")).response(selected(1, 1));
        wire.expect(&[], &[("malformed_response", 2), ("started_before_capture", 1)]).calls.now_ns += 1_000_000_000;
        wire.request(query("SELECT d")).response(selected(1, 1));
        wire.expect(&["SELECT d: Ok"], &[("malformed_response", 2), ("started_before_capture", 1)]);
    }
}

#[test]
fn who_asks_ahead_does_not_tell_the_end_of_a_long_answer() {
    let mut wire = Wire::started();
    wire.request(query("SELECT a").repeat(2)).response(selected(1, 1).repeat(2));
    wire.request(query("SELECT b")).say(Direction::Response, &selected(200, 100), HEAD);
    wire.request(query("SELECT c")).response(selected(1, 1)).close(FINISHED);
    wire.expect(&["SELECT a: Ok", "SELECT a: Ok"], &[("head_not_captured", 1), ("started_before_capture", 1)]);
}

#[test]
fn of_several_executes_the_ones_behind_a_long_answer_are_lost() {
    let mut wire = Wire::started();
    let asked = [all_of("SELECT a"), all_of("SELECT b"), all_of("SELECT c"), sync()].concat();
    wire.request(&asked).response(executed(1));
    wire.say(Direction::Response, &executed(200), HEAD).response([executed(1), ready(b'I')].concat());
    wire.request(query("SELECT d")).response(selected(1, 1));
    wire.expect(&["SELECT a: Ok", "SELECT d: Ok"], &[("head_not_captured", 2)]);
    // Several units.
    let mut wire = Wire::started();
    wire.request([all_of("SELECT a"), sync()].concat().repeat(2)).say(Direction::Response, &executed(200), HEAD);
    wire.response([ready(b'I'), executed(1), ready(b'I')].concat()).request(query("SELECT d")).response(selected(1, 1));
    // Who asks ahead may have more open than shows, until nothing was said for a second.
    wire.expect(&[], &[("head_not_captured", 2), ("started_before_capture", 1)]).calls.now_ns += 1_000_000_000;
    wire.request(query("SELECT e")).response(selected(1, 1)).request(query("SELECT f")).response(selected(1, 1));
    wire.expect(&["SELECT e: Ok", "SELECT f: Ok"], &[("head_not_captured", 2), ("started_before_capture", 1)]);
}

#[test]
fn long_statements_and_parameters_need_not_be_captured() {
    let long = format!("SELECT a FROM t WHERE b = '{}'", "secret".repeat(2_000));
    let mut wire = Wire::started();
    let asked = query(&long);
    wire.say(Direction::Request, &asked[..8192], HEAD).say(Direction::Request, &asked[8192..], HEAD);
    wire.response(selected(1, 1));
    wire.expect(&["SELECT a FROM t WHERE b = ? ...: Ok"], &[]);
    assert_eq!(wire.output.exchanges[0].request_bytes, asked.len() as u64);
    // Behind a long Bind nothing is seen: not which Execute, nor the Sync.
    let asked = [parse("", "SELECT c"), message(b'B', [b"\0\0\0\0\0\0".as_slice(), &[b'x'; 2_000]].concat())].concat();
    wire.say(Direction::Request, &[asked, execute(), sync()].concat(), HEAD);
    wire.response([message(b'1', ""), message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat());
    wire.request(query("SELECT d")).response(selected(1, 1));
    wire.expect(&["SELECT a FROM t WHERE b = ? ...: Ok", "SELECT d: Ok"], &[("head_not_captured", 1)]);
}

#[test]
fn copied_data_need_not_be_captured() {
    let data = message(b'd', "1\tsecret\n").repeat(500);
    let done = [message(b'd', "2\tsecret\n").repeat(40), message(b'c', "")].concat();
    let mut wire = Wire::started();
    wire.request(query("COPY a FROM STDIN")).response(message(b'G', [0, 0, 1, 0, 0]));
    wire.say(Direction::Request, &data, HEAD).say(Direction::Request, &done, HEAD);
    wire.response([complete("COPY 540"), ready(b'I')].concat());
    wire.request(query("SELECT 1")).response(selected(1, 1)).expect(&["COPY a FROM STDIN: Ok", "SELECT ?: Ok"], &[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!(seen.request_bytes, (query("COPY a FROM STDIN").len() + data.len() + done.len()) as u64);
    assert_eq!(seen.times_ns[1], Some(60));
}

#[test]
fn what_is_missing_is_counted_and_the_next_unit_is_followed() {
    for direction in [Direction::Request, Direction::Response] {
        let mut wire = Wire::started();
        wire.request(query("SELECT a")).response(selected(1, 1));
        let (asked, answered) = (query("SELECT b"), selected(1, 1));
        match direction {
            Direction::Request => wire.miss(direction, asked).response(answered),
            Direction::Response => wire.request(asked).miss(direction, answered),
        };
        for _ in 0..2 {
            wire.request(query("SELECT c")).response(selected(1, 1));
        }
        wire.close(FINISHED);
        let operations: Vec<_> = wire.output.exchanges.iter().map(|seen| seen.operation.as_str()).collect();
        assert!(["SELECT a", "SELECT c"].iter().all(|name| operations.contains(name)), "{operations:?}");
        assert!(!operations.contains(&"SELECT b"));
        assert!(operations.len() as u64 + wire.output.lost() >= 4, "{operations:?} {:?}", wire.output.losses);
    }
    // Within a message that is passed over nothing is lost.
    let mut wire = Wire::started();
    let row = message(b'D', [b'x'; 9_000]);
    wire.request(query("SELECT a"))
        .say(Direction::Response, &row[..100], HEAD)
        .miss(Direction::Response, &row[100..200]);
    wire.response(&row[200..]).response([complete("SELECT 1"), ready(b'I')].concat()).expect(&["SELECT a: Ok"], &[]);
}

#[test]
fn the_rest_of_a_unit_whose_beginning_was_missed_is_not_taken_for_a_unit() {
    let mut wire = Wire::started();
    wire.request(query("SELECT a")).response(selected(1, 1));
    wire.miss(Direction::Request, all_of("SELECT 1 / 0")).request([all_of("SELECT b"), sync()].concat());
    wire.response([message(b'1', ""), message(b'2', ""), error("22012"), ready(b'I')].concat());
    wire.request(query("SELECT c")).response(selected(1, 1));
    wire.expect(&["SELECT a: Ok", "SELECT c: Ok"], &[("gap", 1), ("started_before_capture", 1)]);
}

#[test]
fn what_names_stand_for_is_forgotten_with_what_was_missed() {
    let mut wire = Wire::started();
    wire.request([parse("s1", "SELECT a"), sync()].concat()).response([message(b'1', ""), ready(b'I')].concat());
    let again = [message(b'C', "Ss1\0"), parse("s1", "SELECT b"), sync()].concat();
    wire.miss(Direction::Request, again).response([message(b'3', ""), message(b'1', ""), ready(b'I')].concat());
    let run = [bind("s1"), execute(), sync()].concat();
    for _ in 0..2 {
        wire.request(&run).response([message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat());
    }
    assert!(wire.output.exchanges.iter().all(|seen| seen.operation == "unknown"), "{:?}", wire.output.exchanges);
    assert!(!wire.output.exchanges.is_empty() && wire.output.lost() > 0);
}

#[test]
fn a_connection_that_is_first_seen_in_its_middle() {
    let ok = [complete("UPDATE 1"), ready(b'I')].concat();
    // What answers an earlier request, then turns.
    let mut wire = Wire::in_the_middle();
    wire.response(&ok).request(query("SELECT a")).response(selected(1, 1)).request(query("SELECT b"));
    wire.response(selected(1, 1)).expect(&["SELECT a: Ok", "SELECT b: Ok"], &[("started_before_capture", 1)]);
    // Whether something was asked before is not known, so a turn has to be seen first.
    let mut wire = Wire::in_the_middle();
    wire.request(query("SELECT a")).response(selected(1, 1)).request(query("SELECT b")).response(selected(1, 1));
    wire.expect(&["SELECT b: Ok"], &[("started_before_capture", 1)]);
    // The answer is another statement's.
    let mut wire = Wire::in_the_middle();
    wire.response("x").request(query("SELECT a")).response(&ok).request(query("UPDATE b SET c = 1")).response(&ok);
    wire.expect(&["UPDATE b SET c = ?: Ok"], &[("started_before_capture", 2)]);
    let mut wire = Wire::in_the_middle();
    let updated = [message(b'1', ""), message(b'2', ""), message(b'n', ""), ok.clone()].concat();
    wire.response("x").request([all_of("SELECT a"), sync()].concat()).response(&updated);
    wire.request([all_of("UPDATE b SET c = 1"), sync()].concat()).response(&updated);
    wire.expect(&["UPDATE b SET c = ?: Ok"], &[("started_before_capture", 2)]);
    // Another answer stands behind it.
    let mut wire = Wire::in_the_middle();
    wire.response("x").request(query("SELECT a")).response(selected(1, 1).repeat(2));
    wire.request(query("SELECT b"))
        .response(selected(1, 1))
        .expect(&["SELECT b: Ok"], &[("started_before_capture", 2)]);
    // More is asked before the answer is there.
    let mut wire = Wire::in_the_middle();
    wire.response("x").request(query("SELECT a")).request(query("SELECT b")).response(selected(1, 1));
    wire.close(FINISHED);
    wire.expect(&[], &[]);
    // Other protocols do not look like it.
    let mut wire = Wire::in_the_middle();
    for _ in 0..5 {
        wire.request("GET / HTTP/1.1\r\n\r\n")
            .response("HTTP/1.1 200 OK\r\n\r\n")
            .request("Q")
            .response("Z\0\0\0\x05I");
    }
    wire.close(CloseReason::Reset { by: Side::Server }).expect(&[], &[]);
}
