//! Datagrams of DNS, any and valid ones: each question comes to one end, and no more is told than there was. The fuzz target and a test on the stable
//! toolchain share it.

use std::net::{Ipv4Addr, SocketAddr};

use headwater_protocols::Outcome;
use headwater_protocols::dns::datagrams::{ANSWER_NS_MAX, Datagram, Questions, Told};

use crate::questions::{A, NOERROR, answer, ask, refuse};

/// Questions for which there is room.
const ROOM: usize = 64;

#[derive(Default)]
struct Ends {
    open: usize,
    told: usize,
}

pub fn run(mut input: &[u8]) {
    let mut questions = Questions::default();
    let mut ends = Ends::default();
    let (mut now_ns, mut taken) = (1, 0);
    while let [how, what, rest @ ..] = input {
        input = rest;
        let id = u16::from(what & 3);
        let mut bytes = match how & 7 {
            0..=2 => ask(id, "a.example", A),
            3 => answer(id, "a.example", A, NOERROR, b"records"),
            4 => refuse(id, 1),
            5 => Vec::new(),
            form => {
                let given;
                (given, input) = input.split_at(input.len().min(usize::from(*what)));
                if form == 6 { given.to_vec() } else { [&ask(id, "a.example", A)[..12], given].concat() }
            }
        };
        if what & 0x40 != 0 {
            bytes.truncate(usize::from(what >> 2 & 0xf));
        }
        let peer = how >> 6;
        let datagram = Datagram {
            socket: u64::from(how >> 3 & 1),
            is_sent: how & 0x10 != 0,
            peer: (peer != 0).then(|| SocketAddr::from((Ipv4Addr::new(10, 0, 0, peer), 53))),
            bytes: bytes.len() as u32,
            captured: &bytes,
            at_ns: now_ns,
        };
        taken += 1;
        let has_room = ends.open < ROOM;
        let opened = questions.take(&datagram, &(), has_room, &mut |told, _, was_open| ends.take(&told, was_open));
        assert!(has_room || !opened, "there was no room");
        ends.open += usize::from(opened);
        now_ns += 1 + u64::from(what >> 2 & 0xf) * 1_000_000;
        if how & 0x20 != 0 {
            now_ns += ANSWER_NS_MAX / 4;
            questions.expire(now_ns, &mut |told, _, was_open| ends.take(&told, was_open));
        }
        if what & 0x80 != 0 {
            questions.missed(now_ns);
        }
    }
    if taken % 2 == 0 {
        questions.expire(now_ns + 2 * ANSWER_NS_MAX, &mut |told, _, was_open| ends.take(&told, was_open));
        assert_eq!(ends.open, 0, "what waits is given up");
    }
    questions.finish(&mut |told, _, was_open| ends.take(&told, was_open));
    assert_eq!(ends.open, 0, "each question comes to one end");
    assert!(ends.told <= taken, "{} told of {taken}", ends.told);
}

impl Ends {
    fn take(&mut self, told: &Told<'_>, was_open: bool) {
        assert!(!was_open || self.open > 0, "a question came to its end twice: {told:?}");
        self.open -= usize::from(was_open);
        self.told += 1;
        let Told::Exchange(exchange, _) = told else { return };
        assert_eq!(exchange.outcome == Outcome::Unanswered, exchange.response_position.is_none(), "{exchange:?}");
        assert_eq!(exchange.failure.is_some(), exchange.response_position.is_none(), "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.request_ended_ns, "{exchange:?}");
        assert!(exchange.request_started_ns <= exchange.completed_ns, "{exchange:?}");
        assert!(exchange.response_ended_ns <= Some(exchange.completed_ns), "{exchange:?}");
    }
}
