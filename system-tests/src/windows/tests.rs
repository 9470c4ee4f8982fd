//! The judge finds what is wrong, and nothing else.
use headwater_schemas::samples;

use super::*;

const AT_US: i64 = 5 * WINDOW_US + 1_000_000;

fn outcome(path: &str, at_us: i64) -> Outcome {
    Outcome {
        method: "GET".into(),
        path: path.into(),
        status: 200,
        request_bytes: 1,
        response_bytes: 1,
        latency_ns: 100_000,
        waited_ns: 0,
        sent_at_us: at_us - 100,
        received_at_us: at_us,
    }
}

fn record(path: &str, side: Side, completed_at_us: i64) -> SeenRequest {
    SeenRequest {
        connection_id: "c".into(),
        side,
        position: 0,
        method: "GET".into(),
        path: path.into(),
        status: 200,
        request_bytes: 1,
        response_bytes: 1,
        duration_ns: 90_000,
        completed_at_us,
        failure: None,
        namespace: String::new(),
        workload: "w".into(),
        pod: String::new(),
        local: String::new(),
        remote: String::new(),
    }
}

/// From when to when, after the window began.
type Gap = (i64, i64);

fn edge(window_us: i64, requests: i64, gaps: &[Gap]) -> Edge {
    Edge { window_start_us: window_us, revision: 0, requests, completeness: completeness(gaps), ..samples::edge() }
}

fn closed(window_us: i64, gaps: &[Gap]) -> WindowClosed {
    let gap = |&(from_us, to_us): &Gap| Missing {
        node: NODE.into(),
        reason: "no-data".into(),
        count: 0,
        from_us: window_us + from_us,
        to_us: window_us + to_us,
    };
    WindowClosed {
        window_start_us: window_us,
        revision: 0,
        completeness: completeness(gaps),
        missing: gaps.iter().map(gap).collect(),
        ..samples::window_closed()
    }
}

fn completeness(gaps: &[Gap]) -> f64 {
    if gaps.is_empty() { 1.0 } else { 0.5 }
}

/// Two requests, of which the second has a record only if `seen` says so, edges of so many, and what they and their window say is missing.
fn problems(seen: bool, edges: &[i64], gaps: &[Gap]) -> Vec<String> {
    let window_us = window_of(AT_US);
    let outcomes = [outcome("/a", AT_US), outcome("/b", AT_US + 2_000_000)];
    let mut records = vec![record("/a", Side::Client, AT_US), record("/a", Side::Server, AT_US - 20)];
    records.extend(seen.then(|| record("/b", Side::Server, AT_US + 2_000_000)));
    let edges: Vec<Edge> = edges.iter().map(|requests| edge(window_us, *requests, gaps)).collect();
    let closed: Vec<WindowClosed> = edges.first().map(|_| closed(window_us, gaps)).into_iter().collect();
    judge(&outcomes, &records, &edges, &closed).problems
}

#[test]
fn exact_sums_and_named_gaps_are_right() {
    assert_eq!(problems(true, &[2], &[]), [""; 0]);
    assert_eq!(problems(false, &[1], &[(2_000_000, 4_000_000)]), [""; 0]);
}

#[test]
fn what_is_wrong_is_found() {
    let gap = [(2_000_000, 4_000_000)];
    let wrong: [(bool, &[i64], &[Gap], &str); 7] = [
        (true, &[1], &[], "wrong, and called complete"),
        (false, &[1], &[], "wrong, and called complete"),
        (true, &[3], &gap, "more than happened"),
        (true, &[1], &gap, "fewer than there are records of"),
        (true, &[], &[], "not a word of it"),
        (true, &[2, 2], &[], "doubled"),
        (false, &[1], &[(5_000_000, 6_000_000)], "no gap is named for /b"),
    ];
    for (seen, edges, gaps, expected) in wrong {
        let problems = problems(seen, edges, gaps);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
}

#[test]
fn an_edge_says_what_its_window_says() {
    let (window_us, gap) = (window_of(AT_US), [(0, 1_000_000)]);
    let problems = |edge: Edge, closed: &[WindowClosed]| {
        let mut problems = Vec::new();
        said(&[edge], closed, &mut problems);
        problems
    };
    assert_eq!(problems(edge(window_us, 2, &gap), &[closed(window_us, &gap)]), [""; 0]);
    assert!(problems(edge(window_us, 2, &[]), &[closed(window_us, &gap)])[0].contains("another completeness"));
    assert!(problems(edge(window_us, 2, &gap), &[])[0].contains("nothing closes"));
    // What came late closed it again.
    let again = WindowClosed { revision: 1, ..closed(window_us, &[]) };
    assert_eq!(problems(edge(window_us, 2, &[]), &[closed(window_us, &gap), again]), [""; 0]);
}

#[test]
fn a_time_in_which_nobody_looked_must_be_named_whole() {
    let markers = [closed(WINDOW_US, &[(9_000_000, WINDOW_US)]), closed(2 * WINDOW_US, &[(0, 1_000_000)])];
    let said = said(&[], &markers, &mut Vec::new());
    assert_eq!(unnamed(WINDOW_US + 9_500_000, 2 * WINDOW_US + 900_000, &said), []);
    let late = (2 * WINDOW_US, 2 * WINDOW_US + 1_100_000);
    assert_eq!(unnamed(WINDOW_US + 9_500_000, late.1, &said), [late]);
}
