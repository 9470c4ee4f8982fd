//! Where messages end when everything is captured.

use headwater_protocols::http1;
use headwater_protocols::http1::Http1;
use headwater_protocols::{Connection, Kind, LossReason, Options, Outcome, Parser, Propagated, Side};

use crate::wire::{FINISHED, Seen, Wire};

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const OK_0: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn server() -> Wire {
    Wire::new(Side::Server)
}

#[test]
fn one_exchange_says_all_it_should() {
    let mut wire = server();
    wire.request(GET).response(&OK_5[..20]).response(&OK_5[20..]);
    let expected = Seen {
        request_position: 0,
        response_position: Some(0),
        method: "GET".into(),
        path: "/a".into(),
        named: String::new(),
        resource: "x".into(),
        propagated: Propagated::default(),
        status: Some(200),
        request_bytes: GET.len() as u64,
        response_bytes: OK_5.len() as u64,
        request_started_ns: 10,
        request_ended_ns: 10,
        response_started_ns: Some(20),
        response_ended_ns: Some(30),
        completed_ns: 30,
        kind: Kind::Call,
        outcome: Outcome::Ok,
        failure: None,
    };
    assert_eq!(wire.output.exchanges, [expected]);
    wire.expect_losses(&[]);
    assert!(wire.connection.is_idle());
}

#[test]
fn a_body_names_what_is_asked_for_wherever_it_begins() {
    const BODY: &str = r#"{"operationName":"GetUser"}"#;
    let head =
        format!("POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", BODY.len());
    let named = |pieces: &[&str], body: &str| {
        let mut wire = server();
        wire.request(GET).response(OK_5);
        pieces.iter().for_each(|piece| _ = wire.request(*piece));
        wire.request(body).response(OK_5).request(GET).response(OK_5);
        wire.output.exchanges.iter().map(|seen| seen.named.clone()).collect::<Vec<_>>()
    };
    assert_eq!(named(&[], &format!("{head}{BODY}")), ["", "GetUser", ""]);
    assert_eq!(named(&[&head], BODY), ["", "GetUser", ""]);
    assert_eq!(named(&[&head[..30], &head[30..]], BODY), ["", "GetUser", ""]);
    // What is in the call after the body's first is not waited for.
    assert_eq!(named(&[&head, &BODY[..9]], &BODY[9..]), ["", "", ""]);
    let other = head.replace("application/json", "text/plain");
    assert_eq!(named(&[&other], BODY), ["", "", ""]);
}

#[test]
fn keep_alive_names_each_request_by_its_position() {
    let mut wire = server();
    for _ in 0..3 {
        wire.request(GET).response(OK_5);
    }
    wire.expect(&["GET /a 200"; 3]);
    let positions: Vec<u64> = wire.output.exchanges.iter().map(|seen| seen.request_position).collect();
    assert_eq!(positions, [0, 32, 64].map(|n: u64| n / 32 * GET.len() as u64));
}

#[test]
fn pipelined_requests_get_their_responses_in_order() {
    let mut wire = server();
    wire.request("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HT").request("TP/1.1\r\n\r\n");
    wire.response(format!("{OK_5}HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{}", &OK_5[..9]))
        .response(&OK_5[9..]);
    wire.expect(&["GET /1 200", "HEAD /2 404", "GET /3 200"]).expect_losses(&[]);
}

#[test]
fn a_segment_may_hold_the_end_of_one_message_and_the_start_of_the_next() {
    let mut wire = server();
    wire.request("POST /1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
    wire.request(format!("cd{GET}")).response(OK_5).response(OK_0);
    wire.expect(&["POST /1 200", "GET /a 200"]).expect_losses(&[]);
    assert_eq!(wire.output.exchanges[0].request_bytes, 43 - 1 + 1);
    assert_eq!(wire.output.exchanges[0].request_ended_ns, 20);
    assert_eq!(wire.output.exchanges[1].request_started_ns, 20);
}

#[test]
fn bodies_with_a_length_need_no_captured_bytes() {
    let mut wire = server();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    wire.request(GET).response(head);
    for _ in 0..10 {
        wire.response_captured([b'x'; 100], 0);
    }
    wire.expect(&["GET /a 200"]);
    assert_eq!(wire.last().response_bytes, head.len() as u64 + 1000);
    assert_eq!(wire.last().response_ended_ns, Some(120));
}

#[test]
fn bodies_may_look_like_messages() {
    let mut wire = server();
    wire.request(format!("PUT /1 HTTP/1.1\r\nContent-Length: {}\r\n\r\n", GET.len())).request(GET);
    wire.response(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", OK_5.len())).response(OK_5);
    wire.request(GET).response(OK_0);
    wire.expect(&["PUT /1 200", "GET /a 200"]).expect_losses(&[]);
}

#[test]
fn chunked_bodies_with_extensions_and_trailers() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
    let body = "5;a=\"b\"\r\nhello\r\n0A ; x\r\n0123456789\r\n000;last\r\nExpires: now\r\nA: b\r\n\r\n";
    for cut in 1..body.len() {
        let mut wire = server();
        wire.request(GET).response(format!("{head}{}", &body[..cut]));
        wire.expect(&[]);
        wire.response(&body[cut..]);
        wire.expect(&["GET /a 200"]).expect_losses(&[]);
        assert_eq!(wire.last().response_bytes, (head.len() + body.len()) as u64);
    }
}

#[test]
fn chunked_requests() {
    let mut wire = server();
    wire.request("POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    wire.response(OK_5).response(OK_0);
    wire.expect(&["POST /1 200", "GET /2 200"]).expect_losses(&[]);
}

#[test]
fn malformed_chunks_are_a_loss() {
    for body in ["xyz\r\n", "\r\n", "11111111111111111\r\n", "1\r\nab\r\n", "ffffffffffffffff\r\n"] {
        let mut wire = server();
        wire.request(GET).response(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        wire.request(GET).response(OK_0);
        wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::MalformedResponse, 1)]);
    }
}

#[test]
fn responses_without_a_body() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
    ] {
        let mut wire = server();
        wire.request(format!("{method} / HTTP/1.1\r\n\r\n")).response(head);
        assert_eq!(wire.output.exchanges.len(), 1, "{head}");
        assert_eq!(wire.last().response_bytes, head.len() as u64);
        wire.request(GET).response(OK_5).expect_losses(&[]);
        assert_eq!(wire.output.exchanges.len(), 2, "{head}");
    }
}

#[test]
fn interim_responses_count_as_bytes_but_not_as_the_response() {
    let mut wire = server();
    wire.request("POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    wire.response("HTTP/1.1 100 Continue\r\n\r\n").request("body");
    wire.response(format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{}", &OK_5[..4])).response(&OK_5[4..]);
    wire.expect(&["POST /1 200"]).expect_losses(&[]);
    let seen = wire.last();
    assert_eq!(seen.response_bytes, (25 + 37 + OK_5.len()) as u64);
    assert_eq!(seen.response_position, Some(0));
    assert_eq!((seen.request_ended_ns, seen.response_started_ns, seen.response_ended_ns), (30, Some(40), Some(50)));
}

#[test]
fn a_switch_of_protocols_ends_the_parsing() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n";
    let mut wire = server();
    wire.request("GET /ws HTTP/1.1\r\nUpgrade: other\r\n\r\n").response(format!("{head}\x01frames"));
    wire.request(GET).response(OK_0);
    wire.expect(&["GET /ws 101"]).expect_losses(&[]);
    assert_eq!(wire.last().response_bytes, head.len() as u64);
    assert!(wire.is_foreign());
}

#[test]
fn a_tunnel_ends_the_parsing_unless_it_is_refused() {
    let mut wire = server();
    wire.request("CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n");
    wire.response("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    wire.request("CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n").request(b"\x16\x03\x01 impatient");
    wire.response("HTTP/1.1 200 Connection established\r\n\r\n").response(b"SSH-2.0-x\r\n");
    wire.expect(&["CONNECT host:443 407", "CONNECT host:443 200"]).expect_losses(&[]);
    assert_eq!(wire.last().request_bytes, 45);
    assert!(wire.is_foreign());
}

#[test]
fn requests_behind_an_upgrade_are_counted() {
    let mut wire = server();
    wire.request("GET /ws HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").response("HTTP/1.1 101 Switching\r\n\r\n");
    wire.expect(&["GET /ws 101"]).expect_losses(&[(LossReason::Upgraded, 1)]);
}

#[test]
fn transfer_coding_overrides_the_length() {
    let mut wire = server();
    wire.request("POST /1 HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
    wire.response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n");
    wire.request(GET).response(OK_0);
    wire.expect(&["POST /1 200", "GET /a 200"]).expect_losses(&[]);
}

#[test]
fn lengths_may_repeat_but_not_differ() {
    for (value, valid) in [
        ("5\r\nContent-Length: 5", true),
        ("5, 5", true),
        (" 5 ", true),
        ("5\r\nContent-Length: 6", false),
        ("5, 6", false),
        ("-5", false),
        ("+5", false),
        ("5 5", false),
        ("", false),
        ("0x5", false),
        ("99999999999999999999", false),
        ("18446744073709551615", false),
    ] {
        let mut wire = server();
        wire.request(GET).response(format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello"));
        if valid {
            wire.expect(&["GET /a 200"]).expect_losses(&[]);
        } else {
            wire.expect(&[]).expect_losses(&[(LossReason::MalformedResponse, 1)]);
        }
        // Where the request ends its answer tells, once the next one begins there.
        let post = format!("POST / HTTP/1.1\r\nContent-Length: {value}\r\n\r\nhello");
        let mut wire = server();
        wire.request(&post).response(OK_0).expect(&["POST / 200"][..usize::from(valid)]);
        wire.request(GET).response(OK_0).expect(&["POST / 200", "GET /a 200"]).expect_losses(&[]);
        assert_eq!(wire.output.exchanges[0].request_bytes, post.len() as u64);
        let mut wire = server();
        wire.request(&post).response(OK_0).request("more of it").request(GET).response(OK_0);
        assert!(wire.output.exchanges.iter().all(|seen| seen.path == "/a" || valid), "{:?}", wire.output);
    }
}

#[test]
fn empty_lines_before_a_request_belong_to_none() {
    let mut wire = server();
    wire.request("\r\n").request(format!("\r\n\n{GET}")).response(OK_5);
    wire.request(format!("\r\n{GET}")).response(OK_5);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
    assert_eq!(wire.output.exchanges[0].request_position, 5);
    assert_eq!(wire.output.exchanges[0].request_started_ns, 20);
    assert_eq!(wire.output.exchanges[0].request_bytes, GET.len() as u64);
}

#[test]
fn http_1_0_and_absolute_targets() {
    let mut wire = server();
    wire.request("GET http://host:80/p/q?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    wire.response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
    wire.request("OPTIONS * HTTP/1.1\r\n\r\n").response(OK_0);
    wire.expect(&["GET /p/q 200", "OPTIONS * 200"]).expect_losses(&[]);
}

#[test]
fn an_answer_before_the_whole_request_waits_for_its_end() {
    let mut wire = server();
    wire.request("POST /1 HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234").response(OK_5);
    wire.expect(&[]);
    wire.request("56789").request(GET).response(OK_0);
    wire.expect(&["POST /1 200", "GET /a 200"]).expect_losses(&[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!((seen.response_ended_ns, seen.request_ended_ns, seen.completed_ns), (Some(20), 30, 30));
}

#[test]
fn an_answer_to_half_a_head_is_matched_with_it() {
    let mut wire = server();
    wire.request("GET /slow HTTP/1.1\r\nHost:").response("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    wire.close(FINISHED);
    wire.expect(&["GET /slow 408"]).expect_losses(&[]);
    assert_eq!(wire.last().request_bytes, 25);
}

#[test]
fn a_response_that_nobody_asked_for() {
    let mut wire = server();
    wire.request(GET).response(OK_5).response("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    wire.close(FINISHED);
    wire.expect(&["GET /a 200"]).expect_losses(&[(LossReason::UnsolicitedResponse, 1)]);
}

#[test]
fn malformed_heads_are_counted_and_the_next_turn_is_followed() {
    let bad_request = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let mut wire = server();
    wire.request(GET).response("HTTP/9 what\r\n\r\n").request(GET).response(OK_0);
    wire.request("GET /\r\n\r\n").response(bad_request).request(GET).response(OK_0);
    wire.expect(&["GET /a 200"; 2]);
    wire.expect_losses(&[(LossReason::MalformedRequest, 1), (LossReason::MalformedResponse, 1)]);
}

#[test]
fn other_protocols_are_left_alone() {
    for (request, response) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], &b"SSH-2.0-x\r\n"[..]),
        (b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04"),
    ] {
        let mut wire = server();
        wire.request(request).response(response).request(GET).response(OK_0).close(FINISHED);
        wire.expect(&[]).expect_losses(&[]);
        assert!(wire.is_foreign());
        let mut wire = Wire::in_the_middle(Side::Server);
        wire.request(request).response(response).request(request).response(response).close(FINISHED);
        wire.expect(&[]).expect_losses(&[]);
    }
    let mut wire = server();
    wire.response("220 mail.example.org ESMTP\r\n").request("EHLO x\r\n");
    wire.expect(&[]).expect_losses(&[]);
    assert!(wire.is_foreign());
}

#[test]
fn heads_that_come_byte_by_byte() {
    let mut wire = server();
    for _ in 0..2 {
        for byte in GET.bytes() {
            wire.request([byte]);
        }
        for byte in OK_5.bytes() {
            wire.response([byte]);
        }
    }
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[]);
}

#[test]
fn memory_is_bounded() {
    let http1 = http1::Options { head_bytes_max: 256, pending_exchanges_max: 2, ..Default::default() };
    let options = Options { http1, ..Options::default() };
    let mut wire = Wire::with_options(Side::Server, options);
    // Three at once: the third is counted, and so is the one behind it. Then the bound is not reached any more.
    wire.request(GET.repeat(3)).request(GET).response(OK_5.repeat(4));
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::TooManyPipelined, 2)]);
    wire.request(GET.repeat(2)).response(OK_5.repeat(2)).request(GET).response(OK_5);
    wire.expect(&["GET /a 200"; 5]).expect_losses(&[(LossReason::TooManyPipelined, 2)]);

    // Where the end of a response cannot be told, what follows is counted.
    let mut wire = Wire::with_options(Side::Server, options);
    wire.request(GET.repeat(2))
        .request("HEAD /a HTTP/1.1\r\n\r\n")
        .request(GET)
        .response(OK_5.repeat(2))
        .response(OK_5);
    wire.request(GET.repeat(3)).close(FINISHED);
    let losses = [(LossReason::Ambiguous, 3), (LossReason::TooManyPipelined, 2)];
    wire.expect(&["GET /a 200"; 2]).expect_losses(&losses);

    // The request line fits: the exchange is found by its turn.
    let mut wire = Wire::with_options(Side::Server, options);
    let long = format!("GET /long HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(500));
    wire.request(&long[..100])
        .request(&long[100..300])
        .request(&long[300..])
        .response(OK_5)
        .request(GET)
        .response(OK_0);
    wire.expect(&["GET /long 200", "GET /a 200"]).expect_losses(&[]);
    assert_eq!(wire.output.exchanges[0].request_bytes, long.len() as u64);

    // It does not.
    let mut wire = Wire::with_options(Side::Server, options);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(500));
    wire.request(GET).response(OK_0);
    wire.request(&long[..100])
        .request(&long[100..300])
        .request(&long[300..])
        .response(OK_5)
        .request(GET)
        .response(OK_0);
    wire.expect(&["GET /a 200"; 2]).expect_losses(&[(LossReason::HeadTooLarge, 1)]);

    // A long path is cut.
    let mut wire =
        Wire::with_options(Side::Server, Options { http1: http1::Options { path_bytes_max: 5, ..http1 }, ..options });
    wire.request("GET /long/é/path HTTP/1.1\r\n\r\n").response(OK_0);
    wire.expect(&["GET /long 200"]);
}

#[test]
fn what_is_allocated_is_told_and_given_back() {
    let mut wire = server();
    assert_eq!(wire.connection.heap_bytes(), 0);
    wire.request(format!("GET /{} HTTP/1.1\r\n", "p".repeat(1000)));
    assert!(wire.connection.heap_bytes() >= 1000);
    wire.request("\r\n").request(GET.repeat(20));
    assert!(wire.connection.heap_bytes() >= 20 * GET.len());
    wire.response(OK_0.repeat(21));
    assert!(wire.connection.heap_bytes() <= 256, "{}", wire.connection.heap_bytes());
    // What is held until the other direction catches up.
    wire.miss_request(GET).response(OK_5);
    assert!(wire.connection.heap_bytes() >= OK_5.len());
    wire.close(FINISHED);
    assert_eq!(wire.connection.heap_bytes(), 0);
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = size_of::<Parser>() + size_of::<Connection<Http1>>();
    assert!(bytes <= 640, "{bytes}");
}
