//! Messages on a channel whose beginning was not seen: what is confirmed is told of with its own confirmation, or is counted.

use headwater_protocols::{Direction, Kind};

use super::frames::{acknowledge, deliver, method, publish};
use super::wire::{FINISHED, Wire};
use super::{at, begin};

/// A connection in its middle, of which something was said.
fn middle() -> Wire {
    let mut wire = at(5_000, 9_000);
    wire.response(deliver(9, "me", 1, "first", b"")).response(deliver(9, "me", 2, "second", b""));
    wire.request(b"rest of a body\xce")
        .request(publish(9, "shop", "first", b""))
        .request(publish(9, "shop", "second", b""));
    wire
}

fn refuse(channel: u16, number: u64) -> Vec<u8> {
    method(channel, 60, 120, &[&number.to_be_bytes(), &[0]])
}

/// Publishes messages with the names of their numbers.
fn say(wire: &mut Wire, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let word: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        wire.request(publish(1, "shop", &word, b"secret"));
    }
}

/// What was told of messages on channel 1, with their kinds.
fn told(wire: &Wire) -> Vec<(String, Kind)> {
    let told = wire.seen.iter().cloned().zip(wire.kinds.iter().copied());
    told.filter(|(seen, _)| !seen.contains("first") && !seen.contains("second")).collect()
}

#[test]
fn a_client_that_waits_for_each_confirmation_is_told_of_exactly() {
    let mut wire = middle();
    for number in 70..120 {
        say(&mut wire, [number]);
        wire.response(if number % 10 == 3 { refuse(1, number) } else { acknowledge(1, number, false) });
    }
    wire.close(FINISHED);
    let told = told(&wire);
    assert_eq!(told.len(), 50, "{:?}", wire.losses);
    assert!(told.iter().all(|(_, kind)| *kind == Kind::Call), "{told:?}");
    let refused: Vec<&str> =
        told.iter().filter(|(seen, _)| seen.contains("NACK")).map(|(seen, _)| seen.as_str()).collect();
    let names = ["hd", "id", "jd", "bad", "bbd"];
    assert_eq!(refused, names.map(|name| format!("basic.publish shop:{name} ServerError NACK")));
}

#[test]
fn what_was_under_way_before_shifts_no_confirmation() {
    for before in 1..40 {
        let mut wire = middle();
        let mut next = 100;
        // So many of those that nobody saw are confirmed while others follow.
        for number in 100 - before..100 {
            say(&mut wire, [next]);
            next += 1;
            wire.response(acknowledge(1, number, false));
        }
        // Then the client waits for all, and goes on in batches.
        wire.response(acknowledge(1, next - 1, true));
        for _ in 0..30 {
            say(&mut wire, next..next + 4);
            wire.response(acknowledge(1, next + 3, false)).response(refuse(1, next + 1)).response(acknowledge(
                1,
                next + 2,
                true,
            ));
            next += 4;
        }
        wire.close(FINISHED);
        let told = told(&wire);
        let refused = told.iter().filter(|(seen, _)| seen.contains("NACK")).count();
        assert_eq!(refused, 30, "{before}");
        for (seen, kind) in &told {
            let word = seen.split(&[':', ' '][..]).nth(2).unwrap();
            let number: u64 =
                word.bytes().map(|letter| char::from(letter - b'a' + b'0')).collect::<String>().parse().unwrap();
            let is_refused = number >= 100 + before && (number - 100 - before) % 4 == 1;
            assert_eq!((seen.contains("NACK"), *kind), (is_refused, Kind::Call), "{before}: {seen}");
        }
        let lost: u64 = wire.losses.values().sum();
        assert!(told.len() as u64 + lost >= next - 100, "{before}: {} {:?}", told.len(), wire.losses);
    }
}

#[test]
fn a_silence_in_which_nothing_is_open_proves_the_numbers() {
    let mut wire = middle();
    say(&mut wire, [70, 71]);
    wire.response(acknowledge(1, 71, true)).wait(2);
    say(&mut wire, [72]);
    wire.response(refuse(1, 72)).close(FINISHED);
    let told: Vec<String> = told(&wire).into_iter().map(|(seen, _)| seen).collect();
    assert_eq!(
        told,
        ["basic.publish shop:ha Ok", "basic.publish shop:hb Ok", "basic.publish shop:hc ServerError NACK"]
    );
}

#[test]
fn what_nobody_confirms_is_unknown_until_time_has_shown_it() {
    let mut wire = middle();
    for _ in 0..20 {
        say(&mut wire, [70]);
        wire.wait(2);
    }
    wire.close(FINISHED);
    let told = told(&wire);
    assert_eq!(told.len(), 20);
    let unknown = told.iter().filter(|(seen, kind)| seen.ends_with("Unknown") && *kind == Kind::OneWay).count();
    assert!((14..17).contains(&unknown), "{told:?}");
    assert!(told[unknown..].iter().all(|(seen, kind)| seen.ends_with("Ok") && *kind == Kind::OneWay), "{told:?}");
    // With those on the other channel.
    assert_eq!(wire.losses["value_unknown"], unknown as u64 + 2);
}

#[test]
fn a_channel_is_known_again_behind_a_gap() {
    let mut wire = at(0, 0);
    begin(&mut wire, usize::MAX);
    wire.request(method(1, 85, 10, &[&[0]])).response(method(1, 85, 11, &[]));
    say(&mut wire, 1..4);
    wire.response(acknowledge(1, 3, true)).miss(Direction::Request, 100).forget();
    for number in 7..60 {
        say(&mut wire, [number]);
        wire.response(acknowledge(1, number, false));
    }
    wire.close(FINISHED);
    let told = told(&wire);
    assert!(told.len() >= 50 && told.iter().all(|(_, kind)| *kind == Kind::Call), "{} {:?}", told.len(), wire.losses);
    // One on which nobody asked for confirmations is as it was.
    let mut wire = at(0, 0);
    begin(&mut wire, usize::MAX);
    wire.miss(Direction::Request, 100).forget();
    say(&mut wire, [1, 2, 3]);
    assert!(told_one_way(&wire) >= 2, "{:?}", wire.seen);
    // Unless they did so where nobody looked.
    wire.response(method(1, 85, 11, &[])).forget();
    for number in 1..40 {
        say(&mut wire, [number]);
        wire.response(acknowledge(1, number, false));
    }
    wire.close(FINISHED);
    assert!(wire.kinds.iter().all(|kind| *kind == Kind::Call) && wire.seen.len() == 39, "{:?}", wire.seen);
}

fn told_one_way(wire: &Wire) -> usize {
    wire.kinds.iter().filter(|kind| **kind == Kind::OneWay).count()
}

#[test]
fn what_waits_for_proof_has_a_bound() {
    let mut wire = middle();
    for _ in 0..5_000 {
        say(&mut wire, [70]);
    }
    assert!(wire.heap_bytes() < 2_000_000, "{}", wire.heap_bytes());
    wire.close(FINISHED);
    assert_eq!(told(&wire).len(), 5_000, "{:?}", wire.losses);
}
