//! Bytes that were not captured, events that are missing, captures that begin in the middle.

use headwater_protocols::Direction::{Request, Response};
use headwater_protocols::http2::Options;
use headwater_protocols::{Follow, Recognition};

use crate::wire::*;

#[test]
fn data_need_not_be_captured() {
    let mut wire = Wire::started();
    let request = [frame(HEADERS, END_HEADERS, 1, &get("/a")), frame(DATA, END_STREAM, 1, &[7; 5_000])].concat();
    wire.say(Request, &request, 256);
    let data = frame(DATA, END_STREAM, 1, &[7; 9_000]);
    wire.response(&[&frame(HEADERS, END_HEADERS, 1, b"\x88")]).response(&[&data[..100]]);
    wire.miss(Response, 4_000).say(Response, &data[4_100..], 0);
    wire.expect(&["http2 GET /a Ok 200"], &[]);
    assert_eq!(wire.details[0].bytes, [request.len() as u64, 10 + 9_009]);
    // The next one stands where the data ended.
    wire.request(&[&frame(HEADERS, ALL, 3, &get("/b"))]).response(&[&frame(HEADERS, ALL, 3, b"\x88")]);
    wire.close(FINISHED).expect(&["http2 GET /a Ok 200", "http2 GET /b Ok 200"], &[]);
}

/// Where nobody saw what was asked, each answer is one request that is missing, for the reason for which it was not seen.
#[test]
fn answers_to_requests_that_were_not_captured_are_counted_as_such() {
    let mut wire = Wire::started();
    let requests = [1, 3, 5].map(|stream| frame(HEADERS, ALL, stream, &get("/lost"))).concat();
    wire.say(Request, &requests, 4);
    for stream in [1, 3, 5] {
        wire.response(&[&frame(HEADERS, ALL, stream, b"\x88")]);
    }
    wire.request(&[&frame(HEADERS, ALL, 7, &get("/7"))]).response(&[&frame(HEADERS, ALL, 7, b"\x88")]);
    wire.close(FINISHED).expect(&["http2 GET /7 Ok 200"], &[("head_not_captured", 3)]);
}

/// A head behind what was captured: what is open is lost, and frames that fill a call are where it goes on.
#[test]
fn heads_that_were_not_captured_are_counted_until_frames_fill_a_call() {
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, ALL, 1, &get("/1"))]);
    let frames = [frame(HEADERS, END_HEADERS, 1, b"\x88"), frame(DATA, 0, 1, &[0; 500]), frame(DATA, 0, 1, &[0; 500])];
    wire.say(Response, &frames.concat(), 256);
    wire.request(&[&frame(HEADERS, ALL, 3, &get("/3"))]);
    // Something within the data, whose end looks like a frame.
    wire.response(&[&[1; 100], &frame(DATA, END_STREAM, 1, b"")]);
    wire.response(&[&frame(DATA, END_STREAM, 1, b"end"), &frame(HEADERS, ALL, 3, b"\x88")]);
    wire.request(&[&frame(HEADERS, ALL, 5, &get("/5"))]).response(&[&frame(HEADERS, ALL, 5, b"\x8d")]);
    wire.close(FINISHED).expect(&["http2 GET /5 ClientError 404"], &[("head_not_captured", 1), ("gap", 1)]);
}

#[test]
fn a_capture_that_begins_in_the_middle_knows_what_was_added_since() {
    let mut wire = Wire::in_the_middle();
    // An index of the table from before, then values that are added to it.
    wire.request(&[&frame(HEADERS, ALL, 101, b"\x82\x86\xc5")]);
    assert_eq!(wire.connection.recognition(), Recognition::Undecided);
    wire.response(&[&frame(HEADERS, ALL, 101, b"\x88")]);
    wire.request(&[&frame(HEADERS, ALL, 103, &[&b"\x82\x86"[..], &added(":path", "/new"), b"\xc5"].concat())]);
    wire.response(&[&frame(HEADERS, ALL, 103, &[&added(":status", "418")[..], b"\xc5"].concat())]);
    wire.request(&[&frame(HEADERS, ALL, 105, b"\x82\x86\xbe")]).response(&[&frame(HEADERS, ALL, 105, b"\xbe")]);
    // The table is emptied: all is known from here on.
    wire.request(&[&frame(HEADERS, ALL, 107, &[&b"\x20\x3f\xe1\x1f\x82\x86"[..], &added(":path", "/x")].concat())]);
    wire.response(&[&frame(HEADERS, ALL, 107, b"\xc9")]);
    let expected = ["http2 GET /new ClientError 418", "http2 GET /new ClientError 418", "http2 GET /x Unknown"];
    wire.close(FINISHED).expect(&expected, &[("started_before_capture", 1), ("value_unknown", 1)]);
}

/// How large the table may be stands in settings that were not seen.
#[test]
fn a_table_from_before_the_capture_may_have_any_size() {
    let mut wire = Wire::in_the_middle();
    wire.request(&[&frame(HEADERS, ALL, 101, &get("/a"))]).response(&[&frame(HEADERS, ALL, 101, b"\x88")]);
    let long = added("x-long", &"l".repeat(120)).repeat(40);
    wire.request(&[&frame(HEADERS, ALL, 103, &[&get("/b"), &long[..]].concat())]);
    wire.request(&[&frame(HEADERS, ALL, 105, b"\x82\x86\xff\x2d")]);
    wire.response(&[&frame(HEADERS, ALL, 103, b"\x88"), &frame(HEADERS, ALL, 105, b"\x88")]);
    wire.close(FINISHED).expect(
        &["http2 GET /b Ok 200", "http2 GET unknown Ok 200"],
        &[("started_before_capture", 1), ("value_unknown", 1)],
    );
}

#[test]
fn a_header_block_that_was_cut_makes_the_table_unknown() {
    let mut wire = Wire::started();
    let block = [&b"\x82\x86"[..], &added(":path", "/long"), &added("x-trace", &"t".repeat(90))].concat();
    wire.say(Request, &frame(HEADERS, ALL, 1, &block), 40).response(&[&frame(HEADERS, ALL, 1, b"\x88")]);
    // Whether the path is the second or the third newest entry is not known.
    wire.request(&[&frame(HEADERS, ALL, 3, b"\x82\x86\xbf")]).response(&[&frame(HEADERS, ALL, 3, b"\x88")]);
    let expected = ["http2 GET /long Ok 200", "http2 GET unknown Ok 200"];
    wire.close(FINISHED).expect(&expected, &[("value_unknown", 1)]);
}

#[test]
fn responses_to_what_was_not_seen_are_counted_once() {
    let mut wire = Wire::in_the_middle();
    wire.request(&[&frame(HEADERS, ALL, 101, &get("/a"))]);
    wire.response(&[&frame(HEADERS, END_HEADERS, 97, b"\x88"), &frame(DATA, 0, 97, b"x")]);
    wire.response(&[&frame(HEADERS, ALL, 97, &literal(0, "x-end", "1")), &frame(HEADERS, ALL, 99, b"\x88")]);
    wire.request(&[&frame(HEADERS, ALL, 103, &get("/b"))]).response(&[&frame(HEADERS, ALL, 103, b"\x88")]);
    wire.close(FINISHED).expect(&["http2 GET /b Ok 200"], &[("started_before_capture", 3)]);
}

/// Cases: lengths-not-believed.
#[test]
fn lengths_not_believed() {
    let mut wire = Wire::started();
    wire.request(&[b"\xff\xff\xff\0\0\0\0\0\x01", &[0; 100]]);
    assert!(wire.connection.heap_bytes() < 1_000);
    wire.close(FINISHED).expect(&[], &[("malformed_request", 1)]);
    // The same before anything was recognised is another protocol.
    let mut wire = Wire::new(Options::default(), [0; 2]);
    wire.request(&[PREFACE, b"\xff\xff\xfc\x04\0\0\0\0\0", &[0; 100]]);
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
    // Of strings and of numbers within a header block, and of messages.
    for block in [&b"\x82\x44\x7f\xff\xff\xff\xff\x07"[..], b"\x3f\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\x0f"] {
        let mut wire = Wire::started();
        wire.request(&[&frame(HEADERS, ALL, 1, block)]);
        assert!(wire.connection.heap_bytes() < 2_000);
        wire.close(FINISHED).expect(&[], &[("malformed_request", 1)]);
    }
    let mut wire = Wire::started();
    wire.request(&[&frame(HEADERS, END_HEADERS, 1, &call("/s/M")), &frame(DATA, END_STREAM, 1, b"\0\xff\xff\xff\xff")]);
    assert!(wire.connection.heap_bytes() < 10_000);
    wire.response(&[&frame(HEADERS, ALL, 1, &literal(0, "grpc-status", "3"))]);
    // A response without status.
    wire.expect(&[], &[("malformed_response", 1)]);
    // One that begins with data.
    wire.request(&[&frame(HEADERS, ALL, 3, &get("/a"))]).response(&[&frame(DATA, END_STREAM, 3, b"x")]);
    wire.close(FINISHED).expect(&[], &[("malformed_response", 2)]);
}

/// A session cut at every byte of a direction: nothing that was not said comes out.
#[test]
fn a_capture_cut_at_every_byte() {
    let request = [
        PREFACE,
        &frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"),
        &frame(HEADERS, END_HEADERS, 1, &call("/s/M")),
        &frame(DATA, END_STREAM, 1, b"\0\0\0\0\x01x"),
        &frame(HEADERS, ALL, 3, b"\x83\x86\xbf\xbe"),
    ]
    .concat();
    let status = added("grpc-status", "0");
    let response = [
        &frame(SETTINGS, 0, 0, b"")[..],
        &frame(WINDOW_UPDATE, 0, 0, b"\0\0\xff\xff"),
        &frame(HEADERS, END_HEADERS, 1, b"\x88"),
        &frame(DATA, 0, 1, b"\0\0\0\0\0"),
        &frame(HEADERS, ALL, 1, &status),
        &frame(HEADERS, ALL, 3, b"\x88\xbe"),
    ]
    .concat();
    for cut in 0..=request.len().max(response.len()) {
        let mut wire = Wire::new(Options::default(), [0; 2]);
        wire.say(Request, &request, cut).say(Response, &response, cut);
        assert!(wire.connection.heap_bytes() < 10_000);
        wire.close(FINISHED);
        let right = |seen: &String| {
            ["grpc /s/M Ok OK", "grpc /s/M Unknown", "grpc unknown Ok OK"].contains(&seen.as_str())
                || (seen.starts_with("http2 POST unknown")
                    || seen.contains("no_response")
                    || seen.contains("incomplete"))
        };
        assert!(wire.seen.iter().all(right), "cut at {cut}: {:?} {:?}", wire.seen, wire.losses);
        if cut >= request.len().max(response.len()) {
            wire.expect(&["grpc /s/M Ok OK", "grpc /s/M Ok OK"], &[]);
        }
    }
}

/// As the probes tell of a call with more frames than they copy: in parts, each of which begins with a head.
#[test]
fn the_heads_of_a_long_call_come_in_parts() {
    let mut wire = Wire::started();
    for stream in [1, 3] {
        wire.request(&[&frame(HEADERS, ALL, stream, &call("/s/M"))]);
    }
    let parts = [
        [frame(HEADERS, END_HEADERS, 1, b"\x88"), frame(DATA, 0, 1, &[0; 9_000])].concat(),
        frame(DATA, 0, 1, &[0; 9_000]),
        frame(HEADERS, ALL, 1, &literal(0, "grpc-status", "0")),
        [frame(HEADERS, END_HEADERS, 3, b"\x88"), frame(DATA, 0, 3, &[0; 9_000])].concat(),
        frame(HEADERS, ALL, 3, &literal(0, "grpc-status", "5")),
    ];
    for part in &parts {
        wire.say(Response, part, 100);
    }
    wire.expect(&["grpc /s/M Ok OK", "grpc /s/M ClientError NOT_FOUND"], &[]);
}
