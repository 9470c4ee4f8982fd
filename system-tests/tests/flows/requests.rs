//! Requests of odd syntax, and answers that somebody cuts off.

use headwater_schemas::records::{Kind, Side};
use headwater_system_tests::odd::{
    BURST_COMMANDS, CROWDED, MOVING_QUESTIONS, MOVING_REQUESTS, MOVING_STREAMS, ODD_REQUESTS, UNANSWERED_MESSAGES,
};

use crate::seen;

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// ../shared/cases: http-refused-syntax, http-methods.
#[test]
fn http_refused_syntax_and_http_methods() {
    let seen = seen::of("odd-syntax");
    for side in SIDES {
        let of_side = seen.requests_of(side);
        assert_eq!(of_side.len(), ODD_REQUESTS, "{side:?}");
        assert!(of_side.iter().all(|request| request.status == 200 && !request.error), "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
}

/// ../shared/cases: http-endless-stream.
#[test]
fn http_endless_stream() {
    let seen = seen::of("endless-stream");
    for side in SIDES {
        let of_side = seen.requests_of(side);
        assert_eq!(of_side.len(), 2, "{side:?}");
        for request in of_side {
            assert_eq!((request.status, request.error, request.kind), (200, false, Kind::Stream), "{side:?}");
            assert_eq!(request.failure.as_deref(), Some("client_left"), "{side:?}");
        }
    }
    assert_eq!(seen.missing(), 0);
}

/// ../shared/cases: http-endless-stream.
#[test]
fn http_endless_stream_that_is_a_download() {
    let seen = seen::of("download-cut");
    for side in SIDES {
        let of_side = seen.requests_of(side);
        assert_eq!(of_side.len(), 1, "{side:?}");
        assert_eq!((of_side[0].status, of_side[0].error), (200, false), "{side:?}");
        assert_eq!(of_side[0].failure.as_deref(), Some("client_left"), "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
}

#[test]
fn an_answer_that_its_server_cuts_is_its_error_on_both_sides() {
    let seen = seen::of("server-leaves");
    for side in SIDES {
        let of_side = seen.requests_of(side);
        assert_eq!(of_side.len(), 1, "{side:?}");
        assert_eq!((of_side[0].status, of_side[0].error), (200, true), "{side:?}");
        assert_eq!(of_side[0].failure.as_deref(), Some("response_incomplete"), "{side:?}");
    }
}

/// User space is asked in time what it wants of a connection that is busy from its beginning: it does not come only at its interval.
#[test]
fn a_connection_that_is_busy_from_its_first_byte_on_is_followed_from_there() {
    let seen = seen::of("burst");
    for side in SIDES {
        assert_eq!(seen.requests_of(side).len(), BURST_COMMANDS, "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
}

/// Where nobody has said what a connection speaks, a turn of 110 kB is copied like any other bytes.
#[test]
fn what_is_said_in_one_turn_before_the_agent_looks_is_not_lost() {
    let seen = seen::of_late("unanswered");
    for side in SIDES {
        // And CONNECT.
        assert_eq!(seen.requests_of(side).len(), 1 + UNANSWERED_MESSAGES, "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
}

/// What is absent longer than a probe waits, as where the other thread loses the processor just then, is counted.
#[test]
fn memory_that_is_absent_for_a_moment_is_read() {
    let [read_later, unreadable, _] = of_moving("moving-memory", MOVING_REQUESTS);
    assert!(read_later > 10 && read_later > unreadable, "{read_later} reads waited, {unreadable} in vain");
}

/// Also where it says where the bytes lie.
#[test]
fn segments_that_are_absent_for_a_moment_are_read() {
    let [read_later, _, missing] = of_moving("moving-segments", MOVING_STREAMS);
    assert!(read_later > 10 && missing < MOVING_STREAMS / 20, "{read_later} reads waited, {missing} missing");
}

/// Also where it says which messages a call sends.
#[test]
fn messages_that_are_absent_for_a_moment_are_read() {
    let [read_later, _, missing] = of_moving("moving-messages", MOVING_QUESTIONS);
    assert!(read_later > 10 && missing < MOVING_QUESTIONS / 20, "{read_later} reads waited, {missing} missing");
}

/// A body that begins behind the last buffer that a probe looks at is looked for at its own head.
#[test]
fn a_body_behind_many_buffers_is_not_overlooked() {
    let seen = seen::of("many-segments");
    let of_client = seen.requests_of(Side::Client);
    let named = |number: usize| format!("POST /{{id}}/graphql crowded_{number}");
    let operations: Vec<&str> = of_client.iter().map(|request| &*request.operation).collect();
    assert_eq!(operations, (0..CROWDED).map(named).collect::<Vec<_>>());
    assert_eq!(seen.missing(), 0);
}

/// Reads that waited, those that did so in vain, and requests that are missing: no more than are counted.
fn of_moving(conversation: &str, requests: usize) -> [usize; 3] {
    let seen = seen::of(conversation);
    let missing = requests - seen.requests_of(Side::Client).len();
    assert!(missing as u64 <= seen.missing(), "{missing} are missing");
    let [read_later, unreadable] = ["awaited", "unreadable"].map(|name| seen.counts[name] as usize);
    println!("{read_later} reads waited, {unreadable} in vain, {missing} missing");
    [read_later, unreadable, missing]
}
