//! WebSocket on one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "shared/chat.rs"]
mod chat;
#[path = "../fuzz/checks.rs"]
mod checks;
#[path = "../fuzz/flights.rs"]
mod flights;
#[path = "../fuzz/harness.rs"]
mod harness;
#[path = "../fuzz/talks.rs"]
mod talks;
#[path = "shared/wire.rs"]
mod wire;

use chat::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, message, of_client, of_server};
use headwater_protocols::websocket::{Target, WebSocket};
use headwater_protocols::{
    CloseReason, Connection, Direction, Event, Kind, Options, OrderOptions, Parser, Position, Recognition, Segment,
    Side,
};
use headwater_testing::Random;
use wire::{FINISHED, Wire};

const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

fn at(request: u64, response: u64) -> Wire {
    let target = Target { path: "/chat".into(), host: "shop".into(), ..Target::default() };
    let connection = Connection::new(Side::Server, OrderOptions::default(), WebSocket::new(target));
    Wire::of(Box::new(connection), request, response)
}

#[test]
fn messages_of_both_sides_are_told_of_in_any_pieces() {
    let said = [
        of_client(LAST | TEXT, b"hello"),
        of_client(LAST | BINARY | COMPRESSED, &[7; 300]),
        of_client(LAST | PING, b"here"),
        of_client(LAST | TEXT, &[]),
    ];
    let heard = [
        of_server(TEXT, &[7; 70_000]),
        of_server(LAST | PONG, b"here"),
        of_server(CONTINUATION, &[7; 10]),
        of_server(LAST | CONTINUATION, b"end"),
        of_server(LAST | BINARY, b"x"),
    ];
    for size in [1, 2, 3, 5, 17, 1_000, usize::MAX] {
        let mut wire = at(0, 0);
        wire.in_pieces(size, Direction::Request, &said.concat());
        wire.in_pieces(size, Direction::Response, &heard.concat()).close(FINISHED);
        let (message, delivery) = ("MESSAGE shop Ok", "DELIVER shop Ok");
        wire.expect(&[message, message, message, delivery, delivery], &[]);
        assert_eq!(wire.kinds, [Kind::OneWay; 5]);
        let second = said[0].len() as u64;
        assert_eq!(wire.positions[..2], [Position(0), Position(second)]);
        assert_eq!(wire.positions[3], Position(0).of_server(), "a server's message has a name of its own");
    }
}

#[test]
fn the_end_is_told_of_once_with_its_code_by_who_says_it() {
    let close = |code: u16| code.to_be_bytes().to_vec();
    for (by_client, payload, expected) in [
        (false, close(1000), "CLOSE shop Ok 1000"),
        (true, close(1001), "CLOSE shop Ok 1001"),
        (true, vec![], "CLOSE shop Ok"),
        (false, close(1011), "CLOSE shop ServerError 1011"),
        (true, close(1011), "CLOSE shop ClientError 1011"),
        (false, close(1009), "CLOSE shop ClientError 1009"),
        (false, [close(4001), b"secret".to_vec()].concat(), "CLOSE shop Unknown 4001"),
    ] {
        for size in [1, 3, usize::MAX] {
            let mut wire = at(0, 0);
            let [frames, echo] = if by_client {
                [of_client(LAST | CLOSE, &payload), of_server(LAST | CLOSE, &payload)]
            } else {
                [of_server(LAST | CLOSE, &payload), of_client(LAST | CLOSE, &payload)]
            };
            let direction = if by_client { Direction::Request } else { Direction::Response };
            wire.in_pieces(size, direction, &frames).in_pieces(size, direction.opposite(), &echo).close(FINISHED);
            wire.expect(&[expected], &[]);
        }
    }
}

#[test]
fn a_request_of_http_makes_a_connection_one_of_websocket() {
    let (mut seen, mut losses) = (Vec::new(), 0);
    let mut parser = Parser::new(Side::Client, &Options::default());
    let mut at = [0_u64; 2];
    let mut say = |direction: Direction, bytes: &[u8]| {
        let [own, other] = [direction, direction.opposite()].map(|direction| direction as usize);
        let (position, other_position) = (Position(at[own]), Position(at[other]));
        let segment = Segment { position, length: bytes.len() as u64, captured: bytes, at_ns: 1, other_position };
        at[own] += bytes.len() as u64;
        parser.segment(direction, &segment, &mut |event| match event {
            Event::Exchange(told) => {
                seen.push((told.protocol, format!("{} {} {}", told.method, told.path, told.resource)))
            }
            Event::Loss(loss) => losses += loss.count,
            Event::Encryption(_) => {}
        });
    };
    say(
        Direction::Request,
        b"GET /room/7?token=x HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    // Its first frames come in one call with the answer.
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
    say(Direction::Response, &[&answer[..], &message(false, b"hello"), &message(false, b"again")].concat());
    say(Direction::Request, &message(true, b"hello"));
    let told = |protocol, text: &str| (protocol, text.to_owned());
    let delivery = told("websocket", "DELIVER /room/7 shop");
    let expected =
        [told("http", "GET /room/7 shop"), delivery.clone(), delivery, told("websocket", "MESSAGE /room/7 shop")];
    assert_eq!((seen, losses), (expected.to_vec(), 0));
    assert_eq!((parser.recognition(), parser.protocol()), (Recognition::Recognised, "websocket"));
}

#[test]
fn what_was_missed_is_counted_and_found_again() {
    let one = || message(true, b"hello");
    let mut wire = at(0, 0);
    wire.request(one()).miss(Direction::Request, 40);
    for _ in 0..5 {
        wire.request(one());
    }
    wire.close(FINISHED);
    assert_eq!(wire.seen.len(), 5, "{:?}", wire.losses);
    assert_eq!(wire.losses.values().sum::<u64>(), 2, "{:?}", wire.losses);
    // Within a payload, nothing is missed.
    let mut wire = at(0, 0);
    let long = message(false, &[7; 5_000]);
    wire.response(&long[..100])
        .miss(Direction::Response, 4_000)
        .response(&long[4_100..])
        .response(message(false, b"x"));
    wire.close(FINISHED).expect(&["DELIVER shop Ok", "DELIVER shop Ok"], &[]);
    // A message that goes on where its beginning was missed, and one that never ends.
    let mut wire = at(0, 0);
    wire.response(of_server(LAST | CONTINUATION, b"x")).response(message(false, b"x")).response(of_server(TEXT, b"x"));
    wire.close(FINISHED);
    assert_eq!(wire.seen, ["DELIVER shop Ok"]);
    assert_eq!(wire.losses.values().sum::<u64>(), 2, "{:?}", wire.losses);
    // A head that was not captured.
    let mut wire = at(0, 0);
    wire.say(Direction::Request, &[one(), one()].concat(), one().len()).close(CloseReason::TimedOut);
    wire.expect(&["MESSAGE shop Ok"], &[("head_not_captured", 1)]);
}

#[test]
fn what_is_no_frame_is_not_believed() {
    let huge = |length: u64| [&[LAST | TEXT, 127][..], &length.to_be_bytes()].concat();
    for bytes in [
        vec![LAST | 3, 0],
        vec![LAST | TEXT | 0x20, 0],
        vec![LAST | PING, 126, 0, 200],
        vec![PING, 0],
        vec![LAST | CONTINUATION | COMPRESSED, 0],
        vec![LAST | TEXT, 126, 0, 125],
        // A server's frames have no key.
        of_client(LAST | TEXT, b"x"),
        huge(65_535),
        huge(u64::MAX),
    ] {
        let mut wire = at(0, 0);
        wire.response(&bytes).close(FINISHED).expect(&[], &[("malformed_response", 1)]);
    }
    let mut wire = at(0, 0);
    wire.response(huge(1 << 62)).response([7; 1_000]);
    assert_eq!(wire.heap_bytes(), "/chat".len() + "shop".len());
    wire.close(FINISHED).expect(&[], &[("unfinished", 1)]);
}

#[test]
fn sessions_in_any_pieces_are_found() {
    let mut random = Random::new(11);
    let mut all = flights::Outcome::default();
    for _ in 0..20_000 {
        let plan: Vec<u8> = (0..random.index(70)).map(|_| random.byte()).collect();
        let one = talks::run(&plan);
        all.made += one.made;
        all.seen += one.seen;
        all.lost += one.lost;
    }
    assert!(all.made > 300_000 && all.seen * 10 > all.made * 5, "{all:?}");
}

#[test]
fn any_bytes_behind_an_upgrade_break_nothing() {
    let mut random = Random::new(5);
    let mut found = 0;
    for _ in 0..20_000 {
        let input: Vec<u8> = (0..random.index(300)).map(|_| random.byte()).collect();
        found += harness::run_behind_upgrade(&input);
    }
    assert!(found >= 20_000 / 4, "{found}");
}
