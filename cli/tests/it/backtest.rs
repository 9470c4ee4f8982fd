//! `headwater backtest` on a real Kafka: it says what the running processor said of the same topics.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use headwater_console::clock::now_us;
use headwater_histogram::Histogram;
use headwater_kafka::KafkaSettings;
use headwater_process::program as built;
use headwater_schemas::records::{Edge, Latency, Missing, WindowClosed, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{shared, wait_up_to};
use serde_json::Value;

use crate::windows::{WINDOW_US, Written, closed, edge, printed, publish, refused};

const PATIENCE: Duration = Duration::from_secs(90);
const WINDOWS: i64 = 120;
const RULES: &str = "objectives:
- name: orders-answer
  service: {name: orders}
  target: 99
  burn_rates: [{long: 5m, short: 1m, rate: 5, severity: page}]
- name: orders-are-quick
  service: {name: orders}
  operation: POST /orders
  within: 100ms
  target: 90
  owner: team-orders
  burn_rates: [{long: 3m, short: 1m, rate: 4}]
- name: nobody-asks
  service: {name: nobody}
  target: 99
";

/// Fails from the 40th window on, is slow from the 80th on, and lacks something in the 100th.
fn window(from_us: i64, at: i64) -> Vec<Written> {
    let window_start_us = from_us + at * WINDOW_US;
    let errors = if (40..60).contains(&at) { 30 } else { 0 };
    let us = if (80..95).contains(&at) { 500_000 } else { 10_000 };
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(us * 1000, 100);
    let [client, server] = ["web", "orders"].map(|name| Workload::local("program", name));
    let of_edge = Edge {
        client: client.clone(),
        server: server.clone(),
        requests: 100,
        errors,
        duration_ns: duration_ns.clone(),
        ..edge(window_start_us)
    };
    let of_operation = Latency {
        window_start_us,
        client,
        server,
        operation: "POST /orders".into(),
        status_class: "2xx".into(),
        requests: 100,
        errors: 0,
        duration_ns,
        ..samples::latency()
    };
    let missing = Missing {
        node: "node-7".into(),
        reason: "no-data".into(),
        count: 0,
        from_us: window_start_us,
        to_us: window_start_us + WINDOW_US,
    };
    let marker = match at {
        100 => WindowClosed { completeness: 0.5, missing: vec![missing], ..closed(window_start_us) },
        _ => closed(window_start_us),
    };
    vec![
        Written::Edge(of_edge),
        Written::Latency(of_operation),
        Written::Closed(Topic::Edges, marker.clone()),
        Written::Closed(Topic::Latencies, marker),
    ]
}

/// A process that ends with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn processor(settings: &KafkaSettings, rules: &Path) -> Owned {
    let child = Command::new(built("headwater-processor").unwrap())
        .arg("bottlenecks")
        .args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url])
        .args(["--kafka-prefix", &settings.prefix])
        .arg("--objectives-file")
        .arg(rules)
        .spawn();
    Owned(child.unwrap())
}

fn lines(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Alerts of objectives that the running processor wrote.
fn told_live(settings: &KafkaSettings) -> Vec<Value> {
    let told = lines(&printed(settings, &["tail", "alerts", "--from", "earliest", "--to-end", "--json"]));
    told.into_iter().filter(|alert| alert["kind"] == "burn_rate").collect()
}

#[test]
fn it_says_what_the_running_processor_said() {
    let settings = shared("backtest").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objectives.yaml");
    std::fs::write(&file, RULES).unwrap();
    let file = file.to_str().unwrap();
    let from_us = (now_us() / WINDOW_US - 2 * WINDOWS) * WINDOW_US;
    publish(&settings, (0..WINDOWS).flat_map(|at| window(from_us, at)));
    let live = processor(&settings, Path::new(file));
    // Two fire and resolve: the second window of a pair is as long as the incident's end may be off.
    wait_up_to(PATIENCE, "what the running processor tells", || Ok(told_live(&settings).len() >= 4)).unwrap();
    drop(live);

    let at = |window: i64| ((from_us + window * WINDOW_US) / 1_000_000).to_string();
    let told = printed(&settings, &["backtest", file, "--from", &at(0), "--to", &at(WINDOWS), "--json"]);
    let mut told = lines(&told);
    let summary = told.pop().unwrap();
    let live = told_live(&settings);
    for field in ["alert_id", "state", "observed_at_us", "value", "threshold", "message", "severity", "owner"] {
        let of = |alerts: &[Value]| alerts.iter().map(|alert| alert[field].clone()).collect::<Vec<_>>();
        assert_eq!(of(&told), of(&live), "{field}");
    }
    // What shows it stands in the same places.
    assert_eq!(told[0]["evidence"], live[0]["evidence"]);
    assert!(told[0]["evidence"][0]["topic"].as_str().unwrap().ends_with("edges"), "{told:?}");
    assert_eq!((&summary["windows"], &summary["windows_in_range"]), (&WINDOWS.into(), &WINDOWS.into()), "{summary}");
    assert_eq!((&summary["fired"], &summary["resolved"]), (&2.into(), &2.into()), "{summary}");
    assert_eq!(summary["incomplete"][0]["missing"][0]["node"], "node-7");
    assert_eq!(summary["without_requests"], serde_json::json!(["nobody-asks"]));

    // From the middle of an alert on.
    let told = printed(&settings, &["backtest", file, "--from", &at(55), "--to", &at(90)]);
    let has = |word: &str, objective: &str| {
        assert!(
            told.lines().any(|line| line.contains(word) && line.contains(objective)),
            "{word} {objective}:\n{told}"
        );
    };
    has("fires already", "orders-answer");
    has("resolves", "orders-answer");
    has("fires ", "orders-are-quick");
    has("1 alert would have fired, 1 resolved, and one fires at the end", "35 of 35 windows read");

    let error = refused(&settings, &["backtest", file, "--from", "2020-01-01T00:00", "--to", "2020-01-02T00:00"]);
    assert!(error.contains("no whole window"), "{error}");
    let error = refused(&settings, &["backtest", file, "--from", "-5m", "--to", "-10m"]);
    assert!(error.contains("is not before"), "{error}");
}
