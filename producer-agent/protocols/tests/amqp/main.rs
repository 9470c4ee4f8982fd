//! AMQP 0-9-1 of one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "../shared/calls.rs"]
mod calls;
#[path = "../../fuzz/channels.rs"]
mod channels;
mod confirms;
#[path = "../../fuzz/flights.rs"]
mod flights;
#[path = "../shared/frames.rs"]
mod frames;
#[path = "../shared/wire.rs"]
mod wire;

use frames::{PREFACE, acknowledge, beginning, content, deliver, frame, method, publish, text};
use headwater_protocols::amqp::{Amqp, Options};
use headwater_protocols::{CloseReason, Connection, Direction, Kind, OrderOptions, Recognition, Side};
use headwater_testing::Random;
use wire::{FINISHED, Wire};

const OPEN: [&str; 2] = ["connection.open /shop Ok", "channel.open Ok"];

fn at(request: u64, response: u64) -> Wire {
    let amqp = Amqp::new(Options::default());
    Wire::of(Box::new(Connection::new(Side::Server, OrderOptions::default(), amqp)), request, response)
}

/// Its client has connected and opened a channel.
fn opened() -> Wire {
    let mut wire = at(0, 0);
    begin(&mut wire, usize::MAX);
    wire.expect(&OPEN, &[]);
    wire.forget();
    wire
}

fn begin(wire: &mut Wire, size: usize) {
    for (at, said) in beginning().iter().enumerate() {
        wire.in_pieces(size, if at % 2 == 0 { Direction::Request } else { Direction::Response }, said);
    }
    wire.in_pieces(size, Direction::Request, &method(1, 20, 10, &[&[0]]));
    wire.in_pieces(size, Direction::Response, &method(1, 20, 11, &[&[0; 4]]));
}

fn consume(tag: &str, bits: u8) -> Vec<u8> {
    method(1, 60, 20, &[&[0, 0], &text("orders"), &text(tag), &[bits], &[0; 4]])
}

fn close(channel: u16, class: u16, code: u16, failed: (u16, u16)) -> Vec<u8> {
    let words = [failed.0.to_be_bytes(), failed.1.to_be_bytes()].concat();
    method(channel, class, if class == 10 { 50 } else { 40 }, &[&code.to_be_bytes(), &text("secret"), &words])
}

/// AMQP 0-9-1, 1.8.3 of the reference.
#[test]
fn messages_go_both_ways_with_and_without_acknowledgement() {
    for size in 1..60 {
        let mut wire = at(0, 0);
        begin(&mut wire, size);
        let asked = [
            publish(1, "shop", "eu.4711.made", b"secret"),
            publish(1, "", "orders", b""),
            method(1, 85, 10, &[&[0]]),
            // The second is confirmed before the first; heartbeats go between.
            publish(1, "shop", "a", &[b'x'; 9_000]),
            frame(8, 0, b""),
            publish(1, "shop", "b", b"secret"),
            publish(1, "shop", "c", b"secret"),
            publish(1, "shop", "d", b"secret"),
            consume("me", 0),
        ];
        wire.in_pieces(size, Direction::Request, &asked.concat());
        let answered = [
            method(1, 85, 11, &[]),
            acknowledge(1, 2, false),
            acknowledge(1, 3, true),
            method(1, 60, 120, &[&4_u64.to_be_bytes(), &[0]]),
            method(1, 60, 21, &[&text("me")]),
            deliver(1, "me", 1, "e", b"secret"),
            deliver(1, "me", 2, "f", &[b'x'; 9_000]),
            deliver(1, "me", 3, "g", b"secret"),
        ];
        wire.in_pieces(size, Direction::Response, &answered.concat());
        let rejected = method(1, 60, 90, &[&3_u64.to_be_bytes(), &[1]]);
        wire.in_pieces(size, Direction::Request, &[acknowledge(1, 2, true), rejected].concat());
        wire.close(FINISHED).expect(
            &[
                OPEN[0],
                OPEN[1],
                "basic.publish shop:eu.{id}.made Ok",
                "basic.publish orders Ok",
                "confirm.select Ok",
                "basic.publish shop:b Ok",
                "basic.publish shop:a Ok",
                "basic.publish shop:c Ok",
                "basic.publish shop:d ServerError NACK",
                "basic.consume orders Ok",
                "basic.deliver shop:e Ok",
                "basic.deliver shop:f Ok",
                "basic.deliver shop:g ClientError REJECT",
            ],
            &[],
        );
        use Kind::{Call, OneWay, Wait};
        assert_eq!(wire.kinds, [Call, Call, OneWay, OneWay, Call, Call, Call, Call, Call, Call, Wait, Wait, Wait],);
        let mut names = wire.positions.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), wire.positions.len());
    }
}

#[test]
fn each_channel_stands_for_itself() {
    let mut wire = opened();
    wire.request(method(2, 20, 10, &[&[0]])).response(method(2, 20, 11, &[&[0; 4]])).forget();
    // Two messages, the frames of one between those of the other.
    let [one, other] = [publish(1, "shop", "a", b"secret"), publish(2, "shop", "b", b"secret")];
    let cut = |bytes: &[u8]| method(1, 60, 40, &[&[0, 0], &text("shop"), &text("a"), &[0]]).len().min(bytes.len());
    let at = cut(&one);
    wire.request([&one[..at], &other[..at], &one[at..], &other[at..]].concat());
    // Calls on both, answered the other way round.
    let declare = |channel| method(channel, 50, 10, &[&[0, 0], &text("orders"), &[0], &[0; 4]]);
    wire.request(declare(1)).request(method(2, 50, 30, &[&[0, 0], &text("orders"), &[0]]));
    wire.response(method(2, 50, 31, &[&[0; 4]])).response(method(1, 50, 11, &[&text("orders"), &[0; 8]]));
    wire.request(method(2, 20, 40, &[&[0, 200], &text(""), &[0; 4]])).response(method(2, 20, 41, &[]));
    // Nobody answers.
    wire.request(method(1, 50, 10, &[&[0, 0], &text("orders"), &[16], &[0; 4]]));
    wire.close(FINISHED).expect(
        &[
            "basic.publish shop:a Ok",
            "basic.publish shop:b Ok",
            "queue.purge orders Ok",
            "queue.declare orders Ok",
            "channel.close Ok",
            "queue.declare orders Ok",
        ],
        &[],
    );
    assert_eq!(wire.kinds[5], Kind::OneWay);
}

#[test]
fn messages_are_asked_for_and_returned() {
    let mut wire = opened();
    let get = method(1, 60, 70, &[&[0, 0], &text("orders"), &[0]]);
    let got = [
        method(1, 60, 71, &[&1_u64.to_be_bytes(), &[0], &text("shop"), &text("a"), &[0; 4]]),
        content(1, b"secret", 3),
    ];
    wire.request(&get).response(got.concat()).request(acknowledge(1, 1, false));
    wire.request(&get).response(method(1, 60, 72, &[&[0]]));
    wire.request(publish(1, "shop", "nowhere", b"secret"));
    let arguments = [&312_u16.to_be_bytes()[..], &text("NO_ROUTE"), &text("shop"), &text("nowhere")];
    wire.response([method(1, 60, 50, &arguments), content(1, b"secret", 4096)].concat());
    // A consumer that needs no acknowledgement, whose name the broker gives.
    wire.request(consume("", 2)).response(method(1, 60, 21, &[&text("amq.ctag-x")]));
    wire.response(deliver(1, "amq.ctag-x", 2, "a", b"secret"));
    wire.close(FINISHED).expect(
        &[
            "basic.get orders Ok",
            "basic.get orders Ok EMPTY",
            "basic.publish shop:nowhere Ok",
            "basic.return shop:nowhere ClientError NO_ROUTE",
            "basic.consume orders Ok",
            "basic.deliver shop:a Ok",
        ],
        &[],
    );
    use Kind::{Call, OneWay};
    assert_eq!(wire.kinds, [Call, Call, OneWay, OneWay, Call, OneWay]);
}

#[test]
fn ends_say_what_was_wrong() {
    let mut wire = opened();
    wire.request(method(1, 50, 10, &[&[0, 0], &text("none"), &[1], &[0; 4]])).response(close(1, 20, 404, (50, 10)));
    wire.request(method(1, 20, 41, &[]));
    wire.expect(&["queue.declare none ClientError NOT_FOUND"], &[]);
    // A message that was told of, and one that waits.
    let mut wire = opened();
    wire.request(publish(1, "none", "a", b"")).response(close(1, 20, 404, (60, 40)));
    // What is said before the client knows is not done.
    wire.request(publish(1, "none", "b", b"secret")).request(method(1, 20, 41, &[]));
    wire.expect(&["basic.publish none:a Ok", "channel.close ClientError NOT_FOUND"], &[]);
    wire.request(method(1, 20, 10, &[&[0]])).response(method(1, 20, 11, &[&[0; 4]])).forget();
    wire.request(publish(1, "shop", "c", b"secret")).expect(&["basic.publish shop:c Ok"], &[]);
    let mut wire = opened();
    wire.request(method(1, 85, 10, &[&[0]])).response(method(1, 85, 11, &[])).forget();
    wire.request(publish(1, "none", "a", b"")).response(close(1, 20, 404, (60, 40)));
    wire.expect(&["channel.close ClientError NOT_FOUND", "basic.publish none:a Unknown NOT_FOUND"], &[]);
    // The connection.
    let mut wire = opened();
    wire.request(method(1, 50, 30, &[&[0, 0], &text("orders"), &[0]])).response(close(0, 10, 320, (0, 0)));
    wire.close(CloseReason::Finished { by: Side::Server }).expect(
        &[
            "connection.close ServerError CONNECTION_FORCED",
            "queue.purge orders no_response Unanswered CONNECTION_FORCED",
        ],
        &[],
    );
    let mut wire = at(0, 0);
    let said = beginning();
    wire.request(&said[0]).response(&said[1]).request(&said[2]).response(close(0, 10, 403, (0, 0)));
    wire.expect(&["connection.open ClientError ACCESS_REFUSED"], &[]);
    let mut wire = at(0, 0);
    wire.request(PREFACE).response(b"AMQP\0\0\x09\x01").expect(&["connection.open ClientError OTHER_VERSION"], &[]);
    // The client ends it.
    let mut wire = opened();
    wire.request(close(0, 10, 200, (0, 0))).response(method(0, 10, 51, &[])).close(FINISHED);
    wire.expect(&["connection.close Ok"], &[]);
}

#[test]
fn what_was_not_captured_of_a_call_is_counted_and_never_guessed() {
    // The virtual host.
    let mut wire = at(0, 0);
    for (number, said) in beginning().iter().enumerate() {
        let direction = if number % 2 == 0 { Direction::Request } else { Direction::Response };
        wire.say(direction, said, if number == 4 { said.len() - text("/shop").len() - 3 } else { usize::MAX });
    }
    wire.expect(&["connection.open Ok"], &[("value_unknown", 1)]);
    // Whether a queue is asked for that answers at all.
    let mut wire = opened();
    let declare = method(1, 50, 10, &[&[0, 0], &text("orders"), &[0], &[0; 4]]);
    wire.say(Direction::Request, &declare, 15).response(method(1, 50, 11, &[&text("orders"), &[0; 8]]));
    wire.request(method(1, 50, 20, &[&[0, 0], &text("orders"), &text("shop"), &text(""), &[0], &[0; 4]]));
    wire.response(method(1, 50, 21, &[]));
    assert!(wire.seen.iter().all(|seen| !seen.starts_with("queue.declare")), "{:?}", wire.seen);
    assert_eq!(wire.losses["head_not_captured"], 1, "{:?}", wire.losses);
}

#[test]
fn payloads_need_not_be_captured() {
    let mut wire = opened();
    let large = publish(1, "shop", "a", &[b'x'; 4_000]);
    wire.say(Direction::Request, &large[..200], 60).say(Direction::Request, &large[200..], 0);
    // A call within the body is missing altogether.
    wire.request(&large[..100]).miss(Direction::Request, 900).request(&large[1_000..]);
    wire.expect(&["basic.publish shop:a Ok", "basic.publish shop:a Ok"], &[]);
    // A frame begins behind what was captured: the next call is followed as far as it proves itself.
    let two = [&large[..], &publish(1, "shop", "c", b"")].concat();
    wire.forget().say(Direction::Request, &two, 100).request(publish(1, "shop", "d", b"secret"));
    wire.expect(&["basic.publish shop:a Ok", "basic.publish shop:d Ok"], &[("head_not_captured", 1)]);
}

#[test]
fn a_connection_is_followed_from_its_middle() {
    let mut wire = at(5_000, 9_000);
    wire.request(b"rest of a body\xce");
    for number in 70..74 {
        wire.request(publish(1, "shop", "a", b"secret")).response(acknowledge(1, number, false));
        wire.response(deliver(1, "me", number, "b", b"secret")).request(acknowledge(1, number, false));
    }
    assert_eq!(wire.recognition(), Recognition::Recognised);
    // Calls are believed after a silence.
    let purge = method(1, 50, 30, &[&[0, 0], &text("orders"), &[0]]);
    wire.request(&purge).response(method(1, 50, 31, &[&[0; 4]]));
    wire.wait(2).request(&purge).response(method(1, 50, 31, &[&[0; 4]])).close(FINISHED);
    let count = |what: &str| wire.seen.iter().filter(|seen| *seen == what).count();
    // The first one may have been answered before answers were followed.
    assert!(count("basic.publish shop:a Ok") >= 3, "{:?} {:?}", wire.seen, wire.losses);
    assert!(count("basic.deliver shop:b Ok") >= 3, "{:?} {:?}", wire.seen, wire.losses);
    assert_eq!(count("queue.purge orders Ok"), 1);
    assert!(wire.losses["started_before_capture"] >= 1, "{:?}", wire.losses);
}

#[test]
fn what_was_missed_is_counted_and_nothing_is_taken_for_an_answer() {
    let mut wire = opened();
    let purge = method(1, 50, 30, &[&[0, 0], &text("orders"), &[0]]);
    wire.request(&purge).miss(Direction::Response, 16).request(&purge).request(publish(1, "shop", "a", b""));
    wire.response(method(1, 50, 31, &[&[0; 4]])).response(method(1, 50, 31, &[&[0; 4]])).close(FINISHED);
    // What was open when the gap was found, the gap, and the call behind it.
    assert_eq!(wire.seen, ["basic.publish shop:a Ok"], "{:?}", wire.losses);
    assert_eq!(wire.losses["gap"], 3);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, expected) in [
        (FINISHED, ["queue.purge orders no_response Unanswered", "basic.deliver shop:b Unknown"]),
        (CloseReason::TimedOut, ["queue.purge orders timed_out Unanswered", "basic.deliver shop:b Unknown"]),
    ] {
        let mut wire = opened();
        wire.request(consume("me", 0)).response(method(1, 60, 21, &[&text("me")])).forget();
        wire.request(method(1, 50, 30, &[&[0, 0], &text("orders"), &[0]]));
        wire.response(deliver(1, "me", 1, "b", b"secret")).close(how).expect(&expected, &[]);
    }
    let mut wire = opened();
    wire.request(method(1, 50, 30, &[&[0, 0], &text("orders"), &[0]])).close(CloseReason::Unobserved);
    wire.expect(&[], &[("unfinished", 1)]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = opened();
    wire.request(method(1, 85, 10, &[&[0]])).response(method(1, 85, 11, &[])).forget();
    for _ in 0..5_000 {
        wire.request(publish(1, "shop", "a", b""));
    }
    for channel in 2..5_000 {
        wire.request(method(channel, 20, 10, &[&[0]]));
    }
    assert!(wire.heap_bytes() < 2_000_000, "{}", wire.heap_bytes());
    wire.response(acknowledge(1, 5_000, true)).close(FINISHED);
    assert_eq!(wire.seen.len(), 2_048);
    assert!(wire.losses["too_many_pipelined"] >= 2_952);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_sizes_that_cannot_be() {
    for request in
        [&b"AMQP\0\x01\0\0"[..], b"AMQP\x03\x01\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0d\0\x04MQTT\x04\x02"]
    {
        let mut wire = at(0, 0);
        wire.request(request).response(b"AMQP\0\x01\0\0").close(FINISHED).expect(&[], &[]);
        assert_eq!(wire.recognition(), Recognition::Foreign, "{request:?}");
    }
    let mut wire = opened();
    wire.request(b"\x03\0\x01\xff\xff\xff\xff").close(FINISHED).expect(&[], &[("malformed_request", 1)]);
    let mut wire = opened();
    wire.request(b"\x03\0\x01\0\xff\xff\xff").request([b'x'; 100]);
    assert!(wire.heap_bytes() < 8_192);
    wire.close(FINISHED).expect(&[], &[("unfinished", 1)]);
}

#[test]
fn sessions_in_any_pieces_are_found_or_counted() {
    let mut random = Random::new(17);
    let mut all = [flights::Outcome::default(), flights::Outcome::default()];
    for _ in 0..20_000 {
        let plan: Vec<u8> = (0..random.index(60)).map(|_| random.byte()).collect();
        let found = channels::run(&plan);
        let is_whole = plan.first().is_none_or(|settings| settings & 0x1c == 0);
        let sum = &mut all[usize::from(!is_whole)];
        (sum.made, sum.seen, sum.lost) = (sum.made + found.made, sum.seen + found.seen, sum.lost + found.lost);
    }
    assert!(all[0].made > 30_000 && all[0].seen == all[0].made, "{all:?}");
    assert!(all[1].seen * 5 > all[1].made, "{all:?}");
}
