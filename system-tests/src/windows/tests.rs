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

fn edge(window_us: i64, requests: i64, missing: &[(i64, i64)]) -> Edge {
    let gap = |&(from_us, to_us): &(i64, i64)| Missing {
        node: NODE.into(),
        reason: "no-data".into(),
        count: 0,
        from_us: window_us + from_us,
        to_us: window_us + to_us,
    };
    Edge {
        window_start_us: window_us,
        revision: 0,
        requests,
        completeness: if missing.is_empty() { 1.0 } else { 0.5 },
        missing: missing.iter().map(gap).collect(),
        ..samples::edge()
    }
}

/// Two requests, of which the second has a record only if `seen` says so.
fn problems(seen: bool, edges: &[Edge]) -> Vec<String> {
    let outcomes = [outcome("/a", AT_US), outcome("/b", AT_US + 2_000_000)];
    let mut records = vec![record("/a", Side::Client, AT_US), record("/a", Side::Server, AT_US - 20)];
    records.extend(seen.then(|| record("/b", Side::Server, AT_US + 2_000_000)));
    judge(&outcomes, &records, edges).problems
}

#[test]
fn exact_sums_and_named_gaps_are_right() {
    let window_us = window_of(AT_US);
    assert_eq!(problems(true, &[edge(window_us, 2, &[])]), [""; 0]);
    assert_eq!(problems(false, &[edge(window_us, 1, &[(2_000_000, 4_000_000)])]), [""; 0]);
}

#[test]
fn what_is_wrong_is_found() {
    let window_us = window_of(AT_US);
    let gap = [(2_000_000, 4_000_000)];
    let wrong: [(bool, Vec<Edge>, &str); 7] = [
        (true, vec![edge(window_us, 1, &[])], "wrong, and called complete"),
        (false, vec![edge(window_us, 1, &[])], "wrong, and called complete"),
        (true, vec![edge(window_us, 3, &gap)], "more than happened"),
        (true, vec![edge(window_us, 1, &gap)], "fewer than there are records of"),
        (true, vec![], "not a word of it"),
        (true, vec![edge(window_us, 2, &[]), edge(window_us, 2, &[])], "doubled"),
        (false, vec![edge(window_us, 1, &[(5_000_000, 6_000_000)])], "no gap is named for /b"),
    ];
    for (seen, edges, expected) in wrong {
        let problems = problems(seen, &edges);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
}

#[test]
fn a_time_in_which_nobody_looked_must_be_named_whole() {
    let edges = [edge(WINDOW_US, 0, &[(9_000_000, WINDOW_US)]), edge(2 * WINDOW_US, 0, &[(0, 1_000_000)])];
    let said = said(&edges, &mut Vec::new());
    assert_eq!(unnamed(WINDOW_US + 9_500_000, 2 * WINDOW_US + 900_000, &said), []);
    let late = (2 * WINDOW_US, 2 * WINDOW_US + 1_100_000);
    assert_eq!(unnamed(WINDOW_US + 9_500_000, late.1, &said), [late]);
}
