//! Drift: what grows slowly is told once, of the service that it comes of; what each day or week brings is not told; and a restart changes nothing.

use std::f64::consts::TAU;

use headwater_histogram::Histogram;
use headwater_processors::drift::Drift;
use headwater_processors::processor::{Checkpoint, Output};
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Alert, AlertState, Edge, Workload};
use headwater_schemas::samples;
use headwater_testing::Random;

const HOUR_US: i64 = 3_600_000_000;
const DAY: i64 = 24;
const WEEK: i64 = 7 * DAY;
/// A Monday at midnight.
const FROM_HOUR: i64 = 4 * WEEK + 4 * DAY;

/// Who calls whom, and how long that takes at night, in microseconds, without what it waits for.
const EDGES: [(&str, &str, f64); 5] = [
    ("web", "orders", 3000.0),
    ("orders", "database", 2000.0),
    ("orders", "cache", 400.0),
    ("web", "search", 8000.0),
    ("batch", "database", 5000.0),
];

/// What an hour of an edge is changed by: how many times as slow its server is, and what share of requests fails.
type Fault = fn(hour: i64, server: &str) -> (f64, f64);

fn none(_: i64, _: &str) -> (f64, f64) {
    (1.0, 0.0)
}

/// From the sixth week on, within two days, six times as slow; it stays so for a day.
fn slower_by_and_by(hour: i64, server: &str) -> (f64, f64) {
    let since = hour - 5 * WEEK - 30;
    let factor =
        if server == "database" && (0..72).contains(&since) { 1.0 + 5.0 * (since as f64 / 48.0).min(1.0) } else { 1.0 };
    (factor, 0.0)
}

/// In the sixth week more and more requests fail, up to one of thirty.
fn fails_by_and_by(hour: i64, server: &str) -> (f64, f64) {
    let since = hour - 5 * WEEK - 30;
    (1.0, if server == "search" && (0..72).contains(&since) { since as f64 / 2000.0 } else { 0.0 })
}

/// Each night at two a job makes the database slow; on Sundays another one does that for hours.
fn jobs(hour: i64, server: &str) -> (f64, f64) {
    let is_job = hour % DAY == 2 || (hour % WEEK > 6 * DAY + 8 && hour % WEEK < 6 * DAY + 13);
    (if server == "database" && is_job { 4.0 } else { 1.0 }, 0.0)
}

/// One bad hour, and one of which half is missing.
fn once(hour: i64, server: &str) -> (f64, f64) {
    if hour == 5 * WEEK + 40 && server == "search" { (8.0, 0.3) } else { (1.0, 0.0) }
}

/// The hours of all edges, in the order of the log.
fn log(weeks: i64, seed: u64, fault: Fault) -> Vec<Edge> {
    let mut random = Random::new(seed);
    let mut edges = Vec::new();
    for hour in 0..weeks * WEEK {
        let (of_day, of_week) = ((hour % DAY) as f64 / 24.0, hour % WEEK / DAY);
        let weekend = if of_week >= 5 { 0.4 } else { 1.0 };
        let load = weekend * (1.0 - 0.7 * (TAU * of_day).cos());
        for (client, server, base_us) in EDGES {
            // Whoever waits for the database is slow with it.
            let waits = if server == "orders" { 2000.0 * (fault(hour, "database").0 - 1.0) } else { 0.0 };
            let (factor, failing) = fault(hour, server);
            let noise = 0.92 + 0.16 * random.unit();
            let median_us = (base_us * factor + waits) * (1.0 + 0.5 * load) * noise;
            let requests = (4000.0 * load * (0.8 + 0.4 * random.unit())) as i64 + 50;
            let mut duration_ns = Histogram::default();
            for step in 0..40 {
                // The quantiles of a logistic distribution of the logarithm.
                let share = (f64::from(step) + 0.5) / 40.0;
                let us = median_us * (0.25 * (share / (1.0 - share)).ln()).exp();
                duration_ns.record_many((us * 1000.0) as u64, (requests / 40) as u32);
            }
            edges.push(Edge {
                window_start_us: (FROM_HOUR + hour) * HOUR_US,
                window_ms: HOUR_US / 1000,
                revision: 0,
                client: Workload::local("unit", client),
                server: Workload::local("unit", server),
                requests: duration_ns.count() as i64,
                errors: ((0.002 + 0.001 * random.unit() + failing) * requests as f64) as i64,
                duration_ns,
                completeness: 1.0,
                ..samples::edge()
            });
        }
    }
    edges
}

fn judge(log: &[Edge], checkpoint: Option<&Checkpoint>) -> (Vec<Alert>, Checkpoint) {
    let mut drift = Drift::new("edge-hours".to_owned(), Partition(0), checkpoint);
    let from = checkpoint.map_or(0, |checkpoint| checkpoint.needed_from.0 as usize);
    for (offset, edge) in log.iter().enumerate().skip(from) {
        drift.edge(Offset(offset as i64), edge.clone()).unwrap();
    }
    let alerts = drift.take_outputs().into_iter().filter_map(|output| match output {
        Output::Alert(alert) => Some(alert),
        _ => None,
    });
    (alerts.collect(), drift.checkpoint())
}

/// The hour at whose end it was told, and of whom.
fn told(alerts: &[Alert]) -> Vec<(i64, &'static str, String, &str)> {
    let what = |alert: &Alert| if alert.state == AlertState::Firing { "fires" } else { "is over" };
    let all = alerts.iter().map(|alert| {
        let hour = alert.observed_at_us / HOUR_US - FROM_HOUR - 5 * WEEK - 30;
        (hour, what(alert), format!("{} {}", alert.client.name, alert.service.name), alert.kind.as_str())
    });
    all.collect()
}

#[test]
fn a_quiet_time_with_nights_and_weekends_tells_nothing() {
    for (seed, fault) in [(1, none as Fault), (2, none), (3, once)] {
        let (alerts, _) = judge(&log(10, seed, fault), None);
        assert_eq!(told(&alerts), [], "seed {seed}");
    }
}

#[test]
fn a_job_of_each_night_tells_nothing_and_one_of_each_week_once() {
    for seed in [4, 5] {
        let (alerts, _) = judge(&log(10, seed, jobs), None);
        let told = told(&alerts);
        let fired: Vec<_> = told.iter().filter(|(_, what, ..)| *what == "fires").map(|(.., who, _)| who).collect();
        assert_eq!(fired, ["batch database", "orders database"], "seed {seed}: {told:?}");
        assert!(told.iter().all(|(hour, ..)| *hour < WEEK - 5 * WEEK - 30), "{told:?}");
    }
}

#[test]
fn what_grows_slower_by_and_by_is_told_of_the_service_that_does() {
    let (alerts, _) = judge(&log(7, 6, slower_by_and_by), None);
    let told = told(&alerts);
    let fired: Vec<_> = told.iter().filter(|(_, what, ..)| *what == "fires").collect();
    // Both who call it.
    assert_eq!(fired.len(), 2, "{told:?}");
    for (hour, _, who, kind) in fired {
        assert!(who.ends_with(" database") && *kind == "latency_drift", "{told:?}");
        assert!((2..16).contains(hour), "it is half as slow again after five hours, and told after two more: {told:?}");
    }
    let over: Vec<_> = told.iter().filter(|(_, what, ..)| *what == "is over").map(|(hour, ..)| *hour).collect();
    assert_eq!(over, [74, 74], "{told:?}");
}

#[test]
fn what_fails_by_and_by_is_told() {
    let (alerts, _) = judge(&log(7, 7, fails_by_and_by), None);
    let told = told(&alerts);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|(.., who, kind)| who == "web search" && *kind == "error_drift"), "{told:?}");
    assert!(told[0].0 < 40 && told[1].0 == 74, "{told:?}");
}

#[test]
fn a_restart_at_any_hour_changes_nothing() {
    let log = log(8, 8, slower_by_and_by);
    let whole = judge(&log, None).0;
    assert_eq!(whole.len(), 4);
    for cut in
        (0..log.len()).step_by(601).chain((5 * WEEK + 28..5 * WEEK + 45).map(|hour| hour as usize * EDGES.len() + 2))
    {
        let (mut alerts, checkpoint) = judge(&log[..cut], None);
        alerts.extend(judge(&log, Some(&checkpoint)).0);
        assert_eq!(alerts, whole, "cut at {cut}");
    }
}

#[test]
fn what_is_not_complete_or_was_published_again_is_not_judged() {
    let mut log = log(7, 9, slower_by_and_by);
    for edge in &mut log {
        let hour = edge.window_start_us / HOUR_US - FROM_HOUR - 5 * WEEK - 30;
        if hour >= 0 && hour % 2 == 0 {
            edge.completeness = 0.5;
        }
    }
    assert_eq!(told(&judge(&log, None).0), [], "no two hours that are known follow each other");
    let mut log = self::log(6, 10, none);
    let again: Vec<Edge> = log.iter().map(|edge| Edge { revision: 1, errors: edge.requests, ..edge.clone() }).collect();
    log.splice(log.len() - 400..log.len() - 400, again.into_iter().rev().take(400));
    assert_eq!(told(&judge(&log, None).0), []);
}
