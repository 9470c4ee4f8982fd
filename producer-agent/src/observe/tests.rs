#![allow(clippy::unwrap_used)]
//! Events in, records out, without a kernel.

mod added_up;
mod answered;
mod over_unix;
mod under_tls;

use headwater_probe_loader::types::{flag, interest, kind};
use headwater_protocols::{Loss, LossReason};
use headwater_schemas::records::{FlowState, Side};

use super::*;

pub const CLIENT_SENDS: &[u8] = b"GET /orders/7?token=x HTTP/1.1\r\nHost: a\r\n\r\n";
pub const SERVER_ANSWERS: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nno\n";

/// What came out, as owned values.
#[derive(Debug, PartialEq)]
enum Seen {
    Request {
        id: String,
        side: Side,
        path: String,
        operation: String,
        status: i32,
        error: bool,
        duration_ns: i64,
    },
    Flow {
        state: FlowState,
        opened: i64,
        sent: i64,
        received: i64,
        requests: i64,
        errors: i64,
        protocol: String,
        encryption: String,
    },
    RequestsDropped(&'static str),
    FlowsDropped(&'static str),
}

pub fn options() -> ObserverOptions {
    ObserverOptions {
        node: "node-a".into(),
        paths: Paths::Templated,
        connections_max: 10,
        memory_bytes: 1 << 20,
        operations_max: 10,
        name_wait: Duration::from_secs(1),
        spares_second_ends: true,
        watches_tls: false,
        protocols: Options::default(),
    }
}

struct Bench {
    observer: Observer,
    seen: Vec<Seen>,
}

impl Bench {
    fn new(paths: Paths, connections_max: usize) -> Bench {
        let options = ObserverOptions { paths, connections_max, ..options() };
        Bench { observer: Observer::new(options, None, Clock::measure()), seen: Vec::new() }
    }

    fn event(&mut self, event: Event<'_>) {
        let seen = &mut self.seen;
        self.observer.event(event, &mut |output| seen.push(owned(output)));
    }

    fn walk(&mut self, socket: &SocketRecord) {
        let seen = &mut self.seen;
        self.observer.begin_walk();
        self.observer.walked(socket, &mut |output| seen.push(owned(output)));
        self.observer.walked(socket, &mut |output| seen.push(owned(output)));
        self.observer.end_walk(socket.at_ns, &mut |output| seen.push(owned(output)));
    }

    /// One request and its answer, as a side sees them.
    fn exchange(&mut self, role: u32) {
        let is_client = role == role::CLIENT;
        let (first, second) =
            if is_client { (direction::SEND, direction::RECEIVE) } else { (direction::RECEIVE, direction::SEND) };
        self.event(Event::Data(data(role, first, 1_000, CLIENT_SENDS.len(), 0), CLIENT_SENDS));
        self.event(Event::Data(data(role, second, 5_000, SERVER_ANSWERS.len(), CLIENT_SENDS.len()), SERVER_ANSWERS));
    }
}

fn owned(output: Output<'_>) -> Seen {
    match output {
        Output::Request(request, _) => Seen::Request {
            id: request.connection_id.into(),
            side: request.side,
            path: request.path.into(),
            operation: request.operation.into(),
            status: request.status,
            error: request.error,
            duration_ns: request.duration_ns,
        },
        Output::Process(process, _) => panic!("{process:?} is no connection"),
        Output::Flow(flow, _) => Seen::Flow {
            state: flow.state,
            opened: flow.opened,
            sent: flow.sent_bytes,
            received: flow.received_bytes,
            requests: flow.requests,
            errors: flow.errors,
            protocol: flow.protocol.into(),
            encryption: match &flow.tls {
                Some(tls) => {
                    format!("{} {} for {:?}", flow.encryption, tls.cipher_suite.unwrap(), tls.server_name.unwrap())
                }
                None => flow.encryption.into(),
            },
        },
        Output::RequestsDropped(reason, ..) => Seen::RequestsDropped(reason),
        Output::FlowsDropped(reason, ..) => Seen::FlowsDropped(reason),
    }
}

pub fn data(role: u32, direction: u32, at_ns: u64, length: usize, other: usize) -> DataEvent {
    DataEvent {
        kind: kind::DATA,
        captured_bytes: length as u32,
        connection_id: 7,
        at_ns,
        position: 0,
        other_position: other as u64,
        length: length as u32,
        direction: direction as u8,
        marks: 0,
        role: role as u16,
        thread: 1,
        reserved: 0,
    }
}

pub fn socket(role: u32, connection_id: u64, sent_bytes: usize, received_bytes: usize) -> SocketRecord {
    SocketRecord {
        connection_id,
        at_ns: 9_000,
        opened_at_ns: 500,
        cgroup_id: 1,
        process_started_ns: 1,
        sent_bytes: sent_bytes as u64,
        received_bytes: received_bytes as u64,
        sent_before_bytes: 0,
        received_before_bytes: 0,
        local_address: [0; 16],
        remote_address: [0; 16],
        program: *b"shop\0\0\0\0\0\0\0\0\0\0\0\0",
        local_port: 1,
        remote_port: 2,
        family: libc::AF_INET as u16,
        role: role as u16,
        flags: flag::ESTABLISHED,
        pid: u32::MAX,
        tcp_state: 1,
        error: 0,
        retransmits: 0,
        rtt_us: 10,
        rtt_min_us: 5,
        connect_us: 0,
        exec: 1,
        cgroup_hierarchy: 0,
    }
}

fn request(seen: &Seen) -> (String, Side) {
    match seen {
        Seen::Request { id, side, .. } => (id.clone(), *side),
        other => panic!("not a request: {other:?}"),
    }
}

#[test]
fn both_sides_of_an_exchange_name_it_alike() {
    let mut bench = Bench::new(Paths::Templated, 10);
    for role in [role::CLIENT, role::SERVER] {
        bench.event(Event::Open(socket(role, 7, 0, 0)));
        bench.exchange(role);
    }
    let (client, server) = (request(&bench.seen[0]), request(&bench.seen[1]));
    assert_eq!((client.1, server.1), (Side::Client, Side::Server));
    assert_eq!(client.0, server.0);
    assert_eq!(
        bench.seen[0],
        Seen::Request {
            id: client.0,
            side: Side::Client,
            path: "/orders/{id}".into(),
            operation: "GET /orders/{id}".into(),
            status: 503,
            error: true,
            duration_ns: 4_000,
        }
    );
}

#[test]
fn a_query_never_leaves_the_node() {
    let mut bench = Bench::new(Paths::Full, 10);
    bench.event(Event::Open(socket(role::SERVER, 7, 0, 0)));
    bench.exchange(role::SERVER);
    assert!(matches!(&bench.seen[0], Seen::Request { path, .. } if path == "/orders/7"), "{:?}", bench.seen);
}

#[test]
fn flows_add_up_to_what_the_socket_counted() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    bench.exchange(role::CLIENT);
    bench.seen.clear();
    bench.walk(&socket(role::CLIENT, 7, 40, 30));
    bench.event(Event::Close(socket(role::CLIENT, 7, CLIENT_SENDS.len(), SERVER_ANSWERS.len())));
    let flow = |state, opened, sent, received, requests| Seen::Flow {
        state,
        opened,
        sent,
        received,
        requests,
        errors: requests,
        protocol: "http".into(),
        encryption: "none".into(),
    };
    assert_eq!(bench.seen, vec![flow(FlowState::Open, 1, 40, 30, 1), flow(FlowState::Closed, 0, 3, 13, 0)]);
    assert_eq!(bench.observer.connections(), 0);
}

/// The kernel copies first bytes of every connection until it is told what is wanted.
#[test]
fn what_a_connection_speaks_decides_what_is_copied_of_it() {
    let mut bench = Bench::new(Paths::Templated, 10);
    let told = |bench: &mut Bench| bench.observer.interests().collect::<Vec<_>>();
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    assert_eq!(told(&mut bench), []);
    bench.exchange(role::CLIENT);
    let heads = Interest { connection_id: 7, role: role::CLIENT, interest: interest::HEADS };
    assert_eq!(told(&mut bench), [heads]);

    bench.event(Event::Open(socket(role::SERVER, 7, 0, 0)));
    let foreign = b"SSH-2.0-x\r\n";
    bench.event(Event::Data(data(role::SERVER, direction::RECEIVE, 1, foreign.len(), 0), foreign));
    let counters = Interest { connection_id: 7, role: role::SERVER, interest: interest::COUNTERS };
    assert_eq!(told(&mut bench), [counters]);
    bench.seen.clear();
    bench.event(Event::Close(socket(role::SERVER, 7, 3, 11)));
    assert!(matches!(&bench.seen[..], [Seen::Flow { protocol, .. }] if protocol == "tcp"), "{:?}", bench.seen);
}

/// Who gives the agent the most to do is the one to rest, and what is missing of it is counted.
#[test]
fn a_workload_that_rests_is_not_followed_and_that_is_counted() {
    let mut bench = Bench::new(Paths::Templated, 10);
    let told =
        |bench: &mut Bench| bench.observer.interests().map(|told| (told.role, told.interest)).collect::<Vec<_>>();
    let set = |bench: &mut Bench, count: usize| {
        let seen = &mut bench.seen;
        bench.observer.set_resting(count, 9_000, &mut |output| seen.push(owned(output)))
    };
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    bench.event(Event::Open(SocketRecord { cgroup_id: 2, ..socket(role::SERVER, 7, 0, 0) }));
    bench.exchange(role::CLIENT);
    assert_eq!(told(&mut bench), [(role::CLIENT, interest::HEADS)]);
    // A request is under way.
    let asks = data(role::CLIENT, direction::SEND, 6_000, CLIENT_SENDS.len(), SERVER_ANSWERS.len());
    bench.event(Event::Data(DataEvent { position: CLIENT_SENDS.len() as u64, ..asks }, CLIENT_SENDS));
    bench.seen.clear();

    let cgroup = CgroupKey { hierarchy: 0, id: 1 };
    assert_eq!(set(&mut bench, 1), [Rest { cgroup, rests: true }]);
    assert_eq!(told(&mut bench), [(role::CLIENT, interest::COUNTERS)]);
    assert_eq!(bench.seen, [Seen::RequestsDropped("over_budget")]);
    bench.seen.clear();
    // What the probes had copied before they heard of it.
    bench.exchange(role::CLIENT);
    // Only what shows the protocol is copied of its further connections.
    bench.event(Event::Open(socket(role::CLIENT, 8, 0, 0)));
    bench.event(Event::Data(DataEvent { connection_id: 8, other_position: 0, ..asks }, CLIENT_SENDS));
    assert_eq!(told(&mut bench), [(role::CLIENT, interest::COUNTERS)]);
    assert_eq!(bench.seen, []);
    bench.walk(&socket(role::CLIENT, 7, 80, 60));
    let [Seen::RequestsDropped("over_budget"), Seen::Flow { requests: 1, .. }] = &bench.seen[..] else {
        panic!("{:?}", bench.seen)
    };
    bench.seen.clear();
    bench.walk(&socket(role::CLIENT, 7, 80, 60));
    assert!(matches!(&bench.seen[..], [Seen::Flow { requests: 0, .. }]), "nothing moved: {:?}", bench.seen);
    bench.seen.clear();
    bench.event(Event::Close(socket(role::CLIENT, 8, 40, 0)));
    let [Seen::RequestsDropped("over_budget"), Seen::Flow { protocol, .. }] = &bench.seen[..] else {
        panic!("{:?}", bench.seen)
    };
    assert_eq!(protocol, "http");
    bench.seen.clear();

    bench.exchange(role::SERVER);
    assert!(matches!(&bench.seen[..], [Seen::Request { .. }]), "its neighbour is followed: {:?}", bench.seen);
    bench.seen.clear();
    told(&mut bench);
    assert_eq!(set(&mut bench, 0), [Rest { cgroup, rests: false }]);
    assert_eq!(told(&mut bench), [(role::CLIENT, interest::HEADS)]);
    bench.exchange(role::CLIENT);
    assert!(matches!(&bench.seen[..], [Seen::Request { .. }]), "{:?}", bench.seen);
    bench.seen.clear();
    bench.walk(&socket(role::CLIENT, 7, 120, 90));
    let of_the_rests_end = matches!(&bench.seen[..], [Seen::RequestsDropped("over_budget"), Seen::Flow { .. }]);
    assert!(of_the_rests_end, "it rested since the last walk: {:?}", bench.seen);
    bench.seen.clear();
    told(&mut bench);
    // The probes have not seen the word: they are told again, and what they did not tell is missing.
    bench.walk(&SocketRecord { flags: flag::COUNTED, ..socket(role::CLIENT, 7, 130, 100) });
    assert_eq!(told(&mut bench), [(role::CLIENT, interest::HEADS)]);
    assert!(matches!(&bench.seen[..], [Seen::RequestsDropped("over_budget"), Seen::Flow { .. }]), "{:?}", bench.seen);
    bench.seen.clear();
    bench.walk(&socket(role::CLIENT, 7, 140, 110));
    let up_to_its_call = matches!(&bench.seen[..], [Seen::RequestsDropped("over_budget"), Seen::Flow { .. }]);
    assert!(up_to_its_call && told(&mut bench).is_empty(), "nobody saw when they found it: {:?}", bench.seen);
    bench.seen.clear();
    bench.walk(&socket(role::CLIENT, 7, 150, 120));
    assert!(matches!(&bench.seen[..], [Seen::Flow { .. }]), "{:?}", bench.seen);
    assert_eq!(set(&mut bench, 1).len(), 1, "it is the loudest again");
}

#[test]
fn a_handshake_is_looked_at_up_to_its_end_and_each_flow_says_what_it_said() {
    let record = |kind: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        let length = body.len() as u8;
        [&[22, 3, 3, 0, length + 4, kind, 0, 0, length][..], &body].concat()
    };
    let client_hello = record(1, &[&[3, 3], &[5; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &[0, 0]]);
    let server_hello = record(2, &[&[3, 3], &[6; 32], &[0], &[0x13, 1], &[0], &[0, 6], &[0, 43, 0, 2, 3, 4]]);
    // Also where the workload rests: what else would be said of it is that it is in clear text.
    for resting in [0, 1] {
        let mut bench = Bench::new(Paths::Templated, 10);
        let told = |bench: &mut Bench| bench.observer.interests().collect::<Vec<_>>();
        bench.event(Event::Open(socket(role::SERVER, 7, 0, 0)));
        assert_eq!(bench.observer.set_resting(resting, 1, &mut |_| {}).len(), resting);
        bench.event(Event::Data(data(role::SERVER, direction::RECEIVE, 1, client_hello.len(), 0), &client_hello));
        assert_eq!(told(&mut bench), []);
        let (length, before) = (server_hello.len(), client_hello.len());
        bench.event(Event::Data(data(role::SERVER, direction::SEND, 2, length, before), &server_hello));
        let counters = Interest { connection_id: 7, role: role::SERVER, interest: interest::COUNTERS };
        assert_eq!(told(&mut bench), [counters]);
        bench.seen.clear();
        bench.event(Event::Close(socket(role::SERVER, 7, 3, 11)));
        let [Seen::Flow { protocol, encryption, .. }] = &bench.seen[..] else { panic!("{:?}", bench.seen) };
        assert_eq!((protocol.as_str(), encryption.as_str()), ("tls", "tls1.3 TLS_AES_128_GCM_SHA256 for \"\""));
    }
}

#[test]
fn a_connection_without_bytes_says_nothing_until_it_ends() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.walk(&socket(role::CLIENT, 7, 0, 0));
    assert_eq!(bench.seen, vec![]);
}

#[test]
fn what_does_not_fit_or_is_not_known_is_counted() {
    let mut bench = Bench::new(Paths::Templated, 1);
    bench.event(Event::Open(socket(role::CLIENT, 1, 0, 0)));
    bench.event(Event::Open(socket(role::CLIENT, 2, 0, 0)));
    bench.exchange(role::CLIENT);
    assert_eq!(
        bench.seen,
        vec![
            Seen::FlowsDropped("connections_full"),
            Seen::RequestsDropped("connection_unknown"),
            Seen::RequestsDropped("connection_unknown")
        ]
    );
}

/// The kernel's part of a close comes with the peer's segments, and may come late or never.
#[test]
fn the_end_of_the_servers_own_stream_ends_its_answer() {
    const UNTIL_CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nno length";
    for (role, ending, answered) in [
        (role::SERVER, direction::SEND, 1),
        (role::CLIENT, direction::RECEIVE, 1),
        // These are ends of what the client says.
        (role::SERVER, direction::RECEIVE, 0),
        (role::CLIENT, direction::SEND, 0),
    ] {
        let (first, second) = match role == role::CLIENT {
            true => (direction::SEND, direction::RECEIVE),
            false => (direction::RECEIVE, direction::SEND),
        };
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.event(Event::Open(socket(role, 7, 0, 0)));
        bench.event(Event::Data(data(role, first, 1, CLIENT_SENDS.len(), 0), CLIENT_SENDS));
        bench.event(Event::Data(data(role, second, 2, UNTIL_CLOSE.len(), CLIENT_SENDS.len()), UNTIL_CLOSE));
        bench.event(Event::EndOfStream(data(role, ending, 3, 0, 0)));
        let complete = |seen: &&Seen| matches!(seen, Seen::Request { status: 200, error: false, .. });
        assert_eq!(bench.seen.iter().filter(complete).count(), answered, "{role} {ending}: {:?}", bench.seen);
    }
}

/// A relay that splices moves them so.
#[test]
fn an_answer_that_was_moved_past_the_hooks_is_missing_and_no_failure() {
    let (sent, received) = (CLIENT_SENDS.len(), 1_000_000);
    let ended = |ending| match ending {
        kind::CLOSE => Event::Close(socket(role::CLIENT, 7, sent, received)),
        _ => Event::EndOfStream(DataEvent {
            position: received as u64,
            ..data(role::CLIENT, direction::RECEIVE, 2, 0, sent)
        }),
    };
    for ending in [kind::CLOSE, kind::END_OF_STREAM] {
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
        bench.event(Event::Data(data(role::CLIENT, direction::SEND, 1, sent, 0), CLIENT_SENDS));
        bench.event(ended(ending));
        let of_requests = |seen: &&Seen| matches!(seen, Seen::Request { .. } | Seen::RequestsDropped(_));
        let seen: Vec<&Seen> = bench.seen.iter().filter(of_requests).collect();
        assert_eq!(seen, vec![&Seen::RequestsDropped("gap")]);
    }
}

#[test]
fn a_call_whose_bytes_have_no_place_counts_as_a_missing_request() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    bench.event(Event::Data(data(role::CLIENT, direction::SEND, 1, 0, 0), &[]));
    assert_eq!(bench.seen, vec![Seen::RequestsDropped("ambiguous")]);
}

#[test]
fn a_record_with_a_value_that_is_unknown_is_counted_and_not_dropped() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    let Bench { observer: Observer { connections, shared, .. }, seen } = &mut bench;
    for connection in connections.values_mut() {
        request::feed(connection, shared, &mut |output| seen.push(owned(output)), |_, sink| {
            sink(headwater_protocols::Event::Loss(Loss { reason: LossReason::ValueUnknown, count: 2 }));
        });
    }
    assert_eq!((bench.observer.values_unknown(), bench.seen), (2, vec![]));
}

#[test]
fn an_exchange_that_is_open_at_the_end_is_counted() {
    let mut bench = Bench::new(Paths::Templated, 10);
    bench.event(Event::Open(socket(role::SERVER, 7, 0, 0)));
    bench.event(Event::Data(data(role::SERVER, direction::RECEIVE, 1, CLIENT_SENDS.len(), 0), CLIENT_SENDS));
    let seen = &mut bench.seen;
    bench.observer.finish(2, &mut |output| seen.push(owned(output)));
    assert_eq!(bench.seen, vec![Seen::RequestsDropped("unfinished")]);
}

#[test]
fn events_between_two_sockets_of_a_walk_do_not_take_its_place() {
    let mut bench = Bench::new(Paths::Templated, 100);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    bench.observer.begin_walk();
    bench.exchange(role::CLIENT);
    let seen = &mut bench.seen;
    bench.observer.walked(&socket(role::CLIENT, 7, 50, 40), &mut |output| seen.push(owned(output)));
    let told = seen.last();
    assert!(
        matches!(told, Some(Seen::Flow { state: FlowState::Open, sent: 50, received: 40, requests: 1, .. })),
        "{told:?}"
    );
}

#[test]
fn a_connection_that_no_walk_sees_is_kept_for_some_walks() {
    let mut bench = Bench::new(Paths::Templated, 100);
    bench.event(Event::Open(socket(role::CLIENT, 7, 0, 0)));
    for walk in 0..=UNSEEN_WALKS_MAX {
        assert_eq!(bench.observer.connections(), 1, "before walk {walk}");
        bench.observer.begin_walk();
        let seen = &mut bench.seen;
        bench.observer.end_walk(1, &mut |output| seen.push(owned(output)));
    }
    assert_eq!((bench.observer.connections(), &*bench.seen), (0, &[Seen::FlowsDropped("close_missed")][..]));
}

#[test]
fn a_cgroup_with_many_connections_leaves_some_to_the_others() {
    let mut bench = Bench::new(Paths::Templated, 100);
    let mut open = |cgroup_id, ids: std::ops::Range<u64>| {
        for id in ids {
            bench.event(Event::Open(SocketRecord { cgroup_id, ..socket(role::CLIENT, id, 0, 0) }));
        }
        (bench.observer.connections(), bench.seen.len())
    };
    assert_eq!(open(1, 0..200), (75, 125));
    assert_eq!(open(2, 200..210), (85, 125));
    for id in 0..75 {
        bench.event(Event::Close(SocketRecord { cgroup_id: 1, ..socket(role::CLIENT, id, 0, 0) }));
    }
    bench.seen.clear();
    bench.event(Event::Open(SocketRecord { cgroup_id: 1, ..socket(role::CLIENT, 300, 0, 0) }));
    assert_eq!((bench.observer.connections(), &*bench.seen), (11, &[][..]));
}

/// The beginning of a request that never ends.
fn open_request(bench: &mut Bench, connection_id: u64, cgroup_id: u64, position: u64, bytes: usize) {
    let owned = SocketRecord { cgroup_id, ..socket(role::SERVER, connection_id, 0, 0) };
    if position == 0 {
        bench.event(Event::Open(owned));
    }
    let mut captured = b"GET /slow HTTP/1.1\r\nX: ".to_vec();
    captured.resize(bytes, b'x');
    let event = data(role::SERVER, direction::RECEIVE, 1_000, captured.len(), 0);
    bench.event(Event::Data(DataEvent { connection_id, position, ..event }, &captured));
}

#[test]
fn whoever_keeps_the_most_memory_loses_first_and_it_is_counted() {
    let mut bench = Bench::new(Paths::Templated, 1_000);
    for connection in 0..20 {
        open_request(&mut bench, connection, 1, 0, 10_000);
    }
    // Half a megabyte of memory has no room for all these.
    for connection in 100..200 {
        open_request(&mut bench, connection, 2, 0, 10_000);
    }
    let (kept_bytes, evicted) = bench.observer.memory();
    assert!(kept_bytes <= 1 << 20 && evicted > 10, "{kept_bytes} bytes, {evicted} given up");
    assert_eq!(bench.seen.len() as u64, evicted);
    assert!(bench.seen.iter().all(|seen| *seen == Seen::RequestsDropped("memory_full")), "{:?}", bench.seen);
    let given_up = |range: std::ops::Range<u64>| {
        range.filter(|&id| bench.observer.connections[&(id, role::SERVER as u16)].kept_bytes == 0).count() as u64
    };
    assert_eq!((given_up(0..20), given_up(100..200)), (0, evicted));
    // One that was given up is followed anew.
    bench.seen.clear();
    let id = (100..200).find(|&id| bench.observer.connections[&(id, role::SERVER as u16)].kept_bytes == 0).unwrap();
    let event = |way, at_ns, position, length: usize, other_position| DataEvent {
        connection_id: id,
        position,
        other_position,
        ..data(role::SERVER, way, at_ns, length, 0)
    };
    let (asks, answers) = (CLIENT_SENDS.len() as u64, SERVER_ANSWERS.len());
    bench.event(Event::Data(event(direction::RECEIVE, 2_000, 50_000, asks as usize, 0), CLIENT_SENDS));
    bench.event(Event::Data(event(direction::SEND, 3_000, 0, answers, 50_000 + asks), SERVER_ANSWERS));
    assert!(bench.seen.iter().any(|seen| matches!(seen, Seen::Request { status: 503, .. })), "{:?}", bench.seen);
    // What others keep counts too.
    bench.seen.clear();
    bench.observer.set_kept_elsewhere(1 << 20);
    open_request(&mut bench, 300, 3, 0, 10_000);
    assert_eq!(bench.observer.memory().0, 0);
}

#[test]
fn a_loop_of_connects_that_fail_is_told_by_two_records_and_counted_whole() {
    let mut told = Vec::new();
    let mut observer = Bench::new(Paths::Templated, 100).observer;
    let mut take = |output: Output<'_>| match output {
        Output::Flow(flow, _) => {
            assert_eq!((flow.state, flow.failure), (FlowState::Failed, Some("refused")));
            told.push((flow.connection_id.to_owned(), flow.attempts, flow.observed_at_us));
        }
        _ => panic!("nothing else happened"),
    };
    let clock = Clock::measure();
    observer.set_clock(clock);
    let refused = SocketRecord { error: libc::ECONNREFUSED as u32, flags: 0, ..socket(role::CLIENT, 0, 0, 0) };
    for at_ns in 1..=1_000 {
        observer.event(Event::Close(SocketRecord { at_ns, local_port: at_ns as u16, ..refused }), &mut take);
    }
    observer.begin_walk();
    observer.end_walk(50_000_000, &mut take);
    observer.event(Event::Close(SocketRecord { at_ns: 60_000_000, ..refused }), &mut take);
    observer.finish(70_000_000, &mut take);
    let expected = [(1, 1), (999, 50_000_000), (1, 70_000_000)];
    assert_eq!(told.len(), 3);
    for ((_, attempts, at_us), (count, at_ns)) in told.iter().zip(expected) {
        assert_eq!((*attempts, *at_us), (count, clock.epoch_us(at_ns)));
    }
    assert!(told[0].0 != told[1].0 && told[1].0 != told[2].0 && told.iter().all(|(id, ..)| id != "0000000000000000"));
    assert_eq!(observer.connections(), 0);
}

/// Cases: http-endless-stream. Both sides tell alike who ended an answer in its middle, and only a server that did has failed.
#[test]
fn what_a_client_cuts_off_is_no_error_on_either_side() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";
    // include/net/tcp_states.h
    let (established, fin_wait2, close_wait, last_ack) = (1, 5, 8, 9);
    let (reset, pipe) = (libc::ECONNRESET as u32, libc::EPIPE as u32);
    for (role, tcp_state, error, client_left) in [
        (role::CLIENT, established, 0, true),
        (role::CLIENT, close_wait, 0, true),
        (role::CLIENT, fin_wait2, 0, true),
        (role::CLIENT, fin_wait2, reset, true),
        (role::SERVER, established, reset, true),
        (role::SERVER, close_wait, pipe, true),
        (role::SERVER, close_wait, 0, true),
        (role::SERVER, last_ack, 0, true),
        (role::CLIENT, established, reset, false),
        (role::CLIENT, last_ack, 0, false),
        (role::SERVER, established, 0, false),
        (role::SERVER, fin_wait2, 0, false),
        (role::SERVER, fin_wait2, reset, false),
        (role::SERVER, established, libc::ETIMEDOUT as u32, false),
    ] {
        let (first, second) = match role == role::CLIENT {
            true => (direction::SEND, direction::RECEIVE),
            false => (direction::RECEIVE, direction::SEND),
        };
        let mut bench = Bench::new(Paths::Templated, 10);
        bench.event(Event::Open(socket(role, 7, 0, 0)));
        bench.event(Event::Data(data(role, first, 1, CLIENT_SENDS.len(), 0), CLIENT_SENDS));
        bench.event(Event::Data(data(role, second, 2, HALF.len(), CLIENT_SENDS.len()), HALF));
        let is_aborted = error == 0 && [established, close_wait].contains(&tcp_state);
        let flags = flag::ESTABLISHED | if is_aborted { flag::ABORTED } else { 0 };
        bench.event(Event::Close(SocketRecord { tcp_state, error, flags, ..socket(role, 7, 0, 0) }));
        let told = matches!(bench.seen[0], Seen::Request { status: 200, error, .. } if error != client_left);
        assert!(told, "role {role}, from state {tcp_state} with error {error}: {:?}", bench.seen);
    }
}
