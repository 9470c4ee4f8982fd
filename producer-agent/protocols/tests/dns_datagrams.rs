//! DNS over UDP, through the public interface: datagrams in, what became of each question out.

#![allow(clippy::unwrap_used)]

#[path = "../fuzz/datagrams.rs"]
mod datagrams;
#[path = "shared/questions.rs"]
mod questions;

use std::net::SocketAddr;

use headwater_protocols::Side;
use headwater_protocols::dns::datagrams::{ANSWER_NS_MAX, Datagram, Questions, Told};
use headwater_testing::Random;
use questions::{A, AAAA, NOERROR, NXDOMAIN, SERVFAIL, answer, ask, refuse};

const SERVER: &str = "10.0.0.2:53";
const OTHER_SERVER: &str = "10.0.0.3:53";
const CLIENT: &str = "10.0.0.1:4711";

struct Wire {
    questions: Questions<&'static str>,
    now_ns: u64,
    /// `SIDE TYPE name outcome code`, one for each, or `lost REASON`.
    seen: Vec<String>,
    /// Those that there had to be room for.
    open: i64,
}

impl Wire {
    /// Long after the capture has begun.
    fn new() -> Wire {
        let mut wire = Wire { questions: Questions::default(), now_ns: 1, seen: Vec::new(), open: 0 };
        wire.sent(0, Some(SERVER), &ask(0, "first.example", A));
        wire.received(0, Some(SERVER), &answer(0, "first.example", A, NOERROR, &[1]));
        wire.wait(2 * ANSWER_NS_MAX).seen.clear();
        wire
    }

    fn sent(&mut self, socket: u64, peer: Option<&str>, bytes: &[u8]) -> &mut Wire {
        self.moved(socket, true, peer, bytes)
    }

    fn received(&mut self, socket: u64, peer: Option<&str>, bytes: &[u8]) -> &mut Wire {
        self.moved(socket, false, peer, bytes)
    }

    fn moved(&mut self, socket: u64, is_sent: bool, peer: Option<&str>, bytes: &[u8]) -> &mut Wire {
        self.now_ns += 1_000;
        let peer: Option<SocketAddr> = peer.map(|peer| peer.parse().unwrap());
        let datagram =
            Datagram { socket, is_sent, peer, bytes: bytes.len().max(1) as u32, captured: bytes, at_ns: self.now_ns };
        let Wire { questions, seen, open, .. } = self;
        let has_room = *open < 1_000;
        let opened = questions.take(&datagram, &"me", has_room, &mut |told, _, was_open| {
            *open -= i64::from(was_open);
            seen.push(written(&told));
        });
        *open += i64::from(opened);
        self
    }

    /// So much later, with everything before that told.
    fn wait(&mut self, ns: u64) -> &mut Wire {
        self.now_ns += ns;
        let Wire { questions, seen, open, now_ns } = self;
        questions.expire(*now_ns, &mut |told, _, was_open| {
            *open -= i64::from(was_open);
            seen.push(written(&told));
        });
        self
    }

    #[track_caller]
    fn expect(&mut self, seen: &[&str]) {
        assert_eq!(self.seen, seen);
        self.seen.clear();
    }
}

fn written(told: &Told<'_>) -> String {
    match told {
        Told::Exchange(exchange, ends) => {
            let side = if ends.side == Side::Client { "client" } else { "server" };
            let end = exchange.failure.map_or(format!("{:?}", exchange.outcome), |failure| failure.as_str().to_owned());
            let words = [side, exchange.method, exchange.resource, &end, exchange.code.as_str()];
            format!("{} {}", words.join(" ").trim(), ends.peer)
        }
        Told::Lost(reason) => format!("lost {}", reason.as_str()),
        Told::WithoutPeer => "without peer".into(),
    }
}

/// ../shared/cases/dns-pairs.md
#[test]
fn two_questions_at_once_from_one_socket_are_told_apart() {
    let mut wire = Wire::new();
    for socket in 1..1_001 {
        let (first, second) = (socket as u16 * 2, socket as u16 * 2 + 1);
        wire.sent(socket, Some(SERVER), &ask(first, "a.example", A)).sent(
            socket,
            Some(SERVER),
            &ask(second, "a.example", AAAA),
        );
        wire.received(socket, None, &answer(second, "a.example", AAAA, NXDOMAIN, &[]));
        wire.received(socket, None, &answer(first, "a.example", A, NOERROR, &[1]));
        wire.expect(&["client AAAA a.example ClientError NXDOMAIN 10.0.0.2:53", "client A a.example Ok 10.0.0.2:53"]);
    }
    assert_eq!(wire.open, 0);
    // The same ids on another socket are others.
    wire.sent(1, Some(SERVER), &ask(7, "a.example", A)).sent(2, Some(SERVER), &ask(7, "a.example", A));
    wire.received(2, Some(SERVER), &answer(7, "a.example", A, SERVFAIL, &[]));
    wire.expect(&["client A a.example ServerError SERVFAIL 10.0.0.2:53"]);
    wire.wait(2 * ANSWER_NS_MAX).expect(&["client A a.example timed_out 10.0.0.2:53"]);
}

#[test]
fn a_question_that_is_asked_again_is_one_and_is_waited_for_longer() {
    let mut wire = Wire::new();
    wire.sent(1, Some(SERVER), &ask(1, "a.example", A)).wait(ANSWER_NS_MAX / 2);
    wire.sent(1, Some(SERVER), &ask(1, "a.example", A)).wait(ANSWER_NS_MAX * 9 / 10);
    wire.received(1, Some(SERVER), &answer(1, "A.example", A, NOERROR, &[1]));
    wire.expect(&["client A a.example Ok 10.0.0.2:53"]);
    // A second answer to it, and one that comes too late.
    wire.received(1, Some(SERVER), &answer(1, "a.example", A, NOERROR, &[1])).wait(2_000_000_000);
    wire.expect(&["lost unsolicited_response"]);
    wire.sent(1, Some(SERVER), &ask(2, "a.example", A)).wait(ANSWER_NS_MAX + 1);
    wire.expect(&["client A a.example timed_out 10.0.0.2:53"]);
    wire.received(1, Some(SERVER), &answer(2, "a.example", A, NOERROR, &[1])).wait(2_000_000_000);
    wire.expect(&["lost unsolicited_response"]);
    assert_eq!(wire.open, 0);
}

#[test]
fn a_server_is_known_by_whom_it_answers() {
    let mut wire = Wire::new();
    // Who asks is not known where the kernel does not say it yet.
    wire.received(1, None, &ask(1, "a.example", A)).received(1, None, &ask(1, "a.example", A));
    wire.sent(1, Some(CLIENT), &answer(1, "a.example", A, NOERROR, &[1]));
    wire.sent(1, Some("10.0.0.9:4711"), &refuse(1, 5));
    wire.expect(&["server A a.example Ok 10.0.0.1:4711", "server A a.example ClientError REFUSED 10.0.0.9:4711"]);
    wire.received(1, None, &ask(2, "a.example", A)).received(1, Some(CLIENT), &ask(3, "a.example", A));
    wire.wait(2 * ANSWER_NS_MAX).expect(&["without peer", "server A a.example timed_out 10.0.0.1:4711"]);
    wire.sent(1, Some(CLIENT), &answer(9, "a.example", A, NOERROR, &[1])).expect(&["lost unsolicited_response"]);
    assert_eq!(wire.open, 0);
}

#[test]
fn whose_answer_it_is_is_not_guessed() {
    let mut wire = Wire::new();
    for server in [SERVER, OTHER_SERVER] {
        wire.sent(1, Some(server), &ask(1, "a.example", A));
    }
    wire.received(1, Some(OTHER_SERVER), &answer(1, "a.example", A, NOERROR, &[1]));
    wire.expect(&["client A a.example Ok 10.0.0.3:53"]);
    wire.sent(1, Some(OTHER_SERVER), &ask(1, "a.example", A));
    wire.received(1, None, &answer(1, "a.example", A, NOERROR, &[1])).expect(&["lost ambiguous", "lost ambiguous"]);
    // To another question, or from elsewhere.
    wire.sent(1, Some(SERVER), &ask(2, "a.example", A));
    wire.received(1, Some(SERVER), &answer(2, "b.example", A, NOERROR, &[1]));
    wire.received(1, Some(OTHER_SERVER), &answer(2, "a.example", A, NOERROR, &[1]));
    wire.wait(2 * ANSWER_NS_MAX).expect(&[
        "lost unsolicited_response",
        "lost unsolicited_response",
        "client A a.example timed_out 10.0.0.2:53",
    ]);
}

#[test]
fn what_was_missed_is_counted_and_not_called_unanswered() {
    let mut wire = Wire::new();
    // A call whose bytes could not be read.
    wire.sent(1, Some(SERVER), &ask(1, "a.example", A)).received(1, Some(SERVER), &[]);
    wire.wait(2 * ANSWER_NS_MAX).expect(&["lost head_not_captured"]);
    wire.received(1, None, &[]).expect(&["lost head_not_captured"]);
    // Events were lost.
    wire.sent(1, Some(SERVER), &ask(2, "a.example", A));
    let now_ns = wire.now_ns;
    wire.questions.missed(now_ns + 1);
    wire.wait(2 * ANSWER_NS_MAX).expect(&["lost gap"]);
    // It was asked before.
    let mut wire = Wire { questions: Questions::default(), now_ns: 1, seen: Vec::new(), open: 0 };
    wire.received(1, Some(SERVER), &answer(2, "a.example", A, NOERROR, &[1])).wait(2_000_000_000);
    wire.expect(&["lost started_before_capture"]);
    wire.sent(1, Some(SERVER), &ask(2, "a.example", A));
    wire.questions.finish(&mut |told, _, _| wire.seen.push(written(&told)));
    wire.expect(&["lost unfinished"]);
}

#[test]
fn an_answer_whose_event_comes_first_waits_for_its_question() {
    let mut wire = Wire::new();
    wire.received(1, Some(SERVER), &answer(1, "a.example", A, NOERROR, &[1])).expect(&[]);
    wire.sent(1, Some(SERVER), &ask(1, "a.example", A)).expect(&["client A a.example Ok 10.0.0.2:53"]);
    wire.wait(2 * ANSWER_NS_MAX).expect(&[]);
    for id in 0..1_000 {
        wire.received(1, Some(SERVER), &answer(id, "a.example", A, NOERROR, &[1]));
    }
    assert_eq!(wire.seen.len(), 1_000 - 256);
}

#[test]
fn any_datagrams_end_and_none_is_told_of_twice() {
    let mut random = Random::new(5);
    for _ in 0..3_000 {
        let bytes: Vec<u8> = (0..random.index(600)).map(|_| random.byte()).collect();
        datagrams::run(&bytes);
    }
}
