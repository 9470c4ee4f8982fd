//! `headwater diff` on a real Kafka: what changed between two ranges, and between two prefixes.

use headwater_console::clock::now_us;
use headwater_histogram::Histogram;
use headwater_kafka::KafkaSettings;
use headwater_schemas::records::{Edge, Latency, Missing, WindowClosed, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::shared;
use serde_json::Value;

use crate::windows::{WINDOW_US, Written, closed, edge, printed, publish, refused};

const WINDOWS: i64 = 12;

fn to(server: &str, window_us: i64, requests: i64, us: u64) -> Edge {
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(us * 1000, requests as u32);
    let server = Workload::local("program", server);
    Edge { server, requests, duration_ns, client_to_server_bytes: 100 * requests, ..edge(window_us) }
}

/// Two minutes of windows, the first of which lacks something; then as many in which one edge is slower, one is gone and one is new.
fn two_ranges(settings: &KafkaSettings, from_us: i64) {
    let window = |at: i64| {
        let (window_us, after) = (from_us + at * WINDOW_US, at >= WINDOWS);
        let (us, other) = if after { (9000, "new") } else { (1000, "gone") };
        let edges =
            [to("same", window_us, 100, 1000), to("slower", window_us, 100, us), to(other, window_us, 50, 1000)];
        let missing = Missing {
            node: "node-7".into(),
            reason: "ring_full".into(),
            count: 3,
            from_us: window_us,
            to_us: window_us + WINDOW_US,
        };
        let marker = match at {
            0 => WindowClosed { completeness: 0.5, missing: vec![missing], ..closed(window_us) },
            _ => closed(window_us),
        };
        edges.map(Written::Edge).into_iter().chain([Written::Closed(Topic::Edges, marker)])
    };
    publish(settings, (0..2 * WINDOWS).flat_map(window));
}

fn range(from_us: i64) -> String {
    format!("{}/2m", from_us / 1_000_000)
}

#[test]
fn a_change_is_told_and_what_stays_is_counted() {
    let settings = shared("diff").unwrap();
    let from_us = (now_us() / WINDOW_US - 100) * WINDOW_US;
    two_ranges(&settings, from_us);
    let (a, b) = (range(from_us), range(from_us + WINDOWS * WINDOW_US));

    let told = printed(&settings, &["diff", &a, &b]);
    let has = |words: &[&str]| {
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.lines().any(|told| words.iter().all(|word| line(told).contains(word))), "no {words:?} in\n{told}");
    };
    has(&["~ changed a slower http 10.0/s", "1.0 ms → 9.0 ms"]);
    has(&["+ new a new http 5.0/s"]);
    has(&["- gone a gone http 5.0/s"]);
    has(&["1 edge is as before (--all shows them)"]);
    has(&["A ", "12 windows, 50.0 % complete"]);
    has(&["A: incomplete: ", "node-7 ring_full 3"]);
    assert!(!told.contains("B: "), "{told}");

    let told: Value = serde_json::from_str(&printed(&settings, &["diff", &a, &b, "--json"])).unwrap();
    assert_eq!((&told["a"]["windows"], &told["b"]["windows_in_range"]), (&12.into(), &12.into()), "{told}");
    assert_eq!(told["a"]["incomplete"][0]["missing"][0]["node"], "node-7");
    let edges = told["edges"].as_array().unwrap();
    let change = |server: &str| edges.iter().find(|edge| edge["server"]["name"] == server).unwrap();
    assert_eq!(change("same")["change"], "same");
    assert_eq!(change("slower")["changed"], serde_json::json!(["p50", "p95", "p99"]));
    assert_eq!((&change("gone")["b"], &change("new")["a"]), (&Value::Null, &Value::Null));
    assert_eq!(change("slower")["a"]["requests"], 1200);
    assert_eq!(edges.last().unwrap()["change"], "same");

    let error = refused(&settings, &["diff", "2020-01-01T00:00/1m", &b]);
    assert!(error.contains("no whole window of") && error.contains("2020-01-01T00:00/1m"), "{error}");
    // The Kafka is that of all tests.
    let nowhere = format!("{}nowhere.", settings.prefix);
    let error = refused(&settings, &["diff", &b, &format!("{nowhere}@-5m/1m")]);
    assert!(error.contains(&format!("{nowhere}edges")) && error.contains("not there"), "{error}");
}

#[test]
fn operations_and_results_under_another_prefix_are_compared() {
    let settings = shared("diff-operations").unwrap();
    let again = KafkaSettings { prefix: format!("{}again.", settings.prefix), ..settings.clone() };
    let from_us = (now_us() / WINDOW_US - 100) * WINDOW_US;
    for (settings, slow_us) in [(&settings, 1000), (&again, 4000)] {
        let window = |at: i64| {
            let window_start_us = from_us + at * WINDOW_US;
            let of = |operation: &str, us: u64| {
                let Edge { requests, duration_ns, client, server, .. } = to("b", window_start_us, 100, us);
                Written::Latency(Latency {
                    window_start_us,
                    client,
                    server,
                    operation: operation.into(),
                    status_class: "2xx".into(),
                    requests,
                    errors: 0,
                    duration_ns,
                    ..samples::latency()
                })
            };
            [of("GET /", 1000), of("POST /", slow_us), Written::Closed(Topic::Latencies, closed(window_start_us))]
        };
        publish(settings, (0..WINDOWS).flat_map(window));
    }
    let (a, b) = (range(from_us), format!("{}@{}", again.prefix, range(from_us)));
    let told: Value = serde_json::from_str(&printed(&settings, &["diff", &a, &b, "--operations", "--json"])).unwrap();
    let edges = told["edges"].as_array().unwrap();
    let changes: Vec<_> = edges.iter().map(|edge| (&edge["operation"], &edge["change"])).collect();
    assert_eq!(changes, [(&"POST /".into(), &"changed".into()), (&"GET /".into(), &"same".into())], "{told}");
    let told = printed(&settings, &["diff", &a, &b, "--operations"]);
    assert!(told.contains(&format!("of {}*", again.prefix)) && told.contains("1 operation is as before"), "{told}");
}
