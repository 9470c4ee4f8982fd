//! What bodies of GraphQL and JSON-RPC name, in DATA frames: all of it, or nothing.

use headwater_protocols::Direction::Request;
use headwater_protocols::http2::Options;
use headwater_protocols::{CloseReason, Follow};
use proptest::prelude::*;

use crate::wire::*;

const GRAPHQL: &[u8] = br#"{"variables":{"id":"secret"},"query":"query GetUser($id: ID!) { user(id: $id) { id } }"}"#;
const JSON_RPC: &[u8] = br#"{"id":1,"params":["secret"],"method":"shop.sum","jsonrpc":"2.0"}"#;
const NAMED: &str = "http2 POST /graphql GetUser Ok 200";
const NAMELESS: &str = "http2 POST /graphql Ok 200";

/// A POST of a type, which is not added to the table.
fn post(path: &str, content_type: &str) -> Vec<u8> {
    [&b"\x83\x86"[..], &literal(0, ":path", path), &literal(0, "content-type", content_type)].concat()
}

fn json(path: &str) -> Vec<u8> {
    post(path, "application/json")
}

fn padded(flags: u8, stream: u32, content: &[u8], padding: u8) -> Vec<u8> {
    frame(DATA, PADDED | flags, stream, &[&[padding], content, &vec![b'"'; padding.into()]].concat())
}

impl Wire {
    /// Begins a POST whose body is to come.
    fn posts(&mut self, stream: u32, block: &[u8]) -> &mut Wire {
        self.request(&[&frame(HEADERS, END_HEADERS, stream, block)])
    }

    fn answers(&mut self, stream: u32) -> &mut Wire {
        self.response(&[&frame(HEADERS, ALL, stream, b"\x88")])
    }
}

#[test]
fn a_body_names_what_is_asked_for_however_it_comes() {
    let mut wire = Wire::started();
    // In one call with its head, in the next call, and with its end in a frame of its own.
    let head = frame(HEADERS, END_HEADERS, 1, &json("/graphql"));
    wire.request(&[&head, &frame(DATA, END_STREAM, 1, GRAPHQL)]).answers(1);
    wire.posts(3, &post("/graphql", "application/json; charset=utf-8"));
    wire.request(&[&frame(DATA, END_STREAM, 3, GRAPHQL)]).answers(3);
    wire.posts(5, &json("/graphql")).request(&[&frame(DATA, 0, 5, GRAPHQL), &frame(DATA, END_STREAM, 5, b"")]);
    wire.answers(5).posts(7, &json("/rpc")).request(&[&frame(DATA, END_STREAM, 7, JSON_RPC)]).answers(7);
    // Before its end, and with trailers for an end.
    wire.posts(9, &json("/graphql")).request(&[&frame(DATA, 0, 9, GRAPHQL)]).answers(9);
    wire.request(&[&frame(HEADERS, ALL, 9, &literal(0, "x-checksum", "1"))]);
    wire.expect(&[NAMED, NAMED, NAMED, "http2 POST /rpc shop.sum Ok 200", NAMED], &[]);
}

#[test]
fn a_body_in_any_pieces_has_its_name() {
    for (path, body, name) in [("/graphql", GRAPHQL, "GetUser"), ("/rpc", JSON_RPC, "shop.sum")] {
        for size in 1..body.len() {
            let mut wire = Wire::started();
            wire.posts(1, &json(path));
            // Frames in calls of their own, padded or not, in two calls each, with another stream's between them.
            wire.posts(3, &json("/other"));
            for (number, piece) in body.chunks(size).enumerate() {
                let bytes = if number % 2 == 0 { frame(DATA, 0, 1, piece) } else { padded(0, 1, piece, 5) };
                let (first, rest) = bytes.split_at(bytes.len() * number / 7 % bytes.len());
                if !first.is_empty() {
                    wire.request(&[first]);
                }
                wire.request(&[rest, &frame(DATA, 0, 3, b"{\"method\":\"not_this\",")]);
            }
            assert!(wire.connection.heap_bytes() < 16_000);
            wire.request(&[&frame(DATA, END_STREAM, 1, b""), &frame(DATA, END_STREAM, 3, b"}")]).answers(1).answers(3);
            let named = format!("http2 POST {path} {name} Ok 200");
            wire.close(FINISHED).expect(&[&named, "http2 POST /other Ok 200"], &[]);
        }
    }
}

#[test]
fn what_is_cut_off_before_it_is_clear_has_no_name() {
    let first = br#"{"query":"query First { a } query Second { b }","#;
    let last = br#""operationName":"Second"}"#;
    let whole = [&first[..], last].concat();
    let data = frame(DATA, END_STREAM, 1, &whole);
    for captured in 0..=data.len() {
        let mut wire = Wire::started();
        wire.posts(1, &json("/graphql")).say(Request, &data, captured).answers(1);
        // The head of the frame must be there; the brace at the end need not.
        let expected: &[&str] = match captured {
            ..9 => &[],
            _ if captured < data.len() - 1 => &[NAMELESS],
            _ => &["http2 POST /graphql Second Ok 200"],
        };
        wire.close(FINISHED);
        assert_eq!(wire.seen, expected, "{captured}");
    }
    // A frame that lies behind what was captured, a call that is missing, and padding whose length is not known.
    let mut wire = Wire::started();
    wire.posts(1, &json("/graphql")).say(Request, &frame(DATA, 0, 1, first), 9);
    wire.request(&[&frame(DATA, END_STREAM, 1, last)]).answers(1);
    wire.posts(3, &json("/graphql")).request(&[&frame(DATA, END_STREAM, 3, &whole)[..30]]);
    wire.miss(Request, whole.len() as u64 - 30).request(&[&whole[whole.len() - 9..]]).answers(3);
    wire.posts(5, &json("/graphql")).say(Request, &padded(END_STREAM, 5, GRAPHQL, 200), 9).answers(5);
    // The body ends before it does.
    wire.posts(7, &json("/graphql")).request(&[&frame(DATA, 0, 7, &GRAPHQL[..40])]);
    wire.request(&[&frame(HEADERS, ALL, 7, &literal(0, "x-checksum", "1"))]).answers(7);
    wire.close(FINISHED).expect(&[NAMELESS; 4], &[]);
}

#[test]
fn four_kilobytes_of_a_body_are_looked_at() {
    let body = |before: usize| {
        let space = "x".repeat(before);
        format!(r#"{{"variables":{{"space":"{space}"}},"operationName":"GetUser"}}"#).into_bytes()
    };
    for (before, size, expected) in
        [(4_000, 9_000, NAMED), (4_000, 100, NAMED), (4_100, 9_000, NAMELESS), (4_100, 100, NAMELESS)]
    {
        let mut wire = Wire::started();
        wire.posts(1, &json("/graphql"));
        for piece in body(before).chunks(size) {
            wire.request(&[&frame(DATA, 0, 1, piece)]);
        }
        // So much is not kept until the answer.
        assert!(wire.connection.heap_bytes() < 5_000 + if expected == NAMED { 9_000 } else { 0 });
        wire.request(&[&frame(DATA, END_STREAM, 1, b"")]);
        assert!(wire.connection.heap_bytes() < 5_000);
        wire.answers(1).expect(&[expected], &[]);
    }
}

#[test]
fn only_a_post_of_json_to_where_that_is_spoken_is_looked_at() {
    let wrong_method = [&b"\x86"[..], &literal(0, ":method", "PUT"), &json("/graphql")[2..]].concat();
    // As gzip stores what it does not compress.
    let stored = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x58\0\xa7\xff"[..], GRAPHQL].concat();
    let encoded = [json("/graphql"), literal(0, "content-encoding", "gzip")].concat();
    // Only its first 32 bytes are kept.
    let long = "application/vnd.abcdefghijk+jsonp";
    for (block, body) in [
        (post("/graphql", "text/plain"), GRAPHQL),
        (post("/graphql", "application/graphql"), GRAPHQL),
        (post("/graphql", long), GRAPHQL),
        (post("/graphql", "application/grpc-web+json"), GRAPHQL),
        ([&b"\x83\x86"[..], &literal(0, ":path", "/graphql")].concat(), GRAPHQL),
        (json("/graphql/schema"), GRAPHQL),
        (json("/rpc"), GRAPHQL),
        (json("/graphql"), JSON_RPC),
        (wrong_method, GRAPHQL),
        (encoded, &stored),
        // Several at once.
        (json("/graphql"), b"[{\"operationName\":\"A\"}]"),
    ] {
        let mut wire = Wire::started();
        wire.posts(1, &block).request(&[&frame(DATA, 0, 1, &body[..20]), &frame(DATA, 0, 1, &body[20..])]);
        wire.request(&[&frame(DATA, END_STREAM, 1, b"")]).answers(1);
        assert!(wire.seen.len() == 1 && wire.seen[0].ends_with("Ok 200"), "{:?}", wire.seen);
        assert!(!["GetUser", "shop.sum", " A "].iter().any(|name| wire.seen[0].contains(name)), "{:?}", wire.seen);
    }
}

#[test]
fn the_body_of_a_call_of_grpc_is_never_looked_at() {
    for content_type in ["application/grpc", "application/grpc+json"] {
        let mut wire = Wire::started();
        wire.posts(1, &post("/graphql", content_type)).request(&[&frame(DATA, 0, 1, GRAPHQL)]);
        assert!(!format!("{:?}", wire.connection).contains("secret"));
        wire.request(&[&frame(DATA, END_STREAM, 1, b"")]);
        wire.response(&[&frame(HEADERS, ALL, 1, &[&b"\x88"[..], &literal(0, "grpc-status", "0")].concat())]);
        wire.expect(&["grpc /graphql Ok OK"], &[]);
    }
}

#[test]
fn nothing_but_the_name_is_kept_when_the_body_has_ended() {
    let mut wire = Wire::started();
    let before = wire.posts(1, &json("/graphql")).connection.heap_bytes();
    wire.request(&[&frame(DATA, 0, 1, &GRAPHQL[..60])]);
    assert!(wire.connection.heap_bytes() >= before + 60);
    wire.request(&[&frame(DATA, END_STREAM, 1, &GRAPHQL[60..])]);
    let (kept, secret) = (format!("{:?}", wire.connection), format!("{:?}", &GRAPHQL[20..26]));
    let secret = secret.trim_matches(['[', ']']);
    assert!(kept.contains("GetUser") && !kept.contains(secret) && !kept.contains("secret"), "{kept}");
    // Also where it is not asked to its end.
    wire.posts(3, &json("/graphql")).request(&[&frame(DATA, 0, 3, GRAPHQL)]);
    let expected = ["http2 POST /graphql GetUser no_response", "http2 POST /graphql GetUser request_incomplete"];
    wire.close(CloseReason::Finished { by: headwater_protocols::Side::Server }).expect(&expected, &[]);
}

#[test]
fn bodies_for_which_there_is_no_room_have_no_name_and_are_counted() {
    let mut wire = Wire::started_with(Options { bodies_max: 2, ..Options::default() });
    for stream in [1, 3, 5] {
        wire.posts(stream, &json("/graphql")).request(&[&frame(DATA, 0, stream, &GRAPHQL[..50])]);
    }
    for stream in [1, 3, 5] {
        wire.request(&[&frame(DATA, END_STREAM, stream, &GRAPHQL[50..])]).answers(stream);
    }
    // There is room again, and none is needed where the name comes at once.
    wire.posts(7, &json("/graphql")).request(&[&frame(DATA, END_STREAM, 7, GRAPHQL)]).answers(7);
    wire.expect(&[NAMED, NAMED, NAMELESS, NAMED], &[("value_unknown", 1)]);
    // A connection keeps no more than it may.
    let mut wire = Wire::started_with(Options { streams_max: 200, ..Options::default() });
    for stream in 0..200 {
        wire.posts(1 + 2 * stream, &json("/rpc"));
        wire.request(&[&frame(DATA, 0, 1 + 2 * stream, &[&b"{\"a\":\""[..], &[b'x'; 4_000]].concat())]);
    }
    assert!(wire.connection.heap_bytes() < 16 * 8 * 1024 + 200 * 2 * 1024, "{}", wire.connection.heap_bytes());
    wire.close(FINISHED);
}

proptest! {
    /// Bodies of streams in any pieces and order, padded or not, of which some are cut: each has its own name or none.
    #[test]
    fn a_stream_has_its_own_name_or_none(
        pieces in prop::collection::vec((0..4_u32, 1..60_usize, 0..20_u8, 0..300_usize), 1..80),
    ) {
        let bodies: Vec<Vec<u8>> = (0..4).map(|number| {
            let name = ["Zero", "One", "Two", "Three"][number];
            format!(r#"{{"variables":{{"x":"operationName"}},"query":"query A {{ a }} query {name} {{ b }}","operationName":"{name}"}}"#).into()
        }).collect();
        let mut wire = Wire::started();
        for stream in 0..4 {
            wire.posts(1 + 2 * stream, &json(&format!("/{stream}/graphql")));
        }
        let (mut said, mut is_whole) = ([0; 4], [true; 4]);
        for (stream, size, padding, captured) in pieces {
            let at = &mut said[stream as usize];
            let piece = &bodies[stream as usize][*at..bodies[stream as usize].len().min(*at + size)];
            let id = 1 + 2 * stream;
            let bytes = if padding == 0 { frame(DATA, 0, id, piece) } else { padded(0, id, piece, padding) };
            // The head of the frame is there.
            let captured = captured.max(9);
            is_whole[stream as usize] &= captured >= bytes.len();
            *at += piece.len();
            wire.say(Request, &bytes, captured);
        }
        for stream in 0..4 {
            let rest = &bodies[stream as usize][said[stream as usize]..];
            wire.request(&[&frame(DATA, END_STREAM, 1 + 2 * stream, rest)]).answers(1 + 2 * stream);
            let nameless = format!("http2 POST /{stream}/graphql Ok 200");
            let named = nameless.replace(" Ok", &format!(" {} Ok", ["Zero", "One", "Two", "Three"][stream as usize]));
            let seen = wire.seen.last().unwrap();
            prop_assert!(*seen == named || (*seen == nameless && !is_whole[stream as usize]), "{}", seen);
        }
    }
}
