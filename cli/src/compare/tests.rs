//! What is told of two ranges, and in which order.
#![allow(clippy::unwrap_used)]

use headwater_schemas::records::Workload;

use super::table::Shown;
use super::*;
use crate::past::collect::Counts;

const WINDOWS: i64 = 60;

fn subject(client: &str, server: &str) -> Subject {
    let [client, server] = [client, server].map(|name| Workload::local("program", name));
    Subject { client, server, protocol: "http".into(), operation: String::new() }
}

/// So many requests in each window, all as slow as that but for some.
fn sums(a_window: i64, errors: i64, us: u64, slow: (u32, u64)) -> Sums {
    let requests = a_window * WINDOWS;
    let mut duration_ns = Histogram::default();
    // Durations vary, so that percentiles have something between them.
    for part in 0..10u64 {
        duration_ns.record_many((us * (95 + part)) * 10, requests as u32 / 10 - slow.0 / 10);
    }
    duration_ns.record_many(slow.1 * 1000, slow.0);
    let counts = Counts { requests, errors, duration_ns, bytes: requests * 100, ..Counts::default() };
    Sums { counts, requests_squared: (a_window * a_window * WINDOWS) as f64, bytes_squared: 0.0 }
}

fn collected(subjects: Vec<(Subject, Sums)>) -> Collected {
    let covered_us = WINDOWS * 10_000_000;
    Collected {
        subjects: subjects.into_iter().collect(),
        windows: WINDOWS,
        windows_in_range: WINDOWS,
        covered_us,
        from_us: Some(0),
        to_us: Some(covered_us),
        completeness: 1.0,
        ..Collected::default()
    }
}

fn of(a: Vec<(Subject, Sums)>, b: Vec<(Subject, Sums)>) -> Comparison {
    compare(collected(a), collected(b), ["x.", "x."])
}

fn one(a: Sums, b: Sums) -> Compared {
    let mut comparison = of(vec![(subject("a", "b"), a)], vec![(subject("a", "b"), b)]);
    assert_eq!(comparison.edges.len(), 1);
    comparison.edges.remove(0)
}

#[test]
fn each_quantity_is_judged_by_itself() {
    let before = || sums(100, 6, 1000, (0, 0));
    let changed = |b: Sums| one(before(), b).changed.into_iter().collect::<Vec<_>>();
    assert_eq!(changed(before()), []);
    assert_eq!(changed(sums(130, 8, 1000, (0, 0))), [Quantity::Rate]);
    assert_eq!(changed(sums(100, 60, 1000, (0, 0))), [Quantity::ErrorShare]);
    assert_eq!(changed(sums(100, 6, 1500, (0, 0))), [Quantity::P50, Quantity::P95, Quantity::P99]);
    // The slow tail alone: 2 of 100 requests take fifty times as long.
    assert_eq!(changed(sums(100, 6, 1000, (120, 50_000))), [Quantity::P99]);
    let mut refused = before();
    refused.counts.connections_failed = 40;
    assert_eq!(changed(refused), []);
    let opened = |failed| {
        let mut sums = before();
        (sums.counts.connections_opened, sums.counts.connections_failed) = (100, failed);
        sums
    };
    assert_eq!(one(opened(0), opened(40)).changed.into_iter().collect::<Vec<_>>(), [Quantity::FailedConnectionShare]);
}

#[test]
fn what_is_certain_and_small_is_as_before() {
    let compared = one(sums(1_000_000, 0, 1000, (0, 0)), sums(1_000_000, 0, 1150, (0, 0)));
    assert_eq!(compared.change, Change::Same);
    assert!(compared.scores[&Quantity::P50] > SCORE_MIN, "{:?}", compared.scores);
}

#[test]
fn few_requests_are_no_change() {
    let mut few = [Sums::default(), Sums::default()];
    for (sums, us) in few.iter_mut().zip([1000, 3000]) {
        sums.counts.requests = 2;
        sums.counts.duration_ns.record_many(us * 1000, 2);
        sums.requests_squared = 2.0;
    }
    let [a, b] = few;
    assert_eq!(one(a, b).change, Change::Same);
}

#[test]
fn percentiles_are_those_of_all_requests_and_no_mean_of_percentiles() {
    // A quiet hour of slow requests and a busy one of fast ones.
    let mut sums = sums(100, 0, 1000, (0, 0));
    sums.counts.duration_ns.record_many(1_000_000_000, 10);
    let p95_us = one(sums.clone(), sums).b.unwrap().p95_us;
    assert!((990.0..1100.0).contains(&p95_us), "{p95_us}");
}

#[test]
fn the_most_surprising_comes_first_and_what_is_as_before_last() {
    let same = || sums(100, 0, 1000, (0, 0));
    let (quiet, busy, slower) = (subject("a", "quiet"), subject("a", "busy"), subject("a", "slower"));
    let comparison = of(
        vec![(quiet.clone(), same()), (slower.clone(), same()), (busy.clone(), same())],
        vec![(quiet.clone(), same()), (slower.clone(), sums(100, 0, 1400, (0, 0))), (subject("a", "new"), same())],
    );
    let order: Vec<(&str, Change)> =
        comparison.edges.iter().map(|edge| (edge.subject.server.name.as_str(), edge.change)).collect();
    assert_eq!(order[3], ("quiet", Change::Same));
    let scores: Vec<f64> = comparison.edges[..3].iter().map(|edge| edge.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(order.contains(&("new", Change::Appeared)) && order.contains(&("busy", Change::Vanished)), "{order:?}");
    assert!(comparison.edges.iter().all(|edge| edge.change == Change::Same || edge.score >= SCORE_MIN));
}

#[test]
fn bytes_are_compared_where_there_are_no_requests() {
    let bytes = |a_window: i64| Sums {
        counts: Counts { bytes: a_window * WINDOWS, ..Counts::default() },
        bytes_squared: (a_window * a_window * WINDOWS) as f64,
        ..Sums::default()
    };
    assert_eq!(one(bytes(100_000), bytes(200_000)).changed.into_iter().collect::<Vec<_>>(), [Quantity::Rate]);
    assert_eq!(one(bytes(100_000), bytes(110_000)).change, Change::Same);
}

#[test]
fn a_table_says_what_changed_and_what_is_missing() {
    let mut comparison = of(
        vec![(subject("a", "b"), sums(100, 0, 1000, (0, 0))), (subject("a", "c"), sums(10, 0, 1000, (0, 0)))],
        vec![(subject("a", "b"), sums(100, 600, 2000, (0, 0))), (subject("a", "c"), sums(10, 0, 1000, (0, 0)))],
    );
    comparison.b.windows_in_range += 2;
    let shown = Shown { rows_max: 10, all: false, colours: false };
    assert_eq!(
        comparison.text(shown),
        "\
A  1970-01-01 00:00:00 – 00:10:00 UTC  60 windows, 100 % complete
B  1970-01-01 00:00:00 – 00:10:00 UTC  60 windows, 100 % complete

           CLIENT  SERVER  PROTOCOL    RATE          ERRORS              P50              P95              P99  SCORE
~ changed  a       b       http      10.0/s  0.0 % → 10.0 %  993 µs → 2.0 ms  1.0 ms → 2.1 ms  1.0 ms → 2.1 ms   8318

1 edge is as before (--all shows them)
B: 2 of 62 windows are not there: nothing was observed then, or it is not published yet or not kept any more
"
    );
    let cut = comparison.text(Shown { rows_max: 1, all: true, ..shown });
    assert!(cut.contains("1 edge that surprises less is not shown"), "{cut}");
}
