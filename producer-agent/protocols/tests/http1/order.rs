//! Events that overtake each other.

use headwater_protocols::{Direction, LossReason, Options, OrderOptions, Side};

use crate::wire::{FINISHED, Wire};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_5: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const OK_CUT: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[test]
fn a_response_may_be_reported_before_its_request() {
    for mut wire in [Wire::new(Side::Client), Wire::in_the_middle(Side::Client)] {
        for _ in 0..3 {
            let request = wire.segment(Direction::Request, GET, usize::MAX);
            let response = wire.segment(Direction::Response, OK_5, usize::MAX);
            wire.feed(&response).feed(&request);
        }
        wire.expect(&["GET /a 200"; 3]).expect_losses(&[]);
        let seen = &wire.output.exchanges[0];
        assert_eq!((seen.request_started_ns, seen.response_started_ns, seen.completed_ns), (10, Some(20), 20));
        assert!(wire.connection.is_idle());
    }
}

#[test]
fn a_writer_may_see_the_answer_before_it_reports() {
    // The position of the answer is read when the write is reported, so each speaks of the other.
    for request_first in [true, false] {
        let mut wire = Wire::new(Side::Client);
        for _ in 0..3 {
            let mut request = wire.segment(Direction::Request, GET, usize::MAX);
            let response = wire.segment(Direction::Response, OK_CUT, 50);
            request.other_position = response.position + response.length;
            if request_first {
                wire.feed(&request).feed(&response);
            } else {
                wire.feed(&response).feed(&request);
            }
        }
        wire.close(FINISHED);
        wire.expect(&["GET /a 200"; 3]).expect_losses(&[]);
    }
}

#[test]
fn the_next_request_may_be_reported_before_the_response() {
    // The server's writer is reported late, with or without having seen the next request.
    for seen in [true, false] {
        for next_first in [true, false] {
            let mut wire = Wire::new(Side::Server);
            let first = wire.segment(Direction::Request, GET, usize::MAX);
            let mut response = wire.segment(Direction::Response, OK_CUT, 50);
            let next = wire.segment(Direction::Request, GET, usize::MAX);
            if seen {
                response.other_position = next.position + next.length;
            }
            wire.feed(&first);
            if next_first {
                wire.feed(&next).feed(&response);
            } else {
                wire.feed(&response).feed(&next);
            }
            wire.response(OK_5);
            wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
        }
    }
}

#[test]
fn an_early_response_to_something_unseen_is_not_matched() {
    let mut wire = Wire::new(Side::Client);
    wire.request(GET).response(OK_5);
    wire.miss_request(GET);
    wire.response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 1)]);
    assert_eq!(wire.last().request_position, 2 * GET.len() as u64);

    let mut wire = Wire::in_the_middle(Side::Client);
    wire.miss_request(GET);
    wire.response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::StartedBeforeCapture, 1)]);
    assert_eq!(wire.last().request_position, 5_000 + GET.len() as u64);
}

#[test]
fn early_segments_are_bounded_by_number_and_by_bytes() {
    let few = Options { order: OrderOptions { early_segments_max: 4, ..Default::default() }, ..Options::default() };
    let small = Options { order: OrderOptions { early_bytes_max: 100, ..Default::default() }, ..Options::default() };
    for (options, released) in [(few, 1), (small, 0)] {
        let mut wire = Wire::with_options(Side::Client, options);
        wire.request(GET).response(OK_5);
        wire.miss_request(GET);
        wire.response(b"HTTP/1.1 200 OK\r\nContent-Length: 320\r\n\r\n");
        for _ in 0..10 {
            wire.response([b'x'; 32]);
        }
        wire.expect(&["GET /a 200"]);
        assert_eq!(wire.output.lost(), released);
        wire.request(GET).response(OK_5);
        wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 1)]);
    }
    // What finds no room counts as not captured: the length in the head is enough.
    let mut wire = Wire::with_options(Side::Client, small);
    let request = wire.segment(Direction::Request, GET, usize::MAX);
    wire.response(b"HTTP/1.1 200 OK\r\nContent-Length: 320\r\n\r\n");
    for _ in 0..10 {
        wire.response([b'x'; 32]);
    }
    wire.feed(&request);
    wire.expect(&["GET /a 200"]).expect_losses(&[]);
}

#[test]
fn early_segments_leave_with_the_close() {
    let mut wire = Wire::new(Side::Client);
    let request = wire.segment(Direction::Request, GET, usize::MAX);
    wire.response(OK_5).expect_losses(&[]);
    assert!(!wire.connection.is_idle());
    wire.close(FINISHED).feed(&request);
    wire.expect(&[]).expect_losses(&[(LossReason::StartedBeforeCapture, 1)]);
}
