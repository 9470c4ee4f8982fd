//! Bottlenecks: a fault raises one alert in the right place, noise raises none, and a restart changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_histogram::Histogram;
use headwater_processors::bottlenecks::Bottlenecks;
use headwater_processors::objectives::rules::Rules;
use headwater_processors::processor::{BadSnapshot, Checkpoint, Kind, Output, Processor};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Alert, AlertState, Edge, Latency, Record, WindowClosed, Workload};
use headwater_schemas::wire::{Encoder, WriterSchema};
use proptest::prelude::*;

use crate::drive::{Pace, Schemas, drive};
use crate::join::pace;
use crate::logs::{Entry, Log, datum};
use crate::the_same;
use crate::traffic::{Fault, Operation, Traffic, in_two, shop, window_us};
use crate::world::WINDOW_US;
use headwater_testing::Random;

pub fn judge(logs: &[Log; 2], pace: Pace) -> Vec<Alert> {
    judge_by(&Arc::new(Rules::default()), logs, pace)
}

/// By a file of objectives and owners.
fn judge_by(rules: &Arc<Rules>, logs: &[Log; 2], pace: Pace) -> Vec<Alert> {
    judge_all(rules, &[0, 1].map(|topic| in_two(&logs[topic])), pace)
}

/// Of each topic, the records and what closes their windows.
pub fn judge_all(rules: &Arc<Rules>, logs: &[[Log; 2]; 2], pace: Pace) -> Vec<Alert> {
    let schemas = [Edge::SCHEMA, Latency::SCHEMA, WindowClosed::SCHEMA].map(|text| WriterSchema::parse(text).unwrap());
    let make = |checkpoints: &[Option<Checkpoint>], _: Option<&[u8]>| -> Result<Box<dyn Processor>, BadSnapshot> {
        let mut judge = Bottlenecks::new(["edges".to_owned(), "latencies".to_owned()], Partition(0), checkpoints);
        judge.follow(rules);
        Ok(Box::new(judge))
    };
    let [edges, latencies, closed] = &schemas;
    let schemas = Schemas { values: vec![edges, closed, latencies, closed], control: closed };
    let [[edges, edges_closed], [latencies, latencies_closed]] = logs;
    let committed = drive(&make, &[edges, edges_closed, latencies, latencies_closed], &schemas, pace);
    let alert = |output| match output {
        Output::Alert(alert) => alert,
        other => panic!("not an alert: {other:?}"),
    };
    committed.outputs.into_iter().map(alert).collect()
}

/// The evidence points at records of the alert's edge (and operation) in the window that it names.
fn check_evidence(alert: &Alert, logs: &[Log; 2]) {
    let edge_schema = WriterSchema::parse(Edge::SCHEMA).unwrap();
    let latency_schema = WriterSchema::parse(Latency::SCHEMA).unwrap();
    assert!(!alert.evidence.is_empty(), "{alert:?}");
    for evidence in &alert.evidence {
        let stream = usize::from(evidence.topic == "latencies");
        let entry = logs[stream].iter().find(|entry| entry.offset.0 == evidence.offset && entry.kind == Kind::Value);
        let datum = &entry.unwrap_or_else(|| panic!("no record at {evidence:?}")).datum;
        let (start_us, client, server, operation) = if stream == 0 {
            let edge: Edge = edge_schema.decode(datum).unwrap();
            (edge.window_start_us, edge.client, edge.server, String::new())
        } else {
            let latency: Latency = latency_schema.decode(datum).unwrap();
            (latency.window_start_us, latency.client, latency.server, latency.operation)
        };
        let right = (evidence.window_start_us, &alert.client, &alert.server, &alert.operation);
        assert_eq!((start_us, &client, &server, &operation), right, "{evidence:?} of {alert:?}");
    }
}

fn chain() -> Vec<Operation> {
    let edges = [
        ("load", "gateway", "GET /"),
        ("gateway", "orders", "GET /orders/{id}"),
        ("gateway", "orders", "POST /orders"),
    ];
    let all = edges.map(|(client, server, name)| Operation {
        client,
        server,
        name,
        requests_a_window: 60.0,
        median_us: 20_000.0,
        spread: 0.5,
        error_share: 0.002,
    });
    all.to_vec()
}

/// The chain with a fault in one operation, which its callers wait for.
fn faulty(latency_factor: f64, error_share: f64) -> Traffic {
    let fault = |server, name, share| Fault {
        server,
        name,
        from_window: 40,
        to_window: 60,
        latency_factor: if share < 1.0 {
            latency_factor.max(1.0).sqrt().max(latency_factor / 2.0)
        } else {
            latency_factor
        },
        error_share: error_share * share,
    };
    Traffic {
        operations: chain(),
        faults: vec![fault("orders", "POST /orders", 1.0), fault("gateway", "GET /", 0.5)],
        windows: 120,
        holes: BTreeMap::new(),
    }
}

fn check_one_alert(alerts: &[Alert], kind: &str, logs: &[Log; 2]) {
    let about = || alerts.iter().map(|a| format!("{:?} {} {} {}", a.state, a.alert_id, a.observed_at_us, a.message));
    let of_kind: Vec<&Alert> = alerts.iter().filter(|alert| alert.kind == kind).collect();
    let [firing, resolved] = of_kind[..] else { panic!("{:#?}", about().collect::<Vec<_>>()) };
    assert_eq!(alerts.len(), 2, "{:#?}", about().collect::<Vec<_>>());
    assert_eq!((firing.state, resolved.state), (AlertState::Firing, AlertState::Resolved));
    assert_eq!(firing.alert_id, resolved.alert_id);
    for alert in [firing, resolved] {
        assert_eq!((alert.client.name.as_str(), alert.service.name.as_str()), ("gateway", "orders"));
        assert_eq!(alert.operation, "POST /orders");
        check_evidence(alert, logs);
    }
    let fired_after = (firing.observed_at_us - window_us(40)) / WINDOW_US;
    let resolved_after = (resolved.observed_at_us - window_us(60)) / WINDOW_US;
    assert!((2..=4).contains(&fired_after), "fired {fired_after} windows after the fault began");
    assert!((2..=4).contains(&resolved_after), "resolved {resolved_after} windows after the fault ended");
}

proptest! {
    #![proptest_config(the_same(10))]

    #[test]
    fn a_step_of_latency_is_one_alert_in_the_right_place(seed in any::<u64>(), factor in 6.0f64..20.0) {
        let logs = faulty(factor, 0.0).logs(&mut Random::new(seed));
        check_one_alert(&judge(&logs, Pace::STEADY), "latency_p95", &logs);
    }

    #[test]
    fn a_step_of_errors_is_one_alert_in_the_right_place(seed in any::<u64>(), share in 0.3f64..1.0) {
        let logs = faulty(1.0, share).logs(&mut Random::new(seed));
        check_one_alert(&judge(&logs, Pace::STEADY), "error_rate", &logs);
    }

    #[test]
    fn restarts_change_no_alert(seed in any::<u64>(), factor in 1.0f64..20.0, share in 0.0f64..0.5, paces in prop::collection::vec(pace(), 3)) {
        let mut random = Random::new(seed);
        let mut traffic = Traffic { windows: 200, ..faulty(factor, share) };
        // Some more, at any time.
        for _ in 0..4 {
            let from_window = random.between(5, 180);
            traffic.faults.push(Fault {
                server: "gateway",
                name: "GET /",
                from_window,
                to_window: from_window + random.between(1, 30),
                latency_factor: 10.0,
                error_share: random.unit(),
            });
        }
        let logs = traffic.logs(&mut random);
        let steady = judge(&logs, Pace::STEADY);
        for pace in paces {
            prop_assert_eq!(&steady, &judge(&logs, pace));
        }
    }

    #[test]
    fn a_hole_in_the_data_alone_raises_nothing(seed in any::<u64>(), share in 0.05f64..0.95, from in 20i64..60, length in 1i64..20) {
        let holes = (from..from + length).map(|window| (window, share)).collect();
        let traffic = Traffic { operations: chain(), faults: Vec::new(), windows: 100, holes };
        let alerts = judge(&traffic.logs(&mut Random::new(seed)), Pace::STEADY);
        prop_assert!(alerts.is_empty(), "{:#?}", alerts);
    }
}

/// Half a day of a system of 16 subjects, in four parts with other rates, latencies and spreads.
#[test]
fn steady_traffic_with_noise_raises_nothing() {
    let mut false_alarms = Vec::new();
    let mut windows = 0;
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let traffic =
            Traffic { operations: shop(&mut random), faults: Vec::new(), windows: 1080, holes: BTreeMap::new() };
        windows += traffic.windows;
        let alerts = judge(&traffic.logs(&mut random), Pace { seed, batch_max: 1000, crashes: 0, snapshots: 0 });
        false_alarms.extend(alerts.into_iter().filter(|alert| alert.state == AlertState::Firing));
    }
    for alert in &false_alarms {
        println!("{} {:.3} limit {:.3}: {}", alert.alert_id, alert.value, alert.threshold, alert.message);
    }
    println!("{} false alarms in {windows} windows of 16 subjects", false_alarms.len());
    assert!(false_alarms.is_empty());
}

/// A record of each topic, as many as wanted.
fn sample_edge(window: i64, subject: usize) -> Edge {
    let sample = headwater_schemas::samples::edge();
    let client = Workload::local("program", &format!("c-{subject}"));
    Edge { window_start_us: window_us(window), client, duration_ns: Histogram::default(), ..sample }
}

fn marker(window: i64, source_partition: i32, source_partitions: i32) -> WindowClosed {
    let sample = headwater_schemas::samples::window_closed();
    WindowClosed { window_start_us: window_us(window), source_partition, source_partitions, ..sample }
}

#[test]
fn what_waits_for_the_other_topic_is_bounded_by_what_is_in_it() {
    const SUBJECTS: usize = 1000;
    let mut judge = Bottlenecks::new(["edges".to_owned(), "latencies".to_owned()], Partition(0), &[]);
    let mut windows = 0;
    let mut offset = Offset(0);
    while judge.wants(0) {
        assert!(windows < 60, "{windows} windows of {SUBJECTS} edges are held");
        for subject in 0..SUBJECTS {
            judge.edge(offset, sample_edge(windows, subject)).unwrap();
            offset = offset.next();
        }
        judge.closed(0, offset, &marker(windows, 0, 1));
        offset = offset.next();
        windows += 1;
    }
    // The other one goes on, and lets this one go on.
    for window in 0..windows {
        assert!(judge.wants(2));
        judge.closed(1, Offset(window), &marker(window, 0, 1));
    }
    assert!(judge.wants(0));
    assert_eq!(judge.take_counters().get("windows_closed"), windows as u64);
}

#[test]
fn a_source_that_does_not_come_stops_no_judgement_for_ever() {
    let mut judge = Bottlenecks::new(["edges".to_owned(), "latencies".to_owned()], Partition(0), &[]);
    for window in 0..2000 {
        for topic in [0, 1] {
            assert!(judge.wants(2 * topic), "topic {topic} stands still in window {window}");
            // The second source partition of both has fallen silent.
            judge.closed(topic, Offset(window), &marker(window, 0, 2));
            if window < 10 {
                judge.closed(topic, Offset(window), &marker(window, 1, 2));
            }
        }
    }
    let counters = judge.take_counters();
    assert!(counters.get("windows_closed") >= 1000, "{counters:?}");
    assert!(counters.get("windows_given_up") >= 1000, "{counters:?}");
    assert!(judge.sizes().contains(&("open_windows", 500)), "{:?}", judge.sizes());
}

/// Partitions are added, and not all who close windows know of all of them at once: what the new one brings is not late for that.
#[test]
fn a_partition_that_was_added_is_waited_for_once_any_other_knows_of_it() {
    let mut judge = Bottlenecks::new(["edges".to_owned(), "latencies".to_owned()], Partition(0), &[]);
    for window in 0..10 {
        for (source, sources) in [(1, 3), (0, 2)] {
            (0..2).for_each(|topic| judge.closed(topic, Offset(window), &marker(window, source, sources)));
        }
        judge.edge(Offset(window), sample_edge(window, 0)).unwrap();
        (0..2).for_each(|topic| judge.closed(topic, Offset(window), &marker(window, 2, 3)));
    }
    let late = judge.take_counters().get("late");
    assert_eq!((late, judge.closed_through_us()), (0, Some(window_us(9))));
}

#[test]
fn an_alert_names_the_owner_of_the_service_that_it_blames() {
    let rules = Rules::parse(
        "owners:
- {service: {name: gateway}, owner: team-gateway}
- {service: {name: orders}, owner: team-orders, severity: page}
",
    );
    let logs = faulty(8.0, 0.3).logs(&mut Random::new(5));
    let alerts = judge_by(&Arc::new(rules.unwrap()), &logs, Pace::STEADY);
    assert!(alerts.iter().any(|alert| alert.service.name == "orders"));
    for alert in alerts {
        let expected = if alert.service.name == "orders" { ("team-orders", "page") } else { ("team-gateway", "") };
        assert_eq!((alert.owner.as_str(), alert.severity.as_str()), expected, "{alert:?}");
    }
}

/// Whether it comes before the window is judged is chance, and what is judged must not be.
#[test]
fn what_is_published_again_changes_no_judgement() {
    let logs = faulty(8.0, 0.3).logs(&mut Random::new(5));
    // Offsets between those that there are.
    let spaced = |log: &Log| -> Log {
        let entry = |entry: &Entry| Entry { offset: Offset(entry.offset.0 * 2), ..entry.clone() };
        log.iter().map(entry).collect()
    };
    let (edge_schema, latency_schema) =
        (WriterSchema::parse(Edge::SCHEMA).unwrap(), WriterSchema::parse(Latency::SCHEMA).unwrap());
    let (edges, latencies) = (Encoder::of::<Edge>(1).unwrap(), Encoder::of::<Latency>(2).unwrap());
    let marks = (Encoder::of::<WindowClosed>(3).unwrap(), WriterSchema::parse(WindowClosed::SCHEMA).unwrap());
    let revised = |stream: usize, entry: &Entry| {
        let datum = match (entry.kind, stream) {
            (Kind::Control, _) => {
                let marker: WindowClosed = marks.1.decode(&entry.datum).unwrap();
                datum(&marks.0, &WindowClosed { revision: 1, completeness: 0.5, ..marker })
            }
            (Kind::Value, 0) => {
                let edge: Edge = edge_schema.decode(&entry.datum).unwrap();
                datum(&edges, &Edge { revision: 1, errors: edge.requests, ..edge })
            }
            (Kind::Value, _) => {
                let latency: Latency = latency_schema.decode(&entry.datum).unwrap();
                datum(&latencies, &Latency { revision: 1, errors: latency.requests, ..latency })
            }
        };
        Entry { offset: Offset(entry.offset.0 * 2 + 1), datum, ..entry.clone() }
    };
    let plain = [spaced(&logs[0]), spaced(&logs[1])];
    let mut both = plain.clone();
    for (stream, log) in both.iter_mut().enumerate() {
        log.extend(logs[stream].iter().map(|entry| revised(stream, entry)));
        log.sort_by_key(|entry| entry.offset);
    }
    let judged = judge(&plain, Pace::STEADY);
    assert!(!judged.is_empty());
    assert_eq!(judge(&both, Pace::STEADY), judged);
}
