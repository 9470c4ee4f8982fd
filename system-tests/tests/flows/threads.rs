//! Which thread asked and answered, and in which order: what one request asked of others is found by nothing but that.

use std::collections::HashMap;

use headwater_schemas::records::Side;
use headwater_system_tests::odd::{CHAIN_ASKED, CHAIN_FRONTS};

use crate::seen::{self, Request, Seen};

/// The threads that the program said it has, by part and number.
fn threads(seen: &Seen) -> HashMap<String, i32> {
    let said = seen.said.iter().map(|line| {
        let (part, thread) = line.rsplit_once(' ').unwrap();
        (part.to_owned(), thread.parse().unwrap())
    });
    said.collect()
}

#[test]
fn what_a_thread_asks_between_a_request_and_its_answer_belongs_to_it() {
    let seen = seen::of("chain");
    assert_eq!(seen.missing(), 0);
    let threads = threads(&seen);
    let (mut by_client, mut right, mut wrong, mut unclear) = (0, 0, 0, 0);
    let of_clients = seen.requests_of(Side::Client);
    for outer in seen.requests_of(Side::Server) {
        let Some(rest) = outer.path.strip_prefix("/front/") else { continue };
        let number = rest.split('/').next().unwrap();
        assert_eq!((outer.asked_by.0, outer.answered_by.0), [threads[&format!("front {number}")]; 2].into());
        let between = |inner: &&&Request| {
            inner.asked_by.0 == outer.asked_by.0 && (outer.asked_by.1..outer.answered_by.1).contains(&inner.asked_by.1)
        };
        match of_clients.iter().filter(between).collect::<Vec<_>>()[..] {
            [inner] if inner.path == format!("/back/{rest}") => right += 1,
            [_] => wrong += 1,
            _ => unclear += 1,
        }
        let asked = of_clients.iter().find(|asked| asked.path == outer.path).unwrap();
        by_client += usize::from(asked.asked_by.0 == threads[&format!("client {number}")]);
        assert_ne!(asked.asked_by.0, outer.asked_by.0);
    }
    println!("{right} right, {wrong} wrong, {unclear} unclear; {by_client} by their client's thread");
    assert_eq!([right, wrong, unclear, by_client], [CHAIN_FRONTS * CHAIN_ASKED, 0, 0, CHAIN_FRONTS * CHAIN_ASKED]);
}
