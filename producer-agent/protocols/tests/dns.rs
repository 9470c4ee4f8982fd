//! DNS over TCP on one connection, through the public interface.

#![allow(clippy::unwrap_used)]

#[path = "shared/calls.rs"]
mod calls;
#[path = "../fuzz/flights.rs"]
mod flights;
#[path = "shared/questions.rs"]
mod questions;
#[path = "../fuzz/resolvers.rs"]
mod resolvers;
#[path = "shared/wire.rs"]
mod wire;

use headwater_protocols::dns::{Dns, Options};
use headwater_protocols::{CloseReason, Connection, Direction, Kind, OrderOptions, Recognition, Side};
use headwater_testing::Random;
use questions::{
    A, AAAA, AXFR, NOERROR, NXDOMAIN, SERVFAIL, answer, answer_beyond, answer_by_alias, answer_order, ask,
    ask_with_opt, framed, order, refuse,
};
use wire::{FINISHED, Wire};

fn at(request: u64, response: u64) -> Wire {
    let dns = Dns::new(Options::default());
    Wire::of(Box::new(Connection::new(Side::Server, OrderOptions::default(), dns)), request, response)
}

fn sent(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| framed(message)).collect()
}

#[test]
fn answers_are_found_by_their_ids_in_any_order() {
    let asked = [
        ask(1, "WWW.example.com", A),
        ask_with_opt(2, "www.example.com", AAAA),
        ask(3, "nowhere.example.com", A),
        ask(4, "broken.example.com", 65_280),
        ask(5, "", 2),
        order(6, 4, "example.com"),
        order(7, 5, "example.com"),
        ask(8, "www.example.com", A),
        ask(9, "www.example.com", A),
    ];
    let answered = [
        answer(4, "broken.example.com", 65_280, SERVFAIL, &[]),
        answer(2, "www.example.com", AAAA, NOERROR, &[7; 900]),
        answer(1, "www.EXAMPLE.com", A, NOERROR, &[7; 16]),
        answer(3, "nowhere.example.com", A, NXDOMAIN, &[]),
        answer(5, "", 2, NOERROR, &[7; 400]),
        answer_order(7, 5, "example.com", 9),
        answer_order(6, 4, "example.com", NOERROR),
        answer_beyond(8, "www.example.com", A, 23),
        refuse(9, 1),
    ];
    for size in (1..120).chain([usize::MAX]) {
        let mut wire = at(0, 0);
        wire.in_pieces(size, Direction::Request, &sent(&asked));
        wire.in_pieces(size, Direction::Response, &sent(&answered)).close(FINISHED).expect(
            &[
                "TYPE65280 broken.example.com ServerError SERVFAIL",
                "AAAA www.example.com Ok",
                "A www.example.com Ok",
                "A nowhere.example.com ClientError NXDOMAIN",
                "NS . Ok",
                "UPDATE example.com ClientError NOTAUTH",
                "NOTIFY example.com Ok",
                "A www.example.com ClientError BADCOOKIE",
                "A www.example.com ClientError FORMERR",
            ],
            &[],
        );
    }
}

#[test]
fn an_answer_to_another_question_answers_nothing() {
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(1, "a.example", A), ask(2, "b.example", A)]));
    wire.response(sent(&[answer(2, "b.example", A, NOERROR, &[1])]));
    wire.response(sent(&[answer(1, "other.example", A, NOERROR, &[1]), answer(3, "a.example", A, NOERROR, &[1])]));
    wire.response(sent(&[answer(1, "a.example", A, NOERROR, &[1])])).close(FINISHED);
    wire.expect(&["A b.example Ok", "A a.example Ok"], &[("unsolicited_response", 2)]);
    // Nothing else was ever said: it is no DNS.
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(1, "a.example", A)])).response(sent(&[answer(2, "a.example", A, NOERROR, &[1])]));
    wire.close(FINISHED).expect(&[], &[]);
    assert_eq!(wire.recognition(), Recognition::Foreign);
}

#[test]
fn the_addresses_that_an_answer_gives_are_told_as_far_as_they_were_captured() {
    let all: Vec<[u8; 4]> = (0..100).map(|last| [192, 0, 2, last]).collect();
    let written = |addresses: &[[u8; 4]]| -> String {
        let all: Vec<String> = addresses.iter().map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")).collect();
        format!("A www.example {} Ok", all.join(",")).replace("  ", " ")
    };
    let answered = framed(&answer_by_alias(1, "www.example", &all));
    for size in [1, 2, 7, 100, 1_000, usize::MAX] {
        let mut wire = at(0, 0);
        wire.request(sent(&[ask(1, "www.example", A)])).in_pieces(size, Direction::Response, &answered);
        wire.close(FINISHED).expect(&[&written(&all)], &[]);
    }
    // Two bytes of length, the header, the question and the alias stand before them, and each has 30 bytes.
    let before = 2 + 12 + 13 + 4 + 28;
    for captured in before..answered.len() {
        let mut wire = at(0, 0);
        wire.request(sent(&[ask(1, "www.example", A)])).say(Direction::Response, &answered, captured);
        wire.close(FINISHED).expect(&[&written(&all[..(captured - before) / 30])], &[]);
    }
    // The rest of an answer whose middle was not captured is not believed.
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(1, "www.example", A)])).say(Direction::Response, &answered[..500], before + 30);
    wire.response(&answered[500..]).close(FINISHED).expect(&[&written(&all[..1])], &[]);
    // What is beyond the bounds, and of a name that is asked for something else.
    let many = vec![[192, 0, 2, 1]; 1_000];
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(1, "www.example", A)])).response(framed(&answer_by_alias(1, "www.example", &many)));
    assert!(wire.heap_bytes() < 10_000);
    wire.close(FINISHED).expect(&[&written(&many[..127])], &[]);
}

#[test]
fn a_transfer_of_a_zone_is_a_stream() {
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(1, "example.com", AXFR)]));
    for _ in 0..10 {
        wire.response(sent(&[answer(1, "example.com", AXFR, NOERROR, &[7; 16_000])]));
        wire.response(sent(&[refuse(1, NOERROR)]));
    }
    wire.request(sent(&[ask(1, "example.com", A)])).response(sent(&[answer(1, "example.com", A, NOERROR, &[1])]));
    wire.request(sent(&[ask(1, "example.com", AXFR)])).response(sent(&[answer(1, "example.com", AXFR, 5, &[])]));
    wire.close(FINISHED);
    wire.expect(&["AXFR example.com Ok", "A example.com Ok", "AXFR example.com ClientError REFUSED"], &[]);
    assert_eq!(wire.kinds, [Kind::Stream, Kind::Call, Kind::Call]);
}

#[test]
fn what_was_missed_is_counted() {
    let one = |id: u16| sent(&[ask(id, "www.example.com", A)]);
    let its = |id: u16| sent(&[answer(id, "www.example.com", A, NOERROR, &[7; 16])]);
    // A message that begins behind what was captured of a call.
    let mut wire = at(0, 0);
    wire.request(one(1)).response(its(1));
    wire.say(Direction::Request, &[one(2), one(3)].concat(), one(2).len()).response([its(2), its(3)].concat());
    wire.expect(&["A www.example.com Ok", "A www.example.com Ok"], &[("head_not_captured", 2)]);
    wire.forget();
    for id in 4..9 {
        wire.request(one(id)).response(its(id));
    }
    wire.close(FINISHED);
    assert!(wire.seen.len() >= 3 && wire.losses.values().sum::<u64>() <= 2, "{:?} {:?}", wire.seen, wire.losses);
    // An answer that nobody saw, and an id that is given again.
    let mut wire = at(0, 0);
    wire.request(one(9)).response(its(9)).forget();
    wire.request(one(1)).request(one(2)).miss(Direction::Response, 100).request(one(1));
    wire.response([its(3), its(1)].concat()).close(FINISHED);
    assert_eq!(wire.seen, ["A www.example.com Ok"]);
    assert_eq!(wire.losses.values().sum::<u64>(), 4, "{:?}", wire.losses);
    // An id that is given again before it was answered.
    let mut wire = at(0, 0);
    wire.request(one(1)).request(one(1)).response(its(1)).close(FINISHED);
    wire.expect(&["A www.example.com Ok"], &[("ambiguous", 1)]);
}

#[test]
fn a_connection_is_followed_from_its_middle_on() {
    let mut wire = at(5_000, 9_000);
    wire.request([7; 40]).response([7; 40]);
    for id in 1..7 {
        wire.request(sent(&[ask(id, "www.example.com", A)]));
        wire.response(sent(&[answer(id, "www.example.com", A, NOERROR, &[7; 16])]));
    }
    wire.close(FINISHED);
    assert!(wire.seen.len() >= 5, "{:?} {:?}", wire.seen, wire.losses);
    assert!(wire.losses.keys().all(|reason| *reason == "started_before_capture"), "{:?}", wire.losses);
}

#[test]
fn what_is_open_at_the_end_has_failed() {
    let begun = || {
        let mut wire = at(0, 0);
        wire.request(sent(&[ask(1, "a.example", A)])).response(sent(&[answer(1, "a.example", A, NOERROR, &[1])]));
        wire.forget().request(sent(&[ask(2, "b.example", A)]));
        wire
    };
    for (how, expected) in [
        (FINISHED, "A b.example no_response Unanswered"),
        (CloseReason::Reset { by: Side::Server }, "A b.example reset Unanswered"),
        (CloseReason::TimedOut, "A b.example timed_out Unanswered"),
    ] {
        begun().close(how).expect(&[expected], &[]);
    }
    begun().close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
    let mut wire = begun();
    wire.response(&sent(&[answer(2, "b.example", A, NOERROR, &[7; 100])])[..30]);
    wire.close(CloseReason::Reset { by: Side::Server }).expect(&["A b.example reset ServerError"], &[]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut wire = at(0, 0);
    wire.request(sent(&[ask(0, "a.example", A)])).response(sent(&[answer(0, "a.example", A, NOERROR, &[1])]));
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join(".");
    for id in 0..u16::MAX {
        wire.request(sent(&[ask(id, &long, A)]));
        assert!(wire.heap_bytes() < 512 * 1024, "{}", wire.heap_bytes());
    }
    assert_eq!(wire.losses["too_many_pipelined"], u64::from(u16::MAX) - 1_024);
}

/// ../shared/cases/lengths-not-believed.md
#[test]
fn lengths_are_not_believed() {
    for length in [0, 1, 11, 12, 16, u16::MAX] {
        // Of the message.
        let mut asked = sent(&[ask(1, "www.example.com", A)]);
        asked[..2].copy_from_slice(&length.to_be_bytes());
        let mut wire = at(0, 0);
        wire.request(&asked).response(sent(&[answer(1, "www.example.com", A, NOERROR, &[1])])).close(FINISHED);
        assert!(wire.seen.iter().all(|seen| !seen.contains("www")), "{length} {:?}", wire.seen);
    }
    // Of a label, and of how many there are of what.
    for at_byte in 2..sent(&[ask(1, "www.example.com", A)]).len() {
        for byte in [0, 1, 63, 64, 0xc0, 0xff] {
            let mut asked = sent(&[ask(1, "www.example.com", A)]);
            asked[at_byte] = byte;
            let mut wire = at(0, 0);
            wire.request(&asked).response(sent(&[answer(1, "www.example.com", A, NOERROR, &[1])])).close(FINISHED);
            assert!(wire.seen.len() <= 1 && wire.heap_bytes() == 0, "{at_byte} {byte}: {:?}", wire.seen);
        }
    }
    let asked = sent(&[ask(1, "www.example.com", A)]);
    for cut in 0..asked.len() {
        let mut wire = at(0, 0);
        wire.request(sent(&[ask(9, "a", A)])).response(sent(&[answer(9, "a", A, NOERROR, &[1])])).forget();
        wire.say(Direction::Request, &asked, cut);
        wire.response(sent(&[answer(1, "www.example.com", A, NOERROR, &[1])])).close(FINISHED);
        let is_told = wire.seen.len() == 1 || wire.losses.contains_key("head_not_captured");
        assert!(is_told, "{cut} {:?} {:?}", wire.seen, wire.losses);
        assert!(wire.seen.iter().all(|seen| seen == "unknown Ok"), "{:?}", wire.seen);
    }
}

#[test]
fn what_is_answered_does_not_leave() {
    let mut random = Random::new(3);
    for _ in 0..3_000 {
        let mut wire = at(0, 0);
        let mut asked = sent(&[[ask(1, "www.example.com", A), b"secret secret".repeat(3)].concat()]);
        let at_byte = random.index(12);
        asked[at_byte] = random.byte();
        let answered = sent(&[answer(1, "www.example.com", A, NOERROR, &b"secret".repeat(9))]);
        wire.request(&asked).response(answered).close(FINISHED);
        assert!(wire.seen.iter().all(|seen| !seen.contains("secret")), "{:?}", wire.seen);
    }
}

#[test]
fn sessions_in_any_pieces_are_found() {
    let mut random = Random::new(11);
    let mut all = flights::Outcome::default();
    for _ in 0..30_000 {
        let plan: Vec<u8> = (0..random.index(70)).map(|_| random.byte()).collect();
        let one = resolvers::run(&plan);
        all.made += one.made;
        all.seen += one.seen;
        all.lost += one.lost;
    }
    assert!(all.made > 500_000 && all.seen * 10 > all.made * 5, "{all:?}");
}
