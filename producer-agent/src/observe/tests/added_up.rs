//! What the agent adds up of a connection, to its end.

use super::*;
use crate::observe::flow::tcp_state;
use crate::observe::sums::tests::Hand;

/// Ends with its connection (RFC 9112, 6.3), so that it is whole only then.
const ANSWER_TO_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nall of it";

/// The last exchange of a hot connection is whole when that ends: it is told of with what was added up before.
#[test]
fn an_exchange_that_ends_with_its_connection_is_told_of() {
    let mut observer = Observer::new(options(), Some(Box::new(Hand::default())), Clock::measure());
    observer.set_hot_per_second(2, true);
    let mut bench = Bench { observer, seen: Vec::new() };
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    // Pipelined, so that the probes cannot add them up.
    let (mut sent, mut received) = (0, 0);
    for number in 1..=4 {
        let asks = data(role::CLIENT, direction::SEND, number * 1_000, CLIENT_SENDS.len(), 0);
        bench.event(Event::Data(DataEvent { position: sent as u64, ..asks }, CLIENT_SENDS));
        sent += CLIENT_SENDS.len();
    }
    for (number, answer) in (5..).zip([SERVER_ANSWERS, SERVER_ANSWERS, SERVER_ANSWERS, ANSWER_TO_THE_END]) {
        let answers = data(role::CLIENT, direction::RECEIVE, number * 1_000, answer.len(), sent);
        bench.event(Event::Data(DataEvent { position: received as u64, ..answers }, answer));
        received += answer.len();
    }
    let of_200 = |bench: &Bench| {
        let is_it = |seen: &&Seen| matches!(seen, Seen::Request { status: 200, .. });
        bench.seen.iter().filter(is_it).count()
    };
    assert_eq!(of_200(&bench), 0, "{:?}", bench.seen);
    let ended = socket(role::CLIENT, 7, sent, received);
    bench.event(Event::Close(SocketRecord { tcp_state: tcp_state::CLOSE_WAIT, ..ended }));
    assert_eq!(of_200(&bench), 1, "{:?}", bench.seen);
}

/// The probes see nothing of what is said under TLS, so the agent alone adds it up.
#[test]
fn what_is_said_under_tls_is_added_up_by_the_agent() {
    let mut observer = Observer::new(
        ObserverOptions { watches_tls: true, ..options() },
        Some(Box::new(Hand::default())),
        Clock::measure(),
    );
    observer.set_hot_per_second(2, true);
    let (mut records, mut exchanges) = (0, 0);
    let mut tell = |observer: &mut Observer, event: Event<'_>| {
        observer.event(event, &mut |output| match output {
            Output::Request(request, _) => {
                records += 1;
                exchanges += request.weight;
                assert_eq!((request.status, request.operation), (503, "GET /orders/{id}"));
            }
            Output::Flow(..) => {}
            other => panic!("{:?}", owned(other)),
        });
    };
    tell(&mut observer, Event::Open(socket(role::CLIENT, 7, 0, 0)));
    // Behind a handshake.
    let (mut wire, mut asked, mut answered) = (1_000, 0, 0);
    const ASKED: u64 = 10;
    for number in 1..=ASKED {
        // A record of TLS 1.3 with the request in it: 17 bytes more, behind a header of five.
        let length = CLIENT_SENDS.len() + 17;
        let header = [23, 3, 3, 0, length as u8];
        let sent = data(role::CLIENT, direction::SEND, number * 10_000, header.len() + length, 0);
        let sent = DataEvent { position: wire, captured_bytes: header.len() as u32, ..sent };
        tell(&mut observer, Event::Data(sent, &header));
        let given = under_tls::under_tls(direction::SEND, number * 10_000 + 1_000, asked, CLIENT_SENDS, mark::FULL);
        tell(&mut observer, Event::Plaintext(DataEvent { other_position: wire, ..given }, CLIENT_SENDS));
        wire += (header.len() + length) as u64;
        asked += CLIENT_SENDS.len();
        let got = under_tls::under_tls(direction::RECEIVE, number * 10_000 + 5_000, answered, SERVER_ANSWERS, 0);
        tell(&mut observer, Event::Plaintext(got, SERVER_ANSWERS));
        answered += SERVER_ANSWERS.len();
    }
    tell(&mut observer, Event::Close(socket(role::CLIENT, 7, wire as usize, answered)));
    assert_eq!(exchanges, ASKED as i64);
    assert!(records < 5 && observer.folded().0 > 5, "{records} records, {:?} added up", observer.folded());
}
