//! A service that hangs, dies or is not called any more: it is blamed itself, by its own name, although it says nothing.

use std::collections::{BTreeMap, BTreeSet};

use headwater_histogram::Histogram;
use headwater_processors::merge::ClosedWindow;
use headwater_processors::processor::Kind;
use headwater_schemas::place::Offset;
use headwater_schemas::records::{ADDRESS, Alert, AlertState, Edge, Missing, Record, Touch, WindowClosed, Workload};
use headwater_schemas::wire::{Encoder, WriterSchema};

use crate::bottlenecks::{judge, judge_all};
use crate::drive::Pace;
use crate::logs::{Entry, Log, datum};
use crate::traffic::{counted, in_two, window_us};
use crate::world::WINDOW_US;

pub const FAULT: i64 = 70;
pub const END: i64 = 85;
const WINDOWS: i64 = 100;
/// Right: named within 30 s.
const NAMED_WITHIN_US: i64 = 3 * WINDOW_US;
const ADDRESS_OF_PAYMENTS: &str = "127.0.0.1:34509";

/// What one edge carries in a window.
#[derive(Clone)]
pub struct Carried {
    pub client: &'static str,
    pub server: Workload,
    pub protocol: &'static str,
    pub requests: i64,
    pub errors: i64,
    pub failed: i64,
    /// Requests that were sent.
    pub sent: i64,
}

pub fn named(name: &str) -> Workload {
    Workload::local("program", name)
}

pub fn good(client: &'static str, server: &'static str) -> Carried {
    Carried { client, server: named(server), protocol: "http", requests: 60, errors: 0, failed: 0, sent: 60 }
}

fn bad(client: &'static str, server: &'static str) -> Carried {
    Carried { errors: 40, ..good(client, server) }
}

/// Load calls the gateway, that calls orders, and orders calls payments.
pub fn well() -> Vec<Carried> {
    vec![good("load", "gateway"), good("gateway", "orders"), good("orders", "payments")]
}

/// Nobody names who is called any more, and nobody answers.
fn nameless(requests: i64, failed: i64) -> Carried {
    let protocol = if requests > 0 { "http" } else { "tcp" };
    let server = Workload::local(ADDRESS, ADDRESS_OF_PAYMENTS);
    Carried { client: "orders", server, protocol, requests, errors: requests, failed, sent: requests }
}

/// The logs of edges and latencies, of which the latter hold no record.
fn logs(windows: impl Fn(i64) -> Vec<Carried>) -> [Log; 2] {
    logs_lacking(windows, |_| (vec![], vec![]))
}

/// The same of windows that lack something.
fn logs_lacking(windows: impl Fn(i64) -> Vec<Carried>, lacks: impl Fn(i64) -> (Vec<Missing>, Vec<Touch>)) -> [Log; 2] {
    let (edges, markers) = (Encoder::of::<Edge>(1).unwrap(), Encoder::of::<WindowClosed>(2).unwrap());
    let mut logs = [Log::new(), Log::new()];
    let put = |log: &mut Log, timestamp_us: i64, kind: Kind, datum: Vec<u8>| {
        let offset = Offset(log.len() as i64);
        log.push(Entry::made(offset, timestamp_us, kind, datum));
    };
    for window in 0..WINDOWS {
        let start_us = window_us(window);
        let (missing, touches) = lacks(window);
        let completeness = if missing.is_empty() { 1.0 } else { 0.5 };
        let marker = WindowClosed {
            window_start_us: start_us,
            source_partition: 0,
            source_partitions: 1,
            completeness,
            missing,
            touches,
            ..headwater_schemas::samples::window_closed()
        };
        let closed = ClosedWindow::of(&marker);
        for Carried { client, server, protocol, requests, errors, failed, sent } in windows(window) {
            let mut duration_ns = Histogram::default();
            (0..requests).for_each(|i| duration_ns.record(20_000_000 + (i % 60) as u64 * 100_000));
            let is_payments = server == named("payments");
            let is_named = server.kind != ADDRESS;
            let completeness = closed.completeness_of(&named(client), &server);
            let edge = Edge {
                window_start_us: start_us,
                client: named(client),
                server,
                protocol: protocol.into(),
                requests,
                errors,
                duration_ns,
                client_to_server_bytes: 100 * sent,
                server_to_client_bytes: if is_named { 1000 * requests } else { 0 },
                retransmits: 0,
                connections_opened: 0,
                connections_failed: failed,
                asked: if is_payments { vec![ADDRESS_OF_PAYMENTS.into()] } else { vec![] },
                completeness,
                ..headwater_schemas::samples::edge()
            };
            put(&mut logs[0], start_us, Kind::Value, datum(&edges, &edge));
        }
        for log in &mut logs {
            put(log, start_us, Kind::Control, datum(&markers, &marker));
        }
    }
    logs
}

/// The alerts, which restarts do not change.
pub fn alerts(windows: impl Fn(i64) -> Vec<Carried>) -> Vec<Alert> {
    let logs = logs(windows);
    let alerts = judge(&logs, Pace::STEADY);
    for seed in 1..6 {
        assert_eq!(judge(&logs, Pace { seed, batch_max: 7, crashes: 6, snapshots: 0 }), alerts, "after restarts");
    }
    alerts
}

/// One incident of one kind, named in time and over in time.
fn check(alerts: &[Alert], kind: &str, server: &str) {
    let told: Vec<_> = alerts.iter().map(|a| (a.state, a.kind.as_str(), a.service.name.as_str(), &a.message)).collect();
    let [firing, resolved] = alerts else { panic!("{told:#?}") };
    assert_eq!((firing.state, resolved.state), (AlertState::Firing, AlertState::Resolved), "{told:#?}");
    assert_eq!((firing.kind.as_str(), &firing.service), (kind, &named(server)), "{told:#?}");
    assert!(firing.observed_at_us <= window_us(FAULT) + NAMED_WITHIN_US, "{told:#?}");
    assert!(resolved.observed_at_us > window_us(END), "{told:#?}");
    assert_eq!(firing.alert_id, resolved.alert_id);
}

pub fn faulty(window: i64) -> bool {
    (FAULT..END).contains(&window)
}

#[test]
fn a_service_that_hangs_is_blamed_by_its_own_name() {
    let alerts = alerts(|window| match faulty(window) {
        true => vec![bad("load", "gateway"), bad("gateway", "orders"), nameless(40, 0)],
        false => well(),
    });
    check(&alerts, "error_rate", "payments");
}

/// Clients wait for ever: no request of it ends, and all that is seen are the bytes that they send.
#[test]
fn a_service_that_takes_requests_and_answers_none_is_blamed_and_not_who_waits_for_it() {
    let silent = Carried { requests: 0, sent: 20, ..good("orders", "payments") };
    let alerts = alerts(|window| match faulty(window) {
        true => vec![bad("load", "gateway"), bad("gateway", "orders"), silent.clone()],
        false => well(),
    });
    check(&alerts, "unanswered", "payments");
}

/// Whoever calls it is affected, and all of them tell of one thing; what fails elsewhere at the same time is another.
#[test]
fn all_alerts_that_blame_one_service_are_one_incident() {
    let usual = || [well(), vec![good("refunds", "payments"), good("search", "index")]].concat();
    let alerts = alerts(|window| match window {
        FAULT..END => vec![
            bad("load", "gateway"),
            bad("gateway", "orders"),
            bad("orders", "payments"),
            // It is called by another one a little later, and for longer.
            if window < FAULT + 5 { good("refunds", "payments") } else { bad("refunds", "payments") },
            bad("search", "index"),
        ],
        END..90 => [well(), vec![bad("refunds", "payments"), good("search", "index")]].concat(),
        _ => usual(),
    });
    let mut incidents: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for alert in &alerts {
        incidents.entry(&alert.incident_id).or_default().insert((&alert.client.name, &alert.service.name));
    }
    let told: Vec<Vec<(&str, &str)>> = incidents.into_values().map(|told| told.into_iter().collect()).collect();
    assert_eq!(told, [vec![("search", "index")], vec![("orders", "payments"), ("refunds", "payments")]], "{alerts:#?}");
}

#[test]
fn a_service_that_is_dead_is_blamed_by_its_own_name() {
    let alerts = alerts(|window| match faulty(window) {
        true => vec![bad("load", "gateway"), bad("gateway", "orders"), nameless(0, 40)],
        false => well(),
    });
    check(&alerts, "failed_connects", "payments");
}

/// Four seconds around the end of a window, in which its client tries again and again: most of its tries fail, and most of its requests
/// are served all the same.
#[test]
fn a_restart_that_spans_two_windows_is_nobodys_fault_however_often_its_client_tries() {
    let restarts = alerts(|window| match window {
        70 | 71 => vec![good("load", "gateway"), good("gateway", "orders"), retried(45)],
        _ => well(),
    });
    assert!(restarts.is_empty(), "{restarts:#?}");
    let dies = alerts(|window| match window {
        70 => vec![good("load", "gateway"), good("gateway", "orders"), retried(45)],
        71..END => vec![good("load", "gateway"), good("gateway", "orders"), retried(0)],
        _ => well(),
    });
    check(&dies, "failed_connects", "payments");
}

/// Of the few requests of a quiet service half happen to fall into the seconds in which it is away.
#[test]
fn a_restart_that_spans_two_windows_is_nobodys_fault_where_few_requests_tell_of_it() {
    let payments =
        |requests: i64, failed: i64| Carried { requests, failed, sent: requests, ..good("orders", "payments") };
    let around = |its: Carried| vec![good("load", "gateway"), good("gateway", "orders"), its];
    let usual = || around(payments(4, 0));
    let restarts = alerts(|window| match window {
        70 => around(payments(2, 4)),
        71 => around(payments(1, 4)),
        _ => usual(),
    });
    assert!(restarts.is_empty(), "{restarts:#?}");
    // Who stays away is told of a window later.
    let dies = alerts(|window| match window {
        70 => around(payments(2, 4)),
        71 => around(payments(1, 4)),
        72..END => around(payments(0, 4)),
        _ => usual(),
    });
    check(&dies, "failed_connects", "payments");
    // Who has served nearly nothing for two windows does not restart.
    let is_gone = alerts(|window| if faulty(window) { around(payments(0, 4)) } else { usual() });
    check(&is_gone, "failed_connects", "payments");
    assert_eq!(is_gone[0].observed_at_us, window_us(FAULT + 2));
}

/// It dies near the end of a window: the next one, in which nothing is served, is enough.
#[test]
fn a_service_that_serves_nothing_for_longer_than_a_restart_takes_is_told_of_at_once() {
    let dies = alerts(|window| match window {
        FAULT => vec![good("load", "gateway"), good("gateway", "orders"), retried(50)],
        71..END => vec![good("load", "gateway"), good("gateway", "orders"), retried(0)],
        _ => well(),
    });
    check(&dies, "failed_connects", "payments");
    assert_eq!(dies[0].observed_at_us, window_us(FAULT + 2));
}

/// Of the usual requests so many are served, and many more tries fail.
fn retried(requests: i64) -> Carried {
    Carried { requests, failed: 90, sent: requests, ..good("orders", "payments") }
}

/// Few of its errors reach who asks its client: a minute shows them, also when all is well again.
#[test]
fn who_waited_for_a_culprit_is_not_blamed_when_that_is_well_again() {
    let few = |client, server| Carried { errors: 2, ..good(client, server) };
    let alerts = alerts(|window| match faulty(window) {
        true => vec![few("load", "gateway"), few("gateway", "orders"), bad("orders", "payments")],
        false => well(),
    });
    check(&alerts, "error_rate", "payments");
}

#[test]
fn requests_that_stop_though_their_client_has_as_much_to_do_are_told() {
    let alerts = alerts(|window| match faulty(window) {
        true => vec![good("load", "gateway"), good("gateway", "orders")],
        false => well(),
    });
    check(&alerts, "traffic_stopped", "payments");
}

/// What closes a window says how many records it has, so that some which nobody can read any more stop nothing.
#[test]
fn records_that_are_gone_are_not_taken_for_requests_that_stop() {
    let logs = logs(|_| well());
    let schema = WriterSchema::parse(Edge::SCHEMA).unwrap();
    let is_left = |entry: &Entry| {
        let edge: Edge = schema.decode(&entry.datum).unwrap();
        edge.server != named("payments") || !(window_us(FAULT)..window_us(END)).contains(&edge.window_start_us)
    };
    let alerts = |is_counted: bool| {
        let mut all = [0, 1].map(|topic| in_two(&logs[topic]));
        if is_counted {
            all = all.map(counted);
        }
        all[0][0].retain(is_left);
        judge_all(&Default::default(), &all, Pace::STEADY)
    };
    check(&alerts(false), "traffic_stopped", "payments");
    assert_eq!(alerts(true), []);
}

/// A node of which something is missing says nothing of services that it never had, and as little of its own as nobody would.
#[test]
fn what_is_missing_hides_the_requests_of_its_own_node_that_stop_and_no_others() {
    let alerts = |touches: &[Touch]| {
        let missing = || {
            vec![Missing { node: "node-7".into(), ..headwater_schemas::samples::window_closed().missing[0].clone() }]
        };
        let stops = |window: i64| {
            if faulty(window) { vec![good("load", "gateway"), good("gateway", "orders")] } else { well() }
        };
        let lacks = |window: i64| if faulty(window) { (missing(), touches.to_vec()) } else { (vec![], vec![]) };
        judge(&logs_lacking(stops, lacks), Pace::STEADY)
    };
    let touch = |name: &str| [Touch { node: "node-7".into(), last_us: 0, workloads: vec![named(name).key()] }];
    check(&alerts(&touch("search")), "traffic_stopped", "payments");
    assert_eq!(alerts(&touch("payments")), []);
    assert_eq!(alerts(&[]), [], "nobody knows whom it had");
}

#[test]
fn a_load_that_ends_is_nobodys_fault() {
    let ends = alerts(|window| if faulty(window) { vec![good("other", "thing")] } else { well() });
    assert!(ends.is_empty(), "{ends:#?}");
    let shrinks = alerts(|window| {
        let few = |client, server| Carried { requests: 6, sent: 6, ..good(client, server) };
        if faulty(window) { vec![few("load", "gateway"), few("gateway", "orders")] } else { well() }
    });
    assert!(shrinks.is_empty(), "{shrinks:#?}");
}

#[test]
fn whoever_fails_before_it_calls_others_is_blamed_and_not_the_others() {
    let alerts = alerts(|window| match faulty(window) {
        true => vec![bad("load", "gateway"), bad("gateway", "orders")],
        false => well(),
    });
    check(&alerts, "error_rate", "orders");
}

#[test]
fn an_alert_goes_on_and_says_so_when_all_requests_stop() {
    let alerts = alerts(|window| match window {
        FAULT..75 => vec![good("load", "gateway"), good("gateway", "orders"), bad("orders", "payments")],
        75..END => vec![bad("load", "gateway"), bad("gateway", "orders")],
        _ => well(),
    });
    let told: Vec<_> = alerts.iter().map(|a| (a.state, a.service.name.as_str(), &a.message)).collect();
    let [firing, goes_on, resolved] = &alerts[..] else { panic!("{told:#?}") };
    assert!(
        alerts.iter().all(|alert| alert.alert_id == firing.alert_id && alert.service == named("payments")),
        "{told:#?}"
    );
    let states = [firing.state, goes_on.state, resolved.state];
    assert_eq!(states, [AlertState::Firing, AlertState::Firing, AlertState::Resolved], "{told:#?}");
    assert!(goes_on.message.starts_with("There are no requests from orders to payments any more."), "{told:#?}");
    assert!(resolved.observed_at_us > window_us(END), "{told:#?}");
}

/// What piled up at its callers while the culprit was bad takes a window longer to go than the culprit takes to be taken for well.
#[test]
fn who_is_bad_until_the_culprit_is_surely_well_is_not_blamed() {
    let alerts = alerts(|window| match window - FAULT {
        0 | 1 => vec![bad("load", "gateway"), bad("gateway", "orders"), bad("orders", "payments")],
        2..5 => vec![bad("load", "gateway"), bad("gateway", "orders"), good("orders", "payments")],
        _ => well(),
    });
    let told: Vec<_> = alerts.iter().map(|a| (a.state, a.service.name.as_str(), &a.message)).collect();
    assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert.service == named("payments")), "{told:#?}");
}
