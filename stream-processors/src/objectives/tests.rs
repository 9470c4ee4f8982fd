//! What is counted, and when it is told.
#![allow(clippy::unwrap_used)]

use headwater_histogram::Histogram;
use headwater_schemas::samples;
use proptest::prelude::*;

use super::*;

const WINDOW_US: i64 = 10 * 1_000_000;
const FIRST_US: i64 = 1_790_000_000_000_000;
const MINUTE: i64 = 6;
const HOUR: i64 = 60 * MINUTE;

const RULES: &str = "objectives:
- name: answers
  service: {name: orders}
  target: 99
  burn_rates: [{long: 1h, short: 5m, rate: 10, severity: page}]
- name: is-quick
  service: {name: orders}
  operation: POST /orders
  within: 100ms
  target: 90
  owner: team-orders
  burn_rates: [{long: 1h, short: 5m, rate: 5, severity: ticket}]
";

fn following(rules: &str) -> Objectives {
    let mut objectives = Objectives::default();
    objectives.follow(&Arc::new(Rules::parse(rules).unwrap()));
    objectives
}

fn named(name: &str) -> Workload {
    Workload::local("program", name)
}

fn edge(requests: i64, errors: i64) -> Edge {
    let ends = (named("web"), named("orders"));
    Edge { client: ends.0, server: ends.1, requests, errors, connections_failed: 7, ..samples::edge() }
}

fn latency(operation: &str, errors: i64, durations_ms: &[u64]) -> Latency {
    let mut duration_ns = Histogram::default();
    durations_ms.iter().for_each(|ms| duration_ns.record(ms * 1_000_000));
    let requests = durations_ms.len() as i64;
    let server = named("orders");
    Latency { server, operation: operation.into(), requests, errors, duration_ns, ..samples::latency() }
}

const PLACE: Place<'static> = Place { topic: "edges", partition: 0, offset: 12 };

/// One window with so many requests of the edge, of which so many were errors.
fn window(objectives: &mut Objectives, window: i64, requests: i64, errors: i64) -> Vec<Alert> {
    let window_us = FIRST_US + window * WINDOW_US;
    if requests > 0 {
        let counted = objectives.of_edge(&edge(requests, errors));
        objectives.count(window_us, counted, &PLACE);
    }
    objectives.close(window_us, window_us + WINDOW_US, |_| None, &mut Counters::default())
}

#[test]
fn a_budget_that_goes_too_fast_is_told_and_so_is_its_end() {
    let mut objectives = following(RULES);
    let mut told = Vec::new();
    for at in 0..4 * HOUR {
        // From the second hour on, a fifth is bad for half an hour.
        let errors = if (2 * HOUR..2 * HOUR + 30 * MINUTE).contains(&at) { 20 } else { 0 };
        told.extend(window(&mut objectives, at, 100, errors).into_iter().map(|alert| (at, alert)));
    }
    let [(fired, firing), (ended, resolved)] = &told[..] else { panic!("{told:?}") };
    // A tenth of the hour is bad after half an hour of a fifth, or a little before: the hour's newest minute is not over.
    assert!((2 * HOUR + 29 * MINUTE..2 * HOUR + 30 * MINUTE).contains(fired), "{fired} {}", firing.message);
    assert_eq!(firing.state, AlertState::Firing);
    assert_eq!(firing.evidence.len(), EVIDENCE_MAX);
    assert!(firing.value >= 10.0 && firing.threshold == 10.0 && firing.severity == "page", "{firing:?}");
    assert_eq!((&firing.objective[..], &firing.service), ("answers", &named("orders")));
    // Once less than a tenth of five minutes is bad, twice in a row.
    assert_eq!(resolved.state, AlertState::Resolved);
    assert!((2 * HOUR + 32 * MINUTE..2 * HOUR + 34 * MINUTE).contains(ended), "{ended}");
    assert_eq!(resolved.alert_id, firing.alert_id);
    assert_eq!(windows_of(firing), Some((Span(3_600_000_000), Span(300_000_000))));
    assert_eq!(windows_of(&samples::alert()), None);
}

#[test]
fn slow_requests_of_one_operation_are_bad() {
    let objectives = following(RULES);
    let count =
        |latency: &Latency| objectives.of_latency(latency).0.into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    assert_eq!(count(&latency("POST /orders", 0, &[10, 50, 300])), [Count { requests: 3, bad: 1 }]);
    assert_eq!(count(&latency("POST /orders", 2, &[10, 300])), [Count { requests: 2, bad: 2 }]);
    assert_eq!(count(&latency("GET /orders", 0, &[300])), []);
    // Connections that fail count only where that is wanted.
    let [(_, seen)] = &objectives.of_edge(&edge(5, 1)).0[..] else { panic!() };
    assert_eq!(*seen, Count { requests: 5, bad: 1 });
    let with_failed = following(
        "objectives: [{name: a, service: {name: orders}, target: 90, failed_connections: true, burn_rates: [{long: 1h, short: 5m, rate: 1}]}]",
    );
    let [(_, seen)] = &with_failed.of_edge(&edge(5, 1)).0[..] else { panic!() };
    assert_eq!(*seen, Count { requests: 12, bad: 8 });
}

#[test]
fn one_bad_request_is_no_alert() {
    let mut objectives = following(RULES);
    assert_eq!(window(&mut objectives, 0, 2, 1), []);
    assert_eq!(window(&mut objectives, 1, 2, 1), []);
    assert_eq!(window(&mut objectives, 2, 2, 1).len(), 1);
}

#[test]
fn an_alert_does_not_end_because_nobody_asks_until_nothing_is_known() {
    let mut objectives = following(RULES);
    for at in 0..MINUTE {
        window(&mut objectives, at, 100, 50);
    }
    assert_eq!(objectives.firing(), 1);
    let ended = (MINUTE..2 * HOUR).find(|at| !window(&mut objectives, *at, 0, 0).is_empty());
    assert!((HOUR..HOUR + 2 * MINUTE).contains(&ended.unwrap()), "{ended:?}");
    assert_eq!(objectives.firing(), 0);
}

#[test]
fn other_rules_keep_what_counts_the_same_and_end_what_is_gone() {
    let mut objectives = following(RULES);
    for at in 0..MINUTE {
        window(&mut objectives, at, 100, 50);
    }
    // Another target and another burn rate: it counts the same.
    let other = "objectives: [{name: answers, service: {name: orders}, target: 90, burn_rates: [{long: 1h, short: 5m, rate: 10}]}]";
    objectives.follow(&Arc::new(Rules::parse(other).unwrap()));
    let of = |objectives: &Objectives| {
        objectives.kept.values().map(|kept| kept.budget.over(FIRST_US, 3_600_000_000)).collect::<Vec<_>>()
    };
    assert_eq!(of(&objectives), [Count { requests: 600, bad: 300 }]);
    objectives.follow(&Arc::default());
    let [alert] = &window(&mut objectives, MINUTE, 100, 50)[..] else { panic!() };
    assert!(alert.state == AlertState::Resolved && alert.message.contains("not among"), "{alert:?}");
    assert!(objectives.is_empty());
}

proptest! {
    /// Whoever goes on from a snapshot says what one says that never stopped.
    #[test]
    fn a_restart_changes_nothing(
        windows in proptest::collection::vec((0i64..200, 0i64..3), 1..400), at in 0usize..400, reads_again in 0usize..20,
    ) {
        let windows: Vec<(i64, i64)> = windows.iter().map(|(requests, part)| (*requests, requests * part / 8)).collect();
        let mut whole = following(RULES);
        let expected: Vec<Alert> =
            (0..).zip(&windows).flat_map(|(at, (requests, errors))| window(&mut whole, at, *requests, *errors)).collect();
        let at = at.min(windows.len());
        let mut first = following(RULES);
        let mut told: Vec<Alert> =
            (0..).zip(&windows[..at]).flat_map(|(at, (requests, errors))| window(&mut first, at, *requests, *errors)).collect();
        let mut second = Objectives::restore(&first.snapshot().unwrap()).unwrap();
        second.follow(&Arc::new(Rules::parse(RULES).unwrap()));
        // The log is read again from a little before.
        for (at, (requests, errors)) in (0..).zip(&windows).skip(at.saturating_sub(reads_again)) {
            told.extend(window(&mut second, at, *requests, *errors));
        }
        prop_assert_eq!(told, expected);
    }
}
