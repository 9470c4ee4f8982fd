//! What counts, and what is said of what does not.
#![allow(clippy::unwrap_used)]

use headwater_schemas::samples;

use super::*;

const WINDOW_US: i64 = 10_000_000;

fn collector(from: i64, to: i64) -> Collector {
    Collector::new(Range { prefix: "x.".into(), from_us: from * WINDOW_US, to_us: to * WINDOW_US })
}

fn edge(window: i64, revision: i32, requests: i64) -> Observed {
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(1_000_000, requests as u32);
    Observed::edge(Edge {
        window_start_us: window * WINDOW_US,
        revision,
        requests,
        errors: 0,
        duration_ns,
        ..samples::edge()
    })
    .unwrap()
}

fn marker(window: i64, source_partition: i32, completeness: f64) -> WindowClosed {
    let window_start_us = window * WINDOW_US;
    WindowClosed { window_start_us, source_partition, source_partitions: 2, completeness, ..samples::window_closed() }
}

fn close(collector: &mut Collector, window: i64) {
    (0..2).for_each(|source| collector.closed(marker(window, source, 1.0)));
}

#[test]
fn whole_windows_within_the_range_are_added_up() {
    let mut collector = collector(1, 4);
    for window in 0..5 {
        collector.record(edge(window, 0, 10 + window)).unwrap();
        assert!(!collector.is_over());
        if window != 3 {
            close(&mut collector, window);
        }
    }
    // What came late would stand behind these.
    close(&mut collector, 123);
    assert!(collector.is_over());
    let collected = collector.finish();
    let [sums] = &collected.subjects.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((sums.counts.requests, sums.counts.duration_ns.count()), (11 + 12, 23));
    assert_eq!(sums.requests_squared, 121.0 + 144.0);
    assert_eq!((collected.windows, collected.windows_in_range, collected.covered_us), (2, 3, 2 * WINDOW_US));
    assert_eq!((collected.from_us, collected.to_us), (Some(WINDOW_US), Some(3 * WINDOW_US)));
    assert_eq!(collected.left_out, LeftOut { windows_not_closed: 1, ..LeftOut::default() });
}

#[test]
fn the_newest_revision_counts_also_behind_the_end_of_its_window_but_not_for_ever() {
    let mut collector = collector(0, 2);
    for (revision, requests) in [(1, 7), (2, 8), (0, 9)] {
        collector.record(edge(0, revision, requests)).unwrap();
    }
    let lacks = |revision, completeness| WindowClosed { revision, ..marker(0, 0, completeness) };
    collector.closed(lacks(0, 0.5));
    collector.closed(marker(0, 1, 1.0));
    collector.closed(lacks(1, 1.0));
    collector.record(edge(0, 3, 100)).unwrap();
    assert!(!collector.is_over());
    for window in [118, 119, 120] {
        close(&mut collector, window);
    }
    collector.record(edge(0, 4, 1000)).unwrap();
    close(&mut collector, 121);
    assert!(collector.is_over(), "all windows of the range were revised by now");
    let collected = collector.finish();
    assert_eq!(collected.subjects.values().map(|sums| sums.counts.requests).collect::<Vec<_>>(), [100]);
    assert_eq!((collected.left_out.records_too_late, collected.completeness), (1, 1.0));
}

#[test]
fn what_is_nothing_any_more_counts_as_nothing() {
    let mut collector = collector(0, 1);
    collector.record(edge(0, 0, 5)).unwrap();
    close(&mut collector, 0);
    let gone = Edge {
        window_start_us: 0,
        revision: 1,
        requests: 0,
        client_to_server_bytes: 0,
        server_to_client_bytes: 0,
        connections_opened: 0,
        connections_failed: 0,
        ..samples::edge()
    };
    let Observed { revision, counts, .. } = Observed::edge(gone).unwrap();
    collector.record(Observed { revision, counts, ..edge(0, 1, 0) }).unwrap();
    assert!(collector.finish().subjects.is_empty());
}

#[test]
fn classes_of_status_of_one_operation_are_one_count_of_its_window() {
    let mut collector = collector(0, 1);
    for (status_class, requests) in [("2xx", 3), ("5xx", 4)] {
        let latency = Latency {
            window_start_us: 0,
            status_class: status_class.into(),
            requests,
            errors: 0,
            ..samples::latency()
        };
        collector.record(Observed::latency(latency).unwrap()).unwrap();
    }
    close(&mut collector, 0);
    let collected = collector.finish();
    let [sums] = &collected.subjects.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((sums.counts.requests, sums.requests_squared), (7, 49.0));
}

#[test]
fn a_window_of_which_something_is_missing_is_named() {
    let mut collector = collector(0, 1);
    collector.closed(marker(0, 0, 1.0));
    collector.closed(marker(0, 1, 0.5));
    let collected = collector.finish();
    let [incomplete] = &collected.incomplete[..] else { panic!("{collected:?}") };
    assert_eq!((collected.completeness, incomplete.completeness), (0.5, 0.5));
    assert!(incomplete.text().starts_with("1970-01-01T00:00:00Z  50.0 % complete: "), "{}", incomplete.text());
}

#[test]
fn an_edge_without_any_traffic_is_none() {
    let nothing = Edge {
        requests: 0,
        client_to_server_bytes: 0,
        server_to_client_bytes: 0,
        connections_opened: 0,
        connections_failed: 0,
        ..samples::edge()
    };
    assert!(Observed::edge(nothing).is_none());
}
