#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_schemas::records::{Edge, Latency, Missing, WindowClosed, Workload};

use super::history::Of;
use super::{Limits, Live, Range, STATUS_CLASSES};

const WINDOW_US: i64 = 10_000_000;
/// Some hour, so that windows before the first one have a positive time too.
const T0: i64 = 3_600_000_000;
const NOW: i64 = T0 + 3_600_000_000;

fn durations_ms(range: std::ops::RangeInclusive<u64>) -> Histogram {
    let mut histogram = Histogram::default();
    range.for_each(|ms| histogram.record(ms * 1_000_000));
    histogram
}

fn named(name: &str) -> Workload {
    Workload::local("program", name)
}

fn edge(window: i64, client: &str, server: &str, requests: i64, errors: i64) -> Edge {
    Edge {
        window_start_us: T0 + window * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        revision: 0,
        client: named(client),
        server: named(server),
        protocol: "http".into(),
        requests,
        errors,
        both_sides: requests,
        request_bytes: 0,
        response_bytes: 0,
        p50_us: 0.0,
        p95_us: 0.0,
        p99_us: 0.0,
        duration_ns: durations_ms(1..=requests as u64),
        server_duration_ns: Histogram::default(),
        client_to_server_bytes: 1000,
        server_to_client_bytes: 3000,
        connections_opened: 1,
        connections_closed: 0,
        connections_failed: 0,
        retransmits: 0,
        rtt_us: 40.0,
        asked: vec![format!("10.96.0.{window}:80")],
        encryption: BTreeMap::from([("tls1.3".to_owned(), 5 - window), ("none".to_owned(), window)]),
        completeness: 1.0,
    }
}

fn latency(window: i64, operation: &str, class: &str, durations: Histogram) -> Latency {
    let requests = durations.count() as i64;
    Latency {
        window_start_us: T0 + window * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        revision: 0,
        client: named("a"),
        server: named("b"),
        protocol: "http".into(),
        operation: operation.into(),
        status_class: class.into(),
        requests,
        errors: if class == "5xx" { requests } else { 0 },
        p50_us: 0.0,
        p95_us: 0.0,
        p99_us: 0.0,
        duration_ns: durations,
        server_duration_ns: Histogram::default(),
        completeness: 1.0,
    }
}

fn closed(window: i64, partition: i32, of: i32) -> WindowClosed {
    WindowClosed {
        window_start_us: T0 + window * WINDOW_US,
        window_ms: WINDOW_US / 1000,
        source_partition: partition,
        source_partitions: of,
        nodes: 1,
        completeness: 1.0,
        missing: Vec::new(),
        records: -1,
        through_offset: -1,
        late_windows_us: Vec::new(),
        revision: 0,
        touches: Vec::new(),
    }
}

fn live_with(edges: impl IntoIterator<Item = Edge>) -> Live {
    let mut live = Live::new(Limits::default());
    edges.into_iter().for_each(|edge| assert!(live.edge(edge, NOW)));
    live
}

/// Edges whose windows are published in full.
fn published(edges: impl IntoIterator<Item = Edge>) -> Live {
    let edges: Vec<Edge> = edges.into_iter().collect();
    let starts: Vec<i64> = edges.iter().map(|edge| edge.window_start_us).collect();
    let mut live = live_with(edges);
    for window_start_us in starts {
        live.edges_closed(&WindowClosed { window_start_us, ..closed(0, 0, 1) }, NOW);
    }
    live
}

#[test]
fn sums_and_histograms_of_the_range_are_added_before_anything_is_divided() {
    let live = published([edge(0, "a", "b", 100, 1), edge(1, "a", "b", 50, 5), edge(1, "b", "c", 10, 0)]);
    let map = live.map(Range::Minutes(1));
    assert_eq!(map.span.unwrap().covered_s, 20.0);
    let ab = &map.edges[0];
    assert_eq!((ab.requests.requests, ab.requests.errors), (150, 6));
    assert!((ab.requests.requests_per_s - 7.5).abs() < 1e-9);
    assert!((ab.requests.error_share - 0.04).abs() < 1e-9);
    // Of 1 to 100 and 1 to 50 ms, the 143rd smallest of 150 is 93 ms.
    assert!((ab.requests.p95_us / 93_000.0 - 1.0).abs() < 0.011, "{}", ab.requests.p95_us);
    assert_eq!(ab.to_client_bytes_per_s, 300.0);
    assert_eq!(ab.asked, ["10.96.0.0:80", "10.96.0.1:80"]);
    // Most of them are seen in each window.
    assert_eq!(ab.encryption, [("none", 1), ("tls1.3", 5)]);
    let b = map.nodes.iter().find(|node| node.workload.workload.name == "b").unwrap();
    assert_eq!((b.incoming.requests, b.outgoing.requests), (150, 10));
}

#[test]
fn the_newest_revision_of_a_window_counts_in_whatever_order_it_comes() {
    let mut live = published([edge(0, "a", "b", 10, 0)]);
    assert!(live.edge(Edge { revision: 2, ..edge(0, "a", "b", 12, 0) }, NOW));
    assert!(!live.edge(Edge { revision: 1, ..edge(0, "a", "b", 11, 0) }, NOW));
    assert_eq!(live.map(Range::Latest).edges[0].requests.requests, 12);
    assert_eq!(live.cut_offs().edges.outdated, 1);
}

#[test]
fn a_window_is_shown_when_all_its_inputs_have_closed_it() {
    let mut live = live_with([edge(0, "a", "b", 10, 0), edge(1, "a", "b", 20, 0)]);
    assert!(live.map(Range::Latest).span.is_none(), "its records came, and more may come");
    live.edges_closed(&closed(0, 0, 2), NOW);
    assert!(live.map(Range::Latest).span.is_none(), "one of two inputs");
    live.edges_closed(&closed(0, 1, 2), NOW);
    live.edges_closed(&closed(1, 0, 2), NOW);
    let map = live.map(Range::Latest);
    assert_eq!((map.edges[0].requests.requests, map.pending_windows), (10, 1));
    live.edges_closed(&closed(1, 1, 2), NOW);
    assert_eq!(live.map(Range::Latest).edges[0].requests.requests, 20);
}

#[test]
fn an_idle_window_lowers_the_rate_and_a_window_that_was_not_computed_does_not() {
    let mut live = live_with([edge(0, "a", "b", 100, 0)]);
    live.edges_closed(&closed(0, 0, 1), NOW);
    live.edges_closed(&closed(3, 0, 1), NOW);
    let map = live.map(Range::Minutes(1));
    let span = map.span.unwrap();
    assert_eq!((span.covered_s, span.windows, span.windows_expected), (20.0, 2, 4));
    assert_eq!(map.edges[0].requests.requests_per_s, 5.0);
    let latest = live.map(Range::Latest);
    assert_eq!((latest.edges.len(), latest.edges[0].requests.requests), (1, 0), "an idle edge stays on the map");
    assert_eq!(latest.edges[0].last_window_us, T0);
}

#[test]
fn completeness_is_the_lowest_and_missing_data_is_named_once() {
    let missing =
        vec![Missing { node: "n2".into(), reason: "no-data".into(), count: 0, from_us: T0, to_us: T0 + WINDOW_US }];
    let mut live = live_with([Edge { completeness: 0.5, ..edge(0, "a", "b", 10, 0) }, edge(1, "a", "b", 10, 0)]);
    for partition in 0..2 {
        let marker = WindowClosed { completeness: 0.5, missing: missing.clone(), ..closed(0, partition, 2) };
        live.edges_closed(&marker, NOW);
    }
    let map = live.map(Range::Minutes(5));
    assert_eq!(map.completeness, 0.5);
    assert_eq!((map.missing.len(), map.missing[0].node.as_str()), (1, "n2"));
}

#[test]
fn an_edge_that_is_none_any_more_is_not_drawn() {
    let none = Edge {
        revision: 1,
        client_to_server_bytes: 0,
        server_to_client_bytes: 0,
        connections_opened: 0,
        ..edge(0, "b", "c", 0, 0)
    };
    let map = published([none, edge(0, "a", "b", 10, 0)]).map(Range::Minutes(5));
    assert_eq!(map.edges.len(), 1);
}

#[test]
fn the_window_in_which_the_capture_began_is_left_out_of_longer_ranges() {
    let before =
        |from_us, to_us, reason: &str| Missing { node: "n".into(), reason: reason.into(), count: 0, from_us, to_us };
    let with_first = |missing: Missing, windows: i64| {
        let mut live = live_with((0..windows).map(|window| edge(window, "a", "b", 10, 0)));
        live.edges_closed(&WindowClosed { completeness: 0.3, missing: vec![missing], ..closed(0, 0, 1) }, NOW);
        for window in 1..windows {
            live.edges_closed(&closed(window, 0, 1), NOW);
        }
        let map = live.map(Range::Minutes(1));
        (map.completeness, map.missing.len(), map.span.unwrap().windows)
    };
    let began = before(T0, T0 + 7_000_000, "no-data");
    assert_eq!(with_first(began.clone(), 3), (1.0, 0, 2));
    assert_eq!(with_first(began.clone(), 1), (0.3, 1, 1), "there is nothing else to show");
    assert_eq!(with_first(before(T0, T0 + WINDOW_US, "no-data"), 3), (0.3, 1, 3), "a node that never came");
    assert_eq!(with_first(before(T0, T0 + 7_000_000, "ring_full"), 3), (0.3, 1, 3), "a loss");

    // One that had others before it is no beginning.
    let mut live = live_with([edge(0, "a", "b", 10, 0)]);
    let minutes = i64::from(Limits::default().minutes) * 6;
    for window in minutes..minutes + 3 {
        live.edge(edge(window, "a", "b", 10, 0), NOW + minutes * WINDOW_US);
    }
    let from_us = T0 + minutes * WINDOW_US;
    let missing = vec![before(from_us, from_us + 7_000_000, "no-data")];
    live.edges_closed(&WindowClosed { missing, ..closed(minutes, 0, 1) }, NOW + minutes * WINDOW_US);
    for window in minutes + 1..minutes + 3 {
        live.edges_closed(&closed(window, 0, 1), NOW + minutes * WINDOW_US);
    }
    assert_eq!(live.map(Range::Minutes(1)).span.unwrap().windows, 3);
}

#[test]
fn bounds_give_the_oldest_windows_up_and_count_them() {
    let mut live = Live::new(Limits { records_max: 2, ..Limits::default() });
    for window in 0..3 {
        live.edge(edge(window, "a", "b", 1, 0), NOW);
        live.edges_closed(&closed(window, 0, 1), NOW);
    }
    assert_eq!(live.map(Range::Minutes(15)).edges[0].requests.requests, 2);
    assert_eq!(live.cut_offs().edges.over_limit, 1);
    live.edge(edge(2, "a", "c", 1, 0), NOW);
    assert!(!live.edge(edge(2, "a", "d", 1, 0), NOW), "one window alone is larger than the bound");
    assert_eq!(live.cut_offs().edges.over_limit, 3);
}

#[test]
fn more_windows_than_fit_cost_the_oldest_never_the_newest() {
    let mut live = Live::new(Limits { minutes: 1440, windows_max: 3, ..Limits::default() });
    for window in 0..5 {
        assert!(live.edge(edge(window, "a", "b", 1, 0), NOW));
        live.edges_closed(&closed(window, 0, 1), NOW);
    }
    assert_eq!(live.newest_window_end_us(), Some(T0 + 5 * WINDOW_US));
    assert_eq!(live.map(Range::Minutes(1440)).edges[0].requests.requests, 3);
    assert_eq!(live.cut_offs().edges.over_limit, 2);
    assert!(!live.edge(edge(0, "a", "b", 1, 0), NOW), "an older window does not push a newer one out");
}

#[test]
fn what_is_missing_is_what_the_newest_markers_say_in_whatever_order_they_come() {
    let missing = Missing { node: "n".into(), reason: "no-data".into(), count: 0, from_us: T0, to_us: T0 + WINDOW_US };
    let before =
        |partition| WindowClosed { completeness: 0.5, missing: vec![missing.clone()], ..closed(0, partition, 2) };
    let after = |partition| WindowClosed { revision: 1, ..closed(0, partition, 2) };
    for markers in [[before(0), before(1), after(0), after(1)], [before(0), after(0), after(1), before(1)]] {
        let mut live = live_with([]);
        live.edge(edge(0, "a", "b", 10, 0), NOW);
        for marker in &markers {
            live.edges_closed(marker, NOW);
        }
        let map = live.map(Range::Latest);
        assert_eq!((map.completeness, map.missing.len()), (1.0, 0));
    }
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut live = published([edge(0, "a", "b", 10, 0)]);
    let before = live.clone();
    live.edge(Edge { revision: 1, ..edge(0, "a", "b", 12, 0) }, NOW);
    live.edge(edge(0, "b", "c", 1, 0), NOW);
    assert_eq!((before.map(Range::Latest).edges.len(), live.map(Range::Latest).edges.len()), (1, 2));
    assert_eq!(before.map(Range::Latest).edges[0].requests.requests, 10);
}

#[test]
fn windows_that_are_too_old_or_from_the_future_are_counted() {
    let mut live = published([edge(100, "a", "b", 1, 0)]);
    assert!(!live.edge(edge(10, "a", "b", 1, 0), NOW));
    assert!(!live.edge(edge(1_000_000, "a", "b", 1, 0), NOW));
    assert!(live.edge(edge(189, "a", "b", 1, 0), NOW));
    live.edges_closed(&closed(189, 0, 1), NOW);
    assert_eq!((live.cut_offs().edges.too_old, live.cut_offs().edges.from_the_future), (1, 1));
    assert_eq!(live.map(Range::Minutes(15)).edges[0].requests.requests, 2);
    live.edge(edge(191, "a", "b", 1, 0), NOW);
    live.edges_closed(&closed(191, 0, 1), NOW);
    assert_eq!(live.map(Range::Minutes(15)).edges[0].requests.requests, 2, "window 100 is out of the kept minutes");
}

#[test]
fn operations_are_ordered_by_p95_over_all_status_classes() {
    let mut live = published([edge(0, "a", "b", 30, 0)]);
    live.latency(latency(0, "GET /fast", "2xx", durations_ms(1..=10)), NOW);
    live.latency(latency(0, "GET /slow", "2xx", durations_ms(1..=10)), NOW);
    live.latency(latency(0, "GET /slow", "5xx", durations_ms(100..=110)), NOW);
    live.latency(latency(1, "GET /later", "2xx", durations_ms(1..=10)), NOW);
    let view = live.operations(Range::Minutes(1));
    let names: Vec<_> =
        view.operations.iter().map(|o| (o.operation.as_str(), o.requests.requests, o.requests.errors)).collect();
    assert_eq!(names, [("GET /slow", 21, 11), ("GET /fast", 10, 0)], "the window after the map's is left out");
    assert_eq!(view.operations[0].statuses["5xx"], 11);
}

#[test]
fn history_has_a_point_a_window() {
    let live = published([edge(0, "a", "b", 10, 1), edge(1, "x", "y", 1, 0), edge(2, "a", "b", 30, 0)]);
    let counts =
        |of| live.history(of, Range::Minutes(15)).points.iter().map(|p| p.requests.requests).collect::<Vec<_>>();
    assert_eq!(counts(Of::Edge("//program/a>//program/b/http")), [10, 0, 30]);
    let (a, b) = (named("a"), named("b"));
    assert_eq!(counts(Of::Node(&b)), [10, 0, 30]);
    assert_eq!(counts(Of::Node(&a)), [10, 0, 30], "a answers nothing, so what it asked is shown");
}

/// The edges that were counted: name of the server, requests, bytes to the server.
fn counted(live: &Live) -> Vec<(String, u64, u64)> {
    let (totals, _) = live.totals();
    totals.edges().map(|edge| (edge.server.name.clone(), edge.duration_ns.count(), edge.to_server_bytes)).collect()
}

#[test]
fn counters_are_the_sums_of_whole_windows_that_began_after_all_was_read() {
    let mut live = live_with([edge(0, "a", "b", 5, 0), edge(1, "a", "b", 7, 0)]);
    live.edges_closed(&closed(0, 0, 2), NOW);
    live.edges_closed(&closed(0, 1, 2), NOW);
    live.count_edges(NOW);
    live.count_latencies(NOW);
    // Window 1 was there in part: it is shown, and not counted.
    live.edges_closed(&closed(1, 0, 2), NOW);
    live.edges_closed(&closed(1, 1, 2), NOW);
    assert_eq!((counted(&live), live.totals().1[0].since_us), (vec![], Some(T0 + 2 * WINDOW_US)));
    live.edge(edge(2, "a", "b", 10, 0), NOW);
    live.edges_closed(&closed(2, 0, 2), NOW);
    assert_eq!(counted(&live), [], "one of two inputs");
    live.edges_closed(&closed(2, 1, 2), NOW);
    assert_eq!(counted(&live), [("b".to_owned(), 10, 1000)]);

    // What is read again changes nothing, and what comes late is told.
    live.edge(edge(2, "a", "b", 10, 0), NOW);
    live.edges_closed(&closed(2, 1, 2), NOW);
    live.count_edges(NOW);
    assert_eq!((counted(&live)[0].1, live.totals().1[0].late), (10, 0));
    live.edge(Edge { revision: 1, ..edge(2, "a", "b", 12, 0) }, NOW);
    live.edges_closed(&closed(2, 1, 2), NOW);
    assert_eq!((counted(&live)[0].1, live.totals().1[0].late), (10, 1));

    // Windows 3 and 4 never came.
    live.edge(edge(5, "a", "b", 1, 0), NOW);
    live.edges_closed(&WindowClosed { completeness: 0.5, ..closed(5, 0, 1) }, NOW);
    let of_edges = live.totals().1[0];
    assert_eq!((of_edges.windows, of_edges.incomplete, of_edges.skipped), (2, 1, 2));
    assert_eq!(counted(&live), [("b".to_owned(), 11, 2000)]);

    live.latency(latency(2, "GET /a", "2xx", durations_ms(1..=7)), NOW);
    live.latency(latency(2, "GET /b", "2xx", durations_ms(1..=2)), NOW);
    live.latency(latency(2, "GET /b", "5xx", durations_ms(1..=1)), NOW);
    live.latencies_closed(&closed(2, 0, 1), NOW);
    let by_status = live.totals().0.edges().next().unwrap().by_status;
    let of = |class: &str| by_status[STATUS_CLASSES.iter().position(|known| *known == class).unwrap()];
    assert_eq!((of("2xx").requests, of("2xx").errors, of("5xx").requests, of("5xx").errors), (9, 0, 1, 1));
}

#[test]
fn edges_without_room_are_counted_as_one_and_idle_ones_make_room() {
    let mut live = Live::new(Limits { counted_edges_max: 1, ..Limits::default() });
    live.count_edges(NOW);
    let mut window = |number, servers: &[&str]| {
        servers.iter().for_each(|server| assert!(live.edge(edge(number, "a", server, 3, 0), NOW + number * WINDOW_US)));
        live.edges_closed(&closed(number, 0, 1), NOW + number * WINDOW_US);
        let (totals, _) = live.totals();
        (counted(&live), totals.others.duration_ns.count(), totals.left_out)
    };
    assert_eq!(window(0, &["b", "c", "d"]), (vec![("b".to_owned(), 3, 1000)], 6, 2));
    assert_eq!(window(1, &["d"]), (vec![("b".to_owned(), 3, 1000)], 9, 1));
    assert_eq!(window(362, &["d"]), (vec![("d".to_owned(), 3, 1000)], 9, 0), "b was idle for an hour");
}
