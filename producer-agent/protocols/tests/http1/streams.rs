//! Who ended what: streams without an end, clients that leave, and clients that have only said all they wanted to ask.

use headwater_protocols::{CloseReason, Kind, LossReason, Side};

use crate::wire::{FINISHED, RESET, Wire};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "8\r\ndata: 1\n\r\n";
const DOWNLOAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";

/// The ways in which a client's leaving is seen, on its own side and on that of the server.
const LEAVES: [CloseReason; 2] = [CloseReason::Reset { by: Side::Client }, CloseReason::Finished { by: Side::Client }];

/// Cases: http-endless-stream.
#[test]
fn http_endless_stream() {
    for side in [Side::Client, Side::Server] {
        for how in LEAVES {
            let mut wire = Wire::new(side);
            wire.request(GET).response(EVENTS).response(EVENT).response(EVENT).close(how);
            wire.expect(&["GET /a client_left"]).expect_losses(&[]);
            let seen = wire.last();
            assert_eq!((seen.status, seen.kind, seen.response_started_ns), (Some(200), Kind::Stream, Some(20)));
            assert_eq!(seen.response_bytes, (EVENTS.len() + 2 * EVENT.len()) as u64);
        }
    }
}

/// Cases: http-endless-stream.
#[test]
fn http_endless_stream_that_is_a_download() {
    // The client has read less than the head; the server has sent much more.
    for (side, read) in [(Side::Client, &DOWNLOAD[..20]), (Side::Client, &DOWNLOAD[..14]), (Side::Server, DOWNLOAD)] {
        for how in LEAVES {
            let mut wire = Wire::new(side);
            wire.request(GET).response(read).close(how);
            wire.expect(&["GET /a client_left"]).expect_losses(&[]);
            assert_eq!((wire.last().status, wire.last().kind), (Some(200), Kind::Call));
        }
    }
    // Without a length the server's end is the body's, if it was seen.
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhe";
    let mut wire = Wire::new(Side::Client);
    wire.request(GET).response(until_close).close(CloseReason::Finished { by: Side::Client });
    wire.expect(&["GET /a client_left"]);
    let mut wire = Wire::new(Side::Client);
    wire.request(GET).end_of_request().response(until_close).end_of_response(Side::Client);
    wire.expect(&["GET /a 200"]);
}

#[test]
fn a_stream_that_its_server_ends_is_complete_or_has_failed() {
    for (last, how, outcome) in [
        ("0\r\n\r\n", FINISHED, "200"),
        ("", FINISHED, "response_incomplete"),
        ("", RESET, "reset"),
        ("", CloseReason::TimedOut, "timed_out"),
    ] {
        let mut wire = Wire::new(Side::Server);
        wire.request(GET).response(EVENTS).response(format!("{EVENT}{last}")).close(how);
        wire.expect(&[&format!("GET /a {outcome}")]).expect_losses(&[]);
        assert_eq!(wire.last().kind, Kind::Stream);
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_was_not_answered() {
    for (how, outcome) in LEAVES.into_iter().zip(["reset", "no_response"]) {
        let mut wire = Wire::new(Side::Server);
        wire.request(GET).close(how);
        wire.expect(&[&format!("GET /a {outcome}")]);
    }
    // An interim response answers nothing.
    let mut wire = Wire::new(Side::Server);
    wire.request(GET).response("HTTP/1.1 103 Early Hints\r\n\r\n").close(CloseReason::Finished { by: Side::Client });
    wire.expect(&["GET /a response_incomplete"]);
}

#[test]
fn a_client_that_asks_nothing_more_gets_its_answer() {
    for side in [Side::Client, Side::Server] {
        let mut wire = Wire::new(side);
        wire.request(GET).end_of_request().response(OK_5).end_of_response(Side::Client).close(FINISHED);
        wire.expect(&["GET /a 200"]).expect_losses(&[]);
    }
}

#[test]
fn an_early_answer_to_an_upload_whose_end_is_never_seen() {
    let head = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let too_large = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // The server reads on for a while, so that its client is not reset before it has read the answer.
    for how in [FINISHED, RESET, CloseReason::Reset { by: Side::Client }] {
        for side in [Side::Client, Side::Server] {
            let mut wire = Wire::new(side);
            wire.request(format!("{head}5000\r\n")).response(too_large).request_captured([b'x'; 0x5000], 0);
            wire.request_captured("\r\n5000\r\n", 1).request_captured([b'x'; 100], 0).close(how);
            wire.expect(&["POST /a 413"]).expect_losses(&[]);
            assert_eq!(wire.last().request_bytes, (head.len() + 6 + 0x5000 + 8 + 100) as u64);
        }
    }
    // Something follows, so the end is somewhere before it.
    let mut wire = Wire::new(Side::Server);
    wire.request(format!("{head}5000\r\n")).response(too_large).request_captured([b'x'; 0x6000], 0);
    wire.request(GET).response(OK_5).close(FINISHED);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::Ambiguous, 1)]);
}
