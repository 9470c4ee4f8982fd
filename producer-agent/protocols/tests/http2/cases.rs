//! Exchanges whose bytes are all there.

use headwater_protocols::http2::Options;
use headwater_protocols::{CloseReason, Follow, Kind, Recognition, Side};
use headwater_testing::Random;

use crate::wire::*;

/// Cases: http2-lookalike.
#[test]
fn http2_lookalike() {
    for answer_first in [false, true] {
        let mut wire = Wire::new(Options::default(), [0; 2]);
        if answer_first {
            wire.response(&[&frame(SETTINGS, 0, 0, b"")]);
        }
        wire.request(&[PREFACE]).request(&[b"\0\0\0\0\0\0\0\x01\0\0\0\0"]);
        assert_eq!(wire.connection.recognition(), Recognition::Foreign);
        assert_eq!(wire.connection.heap_bytes(), 0);
        wire.close(FINISHED).expect(&[], &[]);
    }
    // A server that answers the right preface with something else.
    let mut wire = Wire::new(Options::default(), [0; 2]);
    wire.request(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, ALL, 1, &get("/a"))]);
    wire.response(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"]).close(FINISHED).expect(&[], &[]);
    let mut random = Random::new(7);
    for _ in 0..10_000 {
        let mut wire = Wire::new(Options::default(), [0; 2]);
        for _ in 0..3 {
            let bytes: Vec<u8> = (0..random.below(80)).map(|_| random.byte()).collect();
            wire.request(&[&bytes]).response(&[&bytes]);
        }
        assert_ne!(wire.connection.recognition(), Recognition::Recognised);
        wire.close(FINISHED).expect(&[], &[]);
    }
}

/// Cases: http2-static-status.
#[test]
fn http2_static_status() {
    let mut wire = Wire::started();
    for (stream, block) in [(1, &b"\x8d"[..]), (3, b"\x8b"), (5, b"\x8e"), (7, b"\x48\x03404")] {
        wire.request(&[&frame(HEADERS, ALL, stream, &get("/a"))]).response(&[&frame(HEADERS, ALL, stream, block)]);
    }
    let expected = [
        "http2 GET /a ClientError 404",
        "http2 GET /a Ok 304",
        "http2 GET /a ServerError 500",
        "http2 GET /a ClientError 404",
    ];
    wire.close(FINISHED).expect(&expected, &[]);
}

/// Cases: http2-multiplexed. The same with a real server and a real client: `oracle.rs`.
#[test]
fn http2_multiplexed() {
    let mut wire = Wire::started();
    for stream in [1, 3, 5] {
        wire.request(&[&frame(HEADERS, ALL, stream, &get(&format!("/{stream}?token=secret")))]);
    }
    for stream in [5, 1, 3] {
        wire.response(&[&frame(HEADERS, END_HEADERS, stream, b"\x88"), &frame(DATA, 0, stream, b"half")]);
    }
    for stream in [3, 5, 1] {
        wire.response(&[&frame(DATA, END_STREAM, stream, b"whole")]);
    }
    wire.expect(&["http2 GET /3 Ok 200", "http2 GET /5 Ok 200", "http2 GET /1 Ok 200"], &[]);
    let durations: Vec<u64> = wire.details.iter().map(|detail| detail.ended_ns.unwrap() - detail.started_ns).collect();
    assert_eq!(durations, [50, 50, 80]);
    let bytes = (get("/1?token=secret").len() + 9) as u64;
    assert!(wire.details.iter().all(|detail| detail.bytes == [bytes, 10 + 13 + 14]), "{:?}", wire.details);
}

#[test]
fn frames_in_any_pieces() {
    let block = [get("/long"), literal(0, "x-long", &"y".repeat(100))].concat();
    let (first, rest) = block.split_at(5);
    let mut padded = vec![7];
    padded.extend(b"\x80\0\0\0\x10");
    padded.extend(first);
    padded.extend([0; 7]);
    let request = [
        PREFACE,
        &frame(SETTINGS, 0, 0, b"\0\x01\0\0\x10\0"),
        &frame(HEADERS, PADDED | PRIORITY, 1, &padded),
        &frame(CONTINUATION, 0, 1, &rest[..20]),
        &frame(CONTINUATION, END_HEADERS, 1, &rest[20..]),
        &frame(0xfa, 0xff, 1, b"grease"),
        &frame(DATA, PADDED, 1, b"\x03body\0\0\0"),
        &frame(HEADERS, ALL, 1, &literal(0, "x-checksum", "1")),
    ]
    .concat();
    let response = [
        &frame(SETTINGS, 0, 0, b"")[..],
        &frame(HEADERS, END_HEADERS, 1, b"\x48\x03103"),
        &frame(HEADERS, END_HEADERS, 1, b"\x89"),
        &frame(DATA, END_STREAM, 1, b""),
    ]
    .concat();
    for size in 1..request.len() {
        let mut wire = Wire::new(Options::default(), [0; 2]);
        request.chunks(size).for_each(|piece| _ = wire.request(&[piece]));
        response.chunks(size).for_each(|piece| _ = wire.response(&[piece]));
        wire.expect(&["http2 GET /long Ok 204"], &[]);
        let on_wire = [request.len() as u64 - 24 - 15 - 15, response.len() as u64 - 9];
        assert_eq!(wire.details[0].bytes, on_wire, "in pieces of {size}");
    }
}

#[test]
fn resets_say_who_wanted_no_more() {
    let mut wire = Wire::started();
    for stream in [1, 3, 5, 7, 9] {
        let flags = if stream == 9 { END_HEADERS } else { ALL };
        wire.request(&[&frame(HEADERS, flags, stream, &get(&format!("/{stream}")))]);
    }
    wire.response(&[&frame(HEADERS, END_HEADERS, 3, b"\x88"), &frame(HEADERS, END_HEADERS, 7, b"\x88")]);
    wire.request(&[&frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), &frame(RST_STREAM, 0, 3, b"\0\0\0\x08")]);
    wire.response(&[&frame(RST_STREAM, 0, 5, b"\0\0\0\x07"), &frame(RST_STREAM, 0, 7, b"\0\0\0\x02")]);
    // The whole response, and no need for the rest of the request.
    wire.response(&[&frame(HEADERS, ALL, 9, b"\x8d"), &frame(RST_STREAM, 0, 9, b"\0\0\0\0")]);
    // What was on its way is nobody's.
    wire.response(&[&frame(DATA, END_STREAM, 3, b"late"), &frame(HEADERS, ALL, 1, b"\x88")]);
    let expected = [
        "http2 GET /1 client_left CANCEL",
        "http2 GET /3 client_left CANCEL",
        "http2 GET /5 reset REFUSED_STREAM",
        "http2 GET /7 reset INTERNAL_ERROR",
        "http2 GET /9 ClientError 404",
    ];
    wire.close(FINISHED).expect(&expected, &[]);
}

#[test]
fn what_a_server_has_not_processed_is_unanswered_and_safe_to_ask_again() {
    let mut wire = Wire::started();
    for stream in [1, 3, 5] {
        wire.request(&[&frame(HEADERS, ALL, stream, &get(&format!("/{stream}")))]);
    }
    wire.response(&[&frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0")]).expect(&[], &[]);
    wire.response(&[&frame(GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0bye")]);
    wire.request(&[&frame(HEADERS, ALL, 7, &get("/7"))]);
    wire.response(&[&frame(HEADERS, ALL, 1, b"\x88"), &frame(HEADERS, END_HEADERS, 3, b"\x88")]);
    let expected = [
        "http2 GET /5 no_response REFUSED_STREAM",
        "http2 GET /1 Ok 200",
        "http2 GET /3 response_incomplete 200",
        "http2 GET /7 no_response REFUSED_STREAM",
    ];
    wire.close(CloseReason::Finished { by: Side::Server }).expect(&expected, &[]);
}

#[test]
fn the_connections_end_is_the_streams_end() {
    for (how, expected) in [
        (CloseReason::Finished { by: Side::Server }, ["no_response", "response_incomplete 200", "request_incomplete"]),
        (CloseReason::Finished { by: Side::Client }, ["no_response", "client_left 200", "request_incomplete"]),
        (CloseReason::Reset { by: Side::Server }, ["reset", "reset 200", "reset"]),
        (CloseReason::TimedOut, ["timed_out", "timed_out 200", "timed_out"]),
    ] {
        let mut wire = Wire::started();
        wire.request(&[&frame(HEADERS, ALL, 1, &get("/")), &frame(HEADERS, ALL, 3, &get("/"))]);
        wire.request(&[&frame(HEADERS, END_HEADERS, 5, &get("/"))]);
        wire.response(&[&frame(HEADERS, END_HEADERS, 3, b"\x88")]);
        let expected = expected.map(|what| format!("http2 GET / {what}"));
        wire.close(how).expect(&expected.each_ref().map(String::as_str), &[]);
    }
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, ALL, 1, &get("/"))]);
    wire.close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
}

#[test]
fn promised_streams_are_counted_and_their_headers_followed() {
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, ALL, 1, &get("/page"))]);
    let promise = [&b"\0\0\0\x02\x82\x86"[..], &added(":path", "/style.css")].concat();
    wire.response(&[&frame(PUSH_PROMISE, END_HEADERS, 1, &promise)]);
    wire.response(&[&frame(HEADERS, END_HEADERS, 2, &added(":status", "418")), &frame(DATA, END_STREAM, 2, b"css")]);
    // The newest entry of the table is that of the promised response.
    wire.response(&[&frame(HEADERS, ALL, 1, b"\xbe")]);
    wire.close(FINISHED).expect(&["http2 GET /page ClientError 418"], &[("unsolicited_response", 1)]);
}

#[test]
fn streams_beyond_the_bound_are_counted() {
    let mut wire = Wire::started_with(Options { streams_max: 2, ..Options::default() });
    for stream in [1, 3, 5] {
        wire.request(&[&frame(HEADERS, ALL, stream, &get(&format!("/{stream}")))]);
    }
    for stream in [5, 3, 1] {
        wire.response(&[&frame(HEADERS, ALL, stream, b"\x88")]);
    }
    let expected = ["http2 GET /3 Ok 200", "http2 GET /1 Ok 200"];
    wire.close(FINISHED).expect(&expected, &[("too_many_pipelined", 1)]);
}

#[test]
fn a_tunnel_has_no_path_and_every_other_request_has_one() {
    let mut wire = Wire::started();
    let connect = [literal(0, ":method", "CONNECT"), literal(0, ":authority", "db.example:5432")].concat();
    wire.request(&[&frame(HEADERS, END_HEADERS, 1, &connect)]).response(&[&frame(HEADERS, END_HEADERS, 1, b"\x88")]);
    wire.request(&[&frame(DATA, END_STREAM, 1, b"hello")]).response(&[&frame(DATA, END_STREAM, 1, b"")]);
    assert_eq!(wire.details[0].kind, Kind::Stream);
    wire.request(&[&frame(HEADERS, ALL, 3, b"\x82\x86")]).response(&[&frame(HEADERS, ALL, 3, b"\x88")]);
    wire.close(FINISHED).expect(&["http2 CONNECT Ok 200"], &[("malformed_request", 1)]);
}

/// Whatever is added to a table, no more of it is kept than exchanges tell.
#[test]
fn no_credential_is_kept() {
    let mut wire = Wire::started();
    let names = ["authorization", "cookie", "x-api-key", "secret-name", "traceparent"];
    let fields = names.iter().flat_map(|name| added(name, "secret"));
    let fields: Vec<u8> = fields.chain(added(":authority", "who:secret@shop")).collect();
    wire.request(&[&frame(HEADERS, END_HEADERS, 1, &[&get("/a?token=secret#secret"), &fields[..]].concat())]);
    wire.request(&[&frame(DATA, 0, 1, b"secret")]).response(&[&frame(
        HEADERS,
        END_HEADERS,
        1,
        &added("set-cookie", "secret"),
    )]);
    assert!(wire.connection.heap_bytes() > 200, "something is kept");
    let kept = format!("{:?}", wire.connection);
    assert!(kept.contains("/a") && !kept.contains("secret") && !kept.contains("token"), "{kept}");
}

#[test]
fn whom_a_request_asks_and_for_which_trace_is_told() {
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let sent = format!("00-{trace}-{parent}-01");
    let mut wire = Wire::started();
    let first = [added(":authority", "user:secret@shop:80"), added("traceparent", &sent)].concat();
    let again = b"\xbf\xbe";
    let other = added("traceparent", &sent.replace("331-", "332-"));
    let in_two = [added("x-b3-traceid", trace), added("x-b3-spanid", parent)].concat();
    let heads = [first.as_slice(), again, &[&again[..], &other].concat(), b"", &in_two];
    for (stream, head) in [1, 3, 5, 7, 9].into_iter().zip(heads) {
        wire.request(&[&frame(HEADERS, ALL, stream, &[&b"\x82\x86\x84"[..], head].concat())]);
        wire.response(&[&frame(HEADERS, ALL, stream, b"\x88")]);
    }
    let told = format!("shop:80 {trace} {parent}");
    assert_eq!(wire.evidence, [told.as_str(), &told, "shop:80", "", &format!(" {trace} {parent}")]);
    wire.close(FINISHED).expect(&["http2 GET / Ok 200"; 5], &[]);
}
