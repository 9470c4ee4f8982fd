//! Bytes that were not copied, and events that went missing.

use headwater_protocols::{LossReason, Side};

use crate::wire::{FINISHED, RESET, Wire};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const OK_CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";

fn server() -> Wire {
    Wire::new(Side::Server)
}

#[test]
fn an_uncaptured_chunk_header_is_bridged_by_the_next_turn() {
    let mut wire = server();
    wire.request(GET).response_captured(OK_CHUNKED, 56).response("more, without any framing");
    wire.expect(&[]);
    wire.request("GET /b HTTP/1.1\r\n\r\n");
    // It might be pipelined: the response has to begin where the first is presumed to end.
    wire.expect(&[]);
    wire.response(OK_5);
    wire.expect(&["GET /a 200", "GET /b 200"]).expect_losses(&[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!(seen.response_bytes, OK_CHUNKED.len() as u64 + 25);
    assert_eq!((seen.response_ended_ns, seen.completed_ns), (Some(30), 50));
}

#[test]
fn the_close_ends_what_no_turn_has_ended() {
    let mut wire = server();
    wire.request(GET).response_captured(OK_CHUNKED, 56).close(FINISHED);
    wire.expect(&["GET /a 200"]).expect_losses(&[]);
    assert_eq!(wire.last().response_bytes, OK_CHUNKED.len() as u64);
    assert_eq!((wire.last().response_ended_ns, wire.last().completed_ns), (Some(20), 30));

    // The second request never gets an answer; that the first one ended before it is not contradicted.
    let mut wire = server();
    wire.request(GET).response_captured(OK_CHUNKED, 56).request(GET).close(FINISHED);
    wire.expect(&["GET /a 200", "GET /a no_response"]).expect_losses(&[]);
}

#[test]
fn a_response_head_that_is_cut_ends_with_its_turn() {
    let mut wire = server();
    wire.request(GET).response_captured(OK_5, 20).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
    assert_eq!(wire.output.exchanges[0].response_bytes, OK_5.len() as u64);
}

#[test]
fn a_request_head_that_is_cut_ends_where_the_response_begins() {
    let post = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789";
    let mut wire = server();
    wire.request_captured(&post[..40], 24).request_captured(&post[40..], 3).response(OK_5);
    // More of the body might come: the next request has to begin where this one is presumed to end.
    wire.expect(&[]);
    wire.request(GET).response(OK_5);
    wire.expect(&["POST /p 200", "GET /a 200"]).expect_losses(&[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!((seen.request_bytes, seen.request_ended_ns, seen.completed_ns), (post.len() as u64, 20, 40));

    let mut wire = server();
    wire.request_captured(post, 24).response(OK_5).request_captured("still the body", 5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::Ambiguous, 1)]);

    let mut wire = server();
    wire.request_captured(post, 24).response(OK_5).close(RESET);
    wire.expect(&["POST /p 200"]).expect_losses(&[]);
}

#[test]
fn both_heads_cut_and_an_interim_response() {
    let mut wire = server();
    for _ in 0..3 {
        wire.request_captured("PUT /p HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 20);
        wire.response("HTTP/1.1 100 Continue\r\n\r\n").request_captured("the body", 2).response_captured(OK_5, 15);
    }
    wire.close(FINISHED);
    wire.expect(&["PUT /p 200"; 3]).expect_losses(&[]);
    assert!(wire.output.exchanges.iter().all(|seen| seen.request_bytes == 49 && seen.response_bytes == 25 + 43));
}

#[test]
fn heads_of_which_nothing_useful_was_captured_are_counted() {
    let mut wire = server();
    wire.request(GET).response(OK_5);
    wire.request_captured(GET, 0).response(OK_5).request_captured(GET, 9).response(OK_5);
    wire.request(GET).response_captured(OK_5, 0).request(GET).response_captured(OK_5, 11).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::HeadNotCaptured, 4)]);
}

#[test]
fn pipelining_with_an_unknown_end_is_given_up() {
    let mut wire = server();
    wire.request(GET.repeat(2)).response_captured(OK_CHUNKED, 56).response(OK_5).request(GET).response(OK_5);
    wire.expect(&[]).expect_losses(&[(LossReason::Ambiguous, 3)]);

    // The second request comes in the middle of the first response, which shows when that goes on.
    let mut wire = server();
    wire.request(GET).response_captured(&OK_CHUNKED[..60], 55).request(GET).response(&OK_CHUNKED[60..]).response(OK_5);
    wire.request(GET).response(OK_5);
    wire.expect(&[]).expect_losses(&[(LossReason::Ambiguous, 3)]);

    // A second request hides behind a head that is cut: its response shows it.
    let mut wire = server();
    wire.request_captured(GET.repeat(2), 20).response(OK_5).response(OK_5).request(GET);
    wire.expect(&[]).expect_losses(&[(LossReason::Ambiguous, 2)]);
}

#[test]
fn pipelining_with_known_lengths_needs_no_bodies() {
    let mut wire = server();
    wire.request(GET.repeat(3));
    for _ in 0..3 {
        wire.response_captured(OK_5, 38);
    }
    wire.expect(&["GET /a 200"; 3]).expect_losses(&[]);
}

#[test]
fn missing_events_of_a_request() {
    let mut wire = server();
    wire.request(GET).response(OK_5).miss_request(GET).response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 1)]);
}

#[test]
fn missing_events_of_a_response() {
    let mut wire = server();
    wire.request(GET).response(OK_5).request(GET).miss_response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 1)]);
}

#[test]
fn missing_events_of_a_whole_exchange() {
    let mut wire = server();
    wire.request(GET).response(OK_5).miss_request(GET).miss_response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 1)]);
}

#[test]
fn missing_events_of_a_response_and_the_next_request() {
    let mut wire = server();
    wire.request(GET).miss_response(OK_5).miss_request(GET).response(OK_5).request(GET).response(OK_5);
    wire.request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Gap, 2)]);
}

#[test]
fn missing_events_inside_of_bodies() {
    let mut wire = server();
    // In the middle of both bodies: nothing is lost.
    wire.request("PUT /1 HTTP/1.1\r\nContent-Length: 9\r\n\r\n012").miss_request("345").request("678");
    wire.response("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n012").miss_response("345").response("678");
    wire.expect(&["PUT /1 200"]).expect_losses(&[]);
    // At the end: the time of the last byte is not known.
    wire.request("PUT /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\n").miss_request("345").response(OK_5);
    wire.request(GET).response(&OK_5[..39]).miss_response(&OK_5[39..]).request(GET).response(OK_5);
    wire.expect(&["PUT /1 200", "GET /a 200"]).expect_losses(&[(LossReason::Gap, 2)]);
    // In the middle of chunks: the turn tells.
    wire.request(GET).response(&OK_CHUNKED[..52]).miss_response("5\r\n").response("abc").request(GET).response(OK_5);
    wire.expect(&["PUT /1 200", "GET /a 200", "GET /a 200", "GET /a 200"]).expect_losses(&[(LossReason::Gap, 2)]);
}

#[test]
fn what_was_seen_twice_counts_once() {
    let mut wire = server();
    let first = wire.segment(headwater_protocols::Direction::Request, GET.as_bytes(), usize::MAX);
    wire.feed(&first).feed(&first).response(OK_5).feed(&first).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
}

#[test]
fn a_connection_seen_from_its_middle_on() {
    // From a request on.
    let mut wire = Wire::in_the_middle(Side::Server);
    wire.request(GET).response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
    assert_eq!(wire.output.exchanges[0].request_position, 5_000);
    assert_eq!(wire.output.exchanges[0].response_position, Some(9_000));

    // From the middle of a request's body on.
    let mut wire = Wire::in_the_middle(Side::Server);
    wire.request("rest of the body").response(OK_5).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::StartedBeforeCapture, 1)]);

    // From a response on, its head or its middle.
    for response in [OK_5, "rest of the body", ""] {
        let mut wire = Wire::in_the_middle(Side::Server);
        wire.response(response).response("more of it").request(GET).response(OK_5);
        wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::StartedBeforeCapture, 1)]);
    }

    // From a request on that was sent before the response before it was over.
    let mut wire = Wire::in_the_middle(Side::Server);
    wire.request(GET).response("rest of a response").response(OK_5);
    wire.expect(&[]).expect_losses(&[(LossReason::Ambiguous, 1)]);
}

#[test]
fn a_request_in_pieces_on_a_connection_seen_from_its_middle_on() {
    for cut in 1..GET.len() {
        let mut wire = Wire::in_the_middle(Side::Client);
        wire.request(&GET[..cut]).request(&GET[cut..]).response(OK_5);
        wire.expect(&["GET /a 200"]).expect_losses(&[]);
    }
}

#[test]
fn a_cut_head_on_a_connection_that_pipelines_may_hide_another() {
    let mut wire = server();
    wire.request(GET.repeat(2)).response(OK_5.repeat(2)).request_captured(GET, 20).response(OK_5).request(GET);
    wire.close(FINISHED);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::Ambiguous, 2)]);
}

#[test]
fn what_only_looked_like_the_start_of_a_request_is_dropped() {
    let mut wire = Wire::in_the_middle(Side::Server);
    wire.request("a body").response(OK_5).request("j").response("more").request(GET).response(OK_5);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::StartedBeforeCapture, 1)]);
}
