//! What is not seen: bytes that were not captured, calls that were missed, the time before the capture.

use headwater_protocols::{CloseReason, Direction, Follow, Recognition};

use crate::wire::*;

const BOTH: [u64; 2] = [0, DEPRECATE_EOF];

#[test]
fn rows_that_were_not_seen_end_with_what_ends_them() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        let answer = numbered(1, &result(both, 300, 40, 0));
        let (large, rest) = answer.split_at(answer.len() - 500);
        wire.request(query("select a from t")).say(Direction::Response, large, 1_024).response(rest);
        wire.expect(&["SELECT a FROM t: Ok"], &[]);
        assert_eq!(wire.output.exchanges[0].response_bytes, answer.len() as u64);
        // What was prepared is still known.
        wire.request(ping()).answer(&[ok(0)]).close(FINISHED).expect(&["SELECT a FROM t: Ok", "PING: Ok"], &[]);
    }
}

#[test]
fn rows_whose_end_was_not_seen_end_with_the_next_command() {
    for both in BOTH {
        for next in [ping(), command(1, "")] {
            let mut wire = Wire::started(both);
            wire.request(query("select a from t"));
            wire.say(Direction::Response, &numbered(1, &result(both, 300, 40, 0)), 1_024).expect(&[], &[]);
            wire.request(&next);
            if next == ping() {
                wire.expect(&[], &[]).answer(&[ok(0)]);
            }
            wire.close(FINISHED);
            let expected = ["SELECT a FROM t: Unknown", "PING: Ok"];
            wire.expect(&expected[..1 + usize::from(next == ping())], &[]);
        }
    }
}

#[test]
fn the_rest_of_an_answer_is_no_answer() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        let answer = numbered(1, &result(both, 300, 40, 0));
        wire.request(query("select a from t")).say(Direction::Response, &answer[..2_000], 1_024);
        // It did not wait for the end.
        wire.request(ping()).response(&answer[2_000..4_000]).response(&answer[4_000..]).answer(&[ok(0)]);
        wire.request(ping()).answer(&[ok(0)]).close(FINISHED);
        assert_eq!(wire.output.exchanges.len(), 0, "{:?}", wire.output.exchanges);
        assert!(wire.output.lost() >= 3, "{:?}", wire.output.losses);
    }
}

#[test]
fn the_end_of_definitions_is_not_that_of_rows() {
    let mut wire = Wire::started(0);
    let mut bodies = vec![vec![200]];
    bodies.extend(definitions(0, 200));
    let head = numbered(1, &bodies);
    wire.request(query("select * from wide"));
    wire.say(Direction::Response, &head[..head.len() - 100], 1_024)
        .response(&head[head.len() - 100..])
        .expect(&[], &[]);
    wire.response(numbered(202, &[vec![0xfb; 200], eof(0)])).request(ping()).answer(&[ok(0)]);
    wire.expect(&["SELECT * FROM wide: Unknown", "PING: Ok"], &[]);
}

#[test]
fn long_rows_need_not_be_captured() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        let bodies = result(both, 1, 60_000, 0);
        let answer = numbered(1, &bodies);
        let end = answer.len() - bodies.last().unwrap().len() - 4;
        wire.request(query("select a from t")).say(Direction::Response, &answer[..9_000], 1_024);
        wire.say(Direction::Response, &answer[9_000..end], 0).response(&answer[end..]);
        wire.expect(&["SELECT a FROM t: Ok"], &[]);
    }
}

#[test]
fn a_connection_is_followed_from_its_middle() {
    for both in BOTH {
        let mut wire = Wire::in_the_middle();
        wire.response(b"rest of a row").request(query("select 1")).answer(&result(both, 3, 3, 0));
        wire.request(execute(7)).answer(&result(both, 1, 4, 0));
        wire.request(prepare("select a from t where b = ?")).answer(&prepared(both, 8, 1, 2));
        wire.request(execute(8)).answer(&result(both, 1, 4, 0)).close(FINISHED);
        wire.expect(
            &[
                "SELECT ?: Ok",
                "unknown: Ok",
                "PREPARE SELECT a FROM t WHERE b = ?: Ok",
                "SELECT a FROM t WHERE b = ?: Ok",
            ],
            &[("started_before_capture", 1)],
        );
        assert_eq!(wire.connection.recognition(), Recognition::Foreign);
    }
}

/// As MariaDB's server reads: the header of each packet by a call of its own.
#[test]
fn a_header_and_the_rest_behind_it_are_taken_together() {
    for both in BOTH {
        let mut wire = Wire::in_the_middle();
        let in_two_calls = |wire: &mut Wire, asked: Vec<u8>, answer: &[Vec<u8>]| {
            wire.request(&asked[..4]).request(&asked[4..]).answer(answer);
        };
        in_two_calls(&mut wire, query("select 1"), &result(both, 3, 3, 0));
        in_two_calls(&mut wire, query("select a from t"), &result(both, 3, 3, 0));
        in_two_calls(&mut wire, ping(), &[ok(0)]);
        wire.close(FINISHED).expect(&["SELECT a FROM t: Ok", "PING: Ok"], &[("started_before_capture", 1)]);
        let places: Vec<_> =
            wire.output.exchanges.iter().map(|seen| (seen.request_position, seen.request_bytes)).collect();
        assert_eq!(places, [(5_013, 20), (5_033, 5)]);
    }
}

/// The same while more is open than shows: what is asked is counted.
#[test]
fn a_header_and_the_rest_behind_it_are_counted_together() {
    let mut wire = Wire::in_the_middle();
    wire.request(query("select 1")).request(query("select 2")).answer(&[ok(0)]);
    for _ in 0..5 {
        let asked = query("insert into a values (1)");
        wire.request(&asked[..4]).request(&asked[4..]).answer(&[ok(0)]);
    }
    assert_eq!(wire.output.exchanges, []);
    wire.answer(&[ok(0)]);
    wire.calls.now_ns += 2_000_000_000;
    let asked = query("select 3 from b");
    wire.request(&asked[..4]).request(&asked[4..]).answer(&[ok(0)]);
    wire.expect(&["SELECT ? FROM b: Ok"], &[("started_before_capture", 7)]);
}

/// Without the login it is not known whether a packet ends the definitions of a statement.
#[test]
fn what_was_agreed_upon_is_learnt_where_it_shows() {
    for both in BOTH {
        for parameters in [0, 2] {
            let mut wire = Wire::in_the_middle();
            wire.request(ping()).answer(&[ok(0)]).request(ping()).answer(&[ok(0)]);
            wire.request(prepare("select a from t where b = ?")).answer(&prepared(both, 8, parameters, 1));
            wire.request(execute(8)).answer(&result(both, 0, 4, 0));
            wire.request(execute(8)).answer(&result(both, 2, 4, 0)).close(FINISHED);
            wire.expect(
                &[
                    "PING: Ok",
                    "PREPARE SELECT a FROM t WHERE b = ?: Ok",
                    "SELECT a FROM t WHERE b = ?: Ok",
                    "SELECT a FROM t WHERE b = ?: Ok",
                ],
                &[("started_before_capture", 1)],
            );
        }
    }
}

#[test]
fn what_is_missing_is_counted_and_the_next_command_is_followed() {
    for direction in [Direction::Request, Direction::Response] {
        let mut wire = Wire::started(0);
        wire.request(prepare("select 1")).answer(&prepared(0, 1, 0, 1));
        match direction {
            Direction::Request => wire.miss(direction, query("select 2")).answer(&result(0, 1, 1, 0)),
            Direction::Response => wire.request(query("select 2")).miss(direction, numbered(1, &result(0, 1, 1, 0))),
        };
        for _ in 0..3 {
            wire.request(execute(1)).answer(&result(0, 1, 1, 0));
        }
        wire.close(CloseReason::Unobserved);
        let seen: Vec<&str> = wire.output.exchanges.iter().map(|seen| seen.operation.as_str()).collect();
        assert_eq!(seen[0], "PREPARE SELECT ?");
        // A statement's id may stand for another one by now.
        assert!(seen.len() >= 3 && seen[1..].iter().all(|name| *name == "unknown"), "{seen:?}");
        assert!(seen.len() as u64 + wire.output.lost() >= 5, "{seen:?} {:?}", wire.output.losses);
    }
}

#[test]
fn who_asks_ahead_is_not_followed_from_the_middle_before_it_rests() {
    let mut wire = Wire::in_the_middle();
    // One more is under way than is seen.
    wire.request(query("select 1")).request(query("select 2")).answer(&[ok(0)]);
    for _ in 0..5 {
        wire.request(query("insert into a values (1)")).answer(&[ok(0)]);
    }
    assert_eq!(wire.output.exchanges, []);
    wire.answer(&[ok(0)]);
    wire.calls.now_ns += 2_000_000_000;
    wire.request(query("select 3 from b"))
        .answer(&[ok(0)])
        .expect(&["SELECT ? FROM b: Ok"], &[("started_before_capture", 7)]);
}
