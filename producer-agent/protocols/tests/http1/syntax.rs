//! What servers understand and the standard does not, and what only begins like HTTP/1.

use headwater_protocols::{LossReason, Recognition, Side};

use crate::wire::{FINISHED, Seen, Wire};

const AFTER: &str = "GET /after HTTP/1.1\r\nHost: a\r\n\r\n";
const OK_3: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// Requests that nginx answers with 200, and the paths that they ask for.
const SERVED: [(&[u8], &str); 10] = [
    (b"GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", "/caf%E9"),
    (b"GET /x?q=\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
    (b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.1\r\nBogus\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.1\r\nX[1]: 1\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.1\r\nn\xc3\xa9: 1\r\nHost: a\r\n\r\n", "/x"),
    (b"GET /x HTTP/1.1\r\nCookie: a=\x7fb\r\nHost: a\r\n\r\n", "/x"),
];

/// Cases: http-refused-syntax.
#[test]
fn http_refused_syntax() {
    for (odd, path) in SERVED {
        let seen = format!("GET {path} 200");
        for side in [Side::Client, Side::Server] {
            let mut first = Wire::new(side);
            first.request(odd).response(OK_3).request(AFTER).response(OK_3);
            first.expect(&[&seen, "GET /after 200"]).expect_losses(&[]);
            let mut second = Wire::new(side);
            second.request(AFTER).response(OK_3).request(odd).response(OK_3).request(AFTER).response(OK_3);
            second.expect(&["GET /after 200", &seen, "GET /after 200"]).expect_losses(&[]);
        }
        for cut in 1..odd.len() {
            let mut pieces = Wire::new(Side::Server);
            pieces.request(&odd[..cut]).request(&odd[cut..]).response(OK_3).request(AFTER).response(OK_3);
            pieces.expect(&[&seen, "GET /after 200"]).expect_losses(&[]);
        }
    }
}

#[test]
fn a_line_that_is_not_understood_is_counted_and_ends_nothing() {
    for odd in ["GET /x HTTP/3\r\n\r\n", "GET /x\r\n\r\n", "MAKE me a sandwich\r\n\r\n", "GET / HTTP/1.1x\r\n\r\n"] {
        for before in 0..2 {
            let mut wire = Wire::new(Side::Server);
            for _ in 0..before {
                wire.request(AFTER).response(OK_3);
            }
            wire.request(odd).response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            wire.request(AFTER).response(OK_3).close(FINISHED);
            wire.expect(&["GET /after 200"; 2][..before + 1]).expect_losses(&[(LossReason::MalformedRequest, 1)]);
        }
    }
}

#[test]
fn answers_with_odd_header_lines_are_understood() {
    for line in ["Bogus", "X[1]: 1", ": none", "Set-Cookie: a=\x7f\u{1}b", "n\u{e9}: 1", " folded"] {
        let mut wire = Wire::new(Side::Client);
        let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 3\r\n{line}x\r\n\r\nok\n");
        wire.request(AFTER).response(&answer).request(AFTER).response(&answer);
        match line {
            // It may belong to the length, and peers differ in whether it does.
            " folded" => wire.expect(&[]).expect_losses(&[(LossReason::MalformedResponse, 2)]),
            _ => wire.expect(&["GET /after 200"; 2]).expect_losses(&[]),
        };
    }
}

/// Cases: http-methods.
#[test]
fn http_methods() {
    let request = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let runs: [&[(&str, &str, usize)]; 4] = [
        &[("PROPFIND", "/dav/f", 17), ("GET", "/x", 10)],
        &[("GET", "/x", 1), ("PROPFIND", "/x", 5)],
        &[("PURGE", "/x", 1)],
        &[("x-any!1", "/x", 2)],
    ];
    for run in runs {
        // Heads that are captured whole, and heads of which only the first line is.
        for captured in [usize::MAX, 30] {
            let mut wire = Wire::new(Side::Server);
            let mut expected = Vec::new();
            for (method, path, times) in run {
                for _ in 0..*times {
                    wire.request_captured(request(method, path), captured).response_captured(OK_3, captured);
                    expected.push(format!("{method} {path} 200"));
                }
            }
            wire.close(FINISHED);
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            if captured == usize::MAX || run[0].0 != "x-any!1" {
                wire.expect(&expected).expect_losses(&[]);
            } else {
                // Nobody knows that word, so where it is not certain that a request begins it says nothing.
                assert_eq!(wire.output.exchanges.len() as u64 + wire.output.lost(), 2);
            }
        }
    }
}

/// Cases: flow-not-http.
#[test]
fn flow_not_http() {
    let nats = "CONNECT {\"verbose\":false,\"lang\":\"go\"}\r\nPING\r\n";
    for (greeting, request, response) in [
        ("INFO {\"server_id\":\"x\",\"version\":\"2.10.0\"}\r\n", nats, "PONG\r\n"),
        ("", nats, "PONG\r\n"),
        ("", "CONNECT\naccept-version:1.2\nhost:x\n\n\0", "CONNECTED\nversion:1.2\n\n\0"),
        ("", "OPTIONS rtsp://127.0.0.1:8554/ RTSP/1.0\r\nCSeq: 2\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"),
        ("", "GET mykey\r\n", "$5\r\nvalue\r\n"),
        ("220 mail.example.org ESMTP\r\n", "EHLO x\r\n", "250 Hello\r\n"),
    ] {
        for side in [Side::Client, Side::Server] {
            let mut wire = Wire::new(side);
            if !greeting.is_empty() {
                wire.response(greeting);
            }
            wire.request(request).response(response);
            if request == nats {
                // It is known by a parser of its own, and none of it is HTTP.
                let is_http = |exchange: &Seen| !exchange.path.is_empty() || exchange.status.is_some();
                assert!(!wire.output.exchanges.iter().any(is_http), "{:?}", wire.output);
                continue;
            }
            assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{request}");
            wire.request(AFTER).response(OK_3).close(FINISHED);
            wire.expect(&[]).expect_losses(&[]);
        }
    }
}

#[test]
fn a_connection_that_changes_its_protocol_without_a_word_is_counted_and_let_go() {
    let mut wire = Wire::new(Side::Server);
    wire.request(AFTER).response(OK_3).request("\x16\x03\x01\x02\0\x01").response("\x16\x03\x03\0\x7a\x02");
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
    wire.expect(&["GET /after 200"]).expect_losses(&[(LossReason::MalformedRequest, 1)]);
}

#[test]
fn whom_a_request_asks_and_for_which_trace_is_told() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let other = trace.replace("331-", "332-");
    for (request, resource, is_traced) in [
        (format!("GET / HTTP/1.1\r\nhost: shop:80\r\nTraceparent: {trace}\r\n\r\n"), "shop:80", true),
        (
            format!("GET http://user:secret@shop/a HTTP/1.1\r\nHost: proxy\r\ntraceparent: {trace}\r\n\r\n"),
            "shop",
            true,
        ),
        (format!("GET / HTTP/1.1\r\ntraceparent: {trace}\r\nHost: a b\r\ntraceparent: {other}\r\n\r\n"), "", false),
        (format!("GET / HTTP/1.0\r\ntraceparent: {}\r\n\r\n", &trace[1..]), "", false),
        (format!("GET / HTTP/1.1\r\nb3: {}\r\n\r\n", &trace[3..52]), "", true),
        (
            format!("GET / HTTP/1.1\r\nX-B3-TraceId: {}\r\nX-B3-SpanId: {}\r\n\r\n", &trace[3..35], &trace[36..52]),
            "",
            true,
        ),
        (format!("GET / HTTP/1.1\r\nX-B3-TraceId: {}\r\nX-B3-Sampled: 1\r\n\r\n", &trace[3..35]), "", false),
    ] {
        let mut wire = Wire::new(Side::Server);
        // The second one asks the same.
        for _ in 0..2 {
            wire.request(&request).response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        let told: Vec<_> =
            wire.output.exchanges.iter().map(|seen| (&*seen.resource, seen.propagated.trace.is_some())).collect();
        assert_eq!(told, [(resource, is_traced); 2], "{request}");
    }
}
