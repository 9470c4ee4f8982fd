//! What libraries of TLS show of a connection, and when it counts as said.

use super::*;
use crate::observe::flow::{self, tcp_state};
use headwater_protocols::CloseReason;

/// include/net/tcp_states.h
const ESTABLISHED: u32 = 1;

/// A call of a library of TLS whose place on the wire is not known: its exchange is counted as such. Where the program moves the bytes, it says where the call ends.
pub fn under_tls(direction: u32, at_ns: u64, position: usize, bytes: &[u8], marks: u8) -> DataEvent {
    use headwater_probe_loader::types::NOWHERE;
    DataEvent {
        kind: kind::PLAINTEXT,
        position: position as u64,
        other_position: if marks & mark::CARRIED == 0 { NOWHERE } else { (position + bytes.len()) as u64 },
        marks,
        ..data(role::CLIENT, direction, at_ns, bytes.len(), 0)
    }
}

/// What becomes of a request that a library was told of ahead, and how many exchanges are counted before and after that.
fn answered_ahead(marks: Option<u8>) -> [usize; 2] {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    let given = under_tls(direction::SEND, 1_000, 0, CLIENT_SENDS, mark::AHEAD);
    bench.event(Event::Plaintext(given, CLIENT_SENDS));
    bench.event(Event::Plaintext(under_tls(direction::RECEIVE, 5_000, 0, SERVER_ANSWERS, 0), SERVER_ANSWERS));
    assert_eq!(bench.seen, [], "it may not have left");
    if let Some(marks) = marks {
        bench.event(Event::Sent(DataEvent { kind: kind::SENT, marks, ..given }));
    }
    let before = bench.seen.len();
    for complete_to_ns in [5_000, 31_000_000] {
        let out = &mut bench.seen;
        bench.observer.expire_ahead(complete_to_ns, &mut |output| out.push(owned(output)));
    }
    assert!(bench.seen.iter().all(|seen| *seen == Seen::RequestsDropped("unplaced")), "{:?}", bench.seen);
    [before, bench.seen.len()]
}

#[test]
fn what_was_told_of_ahead_is_said_when_it_leaves_and_before_its_answer() {
    assert_eq!(answered_ahead(Some(0)), [1, 1]);
}

#[test]
fn what_was_told_of_ahead_and_failed_was_not_said() {
    for (marks, told) in [(0, 1), (mark::FAILED, 0)] {
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
        let given = under_tls(direction::SEND, 1_000, 0, CLIENT_SENDS, mark::AHEAD);
        bench.event(Event::Plaintext(given, CLIENT_SENDS));
        bench.event(Event::Sent(DataEvent { kind: kind::SENT, marks, ..given }));
        bench.event(Event::EndOfStream(data(role::CLIENT, direction::RECEIVE, 3_000, 0, 0)));
        let counted = bench.seen.iter().filter(|seen| **seen == Seen::RequestsDropped("unplaced")).count();
        assert_eq!(counted, told, "{:?}", bench.seen);
    }
}

#[test]
fn what_was_told_of_ahead_waits_for_no_longer_than_watermarks_do() {
    assert_eq!(answered_ahead(None), [0, 1]);
}

/// A server that has ended its stream in order refuses the alert by which the client answers; that takes nothing away from what it has said.
#[test]
fn what_a_server_has_said_whole_is_not_reset_with_the_clients_last_alert() {
    let (reset, finished) = (libc::ECONNRESET as u32, CloseReason::Finished { by: ProtocolSide::Server });
    for (role, tcp_state, error, reason) in [
        (role::CLIENT, tcp_state::CLOSE_WAIT, reset, finished),
        (role::CLIENT, tcp_state::LAST_ACK, reset, finished),
        (role::CLIENT, ESTABLISHED, reset, CloseReason::Reset { by: ProtocolSide::Server }),
        (role::SERVER, tcp_state::CLOSE_WAIT, reset, CloseReason::Reset { by: ProtocolSide::Client }),
        (role::CLIENT, tcp_state::LAST_ACK, libc::ETIMEDOUT as u32, CloseReason::TimedOut),
    ] {
        let socket = SocketRecord { tcp_state, error, flags: flag::ESTABLISHED, ..socket(role, 7, 0, 0) };
        assert_eq!(flow::close_reason_under_tls(&socket), reason, "role {role}, from {tcp_state} with {error}");
    }
}

/// What rustls encrypts before it is known where that goes waits under the number of its key. It is counted if nobody says it.
#[test]
fn what_a_key_has_encrypted_belongs_to_the_connection_that_it_is_tied_to() {
    use headwater_probe_loader::types::role::UNKNOWN;
    const KEY: u64 = 4_711;
    for is_tied in [true, false] {
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
        let marks = mark::CARRIED | mark::UNTIED;
        let given = under_tls(direction::SEND, 1_000, 0, CLIENT_SENDS, marks);
        let untied = DataEvent { connection_id: KEY, role: UNKNOWN as u16, ..given };
        bench.event(Event::Plaintext(untied, CLIENT_SENDS));
        let tie = DataEvent { kind: kind::TIED, position: KEY, other_position: 0, length: 0, marks: 0, ..given };
        let tie = DataEvent { position: if is_tied { KEY } else { KEY + 1 }, ..tie };
        bench.event(Event::Tied(tie));
        let answer = under_tls(direction::RECEIVE, 5_000, 0, SERVER_ANSWERS, mark::CARRIED);
        bench.event(Event::Plaintext(answer, SERVER_ANSWERS));
        let lost_with =
            |bench: &Bench, reason| bench.seen.iter().filter(|seen| **seen == Seen::RequestsDropped(reason)).count();
        // The exchange is whole, and has no place, since no record was seen.
        assert_eq!(lost_with(&bench, "unplaced"), usize::from(is_tied), "{:?}", bench.seen);
        for (complete_to_ns, lost) in [(4_000_000_000, 0), (6_000_000_000, usize::from(!is_tied))] {
            let out = &mut bench.seen;
            bench.observer.expire_ahead(complete_to_ns, &mut |output| out.push(owned(output)));
            assert_eq!(lost_with(&bench, "connection_unknown"), lost, "{:?}", bench.seen);
        }
    }
}

/// A program that moves the bytes itself may give its library a word when the socket is gone. Of a connection that was never seen, it is counted.
#[test]
fn a_last_word_to_a_library_behind_the_sockets_end_is_no_loss() {
    for (was_seen, counted) in [(true, 0), (false, 1)] {
        let mut bench = Bench::new(Paths::Templated, 10);
        let carried = |at_ns, position| {
            let given = under_tls(direction::SEND, at_ns, position, CLIENT_SENDS, mark::CARRIED);
            Event::Plaintext(given, CLIENT_SENDS)
        };
        if was_seen {
            bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
            bench.event(carried(1_000, 0));
            let last = &mut |_: Output<'_>| {};
            bench.observer.event(Event::Close(socket(role::CLIENT, 7, 0, 0)), last);
        }
        bench.event(carried(9_000, CLIENT_SENDS.len()));
        let lost = bench.seen.iter().filter(|seen| **seen == Seen::RequestsDropped("connection_unknown")).count();
        assert_eq!(lost, counted, "{:?}", bench.seen);
    }
}
