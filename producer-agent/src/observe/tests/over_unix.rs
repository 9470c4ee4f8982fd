//! Streams of Unix sockets, whose ends count for themselves.

use super::*;
use crate::observe::flow::tcp_state;

/// Of an end whose server listens at this path.
fn unix(role: u32, path: &str, sent_bytes: usize, received_bytes: usize) -> SocketRecord {
    let mut bytes = [0; 32];
    bytes[..path.len()].copy_from_slice(path.as_bytes());
    let (mut local_address, mut remote_address) = ([0; 16], [0; 16]);
    local_address.copy_from_slice(&bytes[..16]);
    remote_address.copy_from_slice(&bytes[16..]);
    let length = path.len() as u16;
    SocketRecord {
        family: libc::AF_UNIX as u16,
        local_address,
        remote_address,
        local_port: length,
        remote_port: length,
        rtt_us: 0,
        rtt_min_us: 0,
        ..socket(role, 7, sent_bytes, received_bytes)
    }
}

fn flow(state: FlowState, sent: i64, received: i64, requests: i64, protocol: &str) -> Seen {
    let encryption = if protocol == "unix" { "unknown" } else { "none" };
    Seen::Flow {
        state,
        opened: 1,
        sent,
        received,
        requests,
        errors: requests,
        protocol: protocol.into(),
        encryption: encryption.into(),
    }
}

#[test]
fn where_both_ends_are_here_the_clients_tells_whoever_was_seen_first() {
    for first in [role::CLIENT, role::SERVER] {
        let mut bench = Bench::new(Paths::Templated, 10);
        let second = if first == role::CLIENT { role::SERVER } else { role::CLIENT };
        bench.event(Event::Open(unix(first, "/run/app", 0, 0)));
        assert_eq!(bench.observer.interests().count(), 0, "nobody else tells of it yet");
        bench.event(Event::Open(unix(second, "/run/app", 0, 0)));
        let quiet = Interest { connection_id: 7, role: role::SERVER, interest: interest::COUNTERS };
        assert_eq!(bench.observer.interests().collect::<Vec<_>>(), [quiet]);
        bench.exchange(role::CLIENT);
        bench.exchange(role::SERVER);
        assert!(matches!(&bench.seen[..], [Seen::Request { side: Side::Client, .. }]), "{:?}", bench.seen);
    }
}

#[test]
fn a_server_whose_client_is_not_looked_at_tells_itself() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(unix(role::SERVER, "/run/app", 0, 0)));
    bench.exchange(role::SERVER);
    assert!(matches!(&bench.seen[..], [Seen::Request { side: Side::Server, .. }]), "{:?}", bench.seen);
}

#[test]
fn who_reads_the_end_tells_of_both_ends_once() {
    let (asked, answer) = (CLIENT_SENDS.len(), SERVER_ANSWERS.len());
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(unix(role::CLIENT, "/run/app", 0, 0)));
    bench.event(Event::Open(unix(role::SERVER, "/run/app", 0, 0)));
    bench.exchange(role::CLIENT);
    bench.seen.clear();
    let told = unix(role::SERVER, "/run/app", answer, asked);
    // The probes only count what this end moves, since its client tells.
    let told = SocketRecord { tcp_state: tcp_state::CLOSE_WAIT, flags: told.flags | flag::COUNTED, ..told };
    bench.event(Event::Close(told));
    let client = SocketRecord { tcp_state: tcp_state::FIN_WAIT1, ..unix(role::CLIENT, "/run/app", asked, answer) };
    bench.event(Event::Close(client));
    bench.walk(&unix(role::CLIENT, "/run/app", asked, answer));
    let (server, client) = (
        flow(FlowState::Closed, answer as i64, asked as i64, 0, "unix"),
        flow(FlowState::Closed, asked as i64, answer as i64, 1, "http"),
    );
    assert_eq!(bench.seen, [server, client]);
    assert_eq!(bench.observer.connections(), 0);
}

#[test]
fn what_the_machine_says_to_itself_is_not_told() {
    let mut bench = Bench::new(Paths::Templated, 10);
    for role in [role::CLIENT, role::SERVER] {
        bench.event(Event::Open(unix(role, "/run/systemd/journal/stdout", 0, 0)));
        bench.exchange(role);
        bench.walk(&unix(role, "/run/systemd/journal/stdout", 60, 40));
    }
    assert_eq!((bench.seen, bench.observer.connections()), (vec![], 0));
}
