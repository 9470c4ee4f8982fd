//! Which place bytes have in their stream, and whose stream it is, where not every call tells.

use std::collections::{BTreeSet, HashMap};

use headwater_schemas::records::Side;

use crate::seen::{self, Seen};

const RELAYED: i64 = 20;
/// By three threads in bursts of ten, then by one, on each of four connections.
const WRITTEN: usize = 4 * (3 * 600 + 20);

/// No two sides call different requests by the same name, and no side calls one by the name of another.
fn no_pair_is_wrong(seen: &Seen) {
    let mut names: HashMap<(&str, i64), &str> = HashMap::new();
    for request in &seen.requests {
        let known = *names.entry((&request.connection, request.position)).or_insert(&request.path);
        assert_eq!(known, request.path, "two requests at {} of {}", request.position, request.connection);
    }
    let places: BTreeSet<(&str, i64, &str)> =
        seen.requests.iter().map(|one| (one.connection.as_str(), one.position, one.path.as_str())).collect();
    let paths: BTreeSet<&str> = seen.requests.iter().map(|one| one.path.as_str()).collect();
    assert!(places.len() <= paths.len() * 2, "more places than requests on two connections");
}

/// What one side wrote, the other side read, also where no call told of it.
fn bytes_add_up(seen: &Seen) {
    for client in seen.flows_of(Side::Client) {
        let server = seen.flows.iter().find(|flow| flow.side == Side::Server && flow.connection == client.connection);
        let server = server.unwrap_or_else(|| panic!("{} has no server", client.connection));
        assert_eq!((client.sent, client.received), (server.received, server.sent), "{}", client.connection);
    }
}

/// What a relay splices counts, and nothing is invented.
#[test]
fn flow_splice() {
    for conversation in ["relay", "relay-of-known"] {
        let seen = seen::of(conversation);
        bytes_add_up(&seen);
        no_pair_is_wrong(&seen);
        let flows = seen.flows_of(Side::Client);
        assert_eq!(flows.len(), 2);
        assert!(flows.iter().all(|flow| flow.received > RELAYED * 1_000_000), "a megabyte for each request");
        let failed = seen.requests.iter().find(|request| request.failure.is_some() || request.status != 200);
        assert!(failed.is_none(), "a failure is invented for {}", failed.unwrap().path);
        // Each leg is seen from the side that reads it. In one of the two the relay is known to speak HTTP: then what it does not show is missing.
        assert!(seen.requests.len() >= 2 * RELAYED as usize);
        assert_eq!(seen.missing() >= RELAYED as u64, conversation == "relay-of-known");
    }
}

/// Who is the client is known after a FIN.
#[test]
fn flow_role_after_fin() {
    let seen = seen::of("role-after-fin");
    let port: i32 = seen.said[0].parse().unwrap();
    assert_eq!((seen.flows_of(Side::Client).len(), seen.flows_of(Side::Server).len()), (5, 5));
    assert!(seen.flows_of(Side::Client).iter().all(|flow| flow.remote_port == port));
    assert!(seen.flows_of(Side::Server).iter().all(|flow| flow.local_port == port));
    bytes_add_up(&seen);
}

#[test]
fn bytes_that_go_out_with_the_syn_count_once() {
    let seen = seen::of("fast-open");
    for side in [Side::Client, Side::Server] {
        assert_eq!(seen.requests_of(side).len(), 6 * 4, "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
    no_pair_is_wrong(&seen);
    bytes_add_up(&seen);
    assert!(seen.flows.iter().all(|flow| flow.opened == 1));
}

/// The server reads its requests in one thread, so its names are right.
#[test]
fn threads_that_write_one_socket_never_pair_the_wrong_requests() {
    let seen = seen::of("two-writers");
    let servers = seen.requests_of(Side::Server);
    assert_eq!(servers.len(), WRITTEN);
    no_pair_is_wrong(&seen);
    bytes_add_up(&seen);
    let by_path: HashMap<&str, &seen::Request> = servers.into_iter().map(|one| (one.path.as_str(), one)).collect();
    let clients = seen.requests_of(Side::Client);
    for client in &clients {
        let server = by_path[client.path.as_str()];
        assert_eq!((&client.connection, client.position), (&server.connection, server.position), "{}", client.path);
    }
    let missing = WRITTEN - clients.len();
    println!("{missing} of the client's side are missing, {} are counted", seen.missing());
    assert!(missing == 0 || seen.missing() > 0);
}
