//! What is open when the connection ends.

use headwater_protocols::{CloseReason, LossReason, Outcome, Side};

use crate::wire::{FINISHED, RESET, Wire};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

fn server() -> Wire {
    Wire::new(Side::Server)
}

#[test]
fn bodies_that_end_with_the_connection() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    ] {
        let mut wire = server();
        wire.request(GET).response(head).response_captured([b'x'; 100], 0);
        wire.expect(&[]);
        wire.close(FINISHED);
        wire.expect(&["GET /a 200"]).expect_losses(&[]);
        let seen = wire.last();
        assert_eq!(seen.response_bytes, head.len() as u64 + 100);
        assert_eq!((seen.response_ended_ns, seen.completed_ns), (Some(30), 40));
    }
}

#[test]
fn failures_by_what_was_open_and_how_it_closed() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhe";
    for (how, bare, halfway, open_ended, body) in [
        (FINISHED, "no_response", "response_incomplete", "200", "request_incomplete"),
        (RESET, "reset", "reset", "reset", "reset"),
        (CloseReason::TimedOut, "timed_out", "timed_out", "timed_out", "timed_out"),
    ] {
        for (request, response, outcome) in [
            (GET, "", bare),
            (GET, half, halfway),
            (GET, "HTTP/1.1 2", halfway),
            (GET, until_close, open_ended),
            ("GET /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nx", "", body),
            ("GET /a HTTP/1.1\r\nHost", "", body),
        ] {
            let mut wire = server();
            wire.request(request).response(response).close(how).close(how);
            wire.expect(&[&format!("GET /a {outcome}")]).expect_losses(&[]);
            let expected = match (outcome, response.contains("200")) {
                ("200", _) => Outcome::Ok,
                (_, true) => Outcome::ServerError,
                (_, false) => Outcome::Unanswered,
            };
            assert_eq!(wire.last().outcome, expected, "{outcome} {response}");
            let seen = wire.last();
            assert_eq!((seen.request_bytes, seen.response_bytes), (request.len() as u64, response.len() as u64));
            assert_eq!(seen.response_started_ns.is_some(), !response.is_empty());
        }
    }
}

#[test]
fn pipelined_requests_fail_each() {
    let mut wire = server();
    wire.request(GET.repeat(3)).response("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbye").close(FINISHED);
    wire.expect(&["GET /a 200", "GET /a no_response", "GET /a no_response"]).expect_losses(&[]);
}

#[test]
fn an_early_answer_stands_though_the_request_never_ended() {
    let mut wire = server();
    wire.request("POST /a HTTP/1.1\r\nContent-Length: 900\r\n\r\nx");
    wire.response("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    wire.close(RESET);
    wire.expect(&["POST /a 413"]).expect_losses(&[]);
    assert_eq!(wire.last().request_bytes, 42);
}

#[test]
fn what_is_open_when_watching_ends_is_a_loss() {
    let mut wire = server();
    wire.request(GET.repeat(2)).close(CloseReason::Unobserved);
    wire.expect(&[]).expect_losses(&[(LossReason::Unfinished, 2)]);
    let mut wire = server();
    wire.request(GET).response("HTTP/1.1 200 OK\r\n\r\nhe").close(CloseReason::Unobserved);
    wire.expect(&[]).expect_losses(&[(LossReason::Unfinished, 1)]);
}

#[test]
fn half_a_request_line_is_a_loss_once_this_is_known_to_be_http() {
    let mut wire = server();
    wire.request(GET).response("HTTP/1.1 204 No Content\r\n\r\n").request("GET /a HT").close(FINISHED);
    wire.expect(&["GET /a 204"]).expect_losses(&[(LossReason::Unfinished, 1)]);
    let mut wire = server();
    wire.request("GET /a HT").close(FINISHED);
    wire.expect(&[]).expect_losses(&[]);
}
