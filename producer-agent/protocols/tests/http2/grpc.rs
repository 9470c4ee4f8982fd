//! Calls of gRPC.

use headwater_protocols::{Direction, Kind};

use crate::wire::*;

const SECOND_NS: u64 = 1_000_000_000;

fn message(text: &str) -> Vec<u8> {
    [&[0][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// Cases: grpc-streaming.
#[test]
fn grpc_streaming() {
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, END_HEADERS, 1, &call("/shop.v1.Prices/Watch"))]);
    wire.request(&[&frame(DATA, END_STREAM, 1, &message("all"))]);
    let started_ns = wire.calls.now_ns;
    let headers = [&b"\x88"[..], &added("content-type", "application/grpc")].concat();
    wire.response(&[&frame(HEADERS, END_HEADERS, 1, &headers)]);
    for second in 1..=20 {
        wire.calls.now_ns = started_ns + second * SECOND_NS;
        wire.response(&[&frame(DATA, 0, 1, &message("a price"))]);
    }
    wire.response(&[&frame(HEADERS, ALL, 1, &added("grpc-status", "13"))]);
    // The second one is answered by trailers alone.
    wire.request(&[
        &frame(HEADERS, END_HEADERS, 3, &call("/shop.v1.Prices/Get")),
        &frame(DATA, END_STREAM, 3, &message("x")),
    ]);
    wire.response(&[&frame(HEADERS, ALL, 3, &[&headers[..], &added("grpc-status", "5")].concat())]);
    let expected =
        ["grpc /shop.v1.Prices/Watch ServerError INTERNAL", "grpc /shop.v1.Prices/Get ClientError NOT_FOUND"];
    wire.expect(&expected, &[]);
    let [watch, get] = wire.details[..] else { panic!("two calls") };
    assert_eq!((watch.kind, watch.messages.request, watch.messages.response), (Kind::Stream, Some(1), Some(20)));
    assert_eq!((watch.messages.first_response_ns.unwrap() - watch.started_ns) / SECOND_NS, 1);
    assert_eq!((watch.ended_ns.unwrap() - watch.started_ns) / SECOND_NS, 20);
    assert!(watch.first_byte_ns.unwrap() - watch.started_ns < SECOND_NS);
    assert_eq!((get.kind, get.messages.request, get.messages.response), (Kind::Call, Some(1), Some(0)));
}

#[test]
fn messages_that_were_not_captured_are_not_counted() {
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, END_HEADERS, 1, &call("/s/M")), &frame(DATA, END_STREAM, 1, &message("x"))]);
    wire.response(&[&frame(HEADERS, END_HEADERS, 1, b"\x88")]);
    let data = frame(DATA, 0, 1, &[message(&"y".repeat(100)), message("z")].concat());
    wire.say(Direction::Response, &data, 20);
    wire.response(&[&frame(HEADERS, ALL, 1, &literal(0, "grpc-status", "0"))]);
    wire.expect(&["grpc /s/M Ok OK"], &[]);
    let call = wire.details[0];
    assert_eq!((call.kind, call.messages.request, call.messages.response), (Kind::Stream, Some(1), None));
}

#[test]
fn what_is_not_told_in_the_trailers_is_not_made_up() {
    let mut wire = Wire::started();
    for stream in [1, 3, 5] {
        wire.request(&[&frame(HEADERS, ALL, stream, &call("/s/M"))]);
    }
    // A proxy answers.
    wire.response(&[&frame(HEADERS, ALL, 1, b"\x48\x03503")]);
    wire.response(&[&frame(HEADERS, ALL, 3, b"\x88")]);
    wire.request(&[&frame(RST_STREAM, 0, 5, b"\0\0\0\x08")]);
    // gRPC-Web is plain HTTP.
    let web = [&b"\x83\x86"[..], &literal(0, ":path", "/s/M"), &literal(0, "content-type", "application/grpc-web")];
    wire.request(&[&frame(HEADERS, ALL, 7, &web.concat())]).response(&[&frame(HEADERS, ALL, 7, b"\x88")]);
    let expected =
        ["grpc /s/M ServerError 503", "grpc /s/M Unknown", "grpc /s/M client_left CANCEL", "http2 POST /s/M Ok 200"];
    wire.close(FINISHED).expect(&expected, &[]);
}
